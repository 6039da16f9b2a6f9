//! What is sent and where the talker is heard, changed while calls go on.
//!
//! In: requests of the owner. Out: what is in force. Never: a change that [`crate::steering`] has not judged; an answer
//! to anybody else.

use super::AppState;
use super::access::Caller;
use super::api::{Body, closing};
use super::denied::Denied;
use crate::api::ApiError;
use crate::config::{AudioSource, SoundSink, VideoSource};
use crate::desk::DeskClosed;
use crate::steering::{Changes, Error, Present, Steering};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use std::path::{Component, Path};
use tracing::error;

/// The routes under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new().route("/steering", get(present).patch(change))
}

/// Sources, speaker and volumes in force, with what the configuration says.
#[utoipa::path(get, path = "/api/v1/steering", tag = "owner", responses((status = 200, body = Present)))]
pub(super) async fn present(State(state): State<AppState>, caller: Caller) -> Result<Json<Present>, Denied> {
    caller.must_own()?;
    Ok(Json(steering(&state)?.present()))
}

/// Changes sources, speaker and volumes: all that the body names, or nothing. Calls go on, and the changes last across
/// restarts.
#[utoipa::path(
    patch,
    path = "/api/v1/steering",
    tag = "owner",
    request_body = Changes,
    responses((status = 200, body = Present), (status = 400, body = ApiError), (status = 422, body = ApiError))
)]
pub(super) async fn change(
    State(state): State<AppState>,
    caller: Caller,
    body: Result<Body<Changes>, Denied>,
) -> Result<Json<Present>, Denied> {
    // Who may not learns nothing about his body.
    caller.must_own()?;
    let Body(changes) = body?;
    files_within(&changes, &steering(&state)?.present(), state.config.clips.as_deref())?;
    steering(&state)?.change(changes).await.map(Json).map_err(|error| match error {
        Error::NotKept { .. } => {
            error!(%error, "a change will not outlast this run");
            Denied::new(StatusCode::INTERNAL_SERVER_ERROR, "notKept", format!("{error}."))
        }
        error => Denied::new(StatusCode::UNPROCESSABLE_ENTITY, "badChange", format!("{error}.")),
    })
}

/// Through the network only those files are shown, played or written that the device's own configuration names, and the
/// clips: who has the owner's password in the browser has not the run of the device's files.
fn files_within(changes: &Changes, present: &Present, clips: Option<&Path>) -> Result<(), Denied> {
    let clip = |path: &Path| {
        clips.is_some_and(|clips| path.starts_with(clips))
            && !path.components().any(|part| part == Component::ParentDir)
    };
    let known = [&present.video.configured, &present.video.value].map(VideoSource::file);
    let known_sound = [&present.audio.configured, &present.audio.value].map(AudioSource::file);
    let video = changes.video.as_ref().and_then(VideoSource::file);
    let audio = changes.audio.as_ref().and_then(AudioSource::file);
    let sink = match &changes.sound {
        Some(sink @ SoundSink::File(path)) if *sink != present.sound.configured && *sink != present.sound.value => {
            Some(path.as_path())
        }
        _ => None,
    };
    let strange = [
        (video.filter(|path| !known.contains(&Some(path)) && !clip(path)), ", or a clip", "source set video"),
        (audio.filter(|path| !known_sound.contains(&Some(path)) && !clip(path)), ", or a clip", "source set audio"),
        (sink, "", "sound set"),
    ];
    match strange.into_iter().find_map(|(path, also, command)| Some((path?, also, command))) {
        None => Ok(()),
        Some((path, also, command)) => Err(Denied::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "fileNotAllowed",
            format!(
                "The file {} must be one that the configuration names{also}; others are set on the device itself, with `duplex {command}`.",
                path.display()
            ),
        )),
    }
}

fn steering(state: &AppState) -> Result<&Steering, Denied> {
    state.panel.steering.as_ref().ok_or_else(|| closing(DeskClosed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_strange_file_is_refused_with_the_command_that_sets_it() {
        let setting = |value: &str| json!({"value": value, "configured": value, "changed": false});
        let number = json!({"value": 1.0, "configured": 1.0, "changed": false});
        let muted = json!({"value": false, "configured": false, "changed": false});
        let present = json!({
            "video": setting("file:/own.mp4"), "audio": setting("test"), "sound": setting("discard"),
            "deviceVolume": number, "deviceMuted": muted, "talkVolume": number, "talkMuted": muted,
        });
        let present: Present = serde_json::from_value(present).unwrap();
        let said = |key: &str, value: &str| {
            let changes: Changes = serde_json::from_value(json!({ key: value })).unwrap();
            files_within(&changes, &present, Some(Path::new("/clips"))).map_err(|denied| denied.message)
        };
        let refusal = |file: &str, also: &str, command: &str| {
            Err(format!(
                "The file {file} must be one that the configuration names{also}; others are set on the device itself, with `duplex {command}`."
            ))
        };
        assert_eq!(said("video", "image:/x"), refusal("/x", ", or a clip", "source set video"));
        assert_eq!(said("audio", "file:/x"), refusal("/x", ", or a clip", "source set audio"));
        assert_eq!(said("sound", "file:/x.wav"), refusal("/x.wav", "", "sound set"));
        for (key, value) in [("video", "file:/own.mp4"), ("audio", "file:/clips/a.wav"), ("video", "test")] {
            assert_eq!(said(key, value), Ok(()));
        }
    }
}
