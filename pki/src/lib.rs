//! Duplex's own certificate authority: one root per device and the server certificate it signs.
//!
//! What enters: a directory, the host names and addresses the device answers to, and the time.
//! What leaves: files that TLS servers and clients read ([`Store`]), a checked certificate chain with
//! its key ([`Identity`]), and the root in the forms clients install ([`Ca`]).
//! What it never does: replace or print a private key, open a socket, read the clock outside [`cli`],
//! or hand out a certificate that is not valid at the time it was asked for.
//!
//! The service needs three calls: [`Store::open`], [`Store::ensure_server`] at start and then again and
//! again, and [`Store::ca`] for the page that explains how to trust the root. A certificate the owner
//! brings along instead is read with [`Identity::load`].

mod ca;
mod certificate;
pub mod cli;
mod ensure;
mod error;
mod export;
mod files;
mod identity;
mod mint;
mod name;
mod show;
mod store;

pub use ca::Ca;
pub use certificate::readable;
pub use ensure::{Action, Ensured, Reason};
pub use error::Error;
pub use export::Export;
pub use identity::Identity;
pub use mint::{MAX_CA_DAYS, MAX_SERVER_DAYS};
pub use name::{DnsName, Name, NameError};
pub use store::{InitOptions, Store};

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;
