//! What a viewer's browser measured from capture to screen.
//!
//! In: the figure for one of the caller's own peers. Out: nothing; owner and metrics have it then, unless the peer watches no
//! longer: a figure that was under way when a session ended is no mistake of anybody's.
//! Never: another's figure; one that cannot be; more of them than a page has reason to send.

use super::AppState;
use super::access::Caller;
use super::api::{Body, own_peer};
use super::denied::Denied;
use crate::api::{ApiError, LatencyRequest};
use crate::metrics::NotTaken;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use std::time::Duration;

/// The route under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new().route("/latency", post(shown))
}

/// Tells what the caller's browser measured from capture to screen, every ten seconds; for everybody who may watch. What comes
/// for a peer to which nothing is sent, or no longer, is dropped.
#[utoipa::path(
    post,
    path = "/api/v1/latency",
    tag = "call",
    request_body = LatencyRequest,
    responses(
        (status = 204),
        (status = 400, body = ApiError),
        (status = 404, body = ApiError),
        (status = 422, body = ApiError),
        (status = 429, body = ApiError)
    )
)]
pub(super) async fn shown(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<LatencyRequest>,
) -> Result<StatusCode, Denied> {
    caller.must_watch()?;
    own_peer(&state, &caller, &request.peer)?;
    let ms = request.capture_to_screen_ms;
    if ms > LONGEST_MS {
        let message = format!("captureToScreenMs is {ms}; it must be 0 to {LONGEST_MS}.");
        return Err(Denied::new(StatusCode::UNPROCESSABLE_ENTITY, "badLatency", message));
    }
    match state.panel.metrics.shown(&request.peer, Duration::from_millis(ms.into())) {
        Ok(()) | Err(NotTaken::NotWatching) => Ok(StatusCode::NO_CONTENT),
        Err(NotTaken::TooSoon(wait)) => {
            let seconds = wait.as_secs() + 1;
            let message = format!("This peer told its figure a moment ago; the next one is taken in {seconds} s.");
            let denied = Denied::new(StatusCode::TOO_MANY_REQUESTS, "tooOften", message);
            Err(Denied { retry_after: Some(seconds), ..denied })
        }
    }
}

/// What takes longer is no live picture; the page's own limit as well.
const LONGEST_MS: u32 = 60_000;
