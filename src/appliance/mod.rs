//! The service as an appliance: what the owner writes onto the card comes in, what the owner has to know goes out.
//!
//! ```text
//! card: duplex.toml --> settings (checked) --> provision --> /run/duplex: service.toml and .notes, Wi-Fi, SSH keys, zone
//!                                                       \--> card: status/provision.txt, secrets blanked
//! service's announcement --> report --> console, card: status/device.txt
//! ```
//!
//! In: files on the card and on the data partition. Out: files for other programs, and text for people.
//! Never: stops the boot. Whatever is wrong with the owner's file is told, and what held before goes on to hold.

pub mod files;
pub mod notify;
pub mod origins;
pub mod provision;
mod publish;
pub mod report;
pub mod settings;

use std::path::{Path, PathBuf};

/// `duplex appliance`: steps of the appliance's own start; on a computer they do nothing useful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// Take in duplex.toml from the card, and write what follows from it
    Provision,
    /// Write address, setup code and fingerprint onto the console and the card
    Report,
    /// If that was without a network: wait until there is one, at most ten minutes
    AwaitNetwork,
}

/// Where everything is. Fixed on the appliance, below a folder in tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The card's first partition.
    pub card: PathBuf,
    /// What the appliance remembers by itself.
    pub system: PathBuf,
    /// What holds until the next start.
    pub run: PathBuf,
    /// The service's state.
    pub state: PathBuf,
    /// Networks that iwd knows.
    pub iwd: PathBuf,
    /// The clock's zones.
    pub zones: PathBuf,
    /// Settings of the service before the owner's.
    pub defaults: PathBuf,
    /// Where the kernel takes the host name.
    pub host_name: PathBuf,
    /// The device's number.
    pub machine_id: PathBuf,
    /// Names of the consoles that the kernel writes to.
    pub consoles: PathBuf,
    /// Folder of the consoles' devices.
    pub devices: PathBuf,
}

impl Places {
    /// The service's configuration, made of the appliance's own settings and the owner's.
    pub fn service(&self) -> PathBuf {
        self.run.join("service.toml")
    }

    /// What the owner has to know of it, a sentence a line, no secrets.
    pub fn notes(&self) -> PathBuf {
        self.run.join("service.notes")
    }

    /// The places below `root`.
    pub fn under(root: &Path) -> Self {
        let at = |path: &str| root.join(path);
        Self {
            card: at("run/duplex/card"),
            system: at("data/system"),
            run: at("run/duplex"),
            state: at("var/lib/duplex"),
            iwd: at("var/lib/iwd"),
            zones: at("usr/share/zoneinfo"),
            defaults: at("usr/lib/duplex/defaults.toml"),
            host_name: at("proc/sys/kernel/hostname"),
            machine_id: at("etc/machine-id"),
            consoles: at("sys/class/tty/console/active"),
            devices: at("dev"),
        }
    }
}

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// The verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs one of the steps.
///
/// # Errors
/// What the appliance itself needs cannot be written; never for what the owner wrote.
pub fn run(command: Command) -> Result<(), Error> {
    let places = Places::under(Path::new("/"));
    match command {
        Command::Provision => provision::run(&places),
        Command::Report => report::run(&places),
        Command::AwaitNetwork => {
            report::await_network(&places);
            Ok(())
        }
    }
}
