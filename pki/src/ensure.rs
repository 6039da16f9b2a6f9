//! What the service does at start and again and again: have a server certificate that fits, without a person.
//!
//! What enters: the names the machine answers to now, and the time. What leaves: an [`Ensured`] with the
//! certificate to serve and a sentence about what was done and why. What it never does: touch a disk when
//! nothing has to change, or give up a certificate that still works because a better one could not be made.

use crate::certificate::{readable, signed_by};
use crate::mint::{self, MAX_SERVER_DAYS};
use crate::name::{canonical, list};
use crate::{Ca, Error, Identity, InitOptions, Name, Result, Store, files};
use std::fmt;
use std::time::SystemTime;

/// What [`Store::ensure_server`] found or made.
#[derive(Debug)]
pub struct Ensured {
    /// The certificate to serve.
    pub identity: Identity,
    /// The root that signed it.
    pub ca: Ca,
    /// What was done.
    pub action: Action,
}

/// What [`Store::ensure_server`] did; its text is one sentence.
#[derive(Debug)]
pub enum Action {
    /// Nothing: the certificate in use fits.
    Kept,
    /// A new certificate was issued by the existing root.
    Issued(Reason),
    /// A new root was made and a certificate issued by it: clients have to trust the new root.
    CaMade(Reason),
    /// A new certificate was due, but issuing failed and the one in use is still valid: it is kept, to be tried again.
    KeptDespite {
        /// Why a new one was due.
        reason: Reason,
        /// Why there is none.
        error: Error,
    },
}

/// Why a new server certificate was due.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// There was no root.
    NoCa,
    /// There was no certificate.
    None,
    /// The names are not those wanted.
    Names {
        /// Wanted but not in the certificate.
        added: Vec<Name>,
        /// In the certificate but not wanted.
        removed: Vec<Name>,
    },
    /// Less than a third of its life is left.
    Ageing {
        /// The end of its validity.
        not_after: SystemTime,
    },
    /// Another authority signed it.
    OtherCa,
    /// It cannot be used: expired, damaged, or its key is lost, wrong, or was open to other users.
    Unusable(Error),
}

impl Ensured {
    /// Whether [`Ensured::identity`] is another one than before, so that a running server has to load it.
    pub fn changed(&self) -> bool {
        matches!(self.action, Action::Issued(_) | Action::CaMade(_))
    }
}

impl fmt::Display for Ensured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = list(&self.identity.names);
        let until = readable(self.identity.not_after);
        match &self.action {
            Action::Kept => write!(f, "kept the certificate for {names}, valid until {until}"),
            Action::Issued(reason) => {
                write!(f, "issued a certificate for {names}, valid until {until}, because {reason}")
            }
            Action::CaMade(reason) => write!(
                f,
                "made the certificate authority {:?} with SHA-256 fingerprint {} and issued a certificate for {names}, valid until {until}, because {reason}",
                self.ca.common_name(),
                self.ca.fingerprint_sha256()
            ),
            Action::KeptDespite { reason, error } => write!(
                f,
                "kept the certificate for {names}, valid until {until}, though a new one is due because {reason}; issuing it failed: {error}"
            ),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCa => f.write_str("there was no certificate authority"),
            Self::None => f.write_str("there was none"),
            Self::Names { added, removed } if removed.is_empty() => {
                write!(f, "it lacked {}", list(added))
            }
            Self::Names { added, removed } if added.is_empty() => {
                write!(f, "{} went away", list(removed))
            }
            Self::Names { added, removed } => {
                write!(f, "{} came and {} went away", list(added), list(removed))
            }
            Self::Ageing { not_after } => {
                write!(f, "less than a third of its life was left (until {})", readable(*not_after))
            }
            Self::OtherCa => f.write_str("another certificate authority had signed it"),
            Self::Unusable(error) => write!(f, "the one in place could not be used ({error})"),
        }
    }
}

/// What has to be done, found out without writing.
enum Finding {
    Fits(Ca, Identity),
    Due(Reason, Option<(Ca, Identity)>),
}

impl Store {
    /// Sees to it that there is a root and a server certificate by it for exactly `names`, with at least a third of
    /// its life left, and returns it. Cheap when nothing has to change, so it can be called often. Addresses that
    /// change often (IPv6 privacy addresses) are better left out of `names`: each change makes a new certificate.
    ///
    /// # Errors
    /// The root is damaged, expired or not yet valid; or a certificate is needed and cannot be issued.
    pub fn ensure_server(&self, names: &[Name], now: SystemTime) -> Result<Ensured> {
        if names.is_empty() {
            return Err(Error::NoNamesGiven);
        }
        if let Finding::Fits(ca, identity) = self.find(names, now)? {
            return Ok(Ensured { identity, ca, action: Action::Kept });
        }
        let locked = files::lock(self.dir());
        // Another process may have issued one before this one got the lock, so look again.
        let (reason, in_use) = match self.find(names, now)? {
            Finding::Fits(ca, identity) => {
                return Ok(Ensured { identity, ca, action: Action::Kept });
            }
            Finding::Due(reason, in_use) => (reason, in_use),
        };
        let issued = locked.and_then(|lock| {
            let made = self.make(names, &reason, now);
            drop(lock);
            made
        });
        match (issued, in_use) {
            (Ok((ca, identity)), _) => {
                let action =
                    if matches!(reason, Reason::NoCa) { Action::CaMade(reason) } else { Action::Issued(reason) };
                Ok(Ensured { identity, ca, action })
            }
            (Err(error), Some((ca, identity))) => {
                Ok(Ensured { identity, ca, action: Action::KeptDespite { reason, error } })
            }
            (Err(error), None) => Err(error),
        }
    }

    /// What [`Store::ensure_server`] would do now, and the certificate in use if it is valid; nothing is written.
    ///
    /// # Errors
    /// Those of [`Store::ensure_server`] that are known without writing.
    pub fn foresee(&self, names: &[Name], now: SystemTime) -> Result<(Action, Option<Identity>)> {
        let (reason, in_use) = match self.find(names, now)? {
            Finding::Fits(_, identity) => return Ok((Action::Kept, Some(identity))),
            Finding::Due(reason, in_use) => (reason, in_use.map(|(_, identity)| identity)),
        };
        match (self.check_issuing(now), in_use) {
            (Ok(()), in_use) if matches!(reason, Reason::NoCa) => Ok((Action::CaMade(reason), in_use)),
            (Ok(()), in_use) => Ok((Action::Issued(reason), in_use)),
            (Err(error), in_use @ Some(_)) => Ok((Action::KeptDespite { reason, error }, in_use)),
            (Err(error), None) => Err(error),
        }
    }

    fn find(&self, names: &[Name], now: SystemTime) -> Result<Finding> {
        let ca = match self.ca() {
            Ok(ca) => ca,
            Err(Error::NoCa { .. }) => return Ok(Finding::Due(Reason::NoCa, None)),
            Err(error) => return Err(error),
        };
        ca.check(now)?;
        let identity = match self.identity(now) {
            Ok(identity) => identity,
            Err(Error::NoServer { .. }) => return Ok(Finding::Due(Reason::None, None)),
            Err(error) => return Ok(Finding::Due(Reason::Unusable(error), None)),
        };
        Ok(match due(&identity, &ca, names, now) {
            None => Finding::Fits(ca, identity),
            Some(reason) => Finding::Due(reason, Some((ca, identity))),
        })
    }

    fn make(&self, names: &[Name], reason: &Reason, now: SystemTime) -> Result<(Ca, Identity)> {
        self.check_not_foreign()?;
        if matches!(reason, Reason::NoCa) {
            let host = mint::host(names).map(str::to_owned);
            self.init_locked(&InitOptions { host, ..InitOptions::default() }, now)?;
        }
        let identity = self.issue_locked(names, MAX_SERVER_DAYS, now)?;
        Ok((self.ca()?, identity))
    }
}

fn due(identity: &Identity, ca: &Ca, names: &[Name], now: SystemTime) -> Option<Reason> {
    let (present, wanted) = (canonical(&identity.names), canonical(names));
    if present != wanted {
        let missing_in = |from: &[Name], of: &[Name]| of.iter().filter(|name| !from.contains(name)).cloned().collect();
        return Some(Reason::Names { added: missing_in(&present, &wanted), removed: missing_in(&wanted, &present) });
    }
    if !identity.chain.first().is_some_and(|leaf| signed_by(leaf, ca.der())) {
        return Some(Reason::OtherCa);
    }
    // One that ends together with its root cannot be prolonged by issuing it again.
    if now > identity.renew_after() && identity.not_after < ca.not_after() {
        return Some(Reason::Ageing { not_after: identity.not_after });
    }
    None
}
