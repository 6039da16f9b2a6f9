//! Hints for command lines that nearly are right.
//!
//! In: what clap has refused, and the words that were typed. Out: the same refusal, with the right form where it is known.
//! Never: another exit code, or a command that does what was only guessed.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The refusal, with a hint if there is one that clap does not know. `words` are the program's arguments, its own name first.
pub fn hinted(mut error: clap::Error, words: &[String]) -> clap::Error {
    if error.kind() == ErrorKind::InvalidSubcommand && words.get(1).is_some_and(|word| word == "record") {
        let tip = "what there is to do: duplex record start, stop, list, get or delete";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        return error;
    }
    let wrong = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(wrong)) if error.kind() == ErrorKind::UnknownArgument => wrong.clone(),
        _ => return error,
    };
    let tip = match words.get(1).map(String::as_str) {
        Some("passwd") if ["owner", "talker", "viewer"].contains(&wrong.as_str()) => {
            format!("whose password it is stands after --role: duplex passwd --role {wrong}")
        }
        Some(command @ ("run" | "check-config" | "doctor")) if !wrong.starts_with('-') => {
            format!("a configuration file stands after --config: duplex {command} --config {wrong}")
        }
        _ => return error,
    };
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    fn refusal(words: &[&str]) -> String {
        let passwd = Command::new("passwd").arg(Arg::new("role").long("role"));
        let check = Command::new("check-config").arg(Arg::new("config").long("config"));
        let record = Command::new("record").subcommand(Command::new("start"));
        let program = Command::new("duplex").subcommands([passwd, check, record]);
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        hinted(program.try_get_matches_from(&words).unwrap_err(), &words).to_string()
    }

    #[test]
    fn the_right_form_is_told() {
        assert!(refusal(&["duplex", "passwd", "owner"]).contains("duplex passwd --role owner"));
        assert!(refusal(&["duplex", "record", "pause"]).contains("duplex record start, stop, list, get or delete"));
        assert!(refusal(&["duplex", "check-config", "a.toml"]).contains("duplex check-config --config a.toml"));
    }

    #[test]
    fn what_is_not_known_is_left_as_it_is() {
        for words in [["duplex", "passwd", "king"], ["duplex", "check-config", "--conf"], ["duplex", "x", "owner"]] {
            let said = refusal(&words);
            assert!(!said.contains("stands after"), "{said}");
        }
    }
}
