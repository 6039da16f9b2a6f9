//! Where the device's picture and sound are published beside its own viewers.
//!
//! In: nothing. Out: [`PUBLISH`], a part of the table of keys. Never: knows where a value came from.

use super::{Key, Kind, Section, optional_path};
use crate::config::Publish;

/// Its keys, in the order of the sample file.
pub(super) const PUBLISH: Section = Section {
    heading: "Publishing to a media server (WHIP)",
    keys: &[
        Key {
            name: "publish-url",
            value_name: "URL",
            help: "WHIP endpoint of a media server that gets picture and sound once, for more viewers than the device can serve (file: where the address is a secret)",
            default: "off",
            kind: Kind::Text {
                rule: Publish::RULE,
                set: |config, text, base| {
                    config.publish = Publish::parse(text, base)?;
                    Ok(())
                },
            },
        },
        Key {
            name: "publish-token-file",
            value_name: "FILE",
            help: "File whose first line is the bearer token for publish-url",
            default: "",
            kind: Kind::Text {
                rule: "a readable file that is not open to everybody, or empty",
                set: |config, text, base| {
                    config.publish_token = optional_path(text, base);
                    Ok(())
                },
            },
        },
        Key {
            name: "publish-ca",
            value_name: "FILE",
            help: "The only certificate authority (PEM) that publish-url's server is trusted by (empty: those of the system)",
            default: "",
            kind: Kind::Text {
                rule: "a readable file, or empty",
                set: |config, text, base| {
                    config.publish_ca = optional_path(text, base);
                    Ok(())
                },
            },
        },
    ],
};
