//! A viewer's own choice of picture quality.
//!
//! In: the choice for one of the caller's own peers. Out: nothing; where the viewer then stands comes as an event.
//! Never: another's quality.

use super::AppState;
use super::access::Caller;
use super::api::{Body, closing, own_peer};
use super::denied::Denied;
use crate::api::{ApiError, QualityRequest};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;

/// The route under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new().route("/quality", post(choose))
}

/// Sets the quality of the picture for one of the caller's own peers; for everybody who may watch.
#[utoipa::path(
    post,
    path = "/api/v1/quality",
    tag = "call",
    request_body = QualityRequest,
    responses((status = 204), (status = 400, body = ApiError), (status = 404, body = ApiError))
)]
pub(super) async fn choose(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<QualityRequest>,
) -> Result<StatusCode, Denied> {
    caller.must_watch()?;
    own_peer(&state, &caller, &request.peer)?;
    state.desk.choose_quality(&request.peer, request.quality).await.map_err(closing)?;
    Ok(StatusCode::NO_CONTENT)
}
