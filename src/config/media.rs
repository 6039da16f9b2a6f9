//! The types of single configuration values: sources, sinks, choices.
//!
//! In: text such as `file:clip.mp4`. Out: typed values, and by `Display` the same text again.
//! Never: looks whether a file or device is there (that is `check`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a value must be, as the words after "must be".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {0}")]
pub struct RuleError(pub &'static str);

/// Where the outgoing picture comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoSource {
    /// A moving test picture.
    Test,
    /// A file with video, looped.
    File(PathBuf),
    /// A PNG or JPEG file.
    Image(PathBuf),
    /// A camera by its name, or the first one found.
    Camera(Option<String>),
}

impl VideoSource {
    pub(super) const RULE: &str = "test, file:PATH, image:PATH, camera:auto or camera:NAME (see `duplex devices`)";

    /// The file it needs, if any.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Image(path) => Some(path),
            Self::Test | Self::Camera(_) => None,
        }
    }

    pub(super) fn beneath(self, base: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(base.join(path)),
            Self::Image(path) => Self::Image(base.join(path)),
            other => other,
        }
    }
}

impl FromStr for VideoSource {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match kind_and_rest(text) {
            ("test", None) => Ok(Self::Test),
            ("file", Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            ("image", Some(path)) if !path.is_empty() => Ok(Self::Image(path.into())),
            ("camera", Some(name)) if is_printable(name) => Ok(Self::Camera(device(name))),
            _ => Err(RuleError(Self::RULE)),
        }
    }
}

impl fmt::Display for VideoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test => f.write_str("test"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Image(path) => write!(f, "image:{}", path.display()),
            Self::Camera(name) => write!(f, "camera:{}", name.as_deref().unwrap_or(AUTO)),
        }
    }
}

/// How a camera is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Camera {
    /// Degrees by which its picture is turned clockwise: 0, 90, 180 or 270.
    pub rotate: u32,
    /// Left and right are exchanged, after turning.
    pub mirror: bool,
    /// Exposure time, microseconds.
    pub exposure: Auto,
    /// White balance, Kelvin.
    pub white_balance: Auto,
    /// Further controls of a V4L2 camera, by name.
    pub controls: Vec<(String, i32)>,
}

impl Camera {
    pub(super) const CONTROLS_RULE: &str = "a list of NAME=NUMBER as `duplex devices --controls` lists them";

    pub(super) fn control(text: &str) -> Option<(String, i32)> {
        let (name, value) = text.split_once('=')?;
        let named = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        Some((named.then(|| name.to_owned())?, value.parse().ok()?))
    }
}

/// A control that the camera sets itself, or that the owner has set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Auto {
    /// The camera's own choice.
    #[default]
    Auto,
    /// Fixed.
    Fixed(u32),
}

impl Auto {
    pub(super) fn parse(text: &str, range: std::ops::RangeInclusive<u32>) -> Option<Self> {
        match text {
            AUTO => Some(Self::Auto),
            number => number.parse().ok().filter(|number| range.contains(number)).map(Self::Fixed),
        }
    }
}

/// Where the outgoing sound comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioSource {
    /// A soft tone.
    Test,
    /// Silence.
    Silence,
    /// A file with sound, looped.
    File(PathBuf),
    /// A text that is spoken, 1 to 1000 characters.
    Speech(String),
    /// A microphone by its name, or the first one found.
    Microphone(Option<String>),
}

impl AudioSource {
    pub(super) const RULE: &str =
        "test, silence, file:PATH, speech:TEXT, microphone:auto or microphone:NAME (see `duplex devices`)";
    const SPEECH_RULE: &str = "speech: followed by 1 to 1000 characters of text";

    /// The file it needs, if any.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }

    pub(super) fn beneath(self, base: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(base.join(path)),
            other => other,
        }
    }
}

impl FromStr for AudioSource {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match kind_and_rest(text) {
            ("test", None) => Ok(Self::Test),
            ("silence", None) => Ok(Self::Silence),
            ("file", Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            ("speech", Some(words)) => {
                if words.trim().is_empty() || words.chars().count() > 1000 || words.contains('\0') {
                    return Err(RuleError(Self::SPEECH_RULE));
                }
                Ok(Self::Speech(words.to_owned()))
            }
            ("microphone", Some(name)) if is_printable(name) => Ok(Self::Microphone(device(name))),
            _ => Err(RuleError(Self::RULE)),
        }
    }
}

impl fmt::Display for AudioSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test => f.write_str("test"),
            Self::Silence => f.write_str("silence"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Speech(words) => write!(f, "speech:{words}"),
            Self::Microphone(name) => write!(f, "microphone:{}", name.as_deref().unwrap_or(AUTO)),
        }
    }
}

/// Where the talker's sound goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoundSink {
    /// An ALSA device (such as `hw:1,0`), or the system's default one.
    Speaker(Option<String>),
    /// A WAV file, begun anew at each start.
    File(PathBuf),
    /// Nowhere.
    Discard,
}

impl SoundSink {
    pub(super) const RULE: &str = "speaker:auto, speaker:DEVICE (see `duplex devices`), file:PATH.wav or discard";

    pub(super) fn beneath(self, base: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(base.join(path)),
            other => other,
        }
    }
}

impl FromStr for SoundSink {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match kind_and_rest(text) {
            ("speaker", Some(name)) if is_printable(name) => Ok(Self::Speaker(device(name))),
            ("file", Some(path)) if Path::new(path).extension().is_some_and(|end| end.eq_ignore_ascii_case("wav")) => {
                Ok(Self::File(path.into()))
            }
            ("discard", None) => Ok(Self::Discard),
            _ => Err(RuleError(Self::RULE)),
        }
    }
}

impl fmt::Display for SoundSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Speaker(name) => write!(f, "speaker:{}", name.as_deref().unwrap_or(AUTO)),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Discard => f.write_str("discard"),
        }
    }
}

/// Writes a type as its text and reads it back by the same rule.
macro_rules! as_text {
    ($($name:ident),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|rule| de::Error::custom(format_args!("{text:?} {rule}")))
            }
        }
    )+};
}

as_text!(VideoSource, AudioSource, SoundSink);

/// Where the talker's picture goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PictureSink {
    /// Nowhere.
    Discard,
    /// Into files, together with the sound, in this folder (made when missing).
    Record(PathBuf),
    /// Into a corner of the outgoing picture.
    Overlay,
}

impl PictureSink {
    pub(super) const RULE: &str = "overlay, record:FOLDER, both as overlay,record:FOLDER, or discard alone";

    pub(super) fn beneath(self, base: &Path) -> Self {
        match self {
            Self::Record(path) => Self::Record(base.join(path)),
            other => other,
        }
    }
}

impl FromStr for PictureSink {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match kind_and_rest(text) {
            ("discard", None) => Ok(Self::Discard),
            ("record", Some(path)) if !path.is_empty() => Ok(Self::Record(path.into())),
            ("overlay", None) => Ok(Self::Overlay),
            _ => Err(RuleError(Self::RULE)),
        }
    }
}

impl fmt::Display for PictureSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discard => f.write_str("discard"),
            Self::Record(path) => write!(f, "record:{}", path.display()),
            Self::Overlay => f.write_str("overlay"),
        }
    }
}

/// Declares an enum of fixed words with `FromStr`, `Display` and the rule that lists the words.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $rule:literal: $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            pub(super) const RULE: &str = $rule;
        }

        impl FromStr for $name {
            type Err = RuleError;

            fn from_str(text: &str) -> Result<Self, RuleError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(RuleError(Self::RULE)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)+ })
            }
        }
    };
}

choice! {
    /// Codec of the outgoing picture.
    VideoCodec, "vp8 or h264":
    /// VP8, which every browser takes.
    Vp8 = "vp8",
    /// H.264, constrained baseline profile.
    H264 = "h264",
}

choice! {
    /// A corner of the outgoing picture.
    Corner, "top-left, top-right, bottom-left or bottom-right":
    /// Top left.
    TopLeft = "top-left",
    /// Top right.
    TopRight = "top-right",
    /// Bottom left.
    BottomLeft = "bottom-left",
    /// Bottom right.
    BottomRight = "bottom-right",
}

choice! {
    /// When calls are recorded without being told.
    RecordRule, "off, always or talk":
    /// Only when the owner starts it.
    Off = "off",
    /// From start to end of the service.
    Always = "always",
    /// While somebody talks.
    Talk = "talk",
}

choice! {
    /// How log lines look.
    LogFormat, "auto, human or json":
    /// Human on a terminal, JSON elsewhere.
    Auto = "auto",
    /// For people.
    Human = "human",
    /// One JSON object a line.
    Json = "json",
}

choice! {
    /// What is done so that a talker does not hear himself out of the device's room.
    Echo, "auto, cancel, duck or off":
    /// `cancel` where the installed canceller finds the delay by itself, else `duck`.
    Auto = "auto",
    /// The speaker's sound is taken out of the microphone's.
    Cancel = "cancel",
    /// The device's sound is lowered while somebody talks.
    Duck = "duck",
    /// Nothing.
    Off = "off",
}

choice! {
    /// How much noise is taken out of the microphone's sound.
    Noise, "off, low, moderate, high or very-high":
    /// None.
    Off = "off",
    /// A little.
    Low = "low",
    /// Some.
    Moderate = "moderate",
    /// Much.
    High = "high",
    /// So much that voices suffer.
    VeryHigh = "very-high",
}

/// What is done to a microphone's sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Against echo.
    pub echo: Echo,
    /// Against noise.
    pub noise: Noise,
    /// Loudness is evened out.
    pub gain: bool,
}

/// Place and size of the talker's picture in the outgoing one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlay {
    /// The corner it stands in.
    pub corner: Corner,
    /// Its width as a share of the outgoing picture's width, 0.05 to 0.5.
    pub size: f64,
    /// Its distance from both edges in pixels, up to 200.
    pub margin: u32,
}

/// A STUN or TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// One address: `stun:`, `turn:` or `turns:`, then host and, optionally, port; with `turn` and `turns` also `?transport=udp|tcp`.
    pub urls: String,
    /// User name; always there with TURN.
    pub username: Option<String>,
    /// File that holds the credential on its first line; always there with TURN.
    pub credential_file: Option<PathBuf>,
}

impl IceServer {
    pub(super) const STUN_RULE: &str = "stun:HOST or stun:HOST:PORT, or off";
    pub(super) const RULE: &str =
        "stun:HOST[:PORT], turn:HOST[:PORT] or turns:HOST[:PORT], TURN also with ?transport=udp or ?transport=tcp";

    /// Whether it is a TURN server, which needs a user name and a credential.
    pub fn is_turn(&self) -> bool {
        !self.urls.starts_with("stun:")
    }

    /// Checks one address for scheme, host, port and transport.
    pub(super) fn check_url(text: &str) -> Result<(), RuleError> {
        let valid = || -> Option<()> {
            let (scheme, rest) = text.split_once(':')?;
            let address = match (scheme, rest.split_once('?')) {
                ("stun" | "turn" | "turns", None) => rest,
                ("turn" | "turns", Some((address, "transport=udp" | "transport=tcp"))) => address,
                _ => return None,
            };
            let (host, port) = match address.strip_prefix('[') {
                Some(v6) => {
                    let (host, port) = v6.split_once(']')?;
                    host.parse::<std::net::Ipv6Addr>().ok()?;
                    return if port.is_empty() { Some(()) } else { check_port(port.strip_prefix(':')?) };
                }
                None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
            };
            if !is_host(host) {
                return None;
            }
            port.map_or(Some(()), check_port)
        };
        valid().ok_or(RuleError(Self::RULE))
    }
}

fn check_port(text: &str) -> Option<()> {
    (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)).then_some(())
}

/// Whether `text` is a DNS name as a certificate and a `Host` header can carry it, or an IP address.
pub(super) fn is_host(text: &str) -> bool {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits alone would be read as (a wrong) IPv4 address.
    let numeric_end = text.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 253 && !numeric_end && text.split('.').all(label_ok)
}

/// The device name that stands for "whichever there is".
const AUTO: &str = "auto";

/// Names are shown in the picture and on terminals.
fn is_printable(name: &str) -> bool {
    !name.chars().any(char::is_control)
}

fn device(name: &str) -> Option<String> {
    (!name.is_empty() && name != AUTO).then(|| name.to_owned())
}

fn kind_and_rest(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)))
}
