//! The owner's questions that come over the control socket instead of HTTP.
//!
//! In: a [`Question`] of the user whom the service runs as: the socket is his alone. Out: what the API would answer, as
//! JSON, or a sentence. Never: a request from the network.

use super::media_desk::MediaDesk;
use super::recordings::blocking;
use super::{AppState, log, panel, sessions};
use crate::api::Access;
use crate::api::panel::{Log, SessionInfo, Sessions};
use crate::cli_owner::{Ended, Question};
use crate::cli_recordings::Place;
use crate::media::Refusal;
use serde_json::Value;

/// Answers.
///
/// # Errors
/// A sentence for the person at the terminal.
pub async fn answer(state: &AppState, question: Question) -> Result<Value, String> {
    let told = match question {
        Question::Status => {
            let nobody = Access { role: None, open: false, needs_setup: false };
            let health = panel::look(state, nobody).await.map_err(|denied| denied.message)?;
            serde_json::to_value(health)
        }
        Question::Sessions => serde_json::to_value(Sessions { sessions: sessions::connected(state, "") }),
        Question::End { id } => {
            // Nothing is the beginning of every id.
            let is_meant = |session: &SessionInfo| !id.is_empty() && session.id.starts_with(&id);
            let found: Vec<SessionInfo> = sessions::connected(state, "").into_iter().filter(is_meant).collect();
            match <[SessionInfo; 1]>::try_from(found) {
                Ok([session]) => {
                    let ending = sessions::end_one(state, &session.id, None).await.map_err(|denied| denied.message)?;
                    let sessions::Ending { signed_out, others } = ending;
                    serde_json::to_value(Ended { session, signed_out, others })
                }
                Err(none) if none.is_empty() => {
                    return Err(format!("no session has an id that begins with {id:?}; `duplex sessions` lists them"));
                }
                Err(some) => {
                    return Err(format!("{} sessions have ids that begin with {id:?}; give more of it", some.len()));
                }
            }
        }
        Question::Log { after, lines } => serde_json::to_value(Log { lines: log::last(state, after, lines) }),
        Question::Recordings => {
            let listed = blocking(state.media.clone(), |media| media.recordings()).await;
            let listed = listed.map_err(|denied| denied.message)?.map_err(|refusal| refusal.to_string())?;
            serde_json::to_value(listed)
        }
        Question::Recording { name } => {
            let open = state.media.recorded_to().map(|(open, _)| open);
            let recording = open.as_ref() == Some(&name);
            let path = of_recording(state, name, |media, name| media.locate(name)).await?;
            serde_json::to_value(Place { path, recording })
        }
        Question::DeleteRecording { name } => {
            serde_json::to_value(of_recording(state, name, |media, name| media.remove(name)).await?)
        }
    };
    told.map_err(|error| format!("the answer could not be written: {error}"))
}

/// Does something with the recording of that name, as the API would.
async fn of_recording<T: Send + 'static>(
    state: &AppState,
    name: String,
    work: impl FnOnce(&dyn MediaDesk, &str) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, String> {
    let meant = name.clone();
    let done =
        blocking(state.media.clone(), move |media| work(media, &meant)).await.map_err(|denied| denied.message)?;
    done.map_err(|refusal| match refusal {
        Refusal::Unknown => format!("there is no recording {name:?}; `duplex record list` lists them"),
        Refusal::Busy => format!("{name} is being recorded; `duplex record stop` ends it"),
        other => format!("{name}: {other}"),
    })
}
