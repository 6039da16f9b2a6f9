//! The flags of `duplex run` and `duplex check-config`: one for every key, and `--config`.
//!
//! In: the command line as clap has parsed it. Out: the texts that were given, unchecked.
//! Never: judges a value; that is done for all sources together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::keys::{Kind, SECTIONS, keys};

/// What was given on the command line. Goes into a clap struct with `#[command(flatten)]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// The configuration file; without it `DUPLEX_CONFIG`, without that none.
    pub config: Option<PathBuf>,
    /// Key to value or values; a key that was not given is not in it.
    given: BTreeMap<&'static str, Vec<String>>,
}

impl Flags {
    /// Adds `--key value`, as if it stood on the command line. A key that does not exist changes nothing.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        if let Some(key) = keys().find(|candidate| candidate.name == key) {
            self.given.entry(key.name).or_default().push(value.into());
        }
        self
    }

    pub(super) fn given(&self, key: &str) -> Option<&[String]> {
        self.given.get(key).map(Vec::as_slice)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(path) = matches.get_one::<PathBuf>("config") {
            self.config = Some(path.clone());
        }
        for key in keys() {
            if let Some(values) = matches.get_many::<String>(key.name) {
                self.given.insert(key.name, values.cloned().collect());
            }
        }
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(mut command: Command) -> Command {
        command = command.arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Configuration file (TOML, see `duplex sample-config`) [variable: DUPLEX_CONFIG]"),
        );
        for section in SECTIONS {
            for key in section.keys {
                let default = if key.default.is_empty() { "empty" } else { key.default };
                let arg = Arg::new(key.name)
                    .long(key.name)
                    .value_name(key.value_name)
                    .help_heading(section.heading)
                    .help(format!("{} [{}; default: {default}]", key.help, key.rule()))
                    .action(ArgAction::Set);
                command = command.arg(match key.kind {
                    Kind::Switch(_) => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
                    Kind::Whole { .. } | Kind::Number { .. } => arg.allow_negative_numbers(true),
                    Kind::Text { .. } => arg,
                    Kind::List { .. } => arg.action(ArgAction::Append),
                });
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
