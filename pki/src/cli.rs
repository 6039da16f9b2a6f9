//! The `duplex pki` commands.
//!
//! What enters: parsed arguments and the default directory. What leaves: files in the store and sentences
//! on standard output. What it never does: take a password as an argument, or ask a question.

use crate::certificate::readable;
use crate::show::describe;
use crate::{Error, Export, Identity, InitOptions, MAX_SERVER_DAYS, Name, Result, Store, files, name};
use clap::{Args, Subcommand};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Commands on the device's own certificate authority.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the certificate authority, once
    ///
    /// Makes the root certificate (ca.pem) and its private key (ca-key.pem). Every browser and phone that is to reach
    /// the device without a warning has to trust the root; whoever has its key can pose as any site to those. An
    /// existing authority is never replaced.
    Init {
        /// Where the certificates are.
        #[command(flatten)]
        store: StoreDir,
        /// The name under which clients list the root [default: "Duplex CA", the host and a short key id]
        #[arg(long, value_name = "TEXT")]
        common_name: Option<String>,
        /// How long the root is valid, in days
        #[arg(long, value_name = "DAYS", default_value_t = InitOptions::default().days)]
        days: u32,
    },
    /// Issue a server certificate for host names and addresses
    ///
    /// Makes a new key and a certificate signed by the authority, and takes them into use as server.pem and
    /// server-key.pem. Give every name and address that people type, for example
    /// `duplex pki issue olivia.local olivia 192.168.1.20`.
    Issue {
        /// Where the certificates are.
        #[command(flatten)]
        store: StoreDir,
        /// Host names and IP addresses, without https:// and port
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
        /// How long the certificate is valid, in days; browsers refuse more than 398
        #[arg(long, value_name = "DAYS", default_value_t = MAX_SERVER_DAYS)]
        days: u32,
    },
    /// Issue the server certificate again, for the same names with a new key
    ///
    /// The service does so by itself when a third of the certificate's life is left.
    Renew {
        /// Where the certificates are.
        #[command(flatten)]
        store: StoreDir,
    },
    /// Write the root for clients (--pem, --der), or the server's key and certificate as PKCS#12 (--p12)
    ///
    /// PEM and DER hold only the root certificate and may be given to anyone. PKCS#12 holds the server's private key:
    /// the file gets mode 0600, and its password is read from a file or standard input, never from the arguments.
    /// The server's certificate and key in PEM are server.pem and server-key.pem in the store itself.
    Export {
        /// Where the certificates are.
        #[command(flatten)]
        store: StoreDir,
        /// What to export.
        #[command(flatten)]
        format: Format,
        /// The file to write, which must not exist; - for standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Where the PKCS#12 password is: the first line of FILE, - for standard input, /dev/null for an empty one
        #[arg(long, value_name = "FILE", requires = "p12", required_if_eq("p12", "true"))]
        password_file: Option<PathBuf>,
    },
    /// Show the root and the server certificate: names, validity, fingerprints
    Show {
        /// Where the certificates are.
        #[command(flatten)]
        store: StoreDir,
    },
}

/// Where the certificates are.
#[derive(Debug, Args)]
pub struct StoreDir {
    /// The directory of the certificates, instead of the configured one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What to export.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Format {
    /// The server's key, its certificate and the root, as PKCS#12
    #[arg(long)]
    p12: bool,
    /// The root certificate, as PEM (Linux, Firefox, GStreamer)
    #[arg(long)]
    pem: bool,
    /// The root certificate, as DER (Windows, Android)
    #[arg(long)]
    der: bool,
}

/// Runs a command on the store in its `--dir`, or else in `default_dir`.
///
/// # Errors
/// What the store refuses, as one sentence.
pub fn run(command: Command, default_dir: &Path) -> Result<()> {
    let now = SystemTime::now();
    let open = |store: StoreDir| Store::open(store.dir.unwrap_or_else(|| default_dir.to_owned()));
    match command {
        Command::Init { store, common_name, days } => {
            let store = open(store)?;
            let ca = store.init(&InitOptions { common_name, host: host_name(), days }, now)?;
            say(&format!(
                "made the certificate authority {:?}, valid until {}\nSHA-256 {}\nlet clients trust {}, and keep its key secret\n",
                ca.common_name(),
                readable(ca.not_after()),
                ca.fingerprint_sha256(),
                store.ca_path().display()
            ))
        }
        Command::Issue { store, names, days } => {
            let store = open(store)?;
            report(&store, &store.issue(&names, days, now)?)
        }
        Command::Renew { store } => {
            let store = open(store)?;
            report(&store, &store.renew(now)?)
        }
        Command::Export { store, format, out, password_file } => {
            let store = open(store)?;
            let format = match (format, password_file) {
                (Format { der: true, .. }, _) => Export::Der,
                (Format { p12: true, .. }, Some(file)) => Export::P12 { password: read_password(&file)? },
                _ => Export::Pem,
            };
            if out == Path::new("-") {
                return write_out(&store.export_bytes(&format, now)?);
            }
            store.export(&format, &out, now)?;
            say(&format!("wrote {}\n", out.display()))
        }
        Command::Show { store } => say(&describe(&open(store)?, now)?),
    }
}

fn report(store: &Store, identity: &Identity) -> Result<()> {
    say(&format!(
        "issued a certificate for {}, valid until {}\nSHA-256 {}\ncertificate {}, key {}\n",
        name::list(&identity.names),
        readable(identity.not_after),
        identity.fingerprint_sha256(),
        store.certificate_path().display(),
        store.key_path().display()
    ))
}

/// The kernel's host name, if it is one that a certificate could carry; it only makes the root's name friendlier.
fn host_name() -> Option<String> {
    let bytes = files::read(Path::new("/proc/sys/kernel/hostname")).ok()?;
    let name: Name = String::from_utf8(bytes).ok()?.parse().ok()?;
    name.dns().map(str::to_owned)
}

/// The first line; a file must be closed to other users.
fn read_password(path: &Path) -> Result<String> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().take(4096).read_to_end(&mut bytes).map_err(Error::Stdio)?;
        bytes
    } else {
        files::read_secret(path)?
    };
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_vec())
        .map_err(|_| Error::Crypto { action: "read the password", detail: "it is not UTF-8".to_owned() })
}

fn say(text: &str) -> Result<()> {
    write_out(text.as_bytes())
}

fn write_out(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Stdio)
}
