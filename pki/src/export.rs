//! What leaves the store for other programs: the root for clients, the server's pair as PKCS#12.
//!
//! What enters: a store, a format, the path of a new file. What leaves: that file, or its bytes.
//! What it never does: write the authority's private key anywhere, or replace a file.

use crate::files::{self, PUBLIC, SECRET};
use crate::{Error, Identity, Name, Result, Store};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// What [`Store::export`] makes.
#[derive(Clone)]
pub enum Export {
    /// PKCS#12 with the server's key, its certificate and the root, encrypted with a password (which may be empty).
    P12 {
        /// The password.
        password: String,
    },
    /// The root certificate in PEM.
    Pem,
    /// The root certificate in DER.
    Der,
}

impl Store {
    /// The bytes of an export; those of [`Export::P12`] are secret.
    ///
    /// # Errors
    /// What is to be exported is missing, expired or unreadable.
    pub fn export_bytes(&self, format: &Export, now: SystemTime) -> Result<Vec<u8>> {
        match format {
            Export::Pem => Ok(self.ca()?.ca_pem().into_bytes()),
            Export::Der => Ok(self.ca()?.ca_der().to_vec()),
            Export::P12 { password } => pkcs12(&self.identity(now)?, password),
        }
    }

    /// Writes an export to a new file, with mode 0600 if it holds a key.
    ///
    /// # Errors
    /// [`Error::OutputExists`]; otherwise as [`Store::export_bytes`], or the file cannot be written.
    pub fn export(&self, format: &Export, out: &Path, now: SystemTime) -> Result<()> {
        let bytes = self.export_bytes(format, now)?;
        let mode = if matches!(format, Export::P12 { .. }) { SECRET } else { PUBLIC };
        files::write_new(out, &bytes, mode).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::OutputExists { path: out.to_owned() },
            _ => Error::io("write", out)(source),
        })
    }
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password stays out of logs.
        f.write_str(match self {
            Self::P12 { .. } => "P12",
            Self::Pem => "Pem",
            Self::Der => "Der",
        })
    }
}

fn pkcs12(identity: &Identity, password: &str) -> Result<Vec<u8>> {
    const ACTION: &str = "make the PKCS#12 file";
    let certificates: Vec<Certificate> = identity
        .chain
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect::<std::result::Result<_, _>>()
        .map_err(Error::crypto(ACTION))?;
    let key = PrivateKey::from_der(identity.key.secret_der()).map_err(Error::crypto(ACTION))?;
    // The id that ties key and certificate together can be anything both bags carry.
    let id = ring::digest::digest(&ring::digest::SHA256, identity.chain.first().ok_or(Error::NoNamesGiven)?);
    let mut keystore = KeyStore::new();
    let alias = identity.names.first().map(Name::to_string).unwrap_or_default();
    keystore.add_entry(&alias, KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(id.as_ref(), key, certificates)));
    keystore.writer(password).write().map_err(Error::crypto(ACTION))
}
