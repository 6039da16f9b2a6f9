//! What is recorded, and where.
//!
//! In: nothing. Out: [`RECORDING`], a part of the table of keys. Never: knows where a value came from.

use super::{Key, Kind, Section, optional_path, whole};
use crate::config::RecordRule;

/// Its keys, in the order of the sample file.
pub(super) const RECORDING: Section = Section {
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
};
