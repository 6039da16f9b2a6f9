//! Where the device is published, as text of the configuration.
//!
//! In: text such as `https://sfu.example.org/whip`. Out: a checked address, or the file that holds it. Never: a request;
//! a secret in the configuration itself.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use url::{Host, Url};

use super::RuleError;

/// The address of a WHIP endpoint (RFC 9725).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publish {
    /// Written out.
    At(Url),
    /// On the first line of this file: some services make the address itself the secret.
    InFile(PathBuf),
}

impl Publish {
    pub(super) const RULE: &str =
        "https://HOST[:PORT]/PATH, file:PATH of a file whose first line is such an address, or off";
    const PLAIN: &str = "https://, because plain http:// is for loopback addresses alone";
    const SECRET: &str = "an address without a user name or password; publish-token-file names the file with a token";

    pub(super) fn parse(text: &str, base: &Path) -> Result<Option<Self>, RuleError> {
        match text.strip_prefix("file:") {
            _ if text == "off" => Ok(None),
            Some("") => Err(RuleError(Self::RULE)),
            Some(path) => Ok(Some(Self::InFile(base.join(path)))),
            None => address(text).map(|url| Some(Self::At(url))),
        }
    }

    /// Whether a server's certificate has to be verified there.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::At(url) if url.scheme() == "http")
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(url) => url.fmt(f),
            Self::InFile(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// Checks the address of a WHIP endpoint.
///
/// # Errors
/// The rule that it breaks.
pub fn address(text: &str) -> Result<Url, RuleError> {
    let url = Url::parse(text).map_err(|_| RuleError(Publish::RULE))?;
    if !matches!(url.scheme(), "http" | "https") || url.fragment().is_some() {
        return Err(RuleError(Publish::RULE));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RuleError(Publish::SECRET));
    }
    if !is_protected(&url) {
        return Err(RuleError(Publish::PLAIN));
    }
    Ok(url)
}

/// Whether nobody on the way can read or change what is sent there: by TLS, or because it does not leave the machine.
pub fn is_protected(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_may_be_published_to() {
        for good in [
            "https://sfu.example.org/whip",
            "https://[2001:db8::1]:8889/door/whip?key=1",
            "http://127.0.0.1:8889/door/whip",
            "http://[::1]/whip",
            "http://localhost:7880/w",
        ] {
            assert!(address(good).is_ok(), "{good}");
        }
        for (bad, rule) in [
            ("http://sfu.example.org/whip", "loopback"),
            ("http://192.0.2.1/whip", "loopback"),
            ("http://localhost.example.org/whip", "loopback"),
            ("https://user:word@sfu.example.org/whip", "publish-token-file"),
            ("https://user@sfu.example.org/whip", "publish-token-file"),
            ("ftp://sfu.example.org/whip", "https://HOST"),
            ("sfu.example.org/whip", "https://HOST"),
            ("https://sfu.example.org/whip#a", "https://HOST"),
            ("https://", "https://HOST"),
            ("", "https://HOST"),
        ] {
            let said = address(bad).unwrap_err().to_string();
            assert!(said.contains(rule), "{bad}: {said}");
        }
    }
}
