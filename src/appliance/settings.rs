//! `duplex.toml` on the card: the owner's settings.
//!
//! In: its text. Out: checked [`Settings`], or every problem as one sentence that names key and rule; and the same text with its
//! secrets blanked. Never: touches a file, a clock or a device; shows a secret in a problem.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::publish::{self, Publish};

/// What the owner wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Name in the network, without `.local`.
    pub hostname: Option<String>,
    /// The owner's new password.
    pub password: Option<String>,
    /// Zone of the clock, such as `Europe/Berlin`.
    pub timezone: Option<String>,
    /// Lines for `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// The Wi-Fi network.
    pub wifi: Option<Wifi>,
    /// Where to publish.
    pub publish: Option<Publish>,
    /// Keys of the service, not yet checked.
    pub service: toml::Table,
}

/// A Wi-Fi network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wifi {
    /// Its name.
    pub ssid: String,
    /// How to get in.
    pub passphrase: Secret,
    /// Two capital letters: the country whose rules hold for the radio.
    pub country: String,
    /// Whether it does not show its name.
    pub hidden: bool,
}

/// What lets one in: a network's passphrase, a server's token.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// None is needed.
    None,
    /// With the one that was taken in at an earlier start.
    Known,
    /// With this one.
    New(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Known => "Known",
            Self::New(_) => "New(...)",
        })
    }
}

/// Reads the file.
///
/// # Errors
/// Everything that is wrong with it; never empty.
pub fn parse(text: &str) -> Result<Settings, Vec<String>> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| vec![syntax(text, &error)])?;
    let mut problems = Vec::new();
    let mut settings = Settings::default();
    for (key, value) in &table {
        match (key.as_str(), value) {
            ("hostname", value) => settings.hostname = rule(key, value, HOST_RULE, is_host, &mut problems),
            ("timezone", value) => settings.timezone = rule(key, value, ZONE_RULE, is_zone, &mut problems),
            // Blank: it was taken in before.
            ("password", toml::Value::String(text)) if text.is_empty() => {}
            ("password", toml::Value::String(text)) if text.chars().count() < 10 => {
                problems.push("password: must have at least 10 characters".to_owned());
            }
            ("password", toml::Value::String(text)) => settings.password = Some(text.clone()),
            ("password", _) => problems.push("password: must be text in quotes".to_owned()),
            ("ssh-keys", toml::Value::Array(keys)) => {
                for key in keys {
                    settings.ssh_keys.extend(rule("ssh-keys", key, KEY_RULE, is_ssh_key, &mut problems));
                }
            }
            ("ssh-keys", _) => problems.push(format!("ssh-keys: must be a list of {KEY_RULE}")),
            ("wifi", toml::Value::Table(table)) => settings.wifi = wifi(table, &mut problems),
            ("publish", toml::Value::Table(table)) => settings.publish = publish::parse(table, &mut problems),
            ("service", toml::Value::Table(table)) => {
                for key in table.keys().filter(|key| RESERVED.contains(&key.as_str())) {
                    problems.push(format!("service.{key}: is fixed on the appliance"));
                }
                for key in table.keys().filter(|key| *key == "publish" || key.starts_with("publish-")) {
                    problems.push(format!(
                        "service.{key}: is written under [publish] on the appliance, with url, token and ca"
                    ));
                }
                settings.service = table.clone();
            }
            ("wifi" | "publish" | "service", _) => problems.push(format!("{key}: must be written as [{key}]")),
            _ => problems.push(format!("{key}: is not a known key; there are {}", KEYS.join(", "))),
        }
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// The value of one key alone, whatever is wrong with the others.
pub fn value(text: &str, key: &str) -> Option<toml::Value> {
    text.parse::<toml::Table>().ok()?.remove(key)
}

/// The text with its secrets blanked, everything else as it was; `None` if there is nothing to blank.
pub fn blanked(text: &str) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut spans: Vec<Range<usize>> = Vec::new();
    for (key, value) in table.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("password", DeValue::String(secret)) if !secret.is_empty() => spans.push(value.span()),
            ("wifi" | "publish", DeValue::Table(table)) => {
                for (key, value) in table {
                    if matches!(key.get_ref().as_ref(), "passphrase" | "token") && value.get_ref().as_str() != Some("")
                    {
                        spans.push(value.span());
                    }
                }
            }
            _ => {}
        }
    }
    if spans.is_empty() {
        return None;
    }
    spans.sort_by_key(|span| span.start);
    let mut blanked = text.to_owned();
    for span in spans.into_iter().rev() {
        blanked.replace_range(span, "\"\"");
    }
    Some(blanked)
}

fn wifi(table: &toml::Table, problems: &mut Vec<String>) -> Option<Wifi> {
    let before = problems.len();
    let mut found = Wifi { ssid: String::new(), passphrase: Secret::None, country: String::new(), hidden: false };
    for (key, value) in table {
        let name = format!("wifi.{key}");
        match (key.as_str(), value) {
            ("ssid", value) => found.ssid = rule(&name, value, SSID_RULE, is_ssid, problems).unwrap_or_default(),
            ("country", value) => {
                found.country = rule(&name, value, COUNTRY_RULE, is_country, problems).unwrap_or_default();
            }
            ("passphrase", toml::Value::String(text)) if text.is_empty() => found.passphrase = Secret::Known,
            ("passphrase", toml::Value::String(text)) if is_passphrase(text) => {
                found.passphrase = Secret::New(text.clone());
            }
            ("passphrase", _) => problems.push(format!("{name}: must be {PASSPHRASE_RULE}")),
            ("hidden", toml::Value::Boolean(hidden)) => found.hidden = *hidden,
            ("hidden", _) => problems.push(format!("{name}: must be true or false")),
            _ => problems.push(format!("{name}: is not a known key; there are ssid, passphrase, country, hidden")),
        }
    }
    for key in ["ssid", "country"] {
        if !table.contains_key(key) {
            problems.push(format!("wifi.{key}: is missing"));
        }
    }
    (problems.len() == before).then_some(found)
}

/// The text of a value, if it keeps the rule.
pub fn rule(
    key: &str,
    value: &toml::Value,
    words: &str,
    fits: fn(&str) -> bool,
    problems: &mut Vec<String>,
) -> Option<String> {
    match value.as_str() {
        Some(text) if fits(text) => Some(text.to_owned()),
        _ => {
            let shown: String = value.to_string().chars().take(60).collect();
            problems.push(format!("{key} = {shown}: must be {words}"));
            None
        }
    }
}

/// The parser's complaint with its line, without the line's text: a secret may stand there.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message().lines().next().unwrap_or_default();
    let message = message.split('`').next().unwrap_or_default().trim_end_matches([' ', ',', ':']);
    format!("line {line}: is not TOML: {message}")
}

/// Whether a text is one label of a host name.
pub fn is_host(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text != "localhost"
}

fn is_zone(text: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+');
    text.len() <= 64 && text.split('/').all(|part| !part.is_empty() && part.bytes().all(sign))
}

fn is_ssh_key(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let body = words.next().unwrap_or_default();
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    matches!(kind, "ssh-ed25519" | "ssh-rsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521")
        && body.len() >= 40
        && body.bytes().all(base64)
        && !text.chars().any(char::is_control)
        && text.len() <= 2000
}

fn is_ssid(text: &str) -> bool {
    (1..=32).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_country(text: &str) -> bool {
    COUNTRIES.split_ascii_whitespace().any(|country| country == text)
}

fn is_passphrase(text: &str) -> bool {
    (8..=63).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

const KEYS: [&str; 7] = ["hostname", "password", "timezone", "ssh-keys", "[wifi]", "[publish]", "[service]"];
/// Keys of the service on which other parts of the appliance rely.
const RESERVED: [&str; 9] =
    ["listen", "help-listen", "plain", "state-dir", "web-app", "cert", "key", "log", "log-format"];
const HOST_RULE: &str = "1 to 63 of a-z, 0-9 and -, such as \"door\"";
const ZONE_RULE: &str = "a zone of the clock such as \"Europe/Berlin\"";
const KEY_RULE: &str = "a public key in quotes, as in a file id_ed25519.pub";
const SSID_RULE: &str = "a network's name in quotes, at most 32 bytes";
const COUNTRY_RULE: &str = "a country's two capital letters by ISO 3166, such as \"DE\" (the United Kingdom is \"GB\")";
/// ISO 3166-1, alpha-2.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG \
    GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ \
    LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR \
    NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ \
    TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";
const PASSPHRASE_RULE: &str = "8 to 63 ASCII characters in quotes";

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"# mine
hostname = "door"
password = "a good password" # secret
timezone = "Europe/Berlin"
ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ5dGVzYnl0ZXNieXRlc2J5dGVzYnl0ZXM= me@computer"]

[wifi]
ssid = "home \"sweet\" home"
passphrase = 'correct horse'
country = "DE"

[service]
name = "Front door"
width = 640
"#;

    #[test]
    fn a_whole_file_is_read() {
        let settings = parse(WHOLE).unwrap();
        assert_eq!(settings.hostname.as_deref(), Some("door"));
        assert_eq!(settings.password.as_deref(), Some("a good password"));
        assert_eq!(settings.timezone.as_deref(), Some("Europe/Berlin"));
        assert_eq!(settings.ssh_keys.len(), 1);
        let wifi = settings.wifi.unwrap();
        assert_eq!((wifi.ssid.as_str(), wifi.country.as_str(), wifi.hidden), ("home \"sweet\" home", "DE", false));
        assert_eq!(wifi.passphrase, Secret::New("correct horse".into()));
        assert_eq!(settings.service["width"].as_integer(), Some(640));
    }

    #[test]
    fn secrets_are_blanked_and_nothing_else_changes() {
        let text = blanked(WHOLE).unwrap();
        let expected = WHOLE.replace("\"a good password\"", "\"\"").replace("'correct horse'", "\"\"");
        assert_eq!(text, expected);
        assert_eq!(blanked(&text), None, "there is nothing left to blank");
        let again = parse(&text).unwrap();
        assert_eq!((again.password, again.wifi.unwrap().passphrase), (None, Secret::Known));
        assert_eq!(blanked("[wifi]\nssid = \"x\"\ncountry = \"DE\"\n"), None);
    }

    #[test]
    fn an_empty_file_is_good() {
        assert_eq!(parse("").unwrap(), Settings::default());
        assert_eq!(parse("# nothing\r\n").unwrap(), Settings::default());
    }

    #[test]
    fn all_problems_come_together_and_show_no_secret() {
        let text = "hostname = \"Door!\"\npassword = \"secret12\"\ntimezone = \"../etc\"\nssh-keys = [\"AAAA\"]\nname = 1\n\
                    [wifi]\npassphrase = \"short\"\ncountry = \"de\"\n[service]\nlisten = [\"0.0.0.0:1\"]\n";
        let problems = parse(text).unwrap_err();
        let whole = problems.join("\n");
        for part in [
            "hostname = \"Door!\": must be",
            "password: must have at least 10",
            "timezone = \"../etc\"",
            "ssh-keys = ",
            "name: is not a known key",
            "wifi.passphrase: must be",
            "wifi.country = \"de\"",
            "wifi.ssid: is missing",
            "service.listen: is fixed",
        ] {
            assert!(whole.contains(part), "{part} in\n{whole}");
        }
        assert_eq!(problems.len(), 9, "{whole}");
        assert!(!whole.contains("secret12") && !whole.contains("short"), "{whole}");
    }

    #[test]
    fn what_is_no_toml_is_told_by_its_line_alone() {
        let problems = parse("hostname = \"door\"\npassword = my secret\n").unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("line 2: is not TOML"), "{problems:?}");
        assert!(!problems[0].contains("secret"), "{problems:?}");
    }

    #[test]
    fn types_are_checked() {
        for text in ["hostname = 1", "password = 1", "ssh-keys = \"x\"", "wifi = 1", "service = \"x\"", "timezone = []"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("[wifi]\nssid=\"a\"\ncountry=\"DE\"\nhidden=1").is_err());
        let open = parse("[wifi]\nssid=\"a\"\ncountry=\"DE\"\nhidden=true").unwrap().wifi.unwrap();
        assert_eq!((open.passphrase, open.hidden), (Secret::None, true));
    }
}
