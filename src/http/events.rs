//! Server-sent events for one page.
//!
//! In: the desk's events for a peer. Out: `text/event-stream`, each event one JSON object.
//! Never: events of somebody else's peer; anything after the peer has gone.

use super::AppState;
use super::access::Caller;
use super::api::{closing, own_peer, status_for};
use super::denied::Denied;
use crate::api::Event;
use crate::steering::{Present, Steering};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{self, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use serde::Deserialize;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::time::{Interval, interval};
use tracing::error;

#[derive(Deserialize)]
pub(super) struct Parameters {
    peer: String,
}

/// What happens, as far as it concerns one of the caller's peers, for as long as that is connected: the data of an event
/// is an `Event`.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "call",
    params(("peer" = String, Query, description = "The caller's signalling peer id")),
    responses((status = 200, content_type = "text/event-stream", body = Event), (status = 404, body = crate::api::ApiError))
)]
pub(super) async fn events(
    State(state): State<AppState>,
    caller: Caller,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Denied> {
    caller.must_watch()?;
    let Ok(Query(Parameters { peer })) = parameters else {
        return Err(Denied::new(StatusCode::BAD_REQUEST, "badRequest", "The address must end in ?peer=PEER_ID."));
    };
    own_peer(&state, &caller, &peer)?;
    let events = state.desk.subscribe(&peer).await.map_err(closing)?;
    let crowd = state.hub.crowd();
    let steering = state.panel.steering.as_ref().map(Steering::watch);
    let subscription = Subscription { state, caller, peer, events, crowd, steering, check: interval(CHECK) };
    let stream = unfold(subscription, |mut subscription| async {
        let event = subscription.next().await?;
        Some((Ok(event), subscription))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Subscription {
    state: AppState,
    caller: Caller,
    peer: String,
    events: Receiver<Event>,
    /// Who is connected, which is the owner's business.
    crowd: watch::Receiver<u64>,
    /// What is sent, likewise.
    steering: Option<watch::Receiver<Present>>,
    check: Interval,
}

impl Subscription {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            let owner = self.caller.grants.owner;
            let event = tokio::select! {
                // What is said at the end of a connection shall still be heard.
                biased;
                event = self.events.recv() => event?,
                Ok(()) = self.crowd.changed(), if owner => Event::Sessions,
                Some(()) = steered(&mut self.steering), if owner => Event::Steering,
                // A peer that was signed out is disconnected; its events end with it.
                _ = self.check.tick() => {
                    own_peer(&self.state, &self.caller, &self.peer).ok()?;
                    continue;
                }
            };
            let event = match event {
                Event::Status { status } => Event::Status { status: status_for(status, &self.caller) },
                other => other,
            };
            match sse::Event::default().json_data(&event) {
                Ok(event) => return Some(event),
                Err(error) => error!(%error, "an event could not be written"),
            }
        }
    }
}

/// Waits for the next change.
async fn steered(steering: &mut Option<watch::Receiver<Present>>) -> Option<()> {
    steering.as_mut()?.changed().await.ok()
}

const CHECK: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
