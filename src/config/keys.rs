//! The table of keys: the one place where key, help, default and rule of every setting stand.
//!
//! In: nothing. Out: [`KEYS`]. Never: knows where a value came from.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::media::is_host;
use super::{
    AudioSource, Auto, Camera, Config, Corner, Echo, IceServer, LogFormat, Noise, PictureSink, RecordRule, RuleError,
    SoundSink, VideoCodec, VideoSource,
};

/// One setting.
pub(super) struct Key {
    /// Key in TOML, flag without its dashes; upper case with `_` and the prefix `DUPLEX_` it is the variable.
    pub name: &'static str,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// What it decides, without a full stop.
    pub help: &'static str,
    /// Default in the form a flag takes.
    pub default: &'static str,
    /// Type, rule and destination.
    pub kind: Kind,
}

/// Type, rule and destination of a value.
pub(super) enum Kind {
    /// `true` or `false`; a flag without a value is `true`.
    Switch(fn(&mut Config, bool)),
    /// A whole number in a range.
    Whole { unit: &'static str, min: u64, max: u64, even: bool, set: fn(&mut Config, u64) },
    /// Any number in a range.
    Number { unit: &'static str, min: f64, max: f64, set: fn(&mut Config, f64) },
    /// Text with a rule of its own.
    Text { rule: &'static str, set: fn(&mut Config, &str, &Path) -> Result<(), RuleError> },
    /// Several texts; separated by commas, or repeated, in flags.
    List { rule: &'static str, set: fn(&mut Config, &[String], &Path) -> Result<(), RuleError> },
}

/// A heading of the help and of the sample file, and its keys.
pub(super) struct Section {
    pub heading: &'static str,
    pub keys: &'static [Key],
}

impl Key {
    /// The environment variable of this key.
    pub fn variable(&self) -> String {
        format!("DUPLEX_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    /// The words after "must be".
    pub fn rule(&self) -> String {
        let of = |unit: &str| if unit.is_empty() { String::new() } else { format!(" of {unit}") };
        match &self.kind {
            Kind::Switch(_) => "true or false".to_owned(),
            Kind::Whole { unit, min, max, even, .. } => {
                let article = if *even { "an even" } else { "a" };
                format!("{article} whole number{} from {min} to {max}", of(unit))
            }
            Kind::Number { unit, min, max, .. } => format!("a number{} from {min} to {max}", of(unit)),
            Kind::Text { rule, .. } | Kind::List { rule, .. } => (*rule).to_owned(),
        }
    }
}

/// All keys, in the order of the sample file.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The table.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        heading: "Network and access",
        keys: &[
            Key {
                name: "name",
                value_name: "NAME",
                help: "Name of the device, shown on the page",
                default: "Duplex",
                kind: Kind::Text {
                    rule: NAME_RULE,
                    set: |config, text, _| {
                        let fits = (1..=64).contains(&text.chars().count()) && !text.trim().is_empty();
                        let printable = !text.chars().any(char::is_control);
                        if !(fits && printable) {
                            return Err(RuleError(NAME_RULE));
                        }
                        text.clone_into(&mut config.name);
                        Ok(())
                    },
                },
            },
            Key {
                name: "listen",
                value_name: "ADDRESS:PORT",
                help: "Addresses and port of page, API and signalling (0.0.0.0 or [::]: every network)",
                default: "127.0.0.1:8443,[::1]:8443",
                kind: Kind::List {
                    rule: LISTEN_RULE,
                    set: |config, items, _| {
                        let mut listen = Vec::new();
                        for item in items {
                            let address: SocketAddr = item.parse().map_err(|_| RuleError(LISTEN_RULE))?;
                            if listen.contains(&address) {
                                return Err(RuleError("a list in which no address stands twice"));
                            }
                            listen.push(address);
                        }
                        if listen.is_empty() {
                            return Err(RuleError(LISTEN_RULE));
                        }
                        if listen.len() > 1 && listen.iter().any(|address| address.port() == 0) {
                            return Err(RuleError("one address alone if its port is 0 (any free port)"));
                        }
                        config.listen = listen;
                        Ok(())
                    },
                },
            },
            Key {
                name: "plain",
                value_name: "true|false",
                help: "Serve without TLS, only where every address of listen is loopback",
                default: "false",
                kind: Kind::Switch(|config, on| config.plain = on),
            },
            Key {
                name: "help-listen",
                value_name: "ADDRESS:PORT",
                help: "Address of a plain HTTP port that offers the CA certificate, steps to trust it, and a redirect",
                default: "off",
                kind: Kind::Text {
                    rule: HELP_LISTEN_RULE,
                    set: |config, text, _| {
                        config.help_listen = match text {
                            "off" => None,
                            address => Some(address.parse().map_err(|_| RuleError(HELP_LISTEN_RULE))?),
                        };
                        Ok(())
                    },
                },
            },
            Key {
                name: "state-dir",
                value_name: "FOLDER",
                help: "Folder for passwords, sessions and the CA (empty: $STATE_DIRECTORY, $XDG_STATE_HOME/duplex or ~/.local/state/duplex)",
                default: "",
                kind: Kind::Text {
                    rule: "a folder, or empty",
                    set: |config, text, base| {
                        config.state_dir = optional_path(text, base).unwrap_or_default();
                        Ok(())
                    },
                },
            },
            Key {
                name: "cert",
                value_name: "FILE",
                help: "Server certificate and its chain (PEM), together with key (empty: one from the device's own CA)",
                default: "",
                kind: Kind::Text {
                    rule: "a readable file, or empty",
                    set: |config, text, base| {
                        config.cert = optional_path(text, base);
                        Ok(())
                    },
                },
            },
            Key {
                name: "key",
                value_name: "FILE",
                help: "Private key (PEM) of cert",
                default: "",
                kind: Kind::Text {
                    rule: "a readable file that is not open to everybody, or empty",
                    set: |config, text, base| {
                        config.key = optional_path(text, base);
                        Ok(())
                    },
                },
            },
            Key {
                name: "names",
                value_name: "NAME",
                help: "More names or addresses by which browsers reach the device (certificate, Host check)",
                default: "",
                kind: Kind::List {
                    rule: NAMES_RULE,
                    set: |config, items, _| {
                        if !items.iter().all(|item| is_host(item)) {
                            return Err(RuleError(NAMES_RULE));
                        }
                        config.names = items.iter().map(|item| item.to_ascii_lowercase()).collect();
                        Ok(())
                    },
                },
            },
            Key {
                name: "stun",
                value_name: "URL",
                help: "STUN server, for viewers beyond the local network (servers with credentials stand in [[ice-server]] tables of the file)",
                default: "off",
                kind: Kind::Text {
                    rule: IceServer::STUN_RULE,
                    set: |config, text, _| {
                        // Servers of the file's tables are joined in afterwards.
                        config.ice_servers.clear();
                        if text != "off" {
                            if !text.starts_with("stun:") || IceServer::check_url(text).is_err() {
                                return Err(RuleError(IceServer::STUN_RULE));
                            }
                            let urls = text.to_owned();
                            config.ice_servers.push(IceServer { urls, username: None, credential_file: None });
                        }
                        Ok(())
                    },
                },
            },
            Key {
                name: "max-viewers",
                value_name: "COUNT",
                help: "Viewers at one time",
                default: "32",
                kind: whole("viewers", 1, 1000, |config, value| config.max_viewers = value as usize),
            },
            Key {
                name: "max-peers",
                value_name: "COUNT",
                help: "Signalling connections at one time, never fewer than max-viewers",
                default: "64",
                kind: whole("connections", 1, 10_000, |config, value| config.max_peers = value as usize),
            },
            Key {
                name: "negotiation-timeout",
                value_name: "SECONDS",
                help: "Time within which a call must come about",
                default: "12",
                kind: whole("seconds", 2, 60, |config, value| config.negotiation_timeout = value as u32),
            },
            Key {
                name: "web-app",
                value_name: "FOLDER",
                help: "Folder with a web app of your own (empty: the one within the program)",
                default: "",
                kind: Kind::Text {
                    rule: "a folder with an index.html, or empty",
                    set: |config, text, base| {
                        config.web_app = optional_path(text, base);
                        Ok(())
                    },
                },
            },
        ],
    },
    Section {
        heading: "From the device to the browser",
        keys: &[
            Key {
                name: "video",
                value_name: "SOURCE",
                help: "Where the picture comes from",
                default: "test",
                kind: Kind::Text {
                    rule: VideoSource::RULE,
                    set: |config, text, base| {
                        config.video = text.parse::<VideoSource>()?.beneath(base);
                        Ok(())
                    },
                },
            },
            Key {
                name: "audio",
                value_name: "SOURCE",
                help: "Where the sound comes from",
                default: "test",
                kind: Kind::Text {
                    rule: AudioSource::RULE,
                    set: |config, text, base| {
                        config.audio = text.parse::<AudioSource>()?.beneath(base);
                        Ok(())
                    },
                },
            },
            Key {
                name: "audio-volume",
                value_name: "FACTOR",
                help: "Volume of the device's sound (1: as it comes); announcements have their own",
                default: "1",
                kind: number("", 0.0, 2.0, |config, value| config.audio_volume = value),
            },
            Key {
                name: "audio-mute",
                value_name: "true|false",
                help: "Start with the device's sound silenced",
                default: "false",
                kind: Kind::Switch(|config, on| config.audio_mute = on),
            },
            Key {
                name: "camera-rotate",
                value_name: "DEGREES",
                help: "How far a camera's picture is turned clockwise",
                default: "0",
                kind: Kind::Text {
                    rule: ROTATE_RULE,
                    set: |config, text, _| {
                        let degrees = text.parse().ok().filter(|degrees| [0, 90, 180, 270].contains(degrees));
                        config.camera.rotate = degrees.ok_or(RuleError(ROTATE_RULE))?;
                        Ok(())
                    },
                },
            },
            Key {
                name: "camera-mirror",
                value_name: "true|false",
                help: "Exchange left and right of a camera's picture (for up and down turn it by 180 as well)",
                default: "false",
                kind: Kind::Switch(|config, on| config.camera.mirror = on),
            },
            Key {
                name: "camera-exposure",
                value_name: "US",
                help: "Exposure time of a camera that lets it be set",
                default: "auto",
                kind: Kind::Text {
                    rule: EXPOSURE_RULE,
                    set: |config, text, _| {
                        config.camera.exposure = Auto::parse(text, 100..=1_000_000).ok_or(RuleError(EXPOSURE_RULE))?;
                        Ok(())
                    },
                },
            },
            Key {
                name: "camera-white-balance",
                value_name: "KELVIN",
                help: "White balance of a camera that lets it be set",
                default: "auto",
                kind: Kind::Text {
                    rule: WHITE_RULE,
                    set: |config, text, _| {
                        config.camera.white_balance = Auto::parse(text, 2000..=10_000).ok_or(RuleError(WHITE_RULE))?;
                        Ok(())
                    },
                },
            },
            Key {
                name: "camera-controls",
                value_name: "NAME=NUMBER",
                help: "Further controls of a V4L2 camera",
                default: "",
                kind: Kind::List {
                    rule: Camera::CONTROLS_RULE,
                    set: |config, items, _| {
                        let controls: Option<Vec<_>> = items.iter().map(|item| Camera::control(item)).collect();
                        config.camera.controls = controls.ok_or(RuleError(Camera::CONTROLS_RULE))?;
                        Ok(())
                    },
                },
            },
            Key {
                name: "width",
                value_name: "PIXELS",
                help: "Width of the picture",
                default: "1280",
                kind: even("pixels", 160, 1920, |config, value| config.width = value as u32),
            },
            Key {
                name: "height",
                value_name: "PIXELS",
                help: "Height of the picture",
                default: "720",
                kind: even("pixels", 120, 1080, |config, value| config.height = value as u32),
            },
            Key {
                name: "framerate",
                value_name: "FPS",
                help: "Frames per second",
                default: "30",
                kind: whole("frames per second", 1, 60, |config, value| config.framerate = value as u32),
            },
            Key {
                name: "video-codec",
                value_name: "CODEC",
                help: "Codec of the picture",
                default: "vp8",
                kind: Kind::Text {
                    rule: VideoCodec::RULE,
                    set: |config, text, _| {
                        config.video_codec = text.parse()?;
                        Ok(())
                    },
                },
            },
            Key {
                name: "video-bitrate",
                value_name: "KBIT/S",
                help: "Bit rate of the picture",
                default: "2000",
                kind: whole("kbit/s", 100, 20_000, |config, value| config.video_bitrate = value as u32),
            },
            Key {
                name: "ladder",
                value_name: "RUNGS",
                help: "Sizes in which the picture is offered, so that each viewer gets the one its link carries; those that nobody needs are not encoded (off: the whole picture for all)",
                default: "3",
                kind: Kind::Text {
                    rule: LADDER_RULE,
                    set: |config, text, _| {
                        config.ladder = match text {
                            "off" => 1,
                            "2" => 2,
                            "3" => 3,
                            _ => return Err(RuleError(LADDER_RULE)),
                        };
                        Ok(())
                    },
                },
            },
            Key {
                name: "audio-bitrate",
                value_name: "KBIT/S",
                help: "Bit rate of the sound",
                default: "64",
                kind: whole("kbit/s", 16, 256, |config, value| config.audio_bitrate = value as u32),
            },
            Key {
                name: "echo",
                value_name: "HOW",
                help: "What keeps talkers from hearing themselves out of the device's room: take the speaker's sound out of the microphone's, or lower the device's sound while somebody talks",
                default: "duck",
                kind: Kind::Text {
                    rule: Echo::RULE,
                    set: |config, text, _| {
                        config.room.echo = text.parse()?;
                        Ok(())
                    },
                },
            },
            Key {
                name: "noise-suppression",
                value_name: "LEVEL",
                help: "How much noise is taken out of a microphone's sound",
                default: "off",
                kind: Kind::Text {
                    rule: Noise::RULE,
                    set: |config, text, _| {
                        config.room.noise = text.parse()?;
                        Ok(())
                    },
                },
            },
            Key {
                name: "gain-control",
                value_name: "true|false",
                help: "Even out the loudness of a microphone's sound",
                default: "false",
                kind: Kind::Switch(|config, on| config.room.gain = on),
            },
            Key {
                name: "duck",
                value_name: "DB",
                help: "How far the sound is lowered while somebody talks, with echo = duck (0: not at all)",
                default: "20",
                kind: number("dB", 0.0, 60.0, |config, value| config.duck = value),
            },
            Key {
                name: "clips",
                value_name: "FOLDER",
                help: "Folder with sound files that talkers can play from the page (empty: none)",
                default: "",
                kind: Kind::Text {
                    rule: "a folder that is there, or empty",
                    set: |config, text, base| {
                        config.clips = optional_path(text, base);
                        Ok(())
                    },
                },
            },
            Key {
                name: "idle-grace",
                value_name: "SECONDS",
                help: "Time after the last viewer left until capture and encoders stop",
                default: "5",
                kind: whole("seconds", 0, 3600, |config, value| config.idle_grace = value as u32),
            },
        ],
    },
    Section {
        heading: "From the browser to the device",
        keys: &[
            Key {
                name: "sound",
                value_name: "SINK",
                help: "Where the talker's sound goes",
                default: "speaker:auto",
                kind: Kind::Text {
                    rule: SoundSink::RULE,
                    set: |config, text, base| {
                        config.sound = text.parse::<SoundSink>()?.beneath(base);
                        Ok(())
                    },
                },
            },
            Key {
                name: "sound-volume",
                value_name: "FACTOR",
                help: "Volume of the talker's sound (1: as it comes)",
                default: "1",
                kind: number("", 0.0, 2.0, |config, value| config.sound_volume = value),
            },
            Key {
                name: "sound-mute",
                value_name: "true|false",
                help: "Start with the speaker silenced",
                default: "false",
                kind: Kind::Switch(|config, on| config.sound_mute = on),
            },
            Key {
                name: "jitter-buffer",
                value_name: "MS",
                help: "How long the talker's packets wait for late ones: less is less delay, more is fewer gaps",
                default: "80",
                kind: whole("milliseconds", 20, 300, |config, value| config.jitter_buffer = value as u32),
            },
            Key {
                name: "picture",
                value_name: "SINK",
                help: "Where the talker's picture goes",
                default: "overlay",
                kind: Kind::List {
                    rule: PictureSink::RULE,
                    set: |config, items, base| {
                        let mut sinks = Vec::new();
                        for item in items {
                            let sink = item.parse::<PictureSink>()?.beneath(base);
                            if sinks.contains(&sink) {
                                return Err(RuleError("a list in which nothing stands twice"));
                            }
                            sinks.push(sink);
                        }
                        if sinks.is_empty() || (sinks.len() > 1 && sinks.contains(&PictureSink::Discard)) {
                            return Err(RuleError(PictureSink::RULE));
                        }
                        config.picture = sinks;
                        Ok(())
                    },
                },
            },
            Key {
                name: "overlay-corner",
                value_name: "CORNER",
                help: "Corner in which the talker's picture stands",
                default: "bottom-right",
                kind: Kind::Text {
                    rule: Corner::RULE,
                    set: |config, text, _| {
                        config.overlay.corner = text.parse()?;
                        Ok(())
                    },
                },
            },
            Key {
                name: "overlay-size",
                value_name: "SHARE",
                help: "Width of the talker's picture as a share of the whole",
                default: "0.25",
                kind: number("", 0.05, 0.5, |config, value| config.overlay.size = value),
            },
            Key {
                name: "overlay-margin",
                value_name: "PIXELS",
                help: "Distance of the talker's picture from the edges",
                default: "16",
                kind: whole("pixels", 0, 200, |config, value| config.overlay.margin = value as u32),
            },
            Key {
                name: "talk-limit",
                value_name: "SECONDS",
                help: "Longest turn to talk (0: no limit)",
                default: "0",
                kind: whole("seconds", 0, 86_400, |config, value| config.talk_limit = value as u32),
            },
        ],
    },
    Section {
        heading: "Recording",
        keys: &[
            Key {
                name: "record",
                value_name: "WHEN",
                help: "When calls are recorded, both directions in one file (off: only when the owner starts it; talk: while somebody talks)",
                default: "off",
                kind: Kind::Text {
                    rule: RecordRule::RULE,
                    set: |config, text, _| {
                        config.record = text.parse()?;
                        Ok(())
                    },
                },
            },
            Key {
                name: "record-dir",
                value_name: "FOLDER",
                help: "Folder for recordings of calls (empty: recordings in state-dir)",
                default: "",
                kind: Kind::Text {
                    rule: "a folder, or empty",
                    set: |config, text, base| {
                        config.record_dir = optional_path(text, base);
                        Ok(())
                    },
                },
            },
            Key {
                name: "record-max-size",
                value_name: "MIB",
                help: "Space that all recordings in a folder may take (the oldest go first)",
                default: "2000",
                kind: whole("MiB", 1, 100_000_000, |config, value| config.record_max_size = value),
            },
            Key {
                name: "record-max-age",
                value_name: "DAYS",
                help: "Days after which a recording is removed (0: never)",
                default: "30",
                kind: whole("days", 0, 36_500, |config, value| config.record_max_age = value as u32),
            },
            Key {
                name: "record-min-free",
                value_name: "MIB",
                help: "Space that recording leaves free on the disk; with less, it stops and the call goes on",
                default: "200",
                kind: whole("MiB", 0, 100_000_000, |config, value| config.record_min_free = value),
            },
        ],
    },
    Section {
        heading: "Log",
        keys: &[
            Key {
                name: "log",
                value_name: "FILTER",
                help: "What is logged",
                default: "info",
                kind: Kind::Text {
                    rule: LOG_RULE,
                    set: |config, text, _| {
                        if text.trim().is_empty() {
                            return Err(RuleError(LOG_RULE));
                        }
                        text.clone_into(&mut config.log);
                        Ok(())
                    },
                },
            },
            Key {
                name: "log-format",
                value_name: "FORMAT",
                help: "How log lines look (auto: human on a terminal, JSON elsewhere)",
                default: "auto",
                kind: Kind::Text {
                    rule: LogFormat::RULE,
                    set: |config, text, _| {
                        config.log_format = text.parse()?;
                        Ok(())
                    },
                },
            },
        ],
    },
];

const NAME_RULE: &str = "1 to 64 characters, none of them a control character";
const ROTATE_RULE: &str = "0, 90, 180 or 270 degrees";
const EXPOSURE_RULE: &str = "auto, or microseconds from 100 to 1000000";
const WHITE_RULE: &str = "auto, or Kelvin from 2000 to 10000";
const LOG_RULE: &str = "error, warn, info, debug or trace, also for a part of it such as info,duplex=debug";
const LISTEN_RULE: &str = "a list of ADDRESS:PORT such as 0.0.0.0:8443 or [::]:8443 (IP addresses, no names)";
const HELP_LISTEN_RULE: &str = "ADDRESS:PORT such as 0.0.0.0:8080 (an IP address, no name), or off";
const NAMES_RULE: &str = "a list of DNS names without wildcards or of IP addresses";

const LADDER_RULE: &str = "off, 2 or 3";

const fn whole(unit: &'static str, min: u64, max: u64, set: fn(&mut Config, u64)) -> Kind {
    Kind::Whole { unit, min, max, even: false, set }
}

const fn even(unit: &'static str, min: u64, max: u64, set: fn(&mut Config, u64)) -> Kind {
    Kind::Whole { unit, min, max, even: true, set }
}

const fn number(unit: &'static str, min: f64, max: f64, set: fn(&mut Config, f64)) -> Kind {
    Kind::Number { unit, min, max, set }
}

fn optional_path(text: &str, base: &Path) -> Option<PathBuf> {
    (!text.is_empty()).then(|| base.join(text))
}
