//! What the commands share: where a running service keeps its state, and how a wrong value is told.
//!
//! In: words of the command line. Out: [`Flags`] for the configuration; [`Wrong`]. Never: a folder made or opened.

use std::path::PathBuf;

use crate::config::Flags;

/// A word of the command line has a value that it cannot have: the exit code is that of wrong usage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub String);

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
