//! The device's picture as a JPEG, and what is announced over its sound.
//!
//! In: requests of viewers (snapshot) and talkers (announcements). Out: a JPEG; names of clips. Never: a file by its path;
//! speech for somebody who may only watch.

use super::AppState;
use super::access::Caller;
use super::api::Body;
use super::denied::Denied;
use super::recordings::{blocking, refused};
use crate::api::{ApiError, ClipRequest, SayRequest};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use std::time::Duration;

/// The routes under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/snapshot.jpg", get(snapshot))
        .route("/still.jpg", get(still))
        .route("/say", post(say))
        .route("/clips", get(clips))
        .route("/clips/play", post(play_clip))
        .route("/announcements", delete(end_announcements))
}

/// The picture of this moment, without a call.
#[utoipa::path(
    get,
    path = "/api/v1/snapshot.jpg",
    tag = "call",
    responses((status = 200, content_type = "image/jpeg", body = Vec<u8>), (status = 503, body = ApiError))
)]
pub(super) async fn snapshot(State(state): State<AppState>, caller: Caller) -> Result<Response, Denied> {
    caller.must_watch()?;
    match state.media.snapshot(false).await {
        Ok(jpeg) => Ok(picture(&jpeg)),
        Err(sentence) => {
            let message = format!("There is no picture: {sentence}.");
            Err(Denied { retry_after: Some(2), ..Denied::new(StatusCode::SERVICE_UNAVAILABLE, "noPicture", message) })
        }
    }
}

/// The picture of this moment, small: for the page while its call begins.
///
/// Who is not signed in gets nothing instead of a refusal, as when there is no picture: the page asks for it before it knows.
#[utoipa::path(
    get,
    path = "/api/v1/still.jpg",
    tag = "call",
    responses(
        (status = 200, content_type = "image/jpeg", body = Vec<u8>),
        (status = 204),
        (status = 401, body = ApiError),
        (status = 403, body = ApiError)
    )
)]
pub(super) async fn still(State(state): State<AppState>, caller: Caller) -> Response {
    if caller.must_watch().is_err() {
        return StatusCode::NO_CONTENT.into_response();
    }
    match tokio::time::timeout(STILL, state.media.snapshot(true)).await {
        Ok(Ok(jpeg)) => picture(&jpeg),
        // The call that begins says what fails.
        Ok(Err(_)) | Err(_) => StatusCode::NO_CONTENT.into_response(),
    }
}

/// Longest wait for a still: by then the call itself is there, and a browser calls no page loaded before its pictures are.
const STILL: Duration = Duration::from_secs(2);

fn picture(jpeg: &[u8]) -> Response {
    ([(header::CONTENT_TYPE, "image/jpeg")], jpeg.to_vec()).into_response()
}

/// Speaks a text to those who watch; for talkers and owners.
#[utoipa::path(
    post,
    path = "/api/v1/say",
    tag = "call",
    request_body = SayRequest,
    responses((status = 204), (status = 409, body = ApiError), (status = 429, body = ApiError))
)]
pub(super) async fn say(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<SayRequest>,
) -> Result<StatusCode, Denied> {
    caller.must_talk()?;
    state.media.say(&request.text).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Names of the clips that can be played.
#[utoipa::path(get, path = "/api/v1/clips", tag = "call", responses((status = 200, body = Vec<String>)))]
pub(super) async fn clips(State(state): State<AppState>, caller: Caller) -> Result<Json<Vec<String>>, Denied> {
    caller.must_talk()?;
    blocking(state.media, |media| media.clips()).await.map(Json)
}

/// Plays a clip to those who watch; for talkers and owners.
#[utoipa::path(
    post,
    path = "/api/v1/clips/play",
    tag = "call",
    request_body = ClipRequest,
    responses((status = 204), (status = 404, body = ApiError), (status = 409, body = ApiError), (status = 429, body = ApiError))
)]
pub(super) async fn play_clip(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<ClipRequest>,
) -> Result<StatusCode, Denied> {
    caller.must_talk()?;
    state.media.play(&request.name).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends whatever is being said or played, whoever began it; for talkers and owners.
#[utoipa::path(delete, path = "/api/v1/announcements", tag = "call", responses((status = 204)))]
pub(super) async fn end_announcements(State(state): State<AppState>, caller: Caller) -> Result<StatusCode, Denied> {
    caller.must_talk()?;
    state.media.end_announcements().await;
    Ok(StatusCode::NO_CONTENT)
}
