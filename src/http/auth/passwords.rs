//! The content of `auth.toml`: one Argon2id hash for each role.
//!
//! In: passwords. Out: PHC strings, and whether a password fits one. Never: keeps a password.

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use serde::{Deserialize, Serialize};

use super::secret::{digest, random_bytes};
use super::store::{Contents, FORMAT, check_format};
use super::{Error, Role};

/// The roles in the order in which sign-in tries them.
pub(super) const ROLES: [Role; 3] = [Role::Owner, Role::Talker, Role::Viewer];

/// Most characters a password may have; more would only keep the hash busy.
pub(super) const LONGEST: usize = 200;
const SHORTEST: usize = 10;

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Passwords {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    talker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewer: Option<String>,
}

impl Passwords {
    /// The hash of a role's password.
    pub fn of(&self, role: Role) -> Option<&str> {
        match role {
            Role::Owner => self.owner.as_deref(),
            Role::Talker => self.talker.as_deref(),
            Role::Viewer => self.viewer.as_deref(),
        }
    }

    /// Sets or removes the hash of a role's password.
    pub fn set(&mut self, role: Role, hash: Option<String>) {
        match role {
            Role::Owner => self.owner = hash,
            Role::Talker => self.talker = hash,
            Role::Viewer => self.viewer = hash,
        }
    }

    /// Whether `password` is the role's. Slow by design.
    pub fn verify(&self, role: Role, password: &str) -> bool {
        self.of(role)
            .and_then(|hash| PasswordHash::new(hash).ok())
            .is_some_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }

    /// What a session of this role remembers of the password with which it began; another password, another mark.
    pub fn mark(&self, role: Role) -> Option<String> {
        self.of(role).map(|hash| digest(hash)[..16].to_owned())
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self { version: FORMAT, owner: None, talker: None, viewer: None }
    }
}

impl Contents for Passwords {
    const FILE: &str = "auth.toml";
    const HEAD: &str = "# Password hashes (Argon2id). Change them with `duplex passwd`, not by hand.\n";
    const WITHOUT: &str = "all passwords are then forgotten";

    fn check(&self) -> Result<(), String> {
        check_format(self.version)?;
        for role in ROLES {
            let fits = |text| PasswordHash::new(text).is_ok_and(|hash| hash.algorithm == argon2::ARGON2ID_IDENT);
            if !self.of(role).is_none_or(fits) {
                return Err(format!("the password of the {} is no Argon2id hash", super::error::role_name(role)));
            }
        }
        if self.owner.is_none() && (self.talker.is_some() || self.viewer.is_some()) {
            return Err("the owner's password is missing".to_owned());
        }
        Ok(())
    }
}

/// Checks a new password's length in characters.
pub(super) fn check_rule(password: &str) -> Result<(), &'static str> {
    match password.chars().count() {
        _ if password.trim().is_empty() && !password.is_empty() => Err("The password must not be of blanks alone."),
        SHORTEST..=LONGEST => Ok(()),
        0..SHORTEST => Err("The password must have at least 10 characters."),
        _ => Err("The password must have at most 200 characters."),
    }
}

/// Hashes with a fresh salt of 16 bytes.
pub(super) fn hash(password: &str) -> Result<String, Error> {
    let salt = SaltString::encode_b64(&random_bytes::<16>()?).map_err(Error::Hash)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(Error::Hash)?;
    Ok(hash.to_string())
}
