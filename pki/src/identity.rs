//! A server's identity: the certificate chain it shows and the private key that proves it.
//!
//! What enters: two PEM paths and the time. What leaves: an [`Identity`] that a TLS server can use as it
//! is, or the rule that was broken with the file that broke it. What it never does: accept a pair that
//! browsers would refuse for its dates, its key or a lack of names, or print a key.

use crate::certificate::{Facts, fingerprint, readable};
use crate::{Error, Name, Result, files};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::time::SystemTime;

/// A checked certificate chain with its private key.
#[derive(Debug)]
pub struct Identity {
    /// The server's certificate, then those that lead to its root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the first certificate; debug output leaves it out.
    pub key: PrivateKeyDer<'static>,
    /// The hosts the certificate names.
    pub names: Vec<Name>,
    /// The first moment at which the certificate is valid.
    pub not_before: SystemTime,
    /// The last moment at which the certificate is valid.
    pub not_after: SystemTime,
}

impl Identity {
    /// Reads the chain in `certificate` and the key in `key`, both PEM, and checks them against each other and `now`.
    ///
    /// # Errors
    /// Unreadable, not PEM, no certificate, no key, encrypted or unsupported key, key open to other users,
    /// expired, not yet valid, naming no host, or key and certificate not a pair.
    pub fn load(certificate: &Path, key: &Path, now: SystemTime) -> Result<Self> {
        let mut chain_pem = files::read(certificate)?;
        let mut key_pem = files::read_secret(key)?;
        // A renewal may swap the pair between the two reads. If the certificate is still the same after the key was
        // read, the two belong together.
        for _ in 0..3 {
            let again = files::read(certificate)?;
            if again == chain_pem {
                break;
            }
            chain_pem = again;
            key_pem = files::read_secret(key)?;
        }
        Self::check(certificate, &chain_pem, key, &key_pem, now)
    }

    /// SHA-256 of the server's certificate as clients show it: `AA:BB:…`.
    pub fn fingerprint_sha256(&self) -> String {
        self.chain.first().map(|leaf| fingerprint(leaf)).unwrap_or_default()
    }

    /// The moment from which on it should be replaced: when a third of its life is left.
    pub fn renew_after(&self) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_after.checked_sub(life / 3).unwrap_or(self.not_after)
    }

    fn check(certificate: &Path, chain_pem: &[u8], key: &Path, key_pem: &[u8], now: SystemTime) -> Result<Self> {
        let chain = certificates(chain_pem, certificate)?;
        let key_der = private_key(key_pem, key)?;
        let leaf = chain.first().ok_or_else(|| Error::NoCertificate { path: certificate.to_owned() })?;
        let facts = Facts::of(leaf, certificate)?;
        let unsupported = |detail: String| Error::UnsupportedKey { path: key.to_owned(), detail };
        let signing =
            rustls::crypto::ring::sign::any_supported_type(&key_der).map_err(|error| unsupported(error.to_string()))?;
        let public_key = signing.public_key().ok_or_else(|| unsupported("its public half is unknown".to_owned()))?;
        if public_key.as_ref() != facts.public_key {
            return Err(Error::KeyMismatch { certificate: certificate.to_owned(), key: key.to_owned() });
        }
        if now > facts.not_after {
            let path = certificate.to_owned();
            return Err(Error::Expired { path, not_after: readable(facts.not_after), now: readable(now) });
        }
        if now < facts.not_before {
            let path = certificate.to_owned();
            return Err(Error::NotYetValid { path, not_before: readable(facts.not_before), now: readable(now) });
        }
        if facts.names.is_empty() {
            return Err(Error::NoNames { path: certificate.to_owned() });
        }
        Ok(Self { chain, key: key_der, names: facts.names, not_before: facts.not_before, not_after: facts.not_after })
    }
}

/// All certificates of a PEM file, at least one.
pub(crate) fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    check_pem(pem, path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| bad_pem(path, &error))?;
    if chain.is_empty() {
        return Err(Error::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

/// The first private key of a PEM file.
pub(crate) fn private_key(pem: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>> {
    check_pem(pem, path)?;
    // The second form is OpenSSL's older one, which marks encryption inside the block.
    if contains(pem, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(pem, b"Proc-Type: 4,ENCRYPTED") {
        return Err(Error::EncryptedKey { path: path.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => Error::NoKey { path: path.to_owned() },
        error => bad_pem(path, &error),
    })
}

fn check_pem(pem: &[u8], path: &Path) -> Result<()> {
    if contains(pem, b"-----BEGIN ") { Ok(()) } else { Err(Error::NotPem { path: path.to_owned() }) }
}

/// The parser's own messages may quote a line of the file, so they are not passed on.
fn bad_pem(path: &Path, error: &PemError) -> Error {
    let detail = match error {
        PemError::MissingSectionEnd { .. } => "its END line is missing",
        PemError::IllegalSectionStart { .. } => "its BEGIN line is malformed",
        PemError::Base64Decode(_) => "its base64 is malformed",
        _ => "it cannot be parsed",
    };
    Error::BadPem { path: path.to_owned(), detail: detail.to_owned() }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
