//! The table of keys: the one place where key, help, default and rule of every setting stand.
//!
//! In: nothing. Out: [`keys`], [`SECTIONS`]. Never: knows where a value came from.

mod inbound;
mod log;
mod network;
mod outbound;
mod publish;
mod recording;

use std::path::{Path, PathBuf};

use super::{Config, RuleError};

/// One setting.
pub(super) struct Key {
    /// Key in TOML, flag without its dashes; upper case with `_` and the prefix `DUPLEX_` it is the variable.
    pub name: &'static str,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// What it decides, without a full stop.
    pub help: &'static str,
    /// Default in the form a flag takes.
    pub default: &'static str,
    /// Type, rule and destination.
    pub kind: Kind,
}

/// Type, rule and destination of a value.
pub(super) enum Kind {
    /// `true` or `false`; a flag without a value is `true`.
    Switch(fn(&mut Config, bool)),
    /// A whole number in a range.
    Whole { unit: &'static str, min: u64, max: u64, even: bool, set: fn(&mut Config, u64) },
    /// Any number in a range.
    Number { unit: &'static str, min: f64, max: f64, set: fn(&mut Config, f64) },
    /// Text with a rule of its own.
    Text { rule: &'static str, set: fn(&mut Config, &str, &Path) -> Result<(), RuleError> },
    /// Several texts; separated by commas, or repeated, in flags.
    List { rule: &'static str, set: fn(&mut Config, &[String], &Path) -> Result<(), RuleError> },
}

/// A heading of the help and of the sample file, and its keys.
pub(super) struct Section {
    pub heading: &'static str,
    pub keys: &'static [Key],
}

impl Key {
    /// The environment variable of this key.
    pub fn variable(&self) -> String {
        format!("DUPLEX_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    /// The words after "must be".
    pub fn rule(&self) -> String {
        let of = |unit: &str| if unit.is_empty() { String::new() } else { format!(" of {unit}") };
        match &self.kind {
            Kind::Switch(_) => "true or false".to_owned(),
            Kind::Whole { unit, min, max, even, .. } => {
                let article = if *even { "an even" } else { "a" };
                format!("{article} whole number{} from {min} to {max}", of(unit))
            }
            Kind::Number { unit, min, max, .. } => format!("a number{} from {min} to {max}", of(unit)),
            Kind::Text { rule, .. } | Kind::List { rule, .. } => (*rule).to_owned(),
        }
    }
}

/// All keys, in the order of the sample file.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The table.
pub(super) const SECTIONS: &[Section] =
    &[network::NETWORK, outbound::OUTBOUND, publish::PUBLISH, inbound::INBOUND, recording::RECORDING, log::LOG];

/// Refuses a list in which something stands twice.
fn distinct<T: PartialEq>(items: impl IntoIterator<Item = T>, rule: &'static str) -> Result<(), RuleError> {
    let mut seen = Vec::new();
    for item in items {
        if seen.contains(&item) {
            return Err(RuleError(rule));
        }
        seen.push(item);
    }
    Ok(())
}

const fn whole(unit: &'static str, min: u64, max: u64, set: fn(&mut Config, u64)) -> Kind {
    Kind::Whole { unit, min, max, even: false, set }
}

const fn even(unit: &'static str, min: u64, max: u64, set: fn(&mut Config, u64)) -> Kind {
    Kind::Whole { unit, min, max, even: true, set }
}

const fn number(unit: &'static str, min: f64, max: f64, set: fn(&mut Config, f64)) -> Kind {
    Kind::Number { unit, min, max, set }
}

fn optional_path(text: &str, base: &Path) -> Option<PathBuf> {
    (!text.is_empty()).then(|| base.join(text))
}
