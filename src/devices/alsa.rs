//! Microphones and speakers as the kernel lists them: USB first, HDMI and loopbacks last.
//!
//! In: `/proc/asound`, ALSA's configuration folder. Out: devices named by the id of their card, which stays when
//! numbers change. Never: a sound server's devices one by one: where one runs, `auto` is its default.

use std::path::Path;

use super::{Device, Driver};

/// Which way the sound goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into the board.
    Capture,
    /// Out of it.
    Playback,
}

/// The devices below `root`, best first.
pub fn list(root: &Path, direction: Direction) -> Vec<Device> {
    let Ok(pcms) = std::fs::read_to_string(root.join("proc/asound/pcm")) else { return Vec::new() };
    let wanted = match direction {
        Direction::Capture => "capture",
        Direction::Playback => "playback",
    };
    let lines = pcms.lines().filter(|line| line.contains(wanted));
    let mut found: Vec<Device> = lines.filter_map(|line| device(root, line)).collect();
    // The kernel's order within a rank.
    found.sort_by_key(|device| device.rank);
    found
}

/// A line such as `01-00: USB Audio : USB Audio : playback 1 : capture 1`.
fn device(root: &Path, line: &str) -> Option<Device> {
    let (number, rest) = line.split_once(':')?;
    let (card, pcm) = number.split_once('-')?;
    let (card, pcm): (u32, u32) = (card.trim().parse().ok()?, pcm.trim().parse().ok()?);
    let folder = root.join(format!("proc/asound/card{card}"));
    let id = std::fs::read_to_string(folder.join("id")).ok()?;
    let id = id.trim();
    let what = rest.split(':').next().unwrap_or(id).trim();
    let rank = match () {
        () if folder.join("usbid").exists() => 0,
        () if what.contains("Loopback") => 3,
        () if id.to_ascii_lowercase().contains("hdmi") || what.to_ascii_lowercase().contains("hdmi") => 2,
        () => 1,
    };
    Some(Device {
        name: format!("plughw:CARD={id},DEV={pcm}"),
        description: format!("{what} ({id})"),
        driver: Driver::Alsa,
        rank,
        node: Some(root.join("proc/asound").join(id)),
        offers: None,
    })
}

/// A device by another of ALSA's names; `None` if it names a card that is not there, or is no plain name of a device.
pub fn named(root: &Path, name: &str) -> Option<Device> {
    if !is_plain(name) {
        return None;
    }
    let node = match card(name) {
        Some(card) => {
            let numbered = card.bytes().all(|byte| byte.is_ascii_digit());
            let node = root.join("proc/asound").join(if numbered { format!("card{card}") } else { card.to_owned() });
            if !node.exists() {
                return None;
            }
            Some(node)
        }
        None => None,
    };
    let name = name.to_owned();
    Some(Device { name: name.clone(), description: name, driver: Driver::Alsa, rank: 0, node, offers: None })
}

/// Whether a device is a name of ALSA's configuration and no card: whether it is there only opening it would show.
pub fn is_alias(device: &Device) -> bool {
    device.driver == Driver::Alsa && device.node.is_none() && !USUAL.contains(&device.name.as_str())
}

/// Those that every configuration has, or that of every sound server.
const USUAL: [&str; 4] = ["default", "sysdefault", "pulse", "pipewire"];

/// The default device, where a sound server makes it: on a desktop people choose there.
pub fn sound_server(root: &Path) -> Option<Device> {
    let configured = ["etc/alsa/conf.d/99-pulseaudio-default.conf", "etc/alsa/conf.d/99-pipewire-default.conf"];
    configured.iter().any(|file| root.join(file).exists()).then(|| Device {
        name: "default".to_owned(),
        description: "the sound server's default".to_owned(),
        driver: Driver::Alsa,
        rank: 0,
        node: None,
        offers: None,
    })
}

/// Whether a name opens a device and does nothing else. ALSA's names are a language: `tee` and `file` write files and run
/// commands, and who may choose a speaker in the page may not do that.
fn is_plain(name: &str) -> bool {
    let word =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let (kind, arguments) = name.split_once(':').map_or((name, None), |(kind, rest)| (kind, Some(rest)));
    let argument = |text: &str| match text.split_once('=') {
        Some((key, value)) => ["CARD", "DEV", "SUBDEV"].contains(&key) && word(value),
        None => word(text),
    };
    match arguments {
        None => word(kind) && !WRITERS.contains(&kind),
        Some(arguments) => KINDS.contains(&kind) && arguments.split(',').all(argument),
    }
}

/// Ways to a card that take it as an argument.
const KINDS: [&str; 9] = ["hw", "plughw", "sysdefault", "default", "front", "dmix", "dsnoop", "hdmi", "iec958"];
/// What would write a file.
const WRITERS: [&str; 2] = ["file", "tee"];

/// The card in an ALSA name such as `hw:1,0` or `sysdefault:CARD=Device`: its number or its id.
fn card(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once(':')?;
    let card = rest.split(',').next()?;
    let card = card.strip_prefix("CARD=").unwrap_or(card);
    (!card.is_empty() && card.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some(card)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_card_of_an_alsa_name() {
        for (name, expected) in [
            ("hw:1,0", Some("1")),
            ("plughw:CARD=Device,DEV=0", Some("Device")),
            ("sysdefault:CARD=vc4hdmi0", Some("vc4hdmi0")),
            ("default", None),
            ("hw:../..", None),
            ("hw:", None),
        ] {
            assert_eq!(card(name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_opens_a_device_and_nothing_else() {
        for name in ["hw:1,0", "plughw:CARD=Device,DEV=0", "sysdefault:CARD=vc4hdmi0", "default", "pulse", "my-mic"] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "file:FILE='|id',FORMAT=raw",
            "tee:SLAVE=null,FILE=x",
            "file",
            "tee",
            "file:x",
            "hw:1,FILE=x",
            "hw:",
            "{type hw}",
            "a b",
            "plug:hw:0",
            "",
        ] {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn usb_comes_before_hdmi_and_a_loopback_last() {
        let root = tempfile::tempdir().unwrap();
        let proc = root.path().join("proc/asound");
        for (number, id) in [(0, "vc4hdmi0"), (1, "Loopback"), (2, "Headphones"), (3, "Device")] {
            fs::create_dir_all(proc.join(format!("card{number}"))).unwrap();
            fs::create_dir_all(proc.join(id)).unwrap();
            fs::write(proc.join(format!("card{number}/id")), format!("{id}\n")).unwrap();
        }
        fs::write(proc.join("card3/usbid"), "0d8c:0014\n").unwrap();
        let pcm = "00-00: MAI PCM i2s-hifi-0 : MAI PCM i2s-hifi-0 : playback 1\n\
                   01-00: Loopback PCM : Loopback PCM : playback 8 : capture 8\n\
                   02-00: bcm2835 Headphones : bcm2835 Headphones : playback 8\n\
                   03-00: USB Audio : USB Audio : playback 1 : capture 1\n";
        fs::write(proc.join("pcm"), pcm).unwrap();
        let names = |direction| list(root.path(), direction).into_iter().map(|device| device.name).collect::<Vec<_>>();
        let all = [
            "plughw:CARD=Device,DEV=0",
            "plughw:CARD=Headphones,DEV=0",
            "plughw:CARD=vc4hdmi0,DEV=0",
            "plughw:CARD=Loopback,DEV=0",
        ];
        assert_eq!(names(Direction::Playback), all);
        assert_eq!(names(Direction::Capture), [all[0], all[3]]);
        let loops = list(root.path(), Direction::Playback).iter().map(Device::is_loopback).collect::<Vec<_>>();
        assert_eq!(loops, [false, false, false, true]);
        let found = named(root.path(), "hw:CARD=Device,DEV=0").unwrap();
        assert!(found.is_there());
        fs::remove_dir(proc.join("Device")).unwrap();
        assert!(!found.is_there());
        assert_eq!(named(root.path(), "hw:CARD=Nobody"), None);
    }
}
