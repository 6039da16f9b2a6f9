//! The one-time code with which the first person at the page proves to have seen the device's terminal.
//!
//! In: random numbers, the code of an earlier start, tries. Out: right, wrong, or no more tries; the content of `setup.toml`, so that a code
//! that was read from a card holds when the card is back in the device. Never: knows whether there is an owner.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::secret::random_bytes;
use super::store::{Contents, FORMAT, check_format};
use super::{Error, Refused};

/// The code that holds until an owner's password is set.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { version: FORMAT, code: None }
    }
}

impl Contents for Kept {
    const FILE: &str = "setup.toml";
    const HEAD: &str =
        "# The code with which the first person at the page sets the owner's password. Gone once that is done.\n";
    const WITHOUT: &str = "the next start makes another code";

    fn check(&self) -> Result<(), String> {
        check_format(self.version)?;
        match &self.code {
            Some(code) if Setup::known(code).is_none() => Err("code is no setup code".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The code and how often it was missed.
pub(super) struct Setup {
    /// Eight characters without the dash; `None`: there is nothing to set up.
    code: Option<String>,
    wrong: u32,
}

impl Setup {
    /// A new code of 40 random bits.
    pub fn new() -> Result<Self, Error> {
        let bytes = random_bytes::<LENGTH>()?;
        let code = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
        Ok(Self { code: Some(code), wrong: 0 })
    }

    /// The code of an earlier start, as people read it; `None` if it is none.
    pub fn known(code: &str) -> Option<Self> {
        let plain: String = code.chars().filter(|sign| *sign != '-').collect();
        let fits = plain.len() == LENGTH && plain.bytes().all(|byte| ALPHABET.contains(&byte));
        fits.then_some(Self { code: Some(plain), wrong: 0 })
    }

    /// No code: setup is done, or not wanted.
    pub fn none() -> Self {
        Self { code: None, wrong: 0 }
    }

    /// The code as people read it.
    pub fn code(&self) -> Option<String> {
        self.code.as_deref().map(|code| format!("{}-{}", &code[..LENGTH / 2], &code[LENGTH / 2..]))
    }

    /// Compares in a time that does not depend on where the code differs, and counts misses.
    pub fn check(&mut self, given: &str) -> Result<(), Refused> {
        if self.wrong >= MOST_WRONG {
            return Err(Refused::TooManyTries);
        }
        let typed = given.chars().filter(|sign| !sign.is_whitespace() && *sign != '-').take(LENGTH + 1);
        let typed: String = typed.map(|sign| sign.to_ascii_uppercase()).collect();
        let right = self.code.as_ref().is_some_and(|code| code.as_bytes().ct_eq(typed.as_bytes()).into());
        if right {
            return Ok(());
        }
        self.wrong += 1;
        Err(Refused::WrongCode)
    }
}

const LENGTH: usize = 8;
const MOST_WRONG: u32 = 20;
/// 32 signs that a person cannot take for one another: no I, O, 0 or 1.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
