//! Random secrets and their digests.
//!
//! In: the system's random numbers. Out: 256-bit secrets as text, SHA-256 as hexadecimal digits.
//! Never: shows a secret by `Debug`.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Error;

/// The value of a session cookie. Stands in the answer to its owner and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    pub(super) fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The value, 43 characters of base64url.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// 256 random bits as 43 characters of base64url.
pub(super) fn random() -> Result<String, Error> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<32>()?))
}

/// `N` random bytes.
pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

/// SHA-256 in 64 hexadecimal digits. Enough for secrets of 256 random bits, which nobody can guess however fast;
/// and comparing digests tells an attacker nothing by its duration.
pub(super) fn digest(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `text` looks like a [`digest`].
pub(super) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whole seconds since 1970.
pub(super) fn unix(time: std::time::SystemTime) -> u64 {
    // A clock before 1970 is a board without a battery that has not asked for the time yet.
    time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
