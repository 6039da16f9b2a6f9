//! Every way this crate can refuse, each as one sentence.
//!
//! What enters: a path, a value, the rule it broke. What leaves: text for a person that says what to do next.
//! What it never does: quote the contents of a file, since any of them may hold a secret.

use crate::NameError;
use std::io;
use std::path::PathBuf;

/// Why an operation on certificates or keys was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb ("read").
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },
    /// Standard input or output failed.
    #[error("cannot use standard input or output: {0}")]
    Stdio(#[source] io::Error),
    /// A file is larger than any certificate or key can be.
    #[error("{} is larger than {limit} bytes, which no certificate or key is: give the path of a PEM file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file has no PEM block at all.
    #[error(
        "{} is not PEM (it has no -----BEGIN line): convert DER with `openssl x509 -inform der` or `openssl pkey -inform der`, PKCS#12 with `openssl pkcs12 -nodes`",
        path.display()
    )]
    NotPem {
        /// The file.
        path: PathBuf,
    },
    /// A PEM block is damaged.
    #[error("{} holds a damaged PEM block ({detail}): copy the file again from where it was made", path.display())]
    BadPem {
        /// The file.
        path: PathBuf,
        /// What the parser met.
        detail: String,
    },
    /// A PEM file without a certificate.
    #[error("{} holds no certificate: it needs a block that begins with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A PEM file without a private key.
    #[error("{} holds no private key: it needs a block that begins with -----BEGIN PRIVATE KEY-----", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A private key locked with a passphrase.
    #[error(
        "the private key in {} is encrypted with a passphrase, which a service cannot type: decrypt it with `openssl pkey -in FILE -out NEW` and `chmod 600 NEW`",
        path.display()
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// A private key of a kind that TLS here cannot use.
    #[error("the private key in {} cannot be used ({detail}): use ECDSA P-256 or P-384, Ed25519, or RSA of at least 2048 bits", path.display())]
    UnsupportedKey {
        /// The file.
        path: PathBuf,
        /// What the parser met.
        detail: String,
    },
    /// A certificate that is no X.509 version 3.
    #[error("the certificate in {} cannot be parsed ({detail}): copy the file again from where it was made", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What the parser met.
        detail: String,
    },
    /// A server certificate without subject alternative names.
    #[error("the certificate in {} names no host (no subject alternative name), so every browser refuses it: have it issued again with the host's name", path.display())]
    NoNames {
        /// The file.
        path: PathBuf,
    },
    /// A certificate past its end.
    #[error("the certificate in {} expired on {not_after} (the clock says {now}): renew it, or set the clock", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// The end of its validity.
        not_after: String,
        /// The time it was checked at.
        now: String,
    },
    /// A certificate before its beginning.
    #[error("the certificate in {} is not valid before {not_before} (the clock says {now}): set the clock", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The beginning of its validity.
        not_before: String,
        /// The time it was checked at.
        now: String,
    },
    /// Key and certificate are not a pair.
    #[error("the private key in {} does not belong to the certificate in {}: give the two files that were issued together", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A secret file that group or others may read or write.
    #[error("{} holds a secret but has mode {mode:04o}, open to other users: run `chmod 600 {}`", path.display(), path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A store that others may write to.
    #[error("{} has mode {mode:04o}, so other users could replace keys in it: run `chmod 700 {}`", path.display(), path.display())]
    DirectoryWritable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No authority yet.
    #[error("{} has no certificate authority: a service makes one in its own state folder when it is first started, `duplex pki init` makes one here", dir.display())]
    NoCa {
        /// The store's directory.
        dir: PathBuf,
    },
    /// There already is an authority.
    #[error(
        "{} already has a certificate authority, which is never overwritten: to start anew move {} away, and have every client trust the new one",
        dir.display(), dir.display()
    )]
    CaExists {
        /// The store's directory.
        dir: PathBuf,
    },
    /// `ca.pem` is not an authority's certificate.
    #[error("the certificate in {} is not a certificate authority (CA:TRUE is missing): put the root certificate there", path.display())]
    NotCa {
        /// The file.
        path: PathBuf,
    },
    /// The root is past its end.
    #[error(
        "the certificate authority in {} expired on {not_after} (the clock says {now}): move its directory away so that a new one is made, and have every client trust that, or set the clock",
        path.display()
    )]
    CaExpired {
        /// The root's file.
        path: PathBuf,
        /// The end of its validity.
        not_after: String,
        /// The time it was checked at.
        now: String,
    },
    /// The authority's key is not on this machine.
    #[error("{} is missing, so nothing can be signed here: put it back, or issue on the machine that has it and copy server.pem and server-key.pem over", path.display())]
    CaKeyMissing {
        /// Where the key should be.
        path: PathBuf,
    },
    /// There is no server certificate to renew or export.
    #[error("{} has no server certificate: issue one with `duplex pki issue NAME...`", dir.display())]
    NoServer {
        /// The store's directory.
        dir: PathBuf,
    },
    /// A file this crate did not make stands where it would write.
    #[error("{} was put there by hand and is never overwritten: move it away, or name it in the configuration as certificate or key", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The output of an export exists.
    #[error("{} exists and is never overwritten: remove it first, or name another file", path.display())]
    OutputExists {
        /// The file.
        path: PathBuf,
    },
    /// No names were given.
    #[error("a server certificate needs at least one name: give a host name or an IP address")]
    NoNamesGiven,
    /// A name that is neither a host name nor an address.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A lifetime out of range.
    #[error("{days} days is out of range: {what} lasts 1 to {max} days")]
    Days {
        /// The value given.
        days: u32,
        /// The largest value allowed.
        max: u32,
        /// What would have had this lifetime.
        what: &'static str,
    },
    /// A common name that cannot stand in a certificate.
    #[error("the common name {value:?} is refused: it needs 1 to 64 characters, none of them a control character")]
    CommonName {
        /// The value given.
        value: String,
    },
    /// A time that certificates cannot express.
    #[error("the clock's time cannot stand in a certificate: set the clock to a date between 1970 and 9000")]
    Clock,
    /// Another process holds the store.
    #[error("another process has been writing in {} for {seconds} s: wait for it, or end it", dir.display())]
    Busy {
        /// The store's directory.
        dir: PathBuf,
        /// How long this process waited, in seconds.
        seconds: u64,
    },
    /// The cryptographic library refused.
    #[error("cannot {action}: {detail}")]
    Crypto {
        /// What was tried.
        action: &'static str,
        /// What the library answered.
        detail: String,
    },
}

impl Error {
    /// For `map_err`: an I/O error with the verb and the path it belongs to.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err`: a library error with what was tried.
    pub(crate) fn crypto<E: std::fmt::Display>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Crypto { action, detail: error.to_string() }
    }

    /// Its text without the time at which it was met: what is wrong for long has one text for long.
    pub fn lasting(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Expired { now, .. } | Self::NotYetValid { now, .. } | Self::CaExpired { now, .. } => {
                text.replacen(&format!(" (the clock says {now})"), "", 1)
            }
            _ => text,
        }
    }

    /// Whether this says that a file or directory is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
