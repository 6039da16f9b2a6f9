//! The sample configuration file.
//!
//! In: the table of keys. Out: commented TOML. Never: anything that is not in the table, but the `[[ice-server]]` example.

use super::keys::{Key, Kind, SECTIONS};

/// A complete configuration file in which every key stands, commented out, with its help, rule and default.
///
/// Lines of prose begin with `# `, keys with `#` alone: taking that one sign away from a key sets it.
pub fn sample() -> String {
    let mut text = String::from(HEAD);
    for section in SECTIONS {
        text.push_str(&format!("\n# ---- {} ----\n", section.heading));
        for key in section.keys {
            text.push('\n');
            let prose = [format!("{}.", key.help), format!("Value: {}.", key.rule())];
            for line in prose.iter().flat_map(|sentence| wrapped(sentence)) {
                text.push_str("# ");
                text.push_str(&line);
                text.push('\n');
            }
            text.push_str(&format!("#{} = {}\n", key.name, default(key)));
        }
    }
    text.push_str(TAIL);
    text
}

const HEAD: &str = "\
# Configuration of Duplex. Every key stands here with its default; to change one, take the # away.
# Each is also a flag of `duplex run` (--video-bitrate 1500) and an environment variable
# (DUPLEX_VIDEO_BITRATE=1500). Flags win over variables, variables over this file.
# Relative paths start from the folder of this file. `duplex check-config` tells what is wrong.
";

const TAIL: &str = "
# ---- STUN and TURN servers ----
#
# None, unless written here: nothing is sent to strangers. For calls beyond the local network, one table
# for each server, at the end of this file. TURN needs username and credential-file; the file holds the
# credential on its first line and must not be open to everybody (chmod 600). Browsers use them for both
# directions; the device asks STUN for both, TURN for what a talker sends, and must be able to send UDP.
#
# [[ice-server]]
# urls = \"turn:turn.example.org:3478?transport=udp\"
# username = \"duplex\"
# credential-file = \"turn-credential\"
";

/// The default as TOML.
fn default(key: &Key) -> String {
    match key.kind {
        Kind::Switch(_) | Kind::Whole { .. } | Kind::Number { .. } => key.default.to_owned(),
        Kind::Text { .. } => toml::Value::from(key.default).to_string(),
        Kind::List { .. } => {
            let items: Vec<&str> = key.default.split(',').filter(|item| !item.is_empty()).collect();
            toml::Value::from(items).to_string()
        }
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let fits = lines.last().is_some_and(|line| line.is_empty() || line.len() + 1 + word.len() <= WIDTH);
        match lines.last_mut() {
            Some(line) if fits => {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

const WIDTH: usize = 98;
