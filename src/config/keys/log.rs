//! What is logged, and how.
//!
//! In: nothing. Out: [`LOG`], a part of the table of keys. Never: knows where a value came from.

use super::{Key, Kind, Section};
use crate::config::{LogFormat, RuleError};

/// Its keys, in the order of the sample file.
pub(super) const LOG: Section = Section {
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
};

const LOG_RULE: &str = "error, warn, info, debug or trace, also for a part of it such as info,duplex=debug";
