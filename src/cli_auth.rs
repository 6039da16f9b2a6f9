//! The commands `duplex passwd` and `duplex token`.
//!
//! In: their arguments, a password from the terminal or from one line of standard input. Out: changed files in the state
//! folder, which a running service notices by itself, and sentences for the person at the terminal.
//! Never: takes a password as an argument, shows a token twice.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::api::Role;
use crate::cli_place::Place;
use crate::config;
use crate::control;
use crate::http::auth::{self, Auth, Scope};

/// The two commands; goes into the program's own set with `#[command(flatten)]`.
#[derive(Debug, clap::Subcommand)]
pub enum AuthCommand {
    /// Set, change or remove the password of a role
    ///
    /// Asks for the password twice. When standard input is no terminal, its first line is the password.
    Passwd(PasswdArgs),
    /// Make, list or revoke tokens, with which machines sign in
    Token(TokenArgs),
}

/// Arguments of `duplex passwd`.
#[derive(Debug, clap::Args)]
pub struct PasswdArgs {
    /// Whose password: a viewer sees and hears the device, a talker is also seen and heard, an owner also decides
    #[arg(long, default_value = "owner", value_parser = PossibleValuesParser::new(["owner", "talker", "viewer"]).map(role))]
    role: Role,
    /// Remove the password; nobody can sign in with this role then
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `duplex token`.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Make a token and print it; it cannot be shown again
    New {
        /// Name by which to find it again: letters, digits, dots, dashes and underscores
        name: String,
        /// What it may do; several with commas between them
        #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPE")]
        may: Vec<Scope>,
        /// How long it holds, such as 12h, 30d, 4w or 1y; without this, until it is revoked
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires: Option<Duration>,
        #[command(flatten)]
        place: Place,
    },
    /// List all tokens
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Revoke a token
    Revoke {
        /// Its name
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Why a command failed; nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state folder is unknown.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The credentials could not be read or changed.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// No password came in.
    #[error("the password could not be read: {0}")]
    Input(#[source] io::Error),
    /// The second password was another one.
    #[error("the two passwords are not the same; nothing was changed")]
    Different,
    /// The terminal is gone.
    #[error("the result could not be written: {0}")]
    Output(#[source] io::Error),
}

impl Error {
    /// Whether the command line or the configuration is to blame, not what was done with it.
    pub fn is_usage(&self) -> bool {
        use auth::Error::{NoScope, TokenName, WeakPassword};
        matches!(self, Self::Config(_) | Self::Auth(WeakPassword(_) | TokenName(_) | NoScope))
    }
}

/// Runs one of the commands at the process's own terminal. `env` looks up an environment variable.
///
/// # Errors
/// [`Error`], whose text is one sentence for the person at the terminal.
pub fn run(command: &AuthCommand, env: impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    let mut terminal = Terminal { ask: &mut ask, out: &mut io::stdout(), notes: &mut io::stderr() };
    terminal.run(command, &env)
}

/// What stands between a command and a person, so that tests can take its place.
struct Terminal<'a> {
    /// Asks for the new password of a role.
    ask: &'a mut dyn FnMut(Role) -> Result<String, Error>,
    /// What was asked for.
    out: &'a mut dyn Write,
    /// What is said about it; apart from `out`, so that a script can take a token from there.
    notes: &'a mut dyn Write,
}

impl Terminal<'_> {
    fn run(&mut self, command: &AuthCommand, env: &dyn Fn(&str) -> Option<String>) -> Result<(), Error> {
        match command {
            AuthCommand::Passwd(args) => {
                let state = config::state_dir(&args.place.flags(), env)?;
                self.passwd(args, &state, &Auth::open(&state)?)
            }
            AuthCommand::Token(TokenArgs { command }) => match command {
                TokenCommand::New { name, may, expires, place } => {
                    let state = config::state_dir(&place.flags(), env)?;
                    self.token_new(name, may, *expires, &state, &Auth::open(&state)?)
                }
                TokenCommand::List { place } => self.token_list(&open(place, env)?),
                TokenCommand::Revoke { name, place } => {
                    open(place, env)?.token_revoke(name)?;
                    self.note(&format!("The token {name} is revoked."))
                }
            },
        }
    }

    fn passwd(&mut self, args: &PasswdArgs, state: &Path, auth: &Auth) -> Result<(), Error> {
        let role = role_name(args.role);
        if !args.remove {
            let password = (self.ask)(args.role)?;
            auth.set_password(args.role, &password)?;
            return self.note(&format!(
                "The {role}'s password is set. Whoever was signed in as {role} must sign in again. {}",
                kept_in(state)
            ));
        }
        auth.remove_password(args.role)?;
        self.note(&match args.role {
            Role::Owner => "The owner's password is removed. At its next start the service prints a setup code, \
                            or lets everybody in if it listens on loopback only."
                .to_owned(),
            Role::Talker | Role::Viewer => {
                format!("The {role}'s password is removed. Nobody can sign in as {role} any more.")
            }
        })
    }

    fn token_new(
        &mut self,
        name: &str,
        may: &[Scope],
        expires: Option<Duration>,
        state: &Path,
        auth: &Auth,
    ) -> Result<(), Error> {
        let token = auth.token_new(name, may, expires)?;
        writeln!(self.out, "{token}").map_err(Error::Output)?;
        self.note(&format!(
            "This is the token {name}. Keep it now, it cannot be shown again; `duplex token revoke {name}` ends it. {}",
            kept_in(state)
        ))
    }

    fn token_list(&mut self, auth: &Auth) -> Result<(), Error> {
        let tokens = auth.token_list();
        if tokens.is_empty() {
            return self.note("There are no tokens. Make one with `duplex token new NAME --may watch`.");
        }
        let now = SystemTime::now();
        let mut rows = vec![["NAME", "MAY", "MADE", "HOLDS UNTIL"].map(str::to_owned)];
        for token in tokens {
            let scopes: Vec<String> = token.scopes.iter().map(Scope::to_string).collect();
            let until = match token.expires {
                None => "no end".to_owned(),
                Some(end) if end <= now => format!("{} (expired)", readable(end)),
                Some(end) => readable(end),
            };
            rows.push([token.name, scopes.join(","), readable(token.created), until]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let (first, second, third) = (width(0), width(1), width(2));
        for [name, may, made, until] in &rows {
            writeln!(self.out, "{name:first$}  {may:second$}  {made:third$}  {until}").map_err(Error::Output)?;
        }
        Ok(())
    }

    fn note(&mut self, text: &str) -> Result<(), Error> {
        writeln!(self.notes, "{text}").map_err(Error::Output)
    }
}

/// Where something is kept: in another folder than the service's it would do nothing.
fn kept_in(state: &Path) -> String {
    let used = match control::refuse_a_second(state) {
        Ok(()) => "no service runs with it now",
        Err(_) => "the running service uses it at once",
    };
    format!("It is kept in {}: {used}.", state.display())
}

fn open(place: &Place, env: &dyn Fn(&str) -> Option<String>) -> Result<Auth, Error> {
    Ok(Auth::open(&config::state_dir(&place.flags(), env)?)?)
}

/// Twice from the terminal without echo, or the first line of standard input.
fn ask(role: Role) -> Result<String, Error> {
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        // Far more than a password may have, so that the rule and not this limit refuses it.
        io::stdin().lock().take(4096).read_line(&mut line).map_err(Error::Input)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let prompt = format!("New password of the {} (at least 10 characters): ", role_name(role));
    let first = rpassword::prompt_password(prompt).map_err(Error::Input)?;
    let second = rpassword::prompt_password("The same once more: ").map_err(Error::Input)?;
    if first == second { Ok(first) } else { Err(Error::Different) }
}

fn role(name: String) -> Role {
    match name.as_str() {
        "talker" => Role::Talker,
        "viewer" => Role::Viewer,
        _ => Role::Owner,
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Talker => "talker",
        Role::Viewer => "viewer",
    }
}

/// Reads `12h`, `30d`, `4w` or `1y`, up to ten years.
fn duration(text: &str) -> Result<Duration, String> {
    let rule = || "must be a number and h, d, w or y, such as 30d, from 1h to 10y".to_owned();
    let (unit_at, unit) = text.char_indices().last().ok_or_else(rule)?;
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 7 * 24,
        'y' => 365 * 24,
        _ => return Err(rule()),
    };
    let number = text[..unit_at].parse::<u64>().map_err(|_| rule())?;
    match number.checked_mul(hours) {
        Some(hours @ 1..=87_600) => Ok(Duration::from_secs(hours * 3600)),
        _ => Err(rule()),
    }
}

fn readable(time: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    OffsetDateTime::from(time).format(&format).unwrap_or_else(|_| "?".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: AuthCommand,
    }

    /// Runs a command line against a state folder: what it printed, what it said.
    fn duplex(state: &Path, args: &[&str], password: &str) -> Result<(String, String), String> {
        let place = format!("--state-dir={}", state.display());
        let all = [&["duplex"], args, &[place.as_str()]].concat();
        let command = Cli::try_parse_from(all).map_err(|error| error.to_string())?.command;
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut ask = |_| Ok(password.to_owned());
        let mut terminal = Terminal { ask: &mut ask, out: &mut out, notes: &mut notes };
        terminal.run(&command, &|_| None).map_err(|error| error.to_string())?;
        Ok((String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap()))
    }

    #[test]
    fn passwords_from_first_to_last() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (out, notes) = duplex(&state, &["passwd"], "the owner's password").unwrap();
        assert_eq!((out.as_str(), notes.starts_with("The owner's password is set.")), ("", true), "{notes}");
        assert!(notes.contains(&format!("{}: no service runs with it now", state.display())), "{notes}");
        duplex(&state, &["passwd", "--role", "viewer"], "the viewer's password").unwrap();
        let auth = Auth::open(&state).unwrap();
        assert_eq!(auth.sign_in("the owner's password").unwrap().0, Role::Owner);
        assert_eq!(auth.sign_in("the viewer's password").unwrap().0, Role::Viewer);

        let text = duplex(&state, &["passwd"], "short").unwrap_err();
        assert_eq!(text, "The password must have at least 10 characters.");
        let text = duplex(&state, &["passwd", "--remove"], "").unwrap_err();
        assert!(text.contains("can only be removed last"), "{text}");
        let text = duplex(&state, &["passwd", "--role", "talker", "--remove"], "").unwrap_err();
        assert_eq!(text, "there is no password for the role talker");
        duplex(&state, &["passwd", "--role", "viewer", "--remove"], "").unwrap();
        let (_, notes) = duplex(&state, &["passwd", "--remove"], "").unwrap();
        assert!(notes.contains("setup code"), "{notes}");
        assert!(!auth.has_owner());
    }

    #[test]
    fn a_password_is_never_an_argument() {
        let dir = tempfile::tempdir().unwrap();
        assert!(duplex(dir.path(), &["passwd", "the owner's password"], "").is_err());
        assert!(duplex(dir.path(), &["passwd", "--password=the owner's password"], "").is_err());
        assert!(duplex(dir.path(), &["passwd", "--role", "king"], "").unwrap_err().contains("owner, talker, viewer"));
    }

    #[test]
    fn tokens_from_first_to_last() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (_, notes) = duplex(&state, &["token", "list"], "").unwrap();
        assert!(notes.contains("There are no tokens"), "{notes}");

        let (token, notes) =
            duplex(&state, &["token", "new", "robot", "--may", "watch,consume-peer", "--expires", "30d"], "").unwrap();
        let found = Auth::open(&state).unwrap().token(token.trim_end(), SystemTime::now()).unwrap();
        assert_eq!((found.name.as_str(), found.scopes), ("robot", vec![Scope::Watch, Scope::ConsumePeer]));
        assert!(!notes.contains(token.trim_end()), "{notes}");
        duplex(&state, &["token", "new", "cam", "--may", "produce", "--may", "talk"], "").unwrap();

        let (list, _) = duplex(&state, &["token", "list"], "").unwrap();
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(lines.len(), 3, "{list}");
        assert!(lines[0].starts_with("NAME   MAY                 MADE"), "{list}");
        assert!(lines[1].starts_with("cam    talk,produce        20") && lines[1].ends_with("UTC  no end"), "{list}");
        assert!(lines[2].starts_with("robot  watch,consume-peer  20") && lines[2].ends_with("UTC"), "{list}");
        assert!(!list.contains(token.trim_end()));

        let text = duplex(&state, &["token", "new", "robot", "--may", "talk"], "").unwrap_err();
        assert!(text.contains("there is a token named robot already"), "{text}");
        duplex(&state, &["token", "revoke", "robot"], "").unwrap();
        assert!(duplex(&state, &["token", "revoke", "robot"], "").unwrap_err().contains("no token named robot"));
        assert!(Auth::open(&state).unwrap().token(token.trim_end(), SystemTime::now()).is_none());
        assert!(duplex(&state, &["token", "new", "x"], "").unwrap_err().contains("--may"));
        assert!(duplex(&state, &["token", "new", "x", "--may", "rule"], "").unwrap_err().contains("consume-peer"));
    }

    #[test]
    fn times() {
        let hours = |text: &str| duration(text).map(|time| time.as_secs() / 3600);
        assert_eq!(hours("12h"), Ok(12));
        assert_eq!(hours("30d"), Ok(720));
        assert_eq!(hours("4w"), Ok(672));
        assert_eq!(hours("10y"), Ok(87_600));
        for bad in [
            "",
            "d",
            "30",
            "0d",
            "-1d",
            "1.5d",
            "11y",
            "30 d",
            "30m",
            "99999999999999999999d",
            "9999999999999999999d",
            "3ü",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_a_state_folder_the_sentence_says_what_to_give() {
        let command = Cli::try_parse_from(["duplex", "token", "list"]).unwrap().command;
        let text = run(&command, |_| None).unwrap_err().to_string();
        assert!(text.contains("state-dir") && text.contains("HOME"), "{text}");
    }
}
