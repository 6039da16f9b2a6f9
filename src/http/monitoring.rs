//! For programs that watch over the service: `/healthz` and `/metrics`.
//!
//! In: requests, the first of anybody, the second of the owner or a token for it. Out: 200 or 503 with what is wrong;
//! OpenMetrics text. Never: who watches, or anything else private, in the first.

use super::AppState;
use super::access::Caller;
use super::denied::Denied;
use crate::api::panel::HealthReport;
use crate::metrics::Scrape;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tracing::error;

/// The routes, at the root.
pub fn routes() -> Router<AppState> {
    Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics))
}

/// Whether the service does what it is there for: while somebody watches, a picture was really produced in the last 15 s;
/// and at all times the desk answers and the device is registered with its signalling. Needs no sign-in.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "watch",
    responses((status = 200, body = HealthReport), (status = 503, body = HealthReport)),
    security(())
)]
pub(super) async fn healthz(State(state): State<AppState>) -> Response {
    let verdict = (state.panel.health)().await;
    let status = if verdict.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let problems = verdict.problems.iter().map(|sentence| (*sentence).to_owned()).collect();
    let report = HealthReport { healthy: verdict.is_good(), problems };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

/// All counters, in the OpenMetrics text format, for the owner or a token that may `metrics`.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "watch",
    responses((status = 200, content_type = "application/openmetrics-text", body = String))
)]
pub(super) async fn metrics(State(state): State<AppState>, caller: Caller) -> Result<Response, Denied> {
    caller.must_measure()?;
    let counts = state.hub.counts();
    let scrape = Scrape { peers: counts.peers, dropped: counts.refused };
    let text = state.panel.metrics.text(scrape).map_err(|error| {
        error!(%error, "the metrics could not be written");
        Denied::failed()
    })?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], text).into_response())
}
