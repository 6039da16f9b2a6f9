//! The owner's questions that come over the control socket instead of HTTP.
//!
//! In: a [`Question`] of the user whom the service runs as: the socket is his alone. Out: what the API would answer, as
//! JSON, or a sentence. Never: a request from the network.

use super::{AppState, log, panel, sessions};
use crate::api::Access;
use crate::api::panel::{Log, Sessions};
use crate::cli_owner::Question;
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
            let found: Vec<String> = state
                .hub
                .remotes()
                .into_iter()
                .map(|remote| remote.id)
                .filter(|known| known.starts_with(&id))
                .collect();
            match found.as_slice() {
                [one] => sessions::end_one(state, one, None).await.map_err(|denied| denied.message)?,
                [] => {
                    return Err(format!("no session has an id that begins with {id:?}; `duplex sessions` lists them"));
                }
                _ => return Err(format!("{} sessions have ids that begin with {id:?}; give more of it", found.len())),
            }
            Ok(Value::Null)
        }
        Question::Log { after, lines } => serde_json::to_value(Log { lines: log::last(state, after, lines) }),
    };
    told.map_err(|error| format!("the answer could not be written: {error}"))
}
