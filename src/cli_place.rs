//! The flags of commands that concern a running service: where it keeps its state.
//!
//! In: words of the command line. Out: [`Flags`] for the configuration. Never: a folder made or opened.

use std::path::PathBuf;

use crate::config::Flags;

/// Where the running service keeps its state.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// State folder of the service, if its configuration does not name it
    #[arg(long, value_name = "FOLDER", global = true)]
    pub state_dir: Option<String>,
    /// Configuration file of the service [variable: DUPLEX_CONFIG]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

impl Place {
    /// The same as flags of `duplex run`.
    pub fn flags(&self) -> Flags {
        let mut flags = Flags::default();
        flags.config.clone_from(&self.config);
        match &self.state_dir {
            Some(folder) => flags.with("state-dir", folder),
            None => flags,
        }
    }
}
