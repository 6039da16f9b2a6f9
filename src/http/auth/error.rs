//! What can go wrong, in sentences for the owner ([`Error`]) and for the person at the page ([`Refused`]).
//!
//! In: nothing. Out: messages. Never: a secret in one of them.

use std::io;
use std::path::{Path, PathBuf};

use crate::api::Role;

/// Why credentials could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file with secrets can be read or written by others.
    #[error("{} is open to other users of this machine (mode {mode:04o}); run `chmod 600 {}`", path.display(), path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others could replace files in the folder.
    #[error("other users of this machine may write in {} (mode {mode:04o}); run `chmod go-w {}`", path.display(), path.display())]
    FolderOpenToOthers {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file is not what was written.
    #[error("{} is damaged ({what}); restore it from a backup, or remove it: {without}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Line and complaint, without the file's content.
        what: String,
        /// What follows from removing it.
        without: &'static str,
    },
    /// Another process held the files for too long.
    #[error("another process has been changing the files in {} for {seconds} s; try again, or end it", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The system gave no random bytes.
    #[error("the system's source of random numbers failed: {0}")]
    Random(getrandom::Error),
    /// Hashing failed.
    #[error("the password could not be hashed: {0}")]
    Hash(argon2::password_hash::Error),
    /// The password breaks the rule.
    #[error("{0}")]
    WeakPassword(&'static str),
    /// Another role has the same password.
    #[error("another role has this password already; take another one, because the password tells the role")]
    SamePassword,
    /// A role other than the owner would have the only password.
    #[error("the owner has no password yet; set that first with `duplex passwd`")]
    OwnerFirst,
    /// Other roles' passwords would remain without the owner's.
    #[error(
        "the owner's password can only be removed last; remove those of the other roles first with `duplex passwd --role ROLE --remove`"
    )]
    OwnerLast,
    /// There is nothing to remove.
    #[error("there is no password for the role {}", role_name(*.0))]
    NoPassword(Role),
    /// The token's name breaks the rule.
    #[error("the token name {0:?} must be 1 to 64 letters, digits, dots, dashes or underscores")]
    TokenName(String),
    /// The name is taken.
    #[error("there is a token named {0} already; take another name, or revoke it first with `duplex token revoke {0}`")]
    TokenExists(String),
    /// There is no such token.
    #[error("there is no token named {0}; `duplex token list` shows all")]
    NoToken(String),
    /// The token would be good for nothing.
    #[error("a token must be allowed something: watch, talk, produce, consume-peer or metrics")]
    NoScope,
    /// There are too many.
    #[error("there are {0} tokens already, which is the limit; revoke one first with `duplex token revoke NAME`")]
    TooManyTokens(usize),
}

impl Error {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// Why somebody was not let in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No role has this password.
    #[error("The password is wrong.")]
    WrongPassword,
    /// The setup code is another one.
    #[error(
        "The setup code is wrong. It stands on the device's screen or terminal; on an appliance's card also in status/device.txt."
    )]
    WrongCode,
    /// Too many wrong setup codes.
    #[error("There were too many wrong setup codes. Restart the service to get a new one.")]
    TooManyTries,
    /// The owner has a password.
    #[error("The owner's password is set already. Sign in with it.")]
    AlreadySetUp,
    /// The new password breaks the rule.
    #[error("{0}")]
    WeakPassword(&'static str),
    /// Another role has the same password.
    #[error("Another role has this password already. Take another one, because the password tells the role.")]
    SamePassword,
    /// A role other than the owner would have the only password.
    #[error("The owner has no password yet. Set that first.")]
    OwnerFirst,
    /// Other roles' passwords would remain without the owner's.
    #[error("The owner's password can only be removed last. Remove those of the other roles first.")]
    OwnerLast,
    /// There is nothing to remove.
    #[error("There is no password for the role {}.", role_name(*.0))]
    NoPassword(Role),
    /// It was right, but the service could not go through with it; the reason is for the log, not for the caller.
    #[error("The service could not store it; its log says why.")]
    Failed(#[source] Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::WeakPassword(rule) => Self::WeakPassword(rule),
            Error::SamePassword => Self::SamePassword,
            Error::OwnerFirst => Self::OwnerFirst,
            Error::OwnerLast => Self::OwnerLast,
            Error::NoPassword(role) => Self::NoPassword(role),
            error => Self::Failed(error),
        }
    }
}

/// The name of a role as the commands take it.
pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Talker => "talker",
        Role::Viewer => "viewer",
    }
}
