//! The commands about recordings: `record start`, `stop`, `list`, `get`, `delete`.
//!
//! In: words of the command line, the service's answers. Out: requests for the control socket, text for a terminal, a copy of a
//! recording in a new file. Never: a recording removed without the service; a file written over, but NAME.part of a
//! copy that was cut off.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::api::RecordingEntry;
use crate::cli_owner::{Question, in_this_zone, size};
use crate::cli_place::Wrong;
use crate::control::{Error, RecordTold, Request, Told};

/// `duplex record ...`.
#[derive(Debug, Subcommand)]
pub enum RecordCommand {
    /// Begin a file; capture runs for it even if nobody watches
    #[command(
        after_help = "A recording that outgrows a quarter of `record-max-size` goes on in a new file, without a gap;\n\
        `duplex record list` shows them all."
    )]
    Start,
    /// Complete the file, the last one where there are several
    Stop,
    /// List the recordings that are kept, the newest first
    #[command(
        after_help = "A line for each: name, when it began, how long and how large it is, and whether it is being recorded or was cut off.\n\
        How many are kept, and for how long, the keys `record-max-size` and `record-max-age` say.\n\n\
        Example:\n  duplex record list\n  duplex record get 2026-11-22T09-33-07Z_device.webm"
    )]
    List,
    /// Copy a recording into a file of your own
    #[command(
        after_help = "Of a recording that still runs it copies what there is. No file is written over; what was\n\
        cut off is called NAME.part, and the next try begins anew.\n\n\
        Example:\n  duplex record get 2026-11-22T09-33-07Z_device.webm call.webm"
    )]
    Get {
        /// Name as `duplex record list` shows it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// File that shall be written, or the folder for it; without this, the folder one is in
        file: Option<PathBuf>,
    },
    /// Delete recordings; they cannot be had back
    #[command(
        after_help = "One that is still being recorded is not deleted: `duplex record stop` ends it. Of several names each is tried.\n\n\
        Example:\n  duplex record list\n  duplex record delete 2026-11-22T09-33-07Z_device.webm"
    )]
    Delete {
        /// Names as `duplex record list` shows them
        #[arg(required = true, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        names: Vec<String>,
    },
}

/// Where a recording is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Its file, absolute.
    pub path: PathBuf,
    /// It is being written.
    pub recording: bool,
}

/// What a command has come to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was done.
    pub text: String,
    /// Why some of it was not.
    pub refused: Vec<anyhow::Error>,
}

/// Does what a command says; `ask` puts a request to the running service.
///
/// # Errors
/// Nothing was done: the service does not answer or refuses, or a file cannot be written.
pub fn run(command: &RecordCommand, ask: impl Fn(&Request) -> Result<Told, Error>) -> anyhow::Result<Outcome> {
    let text = match command {
        RecordCommand::Start => started(&answer(ask(&Request::Record { on: true })?)?),
        RecordCommand::Stop => stopped(&answer(ask(&Request::Record { on: false })?)?),
        RecordCommand::List => list(&answer::<Vec<RecordingEntry>>(ask(&about(Question::Recordings))?)?),
        RecordCommand::Get { name, file } => {
            let place = answer::<Place>(ask(&about(Question::Recording { name: name.clone() }))?)?;
            get(name, &place, file.as_deref())?
        }
        RecordCommand::Delete { names } => return Ok(delete(names, ask)),
    };
    Ok(Outcome { text, refused: Vec::new() })
}

fn about(question: Question) -> Request {
    Request::Owner { question }
}

/// The answer to a question of the owner's.
///
/// # Errors
/// Service and command are of different versions.
pub fn answer<T: DeserializeOwned>(told: Told) -> anyhow::Result<T> {
    let told = match told {
        Told::Owner(told) => told,
        _ => serde_json::Value::Null,
    };
    serde_json::from_value(told).context("the service's answer is of another version than this command")
}

fn started(told: &RecordTold) -> String {
    match told {
        RecordTold { file: Some(file), .. } => format!("already recording to {file}; `duplex record stop` ends it\n"),
        RecordTold { begun: Some(file), .. } => format!("recording to {file}; `duplex record stop` ends it\n"),
        // It has ended again by now.
        _ => "the call was being recorded; `duplex record list` shows what there is\n".to_owned(),
    }
}

fn stopped(told: &RecordTold) -> String {
    match &told.file {
        Some(file) => format!("recorded {file}\n"),
        None => "there was no recording to end\n".to_owned(),
    }
}

/// A line for each recording.
fn list(recordings: &[RecordingEntry]) -> String {
    if recordings.is_empty() {
        return "there are no recordings; `duplex record start` begins one\n".to_owned();
    }
    let width = recordings.iter().map(|one| one.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for one in recordings {
        let (began, length) =
            (one.began.as_deref().map_or("-".to_owned(), when), one.seconds.map_or("-".to_owned(), length));
        let state = match one {
            one if one.recording => "  is being recorded",
            one if one.cut_off => "  was cut off when the device stopped",
            _ => "",
        };
        // Writing to a String cannot fail.
        writeln!(text, "{:<width$}  {began:<19}  {length:>10}  {:>9}{state}", one.name, size(one.bytes)).ok();
    }
    text
}

/// By this machine's clock, from the API's form.
fn when(began: &str) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let began = OffsetDateTime::parse(began, &Rfc3339).ok();
    began.and_then(|began| in_this_zone(began).format(format).ok()).unwrap_or_else(|| "-".to_owned())
}

fn length(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Copies a recording into a new file, for this user alone: faces and voices are in it. What is cut off is not under its name.
fn get(name: &str, place: &Place, file: Option<&Path>) -> anyhow::Result<String> {
    let to = target(name, file)?;
    let mut part = to.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut from = File::open(&place.path).with_context(|| format!("cannot read {}", place.path.display()))?;
    // There may be one of a copy that was cut off.
    let cleared = fs::remove_file(&part).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    });
    let open = || File::options().write(true).create_new(true).mode(0o600).open(&part);
    let mut copy = cleared.and_then(|()| open()).with_context(|| format!("cannot write {}", to.display()))?;
    let copied = io::copy(&mut from, &mut copy).and_then(|copied| {
        copy.sync_all()?;
        named(&part, &to)?;
        Ok(copied)
    });
    // Unless it was renamed; a whole copy has its own name by now.
    let left = fs::remove_file(&part).is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
    let copied = copied.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return taken(&to);
        }
        let left = if left { format!("; {} is left behind", part.display()) } else { String::new() };
        anyhow::Error::new(error).context(format!("cannot copy {name} to {}{left}", to.display()))
    })?;
    let so_far = if place.recording { "; it is still being recorded, and this is what there was of it" } else { "" };
    Ok(format!("copied {name} to {}, {}{so_far}\n", to.display(), size(copied)))
}

/// The file that shall be written.
fn target(name: &str, file: Option<&Path>) -> anyhow::Result<PathBuf> {
    let to = match file {
        Some(folder) if folder.is_dir() => folder.join(name),
        Some(file) if file.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            return Err(Wrong(format!("there is no folder {}", file.display())).into());
        }
        Some(file) => file.to_owned(),
        None => PathBuf::from(name),
    };
    // Before a large copy; a link that leads nowhere is there as well.
    if fs::symlink_metadata(&to).is_ok() { Err(taken(&to)) } else { Ok(to) }
}

fn taken(to: &Path) -> anyhow::Error {
    Wrong(format!("{} is there already and would be written over; name another file", to.display())).into()
}

/// Gives a whole copy its name, which must be nobody's. Where the file system has no links, in two steps.
fn named(part: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(part, to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => match fs::symlink_metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(part, to),
        },
        linked => linked,
    }
}

/// Deletes one after the other: what is refused does not keep the rest.
fn delete(names: &[String], ask: impl Fn(&Request) -> Result<Told, Error>) -> Outcome {
    let mut outcome = Outcome::default();
    for name in names {
        match ask(&about(Question::DeleteRecording { name: name.clone() })) {
            Ok(_) => outcome.text += &format!("deleted {name}\n"),
            Err(error) => {
                let goes_on = matches!(error, Error::Refused(_));
                outcome.refused.push(error.into());
                if !goes_on {
                    break;
                }
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const NAME: &str = "2026-11-22T09-33-07Z_device.webm";

    fn entry(name: &str) -> RecordingEntry {
        RecordingEntry {
            name: name.to_owned(),
            began: Some("2026-11-22T09:33:07.25Z".to_owned()),
            seconds: Some(83.4),
            bytes: 2_500_000,
            talkers: Vec::new(),
            recording: false,
            cut_off: false,
        }
    }

    fn owner(told: impl serde::Serialize) -> Result<Told, Error> {
        Ok(Told::Owner(serde_json::to_value(told).unwrap()))
    }

    fn refused(sentence: &str) -> Result<Told, Error> {
        Err(Error::Refused(sentence.to_owned()))
    }

    #[test]
    fn recordings_are_a_line_each() {
        let began = when("2026-11-22T09:33:07.25Z");
        assert_eq!(began.len(), 19, "{began}");
        let running = RecordingEntry { recording: true, seconds: Some(3700.0), ..entry("b.webm") };
        let cut = RecordingEntry { cut_off: true, began: None, seconds: None, ..entry("c.webm") };
        let told = [running, cut, entry(NAME)];
        let text = run(&RecordCommand::List, |request| {
            assert_eq!(request, &about(Question::Recordings));
            owner(&told)
        });
        let text = text.unwrap().text;
        let lines: Vec<&str> = text.lines().collect();
        let wide = NAME.len();
        assert_eq!(
            lines,
            [
                format!("{:<wide$}  {began}   1 h 1 min     2.5 MB  is being recorded", "b.webm"),
                format!("{:<wide$}  {:<19}           -     2.5 MB  was cut off when the device stopped", "c.webm", "-"),
                format!("{NAME}  {began}  1 min 23 s     2.5 MB"),
            ]
        );
        let none = run(&RecordCommand::List, |_| owner(Vec::<RecordingEntry>::new())).unwrap();
        assert_eq!(none.text, "there are no recordings; `duplex record start` begins one\n");
        let other = run(&RecordCommand::List, |_| Ok(Told::Done)).unwrap_err();
        assert!(other.to_string().contains("of another version"), "{other}");
    }

    #[test]
    fn lengths_read_well() {
        assert_eq!(
            [0.4, 59.4, 59.6, 3599.0, 3700.0].map(length),
            ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 1 min"]
        );
    }

    #[test]
    fn what_is_refused_does_not_keep_the_rest() {
        let asked = RefCell::new(Vec::new());
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let outcome = run(&RecordCommand::Delete { names: names.clone() }, |request| {
            let Request::Owner { question: Question::DeleteRecording { name } } = request else {
                panic!("{request:?}")
            };
            asked.borrow_mut().push(name.clone());
            if name == "b" { refused("there is no recording b") } else { Ok(Told::Owner(serde_json::Value::Null)) }
        });
        let outcome = outcome.unwrap();
        assert_eq!(asked.into_inner(), names);
        assert_eq!(outcome.text, "deleted a\ndeleted c\n");
        assert_eq!(outcome.refused.iter().map(ToString::to_string).collect::<Vec<_>>(), ["there is no recording b"]);
        // Without a service there is nobody to ask for the next one.
        let outcome = run(&RecordCommand::Delete { names }, |_| Err(Error::Silent)).unwrap();
        assert_eq!((outcome.text.as_str(), outcome.refused.len()), ("", 1));
    }

    #[test]
    fn a_copy_is_a_new_file_for_its_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.webm");
        fs::write(&path, vec![7; 1_500_000]).unwrap();
        let copy = |recording: bool, file: &Path| {
            let command = RecordCommand::Get { name: NAME.to_owned(), file: Some(file.to_owned()) };
            run(&command, |request| {
                assert_eq!(request, &about(Question::Recording { name: NAME.to_owned() }));
                owner(Place { path: path.clone(), recording })
            })
        };
        let mine = folder.path().join("mine.webm");
        let told = copy(false, &mine).unwrap().text;
        assert_eq!(told, format!("copied {NAME} to {}, 1.5 MB\n", mine.display()));
        assert_eq!(fs::read(&mine).unwrap(), fs::read(&path).unwrap());
        assert_eq!(fs::metadata(&mine).unwrap().permissions().mode() & 0o777, 0o600);
        // One that was cut off before is begun anew, and nothing of it is left.
        let (other, part) = (folder.path().join("other.webm"), folder.path().join("other.webm.part"));
        fs::write(&part, "cut off").unwrap();
        copy(false, &other).unwrap();
        assert!(fs::read(&other).unwrap() == fs::read(&path).unwrap() && !part.exists());
        let again = copy(false, &mine).unwrap_err();
        assert!(again.is::<Wrong>() && again.to_string().contains("mine.webm is there already"), "{again}");
        // A folder gets it under its own name.
        let told = copy(true, folder.path()).unwrap().text;
        assert!(told.contains("it is still being recorded") && folder.path().join(NAME).is_file(), "{told}");
        let none = copy(false, Path::new("/nowhere/")).unwrap_err();
        assert!(none.is::<Wrong>() && none.to_string() == "there is no folder /nowhere/", "{none}");
        let nowhere = copy(false, Path::new("/nowhere/a.webm")).unwrap_err();
        assert!(!nowhere.is::<Wrong>() && nowhere.to_string() == "cannot write /nowhere/a.webm", "{nowhere}");
    }

    #[test]
    fn nothing_is_copied_that_the_service_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("copy.webm");
        let command = RecordCommand::Get { name: "../x".to_owned(), file: Some(to.clone()) };
        let error = run(&command, |_| refused("there is no recording")).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Error::Refused(_))) && !to.exists());
    }

    #[test]
    fn start_and_stop_tell_of_the_file() {
        let told = |command, file: Option<&str>, begun: Option<&str>| {
            let told = RecordTold { file: file.map(str::to_owned), begun: begun.map(str::to_owned) };
            run(&command, |_| owner(&told)).unwrap().text
        };
        let begun = told(RecordCommand::Start, None, Some(NAME));
        assert_eq!(begun, format!("recording to {NAME}; `duplex record stop` ends it\n"));
        assert!(told(RecordCommand::Start, Some(NAME), None).starts_with(&format!("already recording to {NAME}")));
        assert_eq!(told(RecordCommand::Stop, Some(NAME), None), format!("recorded {NAME}\n"));
        assert_eq!(told(RecordCommand::Stop, None, None), "there was no recording to end\n");
    }
}
