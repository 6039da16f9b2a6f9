//! Recordings by the API: start and stop, list, play, download, delete.
//!
//! In: requests of the owner, with byte ranges for players. Out: JSON, files. Never: an answer about recordings to anybody
//! else (faces and voices of all callers are in them); a file that is not one of the list.

use super::AppState;
use super::access::Caller;
use super::api::Body;
use super::denied::Denied;
use super::media_desk::MediaDesk;
use crate::api::{ApiError, Recording, RecordingAction, RecordingEntry, RecordingRequest};
use crate::media::Refusal;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tracing::error;

/// The routes under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/recording", post(record).get(recording))
        .route("/recordings", get(list_recordings))
        .route("/recordings/{name}", get(recording_file).delete(delete_recording))
}

/// Whether the call is recorded now.
#[utoipa::path(get, path = "/api/v1/recording", tag = "call", responses((status = 200, body = Recording)))]
pub(super) async fn recording(State(state): State<AppState>, caller: Caller) -> Result<Json<Recording>, Denied> {
    caller.must_watch()?;
    Ok(Json(state.media.recording()))
}

/// Begins or completes a recording.
#[utoipa::path(
    post,
    path = "/api/v1/recording",
    tag = "owner",
    request_body = RecordingRequest,
    responses((status = 200, body = Recording), (status = 503, body = ApiError))
)]
pub(super) async fn record(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<RecordingRequest>,
) -> Result<Json<Recording>, Denied> {
    caller.must_own()?;
    let result = state.media.record(request.action == RecordingAction::Start).await;
    result.map_err(|sentence| {
        Denied::new(StatusCode::SERVICE_UNAVAILABLE, "notRecorded", format!("Nothing is recorded: {sentence}."))
    })?;
    Ok(Json(state.media.recording()))
}

/// The recordings that are kept.
#[utoipa::path(get, path = "/api/v1/recordings", tag = "owner", responses((status = 200, body = Vec<RecordingEntry>), (status = 409, body = ApiError)))]
pub(super) async fn list_recordings(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Vec<RecordingEntry>>, Denied> {
    caller.must_own()?;
    blocking(state.media, |media| media.recordings()).await?.map(Json).map_err(refused)
}

/// Deletes a recording.
#[utoipa::path(
    delete,
    path = "/api/v1/recordings/{name}",
    tag = "owner",
    params(("name" = String, Path, description = "Name from the list")),
    responses((status = 204), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn delete_recording(
    State(state): State<AppState>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Denied> {
    caller.must_own()?;
    blocking(state.media, move |media| media.remove(&name)).await?.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A recording, whole or the range that is asked for.
#[utoipa::path(
    get,
    path = "/api/v1/recordings/{name}",
    tag = "owner",
    params(("name" = String, Path, description = "Name from the list")),
    responses(
        (status = 200, content_type = "video/x-matroska", body = Vec<u8>),
        (status = 206, content_type = "video/x-matroska", body = Vec<u8>),
        (status = 404, body = ApiError),
        (status = 409, body = ApiError),
        (status = 416, body = ApiError)
    )
)]
pub(super) async fn recording_file(
    State(state): State<AppState>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Denied> {
    caller.must_own()?;
    let wanted = name.clone();
    let opened = blocking(state.media, move |media| {
        let file = media.open(&wanted)?;
        let length = file.metadata().map_err(|error| Refusal::Failed(format!("it cannot be read: {error}")))?.len();
        Ok((file, length))
    });
    let (file, length) = opened.await?.map_err(refused)?;
    let kind = if name.ends_with(".webm") { "video/webm" } else { "video/x-matroska" };
    let (status, range) = match asked_for(&headers, length) {
        Asked::Whole => (StatusCode::OK, 0..length),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nonsense => {
            let message = format!("The file has {length} bytes; that range is not within them.");
            let mut response = Denied::new(StatusCode::RANGE_NOT_SATISFIABLE, "noSuchRange", message).into_response();
            response.headers_mut().insert(header::CONTENT_RANGE, value(&format!("bytes */{length}"))?);
            return Ok(response);
        }
    };
    let mut response = Response::new(stream(file, range.clone()).await?);
    *response.status_mut() = status;
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    // Names of the list have nothing in them that would have to be quoted.
    answer.insert(header::CONTENT_DISPOSITION, value(&format!("inline; filename=\"{name}\""))?);
    if status == StatusCode::PARTIAL_CONTENT {
        let place = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        answer.insert(header::CONTENT_RANGE, value(&place)?);
    }
    Ok(response)
}

/// What part of a file a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Nonsense,
}

/// One range of bytes; several, or another unit, are answered with the whole file, as HTTP allows.
fn asked_for(headers: &HeaderMap, length: u64) -> Asked {
    let Some(spec) = headers.get(header::RANGE).and_then(|range| range.to_str().ok()?.trim().strip_prefix("bytes="))
    else {
        return Asked::Whole;
    };
    let Some((from, to)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return Asked::Whole };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (from.trim().is_empty(), to.trim().is_empty()) {
        (true, true) => return Asked::Whole,
        // The last so many bytes.
        (true, false) => number(to).map(|count| length.saturating_sub(count)..length),
        (false, true) => number(from).map(|from| from..length),
        (false, false) => number(from)
            .zip(number(to))
            .filter(|(from, to)| from <= to)
            .map(|(from, to)| from..to.saturating_add(1).min(length)),
    };
    match range {
        None => Asked::Whole,
        Some(range) if range.start >= range.end => Asked::Nonsense,
        Some(range) => Asked::Part(range),
    }
}

async fn stream(file: File, range: Range<u64>) -> Result<axum::body::Body, Denied> {
    let mut file = tokio::fs::File::from_std(file);
    if let Err(error) = file.seek(std::io::SeekFrom::Start(range.start)).await {
        error!(%error, "a recording cannot be read");
        return Err(Denied::failed());
    }
    let left = file.take(range.end - range.start);
    let chunks = futures::stream::unfold(left, |mut left| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        match (&mut left).take(CHUNK as u64).read_to_end(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(chunk), left)),
            Err(error) => Some((Err(error), left)),
        }
    });
    Ok(axum::body::Body::from_stream(chunks))
}

/// Asks the media where waiting for a disk holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    media: Arc<dyn MediaDesk>,
    work: impl FnOnce(&dyn MediaDesk) -> T + Send + 'static,
) -> Result<T, Denied> {
    tokio::task::spawn_blocking(move || work(&*media)).await.map_err(|error| {
        error!(%error, "the media could not be asked");
        Denied::failed()
    })
}

/// The answer to what the media refused.
pub(super) fn refused(refusal: Refusal) -> Denied {
    let sentence = format!("Not done: {refusal}.");
    match refusal {
        Refusal::Unknown => Denied::new(StatusCode::NOT_FOUND, "notFound", sentence),
        Refusal::Busy => Denied::new(StatusCode::CONFLICT, "beingRecorded", sentence),
        Refusal::TooSoon => {
            Denied { retry_after: Some(1), ..Denied::new(StatusCode::TOO_MANY_REQUESTS, "tooSoon", sentence) }
        }
        Refusal::Failed(_) => Denied::new(StatusCode::CONFLICT, "notDone", sentence),
    }
}

fn value(text: &str) -> Result<HeaderValue, Denied> {
    HeaderValue::from_str(text).map_err(|error| {
        error!(%error, "a header could not be written");
        Denied::failed()
    })
}

/// Bytes read at a time.
const CHUNK: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let ask = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().unwrap());
            asked_for(&headers, 1000)
        };
        assert_eq!(asked_for(&HeaderMap::new(), 1000), Asked::Whole);
        for (range, wanted) in [
            ("bytes=0-", 0..1000),
            ("bytes=0-0", 0..1),
            ("bytes=999-", 999..1000),
            ("bytes=10-19", 10..20),
            ("bytes=10-99999", 10..1000),
            ("bytes=-10", 990..1000),
            ("bytes=-5000", 0..1000),
        ] {
            assert_eq!(ask(range), Asked::Part(wanted), "{range}");
        }
        for range in ["bytes=1000-", "bytes=5000-6000", "bytes=-0", "bytes=1000-1000"] {
            assert_eq!(ask(range), Asked::Nonsense, "{range}");
        }
        for range in ["bytes=", "bytes=-", "bytes=5-1", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6"] {
            assert_eq!(ask(range), Asked::Whole, "{range}");
        }
    }
}
