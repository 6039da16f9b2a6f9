//! The names a server certificate carries: host names and IP addresses.
//!
//! What enters: text from a person, the configuration or a certificate. What leaves: a [`Name`] in one
//! canonical spelling, so that equal names compare equal. What it never does: ask DNS.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host name or an IP address, checked and in canonical spelling: host names in lower case without a
/// trailing dot, IPv6 addresses compressed, IPv4-mapped IPv6 addresses as IPv4.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Name {
    /// A host name of at most 253 characters; its first label may be `*` if two more follow.
    Dns(DnsName),
    /// An address of one machine.
    Ip(IpAddr),
}

/// The text of a checked host name; made only by parsing a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

impl DnsName {
    /// The text, in lower case and without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither a host name nor an IP address: {rule}")]
pub struct NameError {
    /// The text as given.
    pub text: String,
    /// The rule it breaks, with what to write instead.
    pub rule: &'static str,
}

impl Name {
    /// The host name, if it is one.
    pub fn dns(&self) -> Option<&str> {
        match self {
            Self::Dns(name) => Some(&name.0),
            Self::Ip(_) => None,
        }
    }

    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Dns(_) => None,
            Self::Ip(address) => Some(*address),
        }
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        parse(text.trim()).map_err(|rule| NameError { text: text.to_owned(), rule })
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<IpAddr> for Name {
    /// Takes any address, so the caller answers for it naming one machine (not `0.0.0.0`).
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(&name.0),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// Names in a sentence: `a, b and c`.
pub(crate) fn list(names: &[Name]) -> String {
    let names: Vec<String> = names.iter().map(Name::to_string).collect();
    match names.split_last() {
        None => "no name".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// Sorted, without repetition: two lists name the same set exactly if this makes them equal.
pub(crate) fn canonical(names: &[Name]) -> Vec<Name> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

fn parse(text: &str) -> Result<Name, &'static str> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.contains('%') {
        return Err("leave out the zone after %, certificates have none");
    }
    if let Ok(address) = bare.parse::<IpAddr>() {
        let address = address.to_canonical();
        if address.is_unspecified() || address.is_multicast() {
            return Err("give the address of one machine, not a wildcard or multicast address");
        }
        return Ok(Name::Ip(address));
    }
    if text.contains("//") || text.contains('/') {
        return Err("give the bare name, without https:// or a path");
    }
    if text.contains(':') {
        return Err("give the bare name, without a port");
    }
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    check_host(&host)?;
    Ok(Name::Dns(DnsName(host)))
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("it is empty");
    }
    if !host.is_ascii() {
        return Err("letters outside ASCII must be written in their xn-- form");
    }
    if host.len() > 253 {
        return Err("a host name has at most 253 characters");
    }
    let (labels, fewest) = match host.strip_prefix("*.") {
        Some(rest) => (rest, 2),
        None => (host, 1),
    };
    if labels.split('.').count() < fewest {
        return Err("after *. two labels must follow, as in *.example.lan");
    }
    for label in labels.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("each label between the dots has 1 to 63 characters");
        }
        // The underscore is no host name character by RFC 1123, but machines are called so and browsers accept it.
        if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return Err("labels consist of letters, digits and hyphens");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a label neither begins nor ends with a hyphen");
        }
    }
    // Browsers read such a text as an IPv4 address, so as a name it could never match.
    if labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("the last label must not be a number; an IPv4 address has four, each up to 255");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn spellings_of_one_name_are_equal() {
        assert_eq!(name("Olivia.Local."), name("olivia.local"));
        assert_eq!(name(" olivia "), name("olivia"));
        assert_eq!(name("[2001:DB8:0:0::1]"), name("2001:db8::1"));
        assert_eq!(name("::ffff:192.168.1.4"), name("192.168.1.4"));
        assert_eq!(name("2001:db8:0::1").to_string(), "2001:db8::1");
    }

    #[test]
    fn what_devices_are_called_is_accepted() {
        for text in [
            "localhost",
            "webrtc.olivia-v1.machine-domain",
            "my_pi",
            "*.example.lan",
            "xn--bcher-kva.de",
            "127.0.0.1",
            "::1",
            "4u.lan",
        ] {
            assert_eq!(name(text).to_string(), text);
        }
    }

    #[test]
    fn each_refusal_names_its_rule() {
        for (text, word) in [
            ("", "empty"),
            ("https://olivia", "https"),
            ("olivia/", "path"),
            ("olivia:8443", "port"),
            ("[::1]:8443", "port"),
            ("fe80::1%eth0", "zone"),
            ("0.0.0.0", "one machine"),
            ("::", "one machine"),
            ("224.0.0.251", "one machine"),
            ("192.168.1", "number"),
            ("192.168.1.256", "number"),
            ("a..b", "1 to 63"),
            ("-a.lan", "hyphen"),
            ("a b", "letters"),
            ("bücher.de", "xn--"),
            ("*.lan", "two labels"),
            ("a.*.lan", "letters"),
            ("*", "letters"),
        ] {
            let error = text.parse::<Name>().expect_err(text);
            assert!(error.rule.contains(word), "{text}: {error}");
            assert!(error.to_string().contains(&format!("{text:?}")));
        }
        assert!(format!("{}.lan", "a".repeat(64)).parse::<Name>().is_err());
        assert!(["a"; 128].join(".").parse::<Name>().is_err());
    }

    #[test]
    fn a_set_of_names_has_one_order() {
        let given = [name("b"), name("10.0.0.1"), name("A"), name("b")];
        assert_eq!(canonical(&given), canonical(&[name("10.0.0.1"), name("a"), name("b")]));
        assert_eq!(list(&canonical(&given)), "a, b and 10.0.0.1");
        assert_eq!(list(&[name("a")]), "a");
    }
}
