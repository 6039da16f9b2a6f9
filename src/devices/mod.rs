//! Cameras, microphones and speakers: what is there, under names that stay, and which one `auto` means.
//!
//! In: a class and maybe a name; the kernel's own lists, udev's links, libcamera's list. Out: [`Device`]s, best first.
//! Never: opens a device itself, but to ask a camera for its controls; a list that has to be polled: [`seen`] tells when to look, and is
//! cheap enough for some times a second.

pub mod alsa;
pub mod board;
pub mod camera_settings;
pub mod kernel;
pub mod libcamera;
pub mod preference;
pub mod sensors;
pub mod v4l2;
pub mod v4l2_controls;

use std::path::{Path, PathBuf};

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
    /// The word people use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Microphone => "microphone",
            Self::Speaker => "speaker",
        }
    }
}

/// What opens a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// A camera of the board, through libcamera.
    Libcamera,
    /// A camera with a node below `/dev`.
    V4l2,
    /// A sound card.
    Alsa,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Name to put into the configuration: it stays when the device is plugged in again, or the board restarts.
    pub name: String,
    /// Name for people.
    pub description: String,
    /// What opens it.
    pub driver: Driver,
    /// `auto` prefers those of a lower one; among equals it stays with what it has.
    pub rank: u8,
    /// A path that is there as long as the device is; `None`: its driver alone knows.
    pub node: Option<PathBuf>,
    /// Formats and sizes that it gives, where they are known before it is opened.
    pub offers: Option<gst::Caps>,
}

impl Device {
    /// Whether it has not been pulled out.
    pub fn is_there(&self) -> bool {
        self.node.as_deref().is_none_or(Path::exists)
    }

    /// Whether both are one: a name may change while udev makes it, a node when it is plugged in again.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name || (self.node.is_some() && self.node == other.node)
    }

    /// Whether it only hands from one program to another: nobody means it by `auto`, and nobody would hear it.
    pub fn is_loopback(&self) -> bool {
        self.driver == Driver::Alsa && self.description.contains("Loopback")
    }
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
    /// What is there is none.
    #[error("camera \"{name}\" is no video device; `duplex devices` lists the cameras")]
    NoCamera {
        /// Its path.
        name: String,
    },
    /// It may be there: not all that are there are known just now.
    #[error(transparent)]
    Busy(#[from] libcamera::Busy),
    /// An element is missing.
    #[error(transparent)]
    Pipeline(#[from] crate::pipeline::Error),
}

/// What is known to be there of a class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// The likeliest first; which one `auto` means, [`find`] says.
    pub devices: Vec<Device>,
    /// Those of the board are missing, because they could not be asked for.
    pub busy: Option<libcamera::Busy>,
}

/// The devices of a class. Blocks: up to two seconds where a camera is being opened or closed.
pub fn list(class: Class) -> Listed {
    list_at(Path::new("/"), class)
}

fn list_at(root: &Path, class: Class) -> Listed {
    let all = |devices| Listed { devices, busy: None };
    match class {
        Class::Camera => cameras(libcamera::list(), v4l2::list(root)),
        Class::Microphone => all(alsa::list(root, alsa::Direction::Capture)),
        Class::Speaker => all(alsa::list(root, alsa::Direction::Playback)),
    }
}

/// All cameras, of libcamera's and V4L2's.
fn cameras(libcameras: Result<Vec<Device>, libcamera::Busy>, own: Vec<Device>) -> Listed {
    let busy = libcameras.as_ref().err().copied();
    let all = libcameras.unwrap_or_default().into_iter();
    let (boards, others) = all.partition::<Vec<_>, _>(|device| device.rank == libcamera::BOARD);
    // What libcamera sees beside the board's own cameras, V4L2 sees as well.
    let others = if own.is_empty() { others } else { Vec::new() };
    Listed { devices: boards.into_iter().chain(own).chain(others).collect(), busy }
}

/// The camera of that name among these.
fn camera(listed: Listed, name: &str) -> Result<Device, Error> {
    let Listed { devices, busy } = listed;
    devices
        .into_iter()
        .find(|device| is_named(device, name))
        .ok_or_else(|| busy.map_or_else(|| not_there(Class::Camera, name), Error::from))
}

/// Those of a class below `root` that `auto` may mean. Blocks as [`list`] does.
pub fn eligible(root: &Path, class: Class) -> Listed {
    let Listed { devices, busy } = list_at(root, class);
    let devices = match alsa::sound_server(root).filter(|_| class != Class::Camera) {
        Some(default) => vec![default],
        None => devices.into_iter().filter(|device| !device.is_loopback()).collect(),
    };
    Listed { devices, busy }
}

/// The first of them.
fn first(class: Class, listed: Listed) -> Result<Device, Error> {
    let Listed { devices, busy } = listed;
    devices.into_iter().next().ok_or_else(|| nothing(class, busy))
}

/// Why there is none.
fn nothing(class: Class, busy: Option<libcamera::Busy>) -> Error {
    busy.map_or(Error::None { class }, Error::from)
}

/// The named device, or the one that `auto` means.
///
/// # Errors
/// It is not there.
pub fn find(class: Class, name: Option<&str>) -> Result<Device, Error> {
    match (class, name) {
        (Class::Camera, Some(path)) if path.starts_with("/dev/") => {
            let none = || match Path::new(path).exists() {
                true => Error::NoCamera { name: path.to_owned() },
                false => not_there(class, path),
            };
            v4l2::at(path).ok_or_else(none)
        }
        (Class::Camera, Some(name)) => camera(list(class), name),
        (Class::Microphone | Class::Speaker, Some(name)) => {
            match list(class).devices.into_iter().find(|device| is_named(device, name)) {
                Some(device) => Ok(device),
                // Any other name of ALSA's: those of its configuration, and other ways to the same card.
                None => alsa::named(Path::new("/"), name).ok_or_else(|| not_there(class, name)),
            }
        }
        (class, None) => first(class, eligible(Path::new("/"), class)),
    }
}

/// What to tell who has just chosen a device, by name or as `auto`: that it is not there now, or that no list has the name. Blocks.
pub fn remark(class: Class, name: Option<&str>) -> Option<String> {
    match (find(class, name), name) {
        (Err(error @ Error::None { .. }), _) => Some(format!("{error}; the first one to come is used")),
        (Err(error @ Error::NoCamera { .. }), _) => Some(error.to_string()),
        (Err(error @ Error::NotThere { .. }), _) => {
            Some(format!("{} now; it is used as soon as it comes", told(class, &error.to_string())))
        }
        (Ok(device), Some(name)) if alsa::is_alias(&device) => {
            Some(format!("no {} is listed as \"{name}\"; it is tried as a name of ALSA's configuration", class.word()))
        }
        _ => None,
    }
}

/// Why a device of this class does not serve, for people who need not know its name; that stands in the log.
pub fn told(class: Class, reason: &str) -> String {
    let word = class.word();
    match reason {
        UNPLUGGED => format!("the {word} was unplugged"),
        ENDED => format!("the {word} has stopped"),
        NO_DATA => format!("the {word} gives nothing"),
        // The rest is what its owner can do.
        _ if reason.starts_with(&format!("{word} \"")) => format!("the {}", reason.split(';').next().unwrap_or(reason)),
        _ if reason.starts_with(&format!("no {word} ")) || reason == libcamera::Busy.to_string() => reason.to_owned(),
        _ => match reason.strip_prefix(SILENT) {
            Some(since) => format!("nothing has come from the {word}{since}"),
            None => format!("the {word} cannot be used: {reason}"),
        },
    }
}

/// Said of a device whose path is gone.
pub const UNPLUGGED: &str = "it was unplugged";
/// Said of a source that came to its end though it has none.
pub const ENDED: &str = "it ended";
/// Said of a source that gives nothing any more, before how long.
pub const SILENT: &str = "nothing has come from it";
/// Said of a source that opens and then is silent.
pub const NO_DATA: &str = "no data came";

/// Something that changes when devices of a class come or go.
pub fn seen(class: Class) -> String {
    seen_at(Path::new("/"), class)
}

fn seen_at(root: &Path, class: Class) -> String {
    match class {
        Class::Camera => v4l2::nodes(root).join(" "),
        Class::Microphone | Class::Speaker => std::fs::read_to_string(root.join("proc/asound/pcm")).unwrap_or_default(),
    }
}

/// Whether the elements that open devices of this class are installed.
///
/// # Errors
/// They are not.
pub fn opens(class: Class) -> Result<(), Error> {
    let factory = match class {
        Class::Camera => "v4l2src",
        Class::Microphone => "alsasrc",
        Class::Speaker => "alsasink",
    };
    make(factory)?;
    Ok(())
}

fn is_named(device: &Device, name: &str) -> bool {
    device.name == name || device.description == name
}

fn not_there(class: Class, name: &str) -> Error {
    Error::NotThere { class, name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_boards_cameras_are_busy_auto_takes_another() {
        let of = |name: &str, driver| Device {
            name: name.to_owned(),
            description: String::new(),
            driver,
            rank: u8::from(driver != Driver::Libcamera),
            node: None,
            offers: None,
        };
        let board = of("/base/soc/i2c0mux/i2c@1/imx219@10", Driver::Libcamera);
        let usb = of("/dev/v4l/by-id/usb-x-video-index0", Driver::V4l2);
        let known = || cameras(Ok(vec![board.clone()]), vec![usb.clone()]);
        let busy = || cameras(Err(libcamera::Busy), vec![usb.clone()]);
        assert_eq!(known().devices, [board.clone(), usb.clone()]);
        assert_eq!(first(Class::Camera, known()).unwrap(), board);
        assert_eq!(
            first(Class::Camera, busy()).unwrap(),
            usb,
            "it may hang for good; when it is known again it is gone over to"
        );
        assert!(matches!(first(Class::Camera, cameras(Err(libcamera::Busy), Vec::new())), Err(Error::Busy(_))));
        // What is there under its name is taken, what may be there is not called missing.
        assert_eq!(camera(busy(), &usb.name).unwrap(), usb);
        assert!(matches!(camera(busy(), &board.name), Err(Error::Busy(_))));
        assert!(matches!(camera(known(), "imx708"), Err(Error::NotThere { .. })));
        assert!(matches!(first(Class::Camera, Listed::default()), Err(Error::None { .. })));
    }

    #[test]
    fn who_chooses_what_is_not_there_is_told() {
        for (class, name, note) in [
            (
                Class::Camera,
                "/dev/video99",
                "the camera \"/dev/video99\" is not there now; it is used as soon as it comes",
            ),
            (
                Class::Speaker,
                "hw:CARD=Nobody",
                "the speaker \"hw:CARD=Nobody\" is not there now; it is used as soon as it comes",
            ),
            (
                Class::Microphone,
                "nope",
                "no microphone is listed as \"nope\"; it is tried as a name of ALSA's configuration",
            ),
        ] {
            assert_eq!(remark(class, Some(name)).as_deref(), Some(note));
        }
        assert_eq!(remark(Class::Speaker, Some("default")), None);
    }

    #[test]
    fn what_is_wrong_with_a_device_is_told_in_a_sentence() {
        let absent = Error::None { class: Class::Camera }.to_string();
        let other = not_there(Class::Microphone, "hw:1").to_string();
        let busy = Error::from(libcamera::Busy).to_string();
        for (class, reason, sentence) in [
            (Class::Camera, absent.as_str(), "no camera is connected"),
            (Class::Microphone, other.as_str(), "the microphone \"hw:1\" is not there"),
            (Class::Camera, UNPLUGGED, "the camera was unplugged"),
            (Class::Camera, busy.as_str(), "the board's cameras are busy: one is still being opened or closed"),
            (Class::Camera, "nothing has come from it for 2 s", "nothing has come from the camera for 2 s"),
            (Class::Camera, NO_DATA, "the camera gives nothing"),
            (Class::Speaker, "device busy", "the speaker cannot be used: device busy"),
        ] {
            assert_eq!(told(class, reason), sentence);
        }
    }
}
