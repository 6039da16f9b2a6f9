//! Host names in requests: which are ours, and which belong together.
//!
//! In: `Host` and `Origin` headers. Out: parsed authorities and a yes or no.
//! Never: asks DNS: a name is ours because the certificate or the configuration says so. That is what stops DNS
//! rebinding, where a stranger's name points at this device.

use duplex_pki::Name;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

/// A host with an optional port, as in `Host: door.local:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    host: Name,
    port: Option<u16>,
}

impl Authority {
    /// Parses; `None` for anything that is not exactly a host name or address and perhaps a port.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (Name::from(IpAddr::V6(address.parse().ok()?)), port)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if host.contains('*') || host.contains(char::is_whitespace) {
                return None;
            }
            (host.parse().ok()?, port)
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            None => None,
            Some(port) if digits(port) => Some(port.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { host, port })
    }

    /// The host alone, as it stands in an address.
    pub fn host(&self) -> String {
        match &self.host {
            Name::Ip(IpAddr::V6(address)) => format!("[{address}]"),
            Name::Ip(address) => address.to_string(),
            Name::Dns(name) => name.as_str().to_owned(),
        }
    }

    /// Whether both mean the same place under `scheme`'s default port.
    fn same_place(&self, other: &Self, default_port: u16) -> bool {
        self.host == other.host && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host())?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Whether an `Origin` header names the page of this very service.
pub fn same_origin(origin: &str, tls: bool, host: &Authority) -> bool {
    let (scheme, default_port) = if tls { ("https://", 443) } else { ("http://", 80) };
    origin
        .strip_prefix(scheme)
        .and_then(Authority::parse)
        .is_some_and(|authority| authority.same_place(host, default_port))
}

/// The names under which the service answers: always those of the machine itself by loopback, and those given.
#[derive(Debug, Clone)]
pub struct AllowedHosts {
    names: Arc<RwLock<Vec<Name>>>,
}

impl AllowedHosts {
    /// Allows loopback and `names`: those of the certificate and of the configuration.
    pub fn new(names: impl IntoIterator<Item = Name>) -> Self {
        Self { names: Arc::new(RwLock::new(names.into_iter().collect())) }
    }

    /// Allows other names from now on, such as those of a renewed certificate.
    pub fn replace(&self, names: impl IntoIterator<Item = Name>) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names.into_iter().collect();
    }

    /// Whether requests for this host are answered, on whatever port.
    pub fn allows(&self, authority: &Authority) -> bool {
        let host = &authority.host;
        let loopback = match host {
            // Exactly what a person types or a browser resolves on its own; not all of 127.0.0.0/8.
            Name::Dns(name) => name.as_str() == "localhost",
            Name::Ip(IpAddr::V4(address)) => *address == Ipv4Addr::LOCALHOST,
            Name::Ip(IpAddr::V6(address)) => *address == Ipv6Addr::LOCALHOST,
        };
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        loopback || names.iter().any(|name| covers(name, host))
    }
}

/// A wildcard stands for exactly one label, as in certificates.
fn covers(name: &Name, host: &Name) -> bool {
    if name == host {
        return true;
    }
    let (Name::Dns(name), Name::Dns(host)) = (name, host) else { return false };
    let Some(parent) = name.as_str().strip_prefix("*.") else { return false };
    host.as_str().split_once('.').is_some_and(|(_, rest)| rest == parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(text: &str) -> Authority {
        Authority::parse(text).unwrap_or_else(|| panic!("{text:?} is an authority"))
    }

    #[test]
    fn authorities_are_parsed_strictly() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("Door.Local.:8443", "door.local", Some(8443)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[0:0:0::1]:8443", "[::1]", Some(8443)),
        ] {
            let parsed = authority(text);
            assert_eq!((parsed.host(), parsed.port), (host.to_string(), port), "{text}");
        }
        assert_eq!(authority("Door.Local:1").to_string(), "door.local:1");
        for text in [
            "",
            ":",
            ":80",
            "host:",
            "host:x",
            "host:+80",
            "host:-1",
            "host:65536",
            "host:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]80",
            "[::1]:",
            "[host]",
            "user@host",
            "host/path",
            "host name",
            " host",
            "host\r\nx",
            "*.example.org",
            "https://host",
        ] {
            assert_eq!(Authority::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_own_names_are_allowed() {
        let names =
            ["door.local", "192.0.2.7", "2001:db8::7", "*.example.org"].map(|name| name.parse().expect("a name"));
        let allowed = AllowedHosts::new(names);
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:9",
            "[::1]:9",
            "door.local",
            "DOOR.local.:8443",
            "192.0.2.7:8443",
            "[2001:db8::7]:8443",
            "[2001:DB8:0::7]",
            "a.example.org",
        ] {
            assert!(allowed.allows(&authority(host)), "{host}");
        }
        for host in [
            "evil.example",
            "door.local.evil.example",
            "localhost.evil.example",
            "127.0.0.2",
            "192.0.2.8",
            "[2001:db8::8]",
            "example.org",
            "a.b.example.org",
            "door",
        ] {
            assert!(!allowed.allows(&authority(host)), "{host}");
        }
        allowed.replace(["new.local".parse().expect("a name")]);
        assert!(allowed.allows(&authority("new.local")) && allowed.allows(&authority("localhost")));
        assert!(!allowed.allows(&authority("door.local")));
    }

    #[test]
    fn origins_must_match_scheme_host_and_port() {
        let host = authority("door.local:8443");
        assert!(same_origin("https://door.local:8443", true, &host));
        assert!(same_origin("https://DOOR.local:8443", true, &host));
        for origin in [
            "http://door.local:8443",
            "https://door.local",
            "https://door.local:8444",
            "https://evil.example:8443",
            "null",
            "",
            "https://door.local:8443/",
            "https://door.local:8443.evil.example",
            "https://x@door.local:8443",
            "door.local:8443",
            "wss://door.local:8443",
        ] {
            assert!(!same_origin(origin, true, &host), "{origin:?}");
        }
        assert!(same_origin("https://door.local", true, &authority("door.local:443")));
        assert!(same_origin("http://[::1]:8080", false, &authority("[0::1]:8080")));
        assert!(same_origin("http://localhost", false, &authority("localhost:80")));
    }
}
