//! The content of `sessions.toml`: who is signed in.
//!
//! In: digests of cookie values, roles, the time. Out: [`Session`]s that hold. Never: knows a cookie's value.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::passwords::Passwords;
use super::secret::{is_digest, unix};
use super::store::{Contents, FORMAT, check_format};
use crate::api::Role;

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the cookie's value in hexadecimal digits; tells sessions apart and opens nothing.
    pub id: String,
    /// What the person may do.
    pub role: Role,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sessions {
    version: u32,
    #[serde(default, rename = "session")]
    sessions: Vec<Entry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    sha256: String,
    /// That of the cookie before, for what was opened with it and goes on; nothing is opened with it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    role: Role,
    /// [`Passwords::mark`] at sign-in. So a changed password ends the role's sessions whichever process changed it,
    /// and only the service ever writes this file.
    password: String,
    /// Seconds since 1970.
    expires: u64,
}

impl Sessions {
    pub fn find(&self, id: &str, passwords: &Passwords, now: SystemTime) -> Option<Session> {
        let entry = self.sessions.iter().find(|entry| entry.sha256 == id || entry.before.as_deref() == Some(id))?;
        entry.holds(passwords, now).then(|| Session { id: id.to_owned(), role: entry.role })
    }

    pub fn contains(&self, id: &str) -> bool {
        self.sessions.iter().any(|entry| entry.sha256 == id)
    }

    /// Adds a session; drops those that no longer hold, and the one unused for the longest time if there are too many.
    pub fn add(&mut self, id: &str, role: Role, passwords: &Passwords, now: SystemTime) {
        // Removed in the very moment of signing in: there is nothing to be signed in to.
        let Some(password) = passwords.mark(role) else { return };
        self.sessions.retain(|entry| entry.holds(passwords, now));
        while self.sessions.len() >= MOST {
            // Of the same role first: viewers do not sign the owner out.
            let oldest = self.sessions.iter().enumerate().min_by_key(|(_, entry)| (entry.role != role, entry.expires));
            let Some((place, _)) = oldest else { break };
            self.sessions.remove(place);
        }
        self.sessions.push(Entry { sha256: id.to_owned(), before: None, role, password, expires: unix(now + LIFE) });
    }

    /// A session goes on with the role's changed password, under another id. Whether there is that session.
    pub fn go_on(&mut self, id: &str, as_id: &str, role: Role, passwords: &Passwords) -> bool {
        let entry = self.sessions.iter_mut().find(|entry| entry.sha256 == id && entry.role == role);
        let (Some(entry), Some(mark)) = (entry, passwords.mark(role)) else { return false };
        entry.before = Some(std::mem::replace(&mut entry.sha256, as_id.to_owned()));
        entry.password = mark;
        true
    }

    pub fn remove(&mut self, id: &str) {
        self.sessions.retain(|entry| entry.sha256 != id);
    }

    /// Whether a day of the session's life has passed, or its end is farther away than that (the clock was set back).
    pub fn wants_renewal(&self, id: &str, now: SystemTime) -> bool {
        let due = unix(now + LIFE - DAY)..=unix(now + LIFE);
        self.sessions.iter().any(|entry| entry.sha256 == id && !due.contains(&entry.expires))
    }

    pub fn renew(&mut self, id: &str, now: SystemTime) {
        for entry in self.sessions.iter_mut().filter(|entry| entry.sha256 == id) {
            entry.expires = unix(now + LIFE);
        }
    }
}

impl Entry {
    fn holds(&self, passwords: &Passwords, now: SystemTime) -> bool {
        self.expires > unix(now) && passwords.mark(self.role).is_some_and(|mark| mark == self.password)
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self { version: FORMAT, sessions: Vec::new() }
    }
}

impl Contents for Sessions {
    const FILE: &str = "sessions.toml";
    const HEAD: &str = "# Who is signed in. Written by the service; removing this file signs everybody out.\n";
    const WITHOUT: &str = "everybody then signs in again";

    fn check(&self) -> Result<(), String> {
        check_format(self.version)?;
        if self.sessions.iter().all(|entry| is_digest(&entry.sha256)) {
            Ok(())
        } else {
            Err("a session has no SHA-256".to_owned())
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a session lives unused.
const LIFE: Duration = Duration::from_secs(30 * DAY.as_secs());
/// How many sessions are kept.
const MOST: usize = 200;
