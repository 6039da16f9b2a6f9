//! Who is connected, for the owner, and how to end it.
//!
//! In: requests of the owner. Out: the list; a session that is over, with a sentence for whoever had it.
//! Never: an answer to anybody else; an owner who signs himself out by ending one of his own pages.

use super::AppState;
use super::access::Caller;
use super::api::closing;
use super::denied::Denied;
use super::panel::unix;
use crate::api::panel::{SessionInfo, Sessions};
use crate::api::{Event, Role};
use crate::metrics::Figures;
use crate::signalling::hub::Remote;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use std::time::Duration;
use tracing::{error, info};

/// The routes under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new().route("/sessions", get(list)).route("/sessions/{id}", delete(end))
}

/// Everybody who is connected.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "owner", responses((status = 200, body = Sessions)))]
pub(super) async fn list(State(state): State<AppState>, caller: Caller) -> Result<Json<Sessions>, Denied> {
    caller.must_own()?;
    Ok(Json(Sessions { sessions: connected(&state, &caller.grants.principal) }))
}

/// Ends a session. A person is signed out with it, unless it came with the caller's own sign-in.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    tag = "owner",
    params(("id" = String, Path, description = "Signalling peer id")),
    responses((status = 204), (status = 404, body = crate::api::ApiError))
)]
pub(super) async fn end(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Denied> {
    caller.must_own()?;
    end_one(&state, &id, Some(&caller.grants.principal)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the end of a session has brought with it.
pub(super) struct Ending {
    /// Whoever had it is signed out.
    pub signed_out: bool,
    /// How many other sessions of the same sign-in ended.
    pub others: usize,
}

/// Ends a session for somebody of this principal; `None`: for somebody at the device itself.
pub(super) async fn end_one(state: &AppState, id: &str, principal: Option<&str>) -> Result<Ending, Denied> {
    let remotes = state.hub.remotes();
    let Some(chosen) = remotes.iter().find(|remote| remote.id == id) else {
        let message = "There is no session with this id; it may have ended already.";
        return Err(Denied::new(StatusCode::NOT_FOUND, "unknownSession", message));
    };
    let whose = chosen.grants.principal.as_str();
    let sign_in = whose.strip_prefix("session:").filter(|_| Some(whose) != principal);
    let mut ended = vec![chosen.id.clone()];
    if let Some(sign_in) = sign_in {
        sign_out(state, sign_in.to_owned()).await?;
        let same = remotes.iter().filter(|remote| remote.grants.principal == whose && remote.id != id);
        ended.extend(same.map(|remote| remote.id.clone()));
    }
    info!(session = id, signed_out = sign_in.is_some(), "the owner ends a session");
    for peer in &ended {
        state.desk.tell(peer, Event::Ended { message: ENDED.to_owned() }).await.map_err(closing)?;
    }
    // The event travels another way than the end of the connection, and shall be first.
    tokio::time::sleep(HEAD_START).await;
    for peer in &ended {
        state.hub.dismiss(peer, ENDED);
    }
    Ok(Ending { signed_out: sign_in.is_some(), others: ended.len() - 1 })
}

/// The list as somebody of this principal gets it.
pub(super) fn connected(state: &AppState, principal: &str) -> Vec<SessionInfo> {
    let figures = state.panel.metrics.sessions();
    let turns = state.desk.turns();
    let info = |remote: Remote| {
        let own: Vec<&Figures> = figures.iter().filter(|figures| figures.peer == remote.id).collect();
        // Of a peer with several sessions one that has a picture, and all from that one.
        let shown = own.iter().find(|figures| figures.standing.size != (0, 0)).or(own.first());
        let join = shown.and_then(|figures| figures.join);
        let link = shown.and_then(|figures| figures.standing.link);
        let size = shown.map(|figures| figures.standing.size).filter(|size| *size != (0, 0));
        let round_trip = shown.and_then(|figures| figures.standing.round_trip);
        let capture_to_screen = shown.and_then(|figures| figures.capture_to_screen);
        let whole = |value: f64| value.round() as u32;
        let tenths = |value: f64| (value * 10.0).round() as f32 / 10.0;
        SessionInfo {
            role: role(&remote),
            token: remote.grants.principal.strip_prefix("token:").map(str::to_owned),
            address: remote.address.map(|address| address.to_string()),
            since: unix(remote.since),
            watching: !own.is_empty(),
            talking: turns.holder.as_ref() == Some(&remote.id),
            waiting: turns.line.contains(&remote.id),
            own: remote.grants.principal == principal,
            sent_bytes: own.iter().map(|figures| figures.bytes).sum(),
            rung: shown.map(|figures| u32::try_from(figures.standing.rung).unwrap_or(u32::MAX)),
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            delivered_kbits: link.map(|link| whole(link.delivered)),
            lost_percent: link.map(|link| tenths(link.loss * 100.0)),
            link_kbits: link.map(|link| whole(link.carries)),
            round_trip_ms: round_trip.map(|trip| tenths(trip.as_secs_f64() * 1000.0)),
            capture_to_screen_ms: capture_to_screen.map(|latency| whole(latency.as_secs_f64() * 1000.0)),
            join_ms: join.map(|join| u32::try_from(join.as_millis()).unwrap_or(u32::MAX)),
            id: remote.id,
        }
    };
    state.hub.remotes().into_iter().map(info).collect()
}

fn role(remote: &Remote) -> Option<Role> {
    match &remote.grants {
        grants if grants.owner => Some(Role::Owner),
        grants if grants.watch && grants.talk => Some(Role::Talker),
        grants if grants.watch => Some(Role::Viewer),
        _ => None,
    }
}

async fn sign_out(state: &AppState, session: String) -> Result<(), Denied> {
    let auth = state.auth.clone();
    match tokio::task::spawn_blocking(move || auth.end_session(&session)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            error!(%error, "a session could not be ended");
            Err(Denied::failed())
        }
        Err(error) => {
            error!(%error, "a session could not be ended");
            Err(Denied::failed())
        }
    }
}

const ENDED: &str = "The owner of this device has ended your session.";
const HEAD_START: Duration = Duration::from_millis(250);
