//! The local control socket: other commands of the same user steer the running service.
//!
//! In: one JSON line per connection on a Unix socket in the state folder (mode 0600). Out: one JSON line.
//! Never: reachable over the network; takes lines longer than [`LINE`] bytes; obeys who has left and waits for no answer.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};

use crate::cli_owner::Question;
use crate::http::{self, AppState};
use crate::outbound::{Outbound, Sound};
use crate::recording::Recorder;
use crate::steering::{Changes, Present, Steering};

/// Longest request, bytes.
const LINE: u64 = 16 * 1024;
/// Longest answer, bytes: the end of the log, or some hundred thousand recordings.
const ANSWER: u64 = 16 * 1024 * 1024;
/// Longest wait for a request or an answer.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Speak a text into the outgoing sound.
    Say {
        /// 1 to 1000 characters.
        text: String,
    },
    /// Play a file into the outgoing sound.
    Play {
        /// Absolute path.
        path: PathBuf,
    },
    /// End whatever is being said or played.
    EndAnnouncements,
    /// Change sources, speaker or volumes.
    Change {
        /// What shall be other than it is.
        changes: Changes,
    },
    /// Tell what is in force.
    Present,
    /// Start or stop to record the call.
    Record {
        /// Start.
        on: bool,
    },
    /// Tell the owner something else.
    Owner {
        /// What.
        question: Question,
    },
}

/// What the service tells of a recording that was to begin or to end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordTold {
    /// The recording that a stop has ended, or that a start has found.
    pub file: Option<String>,
    /// The one that a start has begun.
    pub begun: Option<String>,
}

/// What the service answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// It is done.
    Done,
    /// What is in force.
    Present(Box<Present>),
    /// The answer to a question of the owner's.
    Owner(serde_json::Value),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Answer {
    error: Option<String>,
    /// What is in force, if that was asked for or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    present: Option<Present>,
    /// The answer to a question of the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<serde_json::Value>,
}

/// What requests are about.
#[derive(Clone)]
pub struct Parts {
    /// Where announcements go.
    pub outbound: Outbound,
    /// What records calls.
    pub recorder: Recorder,
    /// What can be changed.
    pub steering: Steering,
    /// What the owner gets to see.
    pub state: AppState,
}

/// Why a command did not reach the service or was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody serves the socket.
    #[error("no running service: cannot reach {} ({source}); is `duplex run` running as this user with the same state folder?", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The socket could not be made.
    #[error("cannot make the control socket {}: {source}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another service has the state folder.
    #[error("another duplex runs with the state folder {}; `state-dir` names another", folder.display())]
    Running {
        /// The folder.
        folder: PathBuf,
    },
    /// The service said no.
    #[error("{0}")]
    Refused(String),
    /// The exchange broke off.
    #[error("the service did not answer: {0}")]
    Broken(String),
    /// Somebody serves the socket, and says nothing.
    #[error("the service runs but has not answered within {} s: it hangs, or this computer is too busy", PATIENCE.as_secs())]
    Silent,
}

/// Where the socket is.
pub fn socket(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// Whether nobody serves the socket yet; to be asked before anything in the folder is changed.
///
/// # Errors
/// Another service does.
pub fn refuse_a_second(state: &Path) -> Result<(), Error> {
    if std::os::unix::net::UnixStream::connect(socket(state)).is_ok() {
        return Err(Error::Running { folder: state.to_owned() });
    }
    Ok(())
}

/// Serves the socket until dropped.
///
/// # Errors
/// The socket cannot be made, or another service serves it.
pub fn serve(state: &Path, parts: Parts) -> Result<tokio::task::JoinHandle<()>, Error> {
    let path = socket(state);
    let bind = |source| Error::Bind { path: path.clone(), source };
    refuse_a_second(state)?;
    if path.exists() {
        // Left by a service that was killed.
        std::fs::remove_file(&path).map_err(bind)?;
    }
    let listener = UnixListener::bind(&path).map_err(bind)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(bind)?;
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(answer(stream, parts.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }))
}

/// Asks the running service.
///
/// # Errors
/// It does not run, refuses, breaks off, or is silent for [`PATIENCE`].
pub async fn ask(state: &Path, request: &Request) -> Result<Told, Error> {
    let path = socket(state);
    let exchange = async {
        let stream = UnixStream::connect(&path).await.map_err(|source| Error::Unreachable { path, source })?;
        let (read, mut write) = stream.into_split();
        let mut line = serde_json::to_vec(request).map_err(broken)?;
        line.push(b'\n');
        write.write_all(&line).await.map_err(broken)?;
        let mut reply = String::new();
        BufReader::new(read.take(ANSWER)).read_line(&mut reply).await.map_err(broken)?;
        serde_json::from_str::<Answer>(&reply).map_err(broken)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| Error::Silent)??;
    match answer.error {
        None => Ok(match (answer.present, answer.told) {
            (Some(present), _) => Told::Present(Box::new(present)),
            (None, Some(told)) => Told::Owner(told),
            (None, None) => Told::Done,
        }),
        Some(error) => Err(Error::Refused(error)),
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Broken(error.to_string())
}

async fn answer(stream: UnixStream, parts: Parts) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(LINE));
    let received = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    let outcome = match received {
        // Only a look whether somebody serves.
        Ok(Ok(0)) => return,
        Ok(Ok(_)) if has_left(&write).await => return not_done(),
        Ok(Ok(_)) => match serde_json::from_str::<Request>(&line) {
            // The one that may wait long before it does anything.
            Ok(request @ Request::Record { .. }) => tokio::select! {
                outcome = obey(request, &parts) => outcome,
                () = leaves(&write) => return not_done(),
            },
            Ok(request) => obey(request, &parts).await,
            Err(error) => Err(format!("not a request: {error}")),
        },
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no request came".to_owned()),
    };
    let answer = match outcome {
        Ok(Told::Done) => Answer::default(),
        Ok(Told::Present(present)) => Answer { present: Some(*present), ..Answer::default() },
        Ok(Told::Owner(told)) => Answer { told: Some(told), ..Answer::default() },
        Err(error) => Answer { error: Some(error), ..Answer::default() },
    };
    if let Ok(mut reply) = serde_json::to_vec(&answer) {
        reply.push(b'\n');
        if let Err(error) = write.write_all(&reply).await {
            tracing::debug!(%error, "a control client left before its answer");
        }
    }
}

/// Whether who made a request waits for no answer any more: he was told that there is none, or has ended the command. One who has
/// only said all that he has to say still waits.
async fn has_left(write: &OwnedWriteHalf) -> bool {
    // Long enough for what the kernel has to tell.
    tokio::time::sleep(Duration::from_millis(1)).await;
    write.ready(Interest::WRITABLE).await.is_ok_and(|ready| ready.is_write_closed())
}

/// Returns when he has left.
async fn leaves(write: &OwnedWriteHalf) {
    while !has_left(write).await {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn not_done() {
    tracing::info!("a command was not done: who gave it has left");
}

async fn obey(request: Request, parts: &Parts) -> Result<Told, String> {
    let sound = match request {
        Request::Say { text } => {
            crate::media::check_text(&text)?;
            Sound::Speech(text)
        }
        Request::Play { path } => {
            if !path.is_absolute() || !path.is_file() {
                return Err(format!("{} is not a file", path.display()));
            }
            Sound::File(path)
        }
        Request::EndAnnouncements => {
            let ended = parts.outbound.end_announcements().await;
            return Ok(Told::Owner(ended.iter().map(ToString::to_string).collect()));
        }
        Request::Change { changes } => {
            let changed = parts.steering.change(changes).await.map_err(|error| error.to_string())?;
            return Ok(Told::Present(Box::new(changed)));
        }
        Request::Present => return Ok(Told::Present(Box::new(parts.steering.present()))),
        Request::Record { on } => {
            let refused = |reason| format!("nothing is recorded: {reason}");
            let file = parts.recorder.open_file();
            parts.recorder.record(on).await.map_err(refused)?;
            let now = parts.recorder.open_file();
            let told = match on {
                // What ran may just have ended, by a rule.
                true if now != file => RecordTold { file: None, begun: now },
                _ => RecordTold { file, begun: None },
            };
            return serde_json::to_value(told).map(Told::Owner).map_err(|error| error.to_string());
        }
        Request::Owner { question } => return http::local::answer(&parts.state, question).await.map(Told::Owner),
    };
    parts.outbound.announce(sound).await.map(|()| Told::Done).map_err(|error| error.to_string())
}
