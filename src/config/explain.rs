//! Where every value of the configuration comes from.
//!
//! In: the joined layers. Out: a [`Setting`] for each key, in the order of the sample file. Never: a secret; the
//! configuration has only paths of them.

use super::keys::SECTIONS;
use super::layers::Layers;

/// One key with its value and the place where that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key; `ice-server` for the tables of that name.
    pub key: String,
    /// The value as it stands in a file, long ones cut.
    pub value: String,
    /// Path of a file, `--flag`, `VARIABLE`, or `default`.
    pub origin: String,
    /// What it decides.
    pub help: String,
    /// Heading in the sample file.
    pub heading: String,
}

/// All keys; the servers of the file's tables last.
pub(super) fn settings(layers: &Layers) -> Vec<Setting> {
    let mut settings = Vec::new();
    for section in SECTIONS {
        for key in section.keys {
            let (value, origin) = layers.given(key.name);
            let value = match bare(&value) {
                // What an empty one means follows from the environment.
                empty if empty.is_empty() && key.name == "state-dir" => layers.config.state_dir.display().to_string(),
                value => value,
            };
            settings.push(Setting {
                key: key.name.to_owned(),
                value,
                origin,
                help: key.help.to_owned(),
                heading: section.heading.to_owned(),
            });
        }
    }
    for server in layers.ice_server_list() {
        settings.push(Setting {
            key: "ice-server".to_owned(),
            value: server.urls.clone(),
            origin: layers.given("ice-server").1,
            help: "A STUN or TURN server".to_owned(),
            heading: "STUN and TURN servers".to_owned(),
        });
    }
    settings
}

/// All of it for a person to read: a heading, then a line for each key, with the place unless that is the default.
pub fn listed(settings: &[Setting]) -> String {
    let wide = |of: fn(&Setting) -> &str| settings.iter().map(|setting| of(setting).chars().count()).max().unwrap_or(0);
    let (keys, values) = (wide(|setting| &setting.key), wide(|setting| &setting.value).min(WIDEST));
    let mut text = String::new();
    let mut heading = "";
    for setting in settings {
        if setting.heading != heading {
            heading = &setting.heading;
            text.push_str(&format!("\n{heading}\n"));
        }
        let Setting { key, origin, .. } = setting;
        let value = if setting.value.is_empty() { "(none)" } else { &setting.value };
        let line = match origin.as_str() {
            "default" => format!("  {key:keys$}  {value}"),
            _ => format!("  {key:keys$}  {value:values$}  # {origin}"),
        };
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Columns after which a value no longer moves the remarks behind the others.
const WIDEST: usize = 40;

/// Without the quotes around a text.
fn bare(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(value).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, explain};

    #[test]
    fn each_value_has_its_origin() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("duplex.toml");
        std::fs::write(&file, "width = 640\nheight = 360\n[[ice-server]]\nurls = \"stun:stun.example\"\n").unwrap();
        let mut flags = Flags::default().with("height", "480");
        flags.config = Some(file.clone());
        let env = |name: &str| match name {
            "DUPLEX_NAME" => Some("Door".to_owned()),
            "HOME" => Some("/home/somebody".to_owned()),
            _ => None,
        };
        let (config, settings) = explain(&flags, env).unwrap();
        let of = |key: &str| {
            let setting = settings.iter().find(|setting| setting.key == key).unwrap();
            (setting.value.as_str(), setting.origin.as_str())
        };
        let path = file.display().to_string();
        assert_eq!(config.height, 480);
        assert_eq!(of("width"), ("640", path.as_str()));
        assert_eq!(of("height"), ("480", "--height"));
        assert_eq!(of("name"), ("Door", "DUPLEX_NAME"));
        assert_eq!(of("video"), ("test", "default"));
        assert_eq!(of("state-dir"), ("/home/somebody/.local/state/duplex", "default"));
        assert_eq!(of("ice-server"), ("stun:stun.example", path.as_str()));
    }
}
