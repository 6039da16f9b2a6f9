//! What comes from the browser to the device.
//!
//! In: nothing. Out: [`INBOUND`], a part of the table of keys. Never: knows where a value came from.

use super::{Key, Kind, Section, distinct, number, whole};
use crate::config::{Corner, PictureSink, RuleError, SoundSink};

/// Its keys, in the order of the sample file.
pub(super) const INBOUND: Section = Section {
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
                        sinks.push(item.parse::<PictureSink>()?.beneath(base));
                    }
                    distinct(&sinks, "a list in which nothing stands twice")?;
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
};
