//! Tells the person at the device, and the one with the card in a computer, where to go.
//!
//! In: what the service printed when it was ready, the device's name and addresses. Out: the same on every console and in
//! `status/device.txt`. Never: waits for a network that does not come.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::provision::{NETWORK, NOT_TAKEN};
use super::{Error, Places, files};

/// Waits some seconds for the service and an address, then tells.
///
/// # Errors
/// A file cannot be read or written.
pub fn run(places: &Places) -> Result<(), Error> {
    let path = places.run.join("announce");
    let deadline = Instant::now() + PATIENCE;
    let announced = loop {
        match fs::read_to_string(&path) {
            Ok(announced) if !announced.is_empty() => break announced,
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(Error::File { doing: "read", path, source });
            }
            // The service is just being started again; its next report tells what it says then.
            _ if Instant::now() >= deadline => return Ok(()),
            _ => std::thread::sleep(Duration::from_millis(500)),
        }
    };
    let deadline = Instant::now() + PATIENCE;
    let mut found = addresses();
    while found.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500));
        found = addresses();
    }
    let host = files::read(&places.host_name).unwrap_or_default();
    let slot = files::read(&places.run.join("slot")).unwrap_or_default();
    let place = Place {
        host: host.trim(),
        slot: slot.trim(),
        network: &files::read(&places.run.join(NETWORK)).unwrap_or_default(),
        not_taken: places.run.join(NOT_TAKEN).exists(),
    };
    let text = compose(&place, &found, &announced);
    if files::read(&places.run.join(TOLD)).as_deref() == Some(&text) {
        return Ok(());
    }
    let active = files::read(&places.consoles).unwrap_or_default();
    // The screen is no console of the kernel's where a serial port is.
    let consoles: BTreeSet<&str> = active.split_whitespace().filter(|name| *name != "tty0").chain(["tty1"]).collect();
    for console in consoles {
        // A console that is gone tells nobody anything.
        if let Ok(mut device) = fs::OpenOptions::new().write(true).open(places.devices.join(console)) {
            device.write_all(format!("\r\n{}\r\n", text.replace('\n', "\r\n")).as_bytes()).ok();
        }
    }
    if files::is_card(&places.card)
        && let Err(error) = files::update(&places.card.join("status/device.txt"), &text.replace('\n', "\r\n"), 0o644)
    {
        eprintln!("{error}");
    }
    files::replace(&places.run.join(TOLD), &text, 0o644)
}

/// If people were told that there is no network yet: waits some minutes until there is. The card is not mounted meanwhile.
pub fn await_network(places: &Places) {
    let told = files::read(&places.run.join(TOLD)).unwrap_or_default();
    let deadline = Instant::now() + LONG_PATIENCE;
    while told.contains(NO_NETWORK) && addresses().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// What else people have to know of the device.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its name.
    pub host: &'a str,
    /// Which slot runs.
    pub slot: &'a str,
    /// The Wi-Fi network that it is to use; empty: none.
    pub network: &'a str,
    /// The owner's file was refused.
    pub not_taken: bool,
}

/// The text for people.
pub fn compose(place: &Place, addresses: &[Ipv4Addr], announced: &str) -> String {
    let Place { host, slot, network, not_taken } = place;
    let mut text = format!("Duplex {} (slot {slot})\n", env!("CARGO_PKG_VERSION"));
    if *not_taken {
        text += "duplex.toml was NOT taken in: status/provision.txt on the card says why.\n";
    }
    let after = |mark: &str| announced.lines().find_map(|line| line.split_once(mark)).map(|(_, rest)| rest.trim());
    if let Some(code) = after("setup code:") {
        text += &format!("No owner password is set. Open the page and enter this setup code: {code}\n");
    }
    if let Some(fingerprint) = after("  fingerprint  ") {
        text +=
            &format!("Fingerprint of the device's authority, to compare at http://{host}.local/trust: {fingerprint}\n");
    }
    text += &format!("ready https://{host}.local:8443/\n");
    for address in addresses {
        text += &format!("ready https://{address}:8443/\n");
    }
    if addresses.is_empty() {
        text += NO_NETWORK;
        text += &if network.is_empty() {
            ": is the cable in, or is Wi-Fi set up in duplex.toml?\n".to_owned()
        } else {
            format!(": is the Wi-Fi network {network:?} in reach, and its passphrase in duplex.toml right?\n")
        };
    }
    text
}

fn addresses() -> Vec<Ipv4Addr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut found: Vec<Ipv4Addr> = interfaces
        .into_iter()
        .filter_map(|interface| match interface.ip() {
            IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_link_local() => Some(ip),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

const PATIENCE: Duration = Duration::from_secs(15);
/// A slow access point, or a cable that is put in when the board already runs.
const LONG_PATIENCE: Duration = Duration::from_secs(600);
const NO_NETWORK: &str = "No network yet";
/// What was told last.
const TOLD: &str = "told";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_all_a_person_needs() {
        let announced = "\nThe page is secured by ...\n  authority    /var/lib/duplex/pki/ca.pem\n  fingerprint  AA:BB\n\
                         No owner password is set yet. Open the page and enter this setup code: ABCD-EFGH\nready https://x:8443/\n";
        let place = Place { host: "door", slot: "A", network: "", not_taken: false };
        let text = compose(&place, &[Ipv4Addr::new(192, 0, 2, 7)], announced);
        for part in [
            "slot A",
            "setup code: ABCD-EFGH\n",
            "http://door.local/trust: AA:BB\n",
            "ready https://door.local:8443/\n",
            "ready https://192.0.2.7:8443/\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("NOT taken in"), "{text}");
        let text = compose(&place, &[], "ready https://x:8443/\n");
        assert!(text.contains("No network yet: is the cable in") && !text.contains("setup code"), "{text}");
        let text = compose(&Place { network: "home", not_taken: true, ..place }, &[], "ready https://x:8443/\n");
        assert!(text.contains("network \"home\" in reach") && text.contains("duplex.toml was NOT taken in"), "{text}");
    }
}
