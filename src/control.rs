//! The local control socket: other commands of the same user steer the running service.
//!
//! In: one JSON line per connection on a Unix socket in the state folder (mode 0600). Out: one JSON line.
//! Never: reachable over the network; takes lines longer than [`LINE`] bytes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::outbound::{Outbound, Sound};

/// Longest request, bytes.
const LINE: u64 = 16 * 1024;
/// Longest wait for a request or an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    error: Option<String>,
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
pub fn serve(state: &Path, outbound: Outbound) -> Result<tokio::task::JoinHandle<()>, Error> {
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
                    tokio::spawn(answer(stream, outbound.clone()));
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
/// It does not run, refuses, or breaks off.
pub async fn ask(state: &Path, request: &Request) -> Result<(), Error> {
    let path = socket(state);
    let stream = UnixStream::connect(&path).await.map_err(|source| Error::Unreachable { path, source })?;
    let broken = |error: &dyn std::fmt::Display| Error::Broken(error.to_string());
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(request).map_err(|error| broken(&error))?;
    line.push(b'\n');
    write.write_all(&line).await.map_err(|error| broken(&error))?;
    let mut reply = String::new();
    let mut reader = BufReader::new(read.take(LINE));
    match tokio::time::timeout(PATIENCE, reader.read_line(&mut reply)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(broken(&error)),
        Err(_) => return Err(Error::Broken("no answer in time".into())),
    }
    match serde_json::from_str::<Answer>(&reply).map_err(|error| broken(&error))?.error {
        None => Ok(()),
        Some(error) => Err(Error::Refused(error)),
    }
}

async fn answer(stream: UnixStream, outbound: Outbound) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(LINE));
    let received = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    let error = match received {
        Ok(Ok(_)) => match serde_json::from_str::<Request>(&line) {
            Ok(request) => obey(request, &outbound).await.err(),
            Err(error) => Some(format!("not a request: {error}")),
        },
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no request came".to_owned()),
    };
    if let Ok(mut reply) = serde_json::to_vec(&Answer { error }) {
        reply.push(b'\n');
        if let Err(error) = write.write_all(&reply).await {
            tracing::debug!(%error, "a control client left before its answer");
        }
    }
}

async fn obey(request: Request, outbound: &Outbound) -> Result<(), String> {
    let sound = match request {
        Request::Say { text } => {
            let length = text.chars().count();
            if text.trim().is_empty() || length > 1000 || text.contains('\0') {
                return Err(format!("a text to say has 1 to 1000 characters, this one has {length}"));
            }
            Sound::Speech(text)
        }
        Request::Play { path } => {
            if !path.is_absolute() || !path.is_file() {
                return Err(format!("{} is not a file", path.display()));
            }
            Sound::File(path)
        }
    };
    outbound.announce(sound).await.map_err(|error| error.to_string())
}
