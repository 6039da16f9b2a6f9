//! Cameras, microphones and speakers, as GStreamer's device monitor names them.
//!
//! In: a class and maybe a name. Out: what is there; an element that opens one. Never: opens a device itself.

use gst::prelude::*;

use crate::pipeline::make;

/// Kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Video sources.
    Camera,
    /// Audio sources.
    Microphone,
    /// Audio sinks.
    Speaker,
}

impl Class {
    /// GStreamer's name of the class.
    pub fn gst(self) -> &'static str {
        match self {
            Self::Camera => "Video/Source",
            Self::Microphone => "Audio/Source",
            Self::Speaker => "Audio/Sink",
        }
    }

    /// The word people use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Microphone => "microphone",
            Self::Speaker => "speaker",
        }
    }
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Name to put into the configuration.
    pub name: String,
    /// Name for people.
    pub description: String,
}

/// A device that was asked for is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No device of that class.
    #[error("no {} is connected", class.word())]
    None {
        /// What was wanted.
        class: Class,
    },
    /// None of that name.
    #[error("{} \"{name}\" is not there; `duplex devices` lists those that are", class.word())]
    NotThere {
        /// What was wanted.
        class: Class,
        /// Its name.
        name: String,
    },
    /// It is there, but makes no element.
    #[error("{} \"{name}\" cannot be opened: {reason}", class.word())]
    Open {
        /// What was wanted.
        class: Class,
        /// Its name.
        name: String,
        /// GStreamer's words.
        reason: String,
    },
    /// An element is missing.
    #[error(transparent)]
    Pipeline(#[from] crate::pipeline::Error),
}

/// The devices of a class.
pub fn list(class: Class) -> Vec<Device> {
    match class {
        Class::Camera => monitored(class)
            .iter()
            .map(|device| Device { name: name_of(device), description: device.display_name().to_string() })
            .collect(),
        Class::Microphone | Class::Speaker => alsa(class),
    }
}

/// An element that opens the named device, or the first one.
pub fn element(class: Class, name: Option<&str>) -> Result<gst::Element, Error> {
    let mut devices = monitored(class);
    // A Raspberry Pi camera before a USB one.
    devices.sort_by_key(|device| !is_libcamera(device));
    let chosen = devices
        .into_iter()
        .find(|device| name.is_none_or(|name| name == name_of(device) || name == device.display_name()));
    match (chosen, name) {
        (Some(device), _) => device.create_element(None).map_err(|error| Error::Open {
            class,
            name: device.display_name().to_string(),
            reason: error.to_string(),
        }),
        (None, Some(name)) => Err(Error::NotThere { class, name: name.to_owned() }),
        (None, None) => Err(Error::None { class }),
    }
}

/// ALSA's name of the named microphone or speaker, or of the default one if any card is there.
pub fn alsa_name(class: Class, name: Option<&str>) -> Result<String, Error> {
    let known = alsa(class);
    match name {
        Some(name) => Ok(known
            .into_iter()
            .find(|device| device.description == name)
            .map_or_else(|| name.to_owned(), |device| device.name)),
        None if known.is_empty() => Err(Error::None { class }),
        None => Ok("default".to_owned()),
    }
}

/// Whether an ALSA name such as `hw:1,0` or `sysdefault:CARD=Device` names a card that is there.
pub fn alsa_card_exists(name: &str) -> bool {
    alsa_card(name).is_some_and(|card| {
        let folder =
            if card.bytes().all(|byte| byte.is_ascii_digit()) { format!("card{card}") } else { card.to_owned() };
        std::path::Path::new("/proc/asound").join(folder).exists()
    })
}

/// The card in an ALSA name: its number or its id.
fn alsa_card(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once(':')?;
    let card = rest.split(',').next()?;
    let card = card.strip_prefix("CARD=").unwrap_or(card);
    (!card.is_empty() && card.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some(card)
}

fn monitored(class: Class) -> Vec<gst::Device> {
    let monitor = gst::DeviceMonitor::new();
    if monitor.add_filter(Some(class.gst()), None).is_none() || monitor.start().is_err() {
        return Vec::new();
    }
    let devices = monitor.devices().into_iter().collect();
    monitor.stop();
    devices
}

fn is_libcamera(device: &gst::Device) -> bool {
    device.type_().name().contains("Libcamera") || device.display_name().starts_with("/base/")
}

/// The device's stable path, where it has one.
fn name_of(device: &gst::Device) -> String {
    device
        .properties()
        .and_then(|properties| {
            ["device.path", "api.v4l2.path", "api.libcamera.path"]
                .iter()
                .find_map(|key| properties.get::<String>(*key).ok())
        })
        .unwrap_or_else(|| device.display_name().to_string())
}

/// Cards as the kernel lists them: the monitor has no ALSA provider without PulseAudio or PipeWire.
fn alsa(class: Class) -> Vec<Device> {
    let Ok(pcms) = std::fs::read_to_string("/proc/asound/pcm") else {
        return Vec::new();
    };
    let wanted = if class == Class::Microphone { "capture" } else { "playback" };
    pcms.lines()
        .filter(|line| line.contains(wanted))
        .filter_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (card, device) = number.split_once('-')?;
            let (card, device): (u32, u32) = (card.trim().parse().ok()?, device.trim().parse().ok()?);
            let id = std::fs::read_to_string(format!("/proc/asound/card{card}/id")).ok()?;
            let id = id.trim();
            Some(Device {
                name: format!("plughw:CARD={id},DEV={device}"),
                description: rest.split(':').next().unwrap_or(id).trim().to_owned(),
            })
        })
        .collect()
}

/// Whether the elements that open devices of this class are installed.
pub fn opens(class: Class) -> Result<(), Error> {
    let factory = match class {
        Class::Camera => "v4l2src",
        Class::Microphone => "alsasrc",
        Class::Speaker => "alsasink",
    };
    make(factory)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_of_an_alsa_name() {
        for (name, card) in [
            ("hw:1,0", Some("1")),
            ("plughw:CARD=Device,DEV=0", Some("Device")),
            ("sysdefault:CARD=vc4hdmi0", Some("vc4hdmi0")),
            ("default", None),
            ("hw:../..", None),
            ("hw:", None),
        ] {
            assert_eq!(alsa_card(name), card, "{name}");
        }
    }
}
