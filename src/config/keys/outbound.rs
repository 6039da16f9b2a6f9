//! What goes from the device to the browser.
//!
//! In: nothing. Out: [`OUTBOUND`], a part of the table of keys. Never: knows where a value came from.

use super::{Key, Kind, Section, distinct, even, number, optional_path, whole};
use crate::config::{AudioSource, Auto, Camera, Echo, Noise, RuleError, VideoCodec, VideoSource};

/// Its keys, in the order of the sample file.
pub(super) const OUTBOUND: Section = Section {
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
                    let controls = controls.ok_or(RuleError(Camera::CONTROLS_RULE))?;
                    distinct(controls.iter().map(|(name, _)| name), "a list in which no control stands twice")?;
                    config.camera.controls = controls;
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
            help: "What keeps talkers from hearing themselves out of the device's room: take the speaker's sound out of the microphone's (cancel), or lower the device's sound while somebody talks (duck); auto: cancel with GStreamer 1.24 or later and its webrtcdsp, else duck",
            default: "auto",
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
};

const ROTATE_RULE: &str = "0, 90, 180 or 270 degrees";
const EXPOSURE_RULE: &str = "auto, or microseconds from 100 to 1000000";
const WHITE_RULE: &str = "auto, or Kelvin from 2000 to 10000";
const LADDER_RULE: &str = "off, 2 or 3";
