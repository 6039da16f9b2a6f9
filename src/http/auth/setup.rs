//! The one-time code with which the first person at the page proves to have seen the device's terminal.
//!
//! In: random numbers, tries. Out: right, wrong, or no more tries. Never: writes the code anywhere.

use subtle::ConstantTimeEq as _;

use super::secret::random_bytes;
use super::{Error, Refused};

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
