//! What is sent and where the talker is heard, changed while calls go on.
//!
//! In: requests of the owner. Out: what is in force. Never: a change that [`crate::steering`] has not judged; an answer
//! to anybody else.

use super::AppState;
use super::access::Caller;
use super::api::{Body, closing};
use super::denied::Denied;
use crate::api::ApiError;
use crate::desk::DeskClosed;
use crate::steering::{Changes, Error, Present, Steering};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
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
    steering(&state)?.change(changes).await.map(Json).map_err(|error| match error {
        Error::NotKept { .. } => {
            error!(%error, "a change will not outlast this run");
            Denied::new(StatusCode::INTERNAL_SERVER_ERROR, "notKept", format!("{error}."))
        }
        error => Denied::new(StatusCode::UNPROCESSABLE_ENTITY, "badChange", format!("{error}.")),
    })
}

fn steering(state: &AppState) -> Result<&Steering, Denied> {
    state.panel.steering.as_ref().ok_or_else(|| closing(DeskClosed))
}
