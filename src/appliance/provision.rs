//! Takes in `duplex.toml` from the card, and writes what follows from it.
//!
//! In: the card, if there is one, and what was taken in before. Out: files under `/run/duplex` for the service, iwd, dropbear and the
//! clock; the host name; passwords in the service's state; what the owner has to know, for the service to tell; `status/provision.txt`, and
//! blanked secrets, on the card.
//! Never: takes in a part of a file that has something wrong in it; then all that held before goes on to hold.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::settings::{self, Secret, Settings, Wifi};
use super::{Error, Places, files, publish};
use crate::api::Role;
use crate::config::{self, Flags};
use crate::http::auth::{self, Auth};

/// One start's worth of provisioning.
///
/// # Errors
/// What the appliance itself needs cannot be written.
pub fn run(places: &Places) -> Result<(), Error> {
    let (mut report, mut notes) = (Vec::new(), Vec::new());
    if let Some(forgotten) = forget_passwords(places) {
        let sentence = forgotten.unwrap_or_else(|failed| {
            notes.push(failed.clone());
            failed
        });
        report.push(sentence);
    }
    let card = files::is_card(&places.card);
    if card {
        files::remove(&places.run.join(NOT_TAKEN))?;
    }
    let mut settings = remembered(places);
    let mut refused = |problems: Vec<String>, report: &mut Vec<String>| {
        notes.push(refusal(&problems));
        report.push(format!("{FILE} was NOT taken in; what held before goes on to hold. Wrong with it:"));
        report.extend(problems.into_iter().map(|problem| format!("  {}", problem.replace('\n', "\n  "))));
        files::replace(&places.run.join(NOT_TAKEN), "", 0o644)
    };
    match files::text(&places.card.join(FILE)) {
        Ok(Some(text)) => match checked(places, &text).and_then(|found| take_in(places, &text, found)) {
            Ok((found, left)) => {
                report.push(match taken(places, &found).as_str() {
                    "" => format!("{FILE} was read; nothing is set in it."),
                    parts => format!("{FILE} was taken in.{parts}"),
                });
                report.extend(left.clone());
                notes.extend(left);
                settings = found;
            }
            Err(problems) => refused(problems, &mut report)?,
        },
        Ok(None) if !card => report.push("The card is not there; what was taken in before holds.".to_owned()),
        Ok(None) => {
            let sentence = format!("There is no {FILE} on the card; what was taken in before holds.");
            report.push(match misnamed(places) {
                Some(name) => {
                    let sentence = format!("{sentence} Is {name} meant to be it?");
                    notes.push(sentence.clone());
                    sentence
                }
                None => sentence,
            });
        }
        Err(problem) => refused(vec![format!("it {problem}")], &mut report)?,
    }
    notes.extend(unused(places, &settings));
    let publishing = publish::lay_out(places, settings.publish.as_ref()).unwrap_or_else(|sentence| {
        report.push(sentence.clone());
        notes.push(sentence);
        toml::Table::new()
    });
    let text = report.join("\n") + "\n";
    print!("{text}");
    notes.extend(write_all(places, &settings, publishing)?);
    // Without a card nothing new is known of its file.
    let told = places.notes();
    if card || !told.exists() {
        let lines: String = notes.iter().map(|note| one_line(note) + "\n").collect();
        files::replace(&told, &lines, 0o644)?;
    }
    // The card may be write-protected; the start goes on.
    if card
        && let Err(error) = files::update(&places.card.join("status/provision.txt"), &text.replace('\n', "\r\n"), 0o644)
    {
        eprintln!("{error}");
    }
    Ok(())
}

/// For the page: the first thing that is wrong, and how many more there are.
fn refusal(problems: &[String]) -> String {
    let first = problems.first().map(|problem| one_line(problem)).unwrap_or_default();
    let more = match problems.len() {
        0 | 1 => String::new(),
        many => format!("and {} more; ", many - 1),
    };
    format!(
        "{FILE} was not taken in, and what held before goes on to hold: {first} ({more}status/provision.txt on the card has all)"
    )
}

/// As much of it as a page can show.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(500) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// What is in force and cannot be used, a sentence each.
fn unused(places: &Places, settings: &Settings) -> Vec<String> {
    let wifi = settings.wifi.as_ref().filter(|wifi| !is_open_to_us(places, wifi)).map(|wifi| {
        format!(
            "The Wi-Fi network {:?} is not used, for its passphrase is blank in {FILE} and not known here; write it in again.",
            wifi.ssid
        )
    });
    let token = settings
        .publish
        .as_ref()
        .filter(|publish| publish::lacks_token(places, publish))
        .map(|publish| format!("{} Its place is {FILE} on the card.", publish::sentence(places, publish)));
    wifi.into_iter().chain(token).collect()
}

/// The settings of this text, or all that is wrong with it, together.
fn checked(places: &Places, text: &str) -> Result<Settings, Vec<String>> {
    settings::parse(text).map_err(|mut problems| {
        // Also what only the service's own rules find, and what the device has to look up.
        if let Some(service) = settings::value(text, "service").and_then(|value| value.as_table().cloned()) {
            problems.extend(service_file(places, &service).err());
        }
        if let Some(zone) = settings::value(text, "timezone").as_ref().and_then(toml::Value::as_str)
            && !problems.iter().any(|problem| problem.starts_with("timezone"))
        {
            problems.extend(unknown_zone(places, zone));
        }
        problems
    })
}

fn unknown_zone(places: &Places, zone: &str) -> Option<String> {
    let known = places.zones.join(zone).is_file();
    (!known).then(|| format!("timezone = {zone:?}: is no zone that this device knows, such as \"Europe/Berlin\""))
}

/// A file whose name is nearly right: systems that hide the ends of names make `duplex.toml.txt`.
fn misnamed(places: &Places) -> Option<String> {
    let names =
        fs::read_dir(&places.card).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.into_iter().find(|name| name.to_ascii_lowercase().starts_with("duplex.") && !name.ends_with(".new"))
}

/// The name of a device that was given none: from its number, which is made on the device.
pub fn default_host(machine_id: &str) -> String {
    let digest = Sha256::digest(format!("duplex host name {}", machine_id.trim()));
    format!("duplex-{:02x}{:02x}", digest[0], digest[1])
}

/// The owner's file.
pub const FILE: &str = "duplex.toml";
/// Is there while that file was not taken in.
pub const NOT_TAKEN: &str = "not-taken-in";
/// Name of the Wi-Fi network that is to be used.
pub const NETWORK: &str = "wifi-name";

/// What was taken in at an earlier start. It was checked then; a version that has stricter rules falls back to none.
fn remembered(places: &Places) -> Settings {
    let Some(text) = files::read(&places.system.join(FILE)) else { return Settings::default() };
    let settings = settings::parse(&text).unwrap_or_default();
    match service_file(places, &settings.service) {
        Ok(_) => settings,
        Err(_) => Settings { service: toml::Table::new(), ..settings },
    }
}

/// Checks what needs the device, then changes what outlives a start: passwords, networks, the remembered file; last the card's.
/// Beside the settings a sentence, if secrets in the card's could not be erased.
fn take_in(places: &Places, text: &str, found: Settings) -> Result<(Settings, Option<String>), Vec<String>> {
    let mut problems: Vec<String> = found.timezone.iter().filter_map(|zone| unknown_zone(places, zone)).collect();
    if let Err(error) = service_file(places, &found.service) {
        problems.push(error);
    }
    let authority = publish::authority(places, found.publish.as_ref()).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let failed = |error: &dyn std::fmt::Display| vec![error.to_string()];
    if let Some(password) = &found.password {
        let set = |state: &Path| -> Result<(), auth::Error> { Auth::open(state)?.set_password(Role::Owner, password) };
        set(&places.state).map_err(|error| failed(&error))?;
    }
    networks(places, found.wifi.as_ref()).map_err(|error| failed(&error))?;
    publish::keep(places, found.publish.as_ref(), authority.as_deref()).map_err(|error| failed(&error))?;
    let blanked = settings::blanked(text);
    let kept = blanked.as_deref().unwrap_or(text);
    files::update(&places.system.join(FILE), kept, 0o600).map_err(|error| failed(&error))?;
    // Last: a power cut before this only means that the same is taken in again.
    let left = match blanked {
        Some(blanked) => {
            files::replace_secret(&places.card.join(FILE), &blanked, 0o644).map_err(|error| failed(&error))?
        }
        None => None,
    };
    Ok((found, left))
}

/// Whether the way into this network is known.
fn is_open_to_us(places: &Places, wifi: &Wifi) -> bool {
    wifi.passphrase != Secret::Known || places.iwd.join(network_file(&wifi.ssid, "psk")).exists()
}

/// Removes all passwords if a file on the card asks for it. The error is what did not go as asked.
fn forget_passwords(places: &Places) -> Option<Result<String, String>> {
    let asked = fs::read_dir(&places.card).ok()?.flatten().find(|entry| {
        let name = entry.file_name().to_string_lossy().to_ascii_lowercase();
        name.starts_with("forget-password")
    })?;
    let forget = || -> Result<(), auth::Error> {
        let auth = Auth::open(&places.state)?;
        for role in [Role::Viewer, Role::Talker, Role::Owner] {
            // Which of them were set does not matter.
            match auth.remove_password(role) {
                Err(error) if role == Role::Owner && auth.has_owner() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    };
    Some(match forget() {
        Ok(()) => match files::remove(&asked.path()) {
            Ok(()) => Ok("All passwords were removed; status/device.txt has a new setup code.".to_owned()),
            Err(error) => Err(format!("All passwords were removed, and will be at every start: {error}")),
        },
        Err(error) => Err(format!("The passwords could not be removed: {error}")),
    })
}

/// Files of iwd for exactly this network.
fn networks(places: &Places, wifi: Option<&Wifi>) -> Result<(), Error> {
    let keep: Vec<String> = wifi.map_or_else(Vec::new, |wifi| {
        let ending = if wifi.passphrase == Secret::None { "open" } else { "psk" };
        vec![network_file(&wifi.ssid, ending)]
    });
    for entry in fs::read_dir(&places.iwd).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if (name.ends_with(".psk") || name.ends_with(".open")) && !keep.contains(&name) {
            files::remove(&entry.path())?;
        }
    }
    let Some(wifi) = wifi else { return Ok(()) };
    let hidden = format!("[Settings]\nHidden={}\n", wifi.hidden);
    match &wifi.passphrase {
        Secret::None => files::update(&places.iwd.join(network_file(&wifi.ssid, "open")), &hidden, 0o600),
        Secret::Known => Ok(()),
        Secret::New(secret) => {
            let escaped = secret.replace('\\', "\\\\");
            let escaped = escaped.strip_prefix(' ').map_or(escaped.clone(), |rest| format!("\\s{rest}"));
            let text = format!("[Security]\nPassphrase={escaped}\n{hidden}");
            files::update(&places.iwd.join(network_file(&wifi.ssid, "psk")), &text, 0o600)
        }
    }
}

/// The name of iwd's file for a network: plain where all signs are harmless, in hexadecimal elsewhere.
fn network_file(ssid: &str, ending: &str) -> String {
    if ssid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b' ')) {
        return format!("{ssid}.{ending}");
    }
    let hex: String = ssid.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("={hex}.{ending}")
}

/// The service's whole configuration: the appliance's defaults under the owner's keys; checked.
fn service_file(places: &Places, owner: &toml::Table) -> Result<String, String> {
    let defaults = files::read(&places.defaults).unwrap_or_default();
    let mut table: toml::Table = defaults.parse().map_err(|error| format!("defaults: {error}"))?;
    table.extend(owner.clone());
    let text = toml::to_string(&table).map_err(|error| format!("service: {error}"))?;
    let path = places.run.join("service.toml.check");
    files::replace(&path, &text, 0o644).map_err(|error| error.to_string())?;
    let mut flags = Flags::default().with("state-dir", places.state.to_string_lossy());
    flags.config = Some(path.clone());
    let checked = config::load(&flags, |_| None);
    files::remove(&path).map_err(|error| error.to_string())?;
    match checked {
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string().replace(&path.display().to_string(), "[service]")),
    }
}

/// What holds until the next start; a sentence, if something was left out.
fn write_all(places: &Places, settings: &Settings, publishing: toml::Table) -> Result<Option<String>, Error> {
    let mut keys = settings.service.clone();
    keys.extend(publishing);
    let mut left_out = None;
    let service = service_file(places, &keys)
        .or_else(|error| {
            eprintln!("nothing is published: {error}");
            // The error quotes the server's address, which may hold a secret.
            left_out = Some(format!("Nothing is published: the service does not take what [publish] of {FILE} says."));
            service_file(places, &settings.service)
        })
        .or_else(|_| service_file(places, &toml::Table::new()))
        .unwrap_or_else(|_| files::read(&places.defaults).unwrap_or_default());
    files::replace(&places.service(), &service, 0o644)?;

    let machine_id = files::read(&places.machine_id).unwrap_or_default();
    let host = settings.hostname.clone().unwrap_or_else(|| default_host(&machine_id));
    // The kernel's file takes one write and knows no renaming.
    fs::write(&places.host_name, format!("{host}\n")).map_err(|source| Error::File {
        doing: "write",
        path: places.host_name.clone(),
        source,
    })?;

    let zone = places.zones.join(settings.timezone.as_deref().unwrap_or("Etc/UTC"));
    let link = places.run.join("localtime");
    files::remove(&link)?;
    symlink(&zone, &link).map_err(|source| Error::File { doing: "link", path: link.clone(), source })?;

    if let Some(wifi) = &settings.wifi {
        let text = format!("[General]\nEnableNetworkConfiguration=false\nCountry={}\n", wifi.country);
        files::replace(&places.run.join("iwd/main.conf"), &text, 0o644)?;
        files::replace(&places.run.join(NETWORK), &wifi.ssid, 0o644)?;
    }
    let keys: String = settings.ssh_keys.iter().map(|key| format!("{key}\n")).collect();
    let ssh = places.run.join("ssh");
    files::replace(&ssh.join("authorized_keys"), &keys, 0o600)?;
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o700)).map_err(|source| Error::File {
        doing: "close",
        path: ssh.clone(),
        source,
    })?;
    let host_key = places.system.with_file_name("ssh");
    fs::create_dir_all(&host_key).map_err(|source| Error::File { doing: "make", path: host_key, source })?;
    Ok(left_out)
}

/// What was in the file, without values that are secret.
fn taken(places: &Places, settings: &Settings) -> String {
    let mut parts = Vec::new();
    if settings.password.is_some() {
        parts.push("The owner's password is set, and blanked in the file.".to_owned());
    }
    if let Some(host) = &settings.hostname {
        parts.push(format!("Name: {host}.local."));
    }
    if let Some(zone) = &settings.timezone {
        parts.push(format!("Time zone: {zone}."));
    }
    if let Some(wifi) = &settings.wifi {
        let how = match wifi.passphrase {
            _ if !is_open_to_us(places, wifi) => {
                ": NOT used, for its passphrase is blank and not known here (a new card or a factory reset forgets it); write it in again"
            }
            Secret::None => ", open to everybody, without a passphrase",
            Secret::Known => "",
            Secret::New(_) => "; its passphrase is blanked in the file",
        };
        parts.push(format!("Wi-Fi: {:?}, country {}{how}.", wifi.ssid, wifi.country));
    }
    parts.extend(settings.publish.as_ref().map(|publish| publish::sentence(places, publish)));
    if !settings.ssh_keys.is_empty() {
        parts.push(format!("SSH is open to {} key(s).", settings.ssh_keys.len()));
    }
    if !settings.service.is_empty() {
        parts.push(format!(
            "Settings of the service: {}.",
            settings.service.keys().cloned().collect::<Vec<_>>().join(", ")
        ));
    }
    parts.iter().map(|part| format!(" {part}")).collect()
}

#[cfg(test)]
#[path = "provision_tests.rs"]
mod tests;
