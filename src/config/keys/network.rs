//! Where the service listens, what it is called, who may do what.
//!
//! In: nothing. Out: [`NETWORK`], a part of the table of keys. Never: knows where a value came from.

use std::net::SocketAddr;

use super::{Key, Kind, Section, distinct, optional_path, whole};
use crate::config::media::is_host;
use crate::config::{IceServer, RuleError};

/// Its keys, in the order of the sample file.
pub(super) const NETWORK: Section = Section {
    heading: "Network and access",
    keys: &[
        Key {
            name: "name",
            value_name: "NAME",
            help: "Name of the device, shown on the page",
            default: "Duplex",
            kind: Kind::Text {
                rule: NAME_RULE,
                set: |config, text, _| {
                    let fits = (1..=64).contains(&text.chars().count()) && !text.trim().is_empty();
                    let printable = !text.chars().any(char::is_control);
                    if !(fits && printable) {
                        return Err(RuleError(NAME_RULE));
                    }
                    text.clone_into(&mut config.name);
                    Ok(())
                },
            },
        },
        Key {
            name: "listen",
            value_name: "ADDRESS:PORT",
            help: "Addresses and port of page, API and signalling (0.0.0.0 or [::]: every network)",
            default: "127.0.0.1:8443,[::1]:8443",
            kind: Kind::List {
                rule: LISTEN_RULE,
                set: |config, items, _| {
                    let mut listen = Vec::new();
                    for item in items {
                        let address: SocketAddr = item.parse().map_err(|_| RuleError(LISTEN_RULE))?;
                        listen.push(address);
                    }
                    distinct(&listen, "a list in which no address stands twice")?;
                    if listen.is_empty() {
                        return Err(RuleError(LISTEN_RULE));
                    }
                    if listen.len() > 1 && listen.iter().any(|address| address.port() == 0) {
                        return Err(RuleError("one address alone if its port is 0 (any free port)"));
                    }
                    config.listen = listen;
                    Ok(())
                },
            },
        },
        Key {
            name: "plain",
            value_name: "true|false",
            help: "Serve without TLS, only where every address of listen is loopback",
            default: "false",
            kind: Kind::Switch(|config, on| config.plain = on),
        },
        Key {
            name: "help-listen",
            value_name: "ADDRESS:PORT",
            help: "Address of a plain HTTP port that offers the CA certificate, steps to trust it, and a redirect",
            default: "off",
            kind: Kind::Text {
                rule: HELP_LISTEN_RULE,
                set: |config, text, _| {
                    config.help_listen = match text {
                        "off" => None,
                        address => Some(address.parse().map_err(|_| RuleError(HELP_LISTEN_RULE))?),
                    };
                    Ok(())
                },
            },
        },
        Key {
            name: "state-dir",
            value_name: "FOLDER",
            help: "Folder for passwords, sessions and the CA (empty: $STATE_DIRECTORY, $XDG_STATE_HOME/duplex or ~/.local/state/duplex)",
            default: "",
            kind: Kind::Text {
                rule: "a folder, or empty",
                set: |config, text, base| {
                    config.state_dir = optional_path(text, base).unwrap_or_default();
                    Ok(())
                },
            },
        },
        Key {
            name: "cert",
            value_name: "FILE",
            help: "Server certificate and its chain (PEM), together with key (empty: one from the device's own CA)",
            default: "",
            kind: Kind::Text {
                rule: "a readable file, or empty",
                set: |config, text, base| {
                    config.cert = optional_path(text, base);
                    Ok(())
                },
            },
        },
        Key {
            name: "key",
            value_name: "FILE",
            help: "Private key (PEM) of cert",
            default: "",
            kind: Kind::Text {
                rule: "a readable file that is not open to everybody, or empty",
                set: |config, text, base| {
                    config.key = optional_path(text, base);
                    Ok(())
                },
            },
        },
        Key {
            name: "names",
            value_name: "NAME",
            help: "More names or addresses by which browsers reach the device (certificate, Host check)",
            default: "",
            kind: Kind::List {
                rule: NAMES_RULE,
                set: |config, items, _| {
                    if !items.iter().all(|item| is_host(item)) {
                        return Err(RuleError(NAMES_RULE));
                    }
                    config.names = items.iter().map(|item| item.to_ascii_lowercase()).collect();
                    Ok(())
                },
            },
        },
        Key {
            name: "stun",
            value_name: "URL",
            help: "STUN server, for viewers beyond the local network (servers with credentials stand in [[ice-server]] tables of the file)",
            default: "off",
            kind: Kind::Text {
                rule: IceServer::STUN_RULE,
                set: |config, text, _| {
                    // Servers of the file's tables are joined in afterwards.
                    config.ice_servers.clear();
                    if text != "off" {
                        if !text.starts_with("stun:") || IceServer::check_url(text).is_err() {
                            return Err(RuleError(IceServer::STUN_RULE));
                        }
                        let urls = text.to_owned();
                        config.ice_servers.push(IceServer { urls, username: None, credential_file: None });
                    }
                    Ok(())
                },
            },
        },
        Key {
            name: "max-viewers",
            value_name: "COUNT",
            help: "Viewers at one time",
            default: "32",
            kind: whole("viewers", 1, 1000, |config, value| config.max_viewers = value as usize),
        },
        Key {
            name: "max-peers",
            value_name: "COUNT",
            help: "Signalling connections at one time, never fewer than max-viewers",
            default: "64",
            kind: whole("connections", 1, 10_000, |config, value| config.max_peers = value as usize),
        },
        Key {
            name: "negotiation-timeout",
            value_name: "SECONDS",
            help: "Time within which a call must come about",
            default: "12",
            kind: whole("seconds", 2, 60, |config, value| config.negotiation_timeout = value as u32),
        },
        Key {
            name: "web-app",
            value_name: "FOLDER",
            help: "Folder with a web app of your own (empty: the one within the program)",
            default: "",
            kind: Kind::Text {
                rule: "a folder with an index.html, or empty",
                set: |config, text, base| {
                    config.web_app = optional_path(text, base);
                    Ok(())
                },
            },
        },
    ],
};

const NAME_RULE: &str = "1 to 64 characters, none of them a control character";
const LISTEN_RULE: &str = "a list of ADDRESS:PORT such as 0.0.0.0:8443 or [::]:8443 (IP addresses, no names)";
const HELP_LISTEN_RULE: &str = "ADDRESS:PORT such as 0.0.0.0:8080 (an IP address, no name), or off";
const NAMES_RULE: &str = "a list of DNS names without wildcards or of IP addresses";
