//! The directory that holds the authority and the server's certificate.
//!
//! What enters: names, lifetimes, the time. What leaves: the files below, always a matching set.
//! What it never does: replace or change a private key, or leave a certificate beside another one's key.
//!
//! ```text
//! DIR/                       0700
//!   ca.pem  ca-key.pem       the root, and its key (0600); made once, never replaced
//!   server -> server-…-…/    the pair in use: server.pem (certificate, then root), server-key.pem (0600)
//!   server.pem               -> server/server.pem
//!   server-key.pem           -> server/server-key.pem
//! ```
//!
//! A new pair is written into a directory of its own, flushed, and taken into use by renaming one symbolic
//! link, so there is no moment, and after a crash no state, in which the two files differ. The pair before
//! it is kept until the next one is issued; older ones are removed.

use crate::certificate::to_pem;
use crate::files::{self, PUBLIC, SECRET};
use crate::identity::private_key;
use crate::mint::{self, MAX_SERVER_DAYS};
use crate::{Ca, Error, Identity, Name, Result, ca};
use rcgen::{KeyPair, PublicKeyData};
use ring::rand::{SecureRandom, SystemRandom};
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const CA_KEY: &str = "ca-key.pem";
const SERVER: &str = "server.pem";
const SERVER_KEY: &str = "server-key.pem";
/// The symbolic link to the pair in use, and the beginning of each pair's directory name.
const CURRENT: &str = "server";

/// A directory with an authority and a server certificate; see the module for its layout.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// How a new root is made.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The name under which clients list the root, 1 to 64 characters; none: `Duplex CA`, the host and a short key id.
    pub common_name: Option<String>,
    /// The machine's host name, for the default common name.
    pub host: Option<String>,
    /// Its life in days, 1 to [`MAX_CA_DAYS`](crate::MAX_CA_DAYS); default ten years.
    pub days: u32,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self { common_name: None, host: None, days: 3652 }
    }
}

impl Store {
    /// Opens the store in `dir`; the directory (0700) is made by the first call that writes.
    ///
    /// # Errors
    /// `dir` is no directory, cannot be read, or other users may write to it.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        files::check_directory(&dir)?;
        Ok(Self { dir })
    }

    /// The store's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the root's certificate is, for clients' `cafile` options.
    pub fn ca_path(&self) -> PathBuf {
        self.dir.join(ca::CERTIFICATE)
    }

    /// Where the server's certificate chain is.
    pub fn certificate_path(&self) -> PathBuf {
        self.dir.join(SERVER)
    }

    /// Where the server's private key is.
    pub fn key_path(&self) -> PathBuf {
        self.dir.join(SERVER_KEY)
    }

    /// The root certificate.
    ///
    /// # Errors
    /// As [`Ca::load`].
    pub fn ca(&self) -> Result<Ca> {
        Ca::load(&self.dir)
    }

    /// The server certificate in use, with its key.
    ///
    /// # Errors
    /// [`Error::NoServer`] if there is none; otherwise as [`Identity::load`].
    pub fn identity(&self, now: SystemTime) -> Result<Identity> {
        Identity::load(&self.certificate_path(), &self.key_path(), now).map_err(|error| match error {
            Error::Io { ref path, .. } if error.is_not_found() && *path == self.certificate_path() => self.no_server(),
            error => error,
        })
    }

    /// Makes the root. An initialisation that was cut short after its key was written is completed with that key.
    ///
    /// # Errors
    /// [`Error::CaExists`] if there is one; lifetime or name out of range; files cannot be written.
    pub fn init(&self, options: &InitOptions, now: SystemTime) -> Result<Ca> {
        let _lock = files::lock(&self.dir)?;
        self.init_locked(options, now)
    }

    /// Issues a server certificate for `names` with a new key, valid for `days` (1 to 397), and takes it into use.
    ///
    /// # Errors
    /// No authority, an expired one, or its key missing or wrong; no name; lifetime out of range; files cannot be written.
    pub fn issue(&self, names: &[Name], days: u32, now: SystemTime) -> Result<Identity> {
        let _lock = files::lock(&self.dir)?;
        self.issue_locked(names, days, now)
    }

    /// Issues a certificate for the names of the one in use, with a new key and the longest life.
    ///
    /// # Errors
    /// [`Error::NoServer`] if there is none; otherwise as [`Store::issue`].
    pub fn renew(&self, now: SystemTime) -> Result<Identity> {
        let _lock = files::lock(&self.dir)?;
        // Its names are wanted even if it has expired or its key is lost, so it is not loaded as an identity.
        let bytes = files::read(&self.certificate_path())
            .map_err(|error| if error.is_not_found() { self.no_server() } else { error })?;
        let leaf = crate::identity::certificates(&bytes, &self.certificate_path())?.swap_remove(0);
        let facts = crate::certificate::Facts::of(&leaf, &self.certificate_path())?;
        self.issue_locked(&facts.names, MAX_SERVER_DAYS, now)
    }

    /// As [`Store::init`], the lock being held.
    pub(crate) fn init_locked(&self, options: &InitOptions, now: SystemTime) -> Result<Ca> {
        let key_path = self.dir.join(CA_KEY);
        if exists(&self.ca_path())? {
            return Err(Error::CaExists { dir: self.dir.clone() });
        }
        let (key, is_new) = if exists(&key_path)? { (self.read_ca_key()?, false) } else { (mint::key()?, true) };
        let common_name =
            options.common_name.clone().unwrap_or_else(|| mint::common_name(options.host.as_deref(), &key));
        let certificate = mint::root(&common_name, options.days, &key, now)?;
        // The key first: without its certificate it is completed by the next attempt, the other way round it would be lost.
        if is_new {
            files::write_new(&key_path, key.serialize_pem().as_bytes(), SECRET)
                .map_err(Error::io("write", &key_path))?;
        }
        let pem = to_pem("CERTIFICATE", &certificate);
        files::write_new(&self.ca_path(), pem.as_bytes(), PUBLIC).map_err(Error::io("write", self.ca_path()))?;
        self.ca()
    }

    /// As [`Store::issue`], the lock being held.
    pub(crate) fn issue_locked(&self, names: &[Name], days: u32, now: SystemTime) -> Result<Identity> {
        self.check_not_foreign()?;
        let (ca, ca_key) = self.signer(now)?;
        let pair = mint::server(names, days, &ca, ca_key, now)?;
        self.remove_old_pairs()?;
        let chain = to_pem("CERTIFICATE", &pair.certificate) + &ca.ca_pem();
        self.take_into_use(&chain, &pair.key_pem, now)?;
        self.identity(now)
    }

    /// Whether a certificate could be issued, and a root made where there is none, as far as that is known without writing.
    pub(crate) fn check_issuing(&self, now: SystemTime) -> Result<()> {
        self.check_not_foreign()?;
        match self.signer(now) {
            // A root is made of the key that is left of one.
            Err(Error::NoCa { .. }) if exists(&self.dir.join(CA_KEY))? => self.read_ca_key().map(drop),
            Err(Error::NoCa { .. }) => Ok(()),
            signer => signer.map(drop),
        }
    }

    /// The root and its key, fit to sign now.
    fn signer(&self, now: SystemTime) -> Result<(Ca, KeyPair)> {
        let ca = self.ca()?;
        ca.check(now)?;
        let key = self.read_ca_key()?;
        if key.subject_public_key_info() != ca.public_key() {
            return Err(Error::KeyMismatch { certificate: ca.path().to_owned(), key: self.dir.join(CA_KEY) });
        }
        Ok((ca, key))
    }

    /// Refuses to go on if the owner put files of his own where the links to the pair in use belong.
    pub(crate) fn check_not_foreign(&self) -> Result<()> {
        for name in [SERVER, SERVER_KEY, CURRENT] {
            let path = self.dir.join(name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if !metadata.is_symlink() => return Err(Error::Foreign { path }),
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("read", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_ca_key(&self) -> Result<KeyPair> {
        let path = self.dir.join(CA_KEY);
        let pem = files::read_secret(&path)
            .map_err(|error| if error.is_not_found() { Error::CaKeyMissing { path: path.clone() } } else { error })?;
        let der = private_key(&pem, &path)?;
        KeyPair::try_from(&der).map_err(|error| Error::UnsupportedKey { path, detail: error.to_string() })
    }

    fn take_into_use(&self, chain_pem: &str, key_pem: &str, now: SystemTime) -> Result<()> {
        let pair = pair_name(now)?;
        let directory = self.dir.join(&pair);
        DirBuilder::new().mode(0o700).create(&directory).map_err(Error::io("create directory", &directory))?;
        for (name, text, mode) in [(SERVER_KEY, key_pem, SECRET), (SERVER, chain_pem, PUBLIC)] {
            let path = directory.join(name);
            files::write_new(&path, text.as_bytes(), mode).map_err(Error::io("write", path))?;
        }
        for name in [SERVER, SERVER_KEY] {
            let path = self.dir.join(name);
            match symlink(Path::new(CURRENT).join(name), &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("write", path)(error));
                }
                _ => {}
            }
        }
        files::sync_directory(&self.dir).map_err(Error::io("write", &self.dir))?;
        let current = self.dir.join(CURRENT);
        files::swap_link(Path::new(&pair), &current).map_err(Error::io("write", current))
    }

    /// Removes all pairs but the one in use; their keys prove nothing any more that a new issue could not.
    fn remove_old_pairs(&self) -> Result<()> {
        let in_use = match fs::read_link(self.dir.join(CURRENT)) {
            Ok(target) => Some(target.into_os_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", self.dir.join(CURRENT))(error)),
        };
        for entry in fs::read_dir(&self.dir).map_err(Error::io("list", &self.dir))? {
            let entry = entry.map_err(Error::io("list", &self.dir))?;
            let is_directory = entry.file_type().map_err(Error::io("read", entry.path()))?.is_dir();
            if is_directory && is_pair_name(&entry.file_name()) && Some(entry.file_name()) != in_use {
                fs::remove_dir_all(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        Ok(())
    }

    fn no_server(&self) -> Error {
        Error::NoServer { dir: self.dir.clone() }
    }
}

/// Whether a path is there, as a file or as a link to anything; other failures are not taken for absence.
fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// `server-`, the time in seconds, `-`, 32 random bits in hexadecimal: unique even if the clock stands still.
fn pair_name(now: SystemTime) -> Result<String> {
    let mut random = [0u8; 4];
    SystemRandom::new().fill(&mut random).map_err(Error::crypto("get random numbers"))?;
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| Error::Clock)?.as_secs();
    Ok(format!("{CURRENT}-{seconds}-{:08x}", u32::from_be_bytes(random)))
}

fn is_pair_name(name: &OsString) -> bool {
    let parts = name.to_str().and_then(|name| name.strip_prefix(CURRENT)?.strip_prefix('-')?.split_once('-'));
    parts.is_some_and(|(seconds, random)| {
        !seconds.is_empty()
            && seconds.bytes().all(|byte| byte.is_ascii_digit())
            && random.len() == 8
            && random.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}
