//! The content of `tokens.toml`: what machines may do.
//!
//! In: names, scopes, digests of tokens, the time. Out: [`Token`]s that hold. Never: knows a token itself.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Error;
use super::secret::{digest, is_digest, unix};
use super::store::{Contents, FORMAT, check_format};

/// What every token begins with, so that people and secret scanners recognize one.
pub(super) const PREFIX: &str = "dpx_";

/// One thing a machine may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// See and hear the device.
    Watch,
    /// Be seen and heard by the device.
    Talk,
    /// Offer media to others under a name of its own.
    Produce,
    /// Take the media of a browser by its peer id.
    ConsumePeer,
    /// Read the metrics, and nothing else.
    Metrics,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watch => "watch",
            Self::Talk => "talk",
            Self::Produce => "produce",
            Self::ConsumePeer => "consume-peer",
            Self::Metrics => "metrics",
        })
    }
}

/// A machine that has shown its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the token in hexadecimal digits; tells tokens apart and opens nothing.
    pub id: String,
    /// The name given by the owner.
    pub name: String,
    /// What it may do, each once.
    pub scopes: Vec<Scope>,
}

/// A token as the owner's list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// The name given by the owner.
    pub name: String,
    /// What it may do, each once.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created: SystemTime,
    /// When it ends, or ended; `None`: never.
    pub expires: Option<SystemTime>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    version: u32,
    #[serde(default, rename = "token")]
    tokens: Vec<Entry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    scopes: Vec<Scope>,
    /// Seconds since 1970.
    created: u64,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

impl Tokens {
    pub fn add(
        &mut self,
        name: &str,
        scopes: &[Scope],
        expires: Option<Duration>,
        secret: &str,
        now: SystemTime,
    ) -> Result<(), Error> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
            return Err(Error::TokenName(name.to_owned()));
        }
        if self.tokens.iter().any(|entry| entry.name == name) {
            return Err(Error::TokenExists(name.to_owned()));
        }
        if scopes.is_empty() {
            return Err(Error::NoScope);
        }
        if self.tokens.len() >= MOST {
            return Err(Error::TooManyTokens(MOST));
        }
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        self.tokens.push(Entry {
            name: name.to_owned(),
            sha256: digest(secret),
            scopes,
            created: unix(now),
            expires: expires.map(|life| unix(now).saturating_add(life.as_secs()).min(LATEST)),
        });
        Ok(())
    }

    pub fn remove(&mut self, name: &str) -> Result<(), Error> {
        let before = self.tokens.len();
        self.tokens.retain(|entry| entry.name != name);
        if self.tokens.len() == before { Err(Error::NoToken(name.to_owned())) } else { Ok(()) }
    }

    pub fn find(&self, id: &str, now: SystemTime) -> Option<Token> {
        let entry = self.tokens.iter().find(|entry| entry.sha256 == id)?;
        let holds = entry.expires.is_none_or(|expires| expires > unix(now));
        holds.then(|| Token { id: id.to_owned(), name: entry.name.clone(), scopes: entry.scopes.clone() })
    }

    pub fn list(&self) -> Vec<TokenInfo> {
        let mut list: Vec<TokenInfo> = self.tokens.iter().map(Entry::info).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }
}

impl Entry {
    fn info(&self) -> TokenInfo {
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        TokenInfo {
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            created: time(self.created),
            expires: self.expires.map(time),
        }
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self { version: FORMAT, tokens: Vec::new() }
    }
}

impl Contents for Tokens {
    const FILE: &str = "tokens.toml";
    const HEAD: &str = "# Tokens of machines (SHA-256). Change them with `duplex token`, not by hand.\n";
    const WITHOUT: &str = "all tokens are then revoked";

    fn check(&self) -> Result<(), String> {
        check_format(self.version)?;
        if !self.tokens.iter().all(|entry| is_digest(&entry.sha256)) {
            return Err("a token has no SHA-256".to_owned());
        }
        // A time beyond this cannot be counted in i64 nanoseconds, and no clock will get there.
        let times = self.tokens.iter().flat_map(|entry| [Some(entry.created), entry.expires]).flatten();
        if times.max().is_some_and(|latest| latest > LATEST) {
            return Err("a token's time is out of range".to_owned());
        }
        Ok(())
    }
}

/// How many tokens there can be.
const MOST: usize = 200;
/// The year 9999, in seconds since 1970.
const LATEST: u64 = 253_370_764_800;
