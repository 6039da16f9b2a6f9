//! Tells the person at the device, and the one with the card in a computer, where to go.
//!
//! In: what the service printed when it was ready, the device's name and addresses. Out: the same on every console and in
//! `status/device.txt`. Never: waits for a network that does not come.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::{Error, Places, files};

/// Waits some seconds for an address, then tells.
///
/// # Errors
/// The service has not said anything.
pub fn run(places: &Places) -> Result<(), Error> {
    let path = places.run.join("announce");
    let announced = fs::read_to_string(&path).map_err(|source| Error::File { doing: "read", path, source })?;
    let deadline = Instant::now() + PATIENCE;
    let mut found = addresses();
    while found.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500));
        found = addresses();
    }
    let host = files::read(&places.host_name).unwrap_or_default();
    let slot = files::read(&places.run.join("slot")).unwrap_or_default();
    let text = compose(host.trim(), slot.trim(), &found, &announced);
    let active = files::read(&places.consoles).unwrap_or_default();
    // The screen is no console of the kernel's where a serial port is.
    let consoles: BTreeSet<&str> = active.split_whitespace().filter(|name| *name != "tty0").chain(["tty1"]).collect();
    for console in consoles {
        // A console that is gone tells nobody anything.
        if let Ok(mut device) = fs::OpenOptions::new().write(true).open(places.devices.join(console)) {
            device.write_all(format!("\r\n{}\r\n", text.replace('\n', "\r\n")).as_bytes()).ok();
        }
    }
    if places.card.join("status").is_dir()
        && let Err(error) = files::update(&places.card.join("status/device.txt"), &text.replace('\n', "\r\n"), 0o644)
    {
        eprintln!("{error}");
    }
    Ok(())
}

/// The text for people.
pub fn compose(host: &str, slot: &str, addresses: &[Ipv4Addr], announced: &str) -> String {
    let mut text = format!("Duplex {} (slot {slot})\n", env!("CARGO_PKG_VERSION"));
    let after = |mark: &str| announced.lines().find_map(|line| line.split_once(mark)).map(|(_, rest)| rest.trim());
    if let Some(code) = after("setup code:") {
        text += &format!("No owner password is set. Open the page and enter this setup code: {code}\n");
    }
    if let Some(fingerprint) = after("  fingerprint  ") {
        text += &format!("Fingerprint of the device's authority (compare it on /trust): {fingerprint}\n");
    }
    text += &format!("ready https://{host}.local:8443/\n");
    for address in addresses {
        text += &format!("ready https://{address}:8443/\n");
    }
    if addresses.is_empty() {
        text += "No network yet: is the cable in, or is Wi-Fi set up in duplex.toml?\n";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_all_a_person_needs() {
        let announced = "\nThe page is secured by ...\n  authority    /var/lib/duplex/pki/ca.pem\n  fingerprint  AA:BB\n\
                         No owner password is set yet. Open the page and enter this setup code: ABCD-EFGH\nready https://x:8443/\n";
        let text = compose("door", "A", &[Ipv4Addr::new(192, 0, 2, 7)], announced);
        for part in [
            "slot A",
            "setup code: ABCD-EFGH\n",
            "AA:BB\n",
            "ready https://door.local:8443/\n",
            "ready https://192.0.2.7:8443/\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let text = compose("door", "B", &[], "ready https://x:8443/\n");
        assert!(text.contains("No network yet") && !text.contains("setup code"), "{text}");
    }
}
