//! From an HTTP request to a signalling peer.
//!
//! In: a request for a WebSocket that has passed the guard. Out: a peer in the hub, for as long as its sign-in holds.
//! Never: a peer without rights, or one that keeps them after they were taken.

use super::access::{Caller, Credential};
use super::denied::Denied;
use super::{AppState, auth::Auth};
use crate::signalling::server;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;
use tracing::{Instrument, debug, info_span};

/// Accepts the WebSocket of a caller who may do anything in signalling.
pub async fn upgrade(State(state): State<AppState>, request: Request) -> Result<Response, Denied> {
    let (mut parts, _) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &state).await?;
    if caller.credential == Credential::None {
        return Err(Denied::not_signed_in());
    }
    if !(caller.grants.watch || caller.grants.talk || caller.grants.produce || caller.grants.consume_peer) {
        return Err(Denied::not_allowed("use signalling"));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &state).await.map_err(|error| {
        debug!(%error, "not a WebSocket request");
        Denied::new(StatusCode::UPGRADE_REQUIRED, "upgradeRequired", "This address speaks WebSocket only.")
    })?;
    let span = info_span!("signalling", address = %caller.link.address);
    Ok(server::limit(upgrade).on_upgrade(move |ws| {
        async move {
            let hub = state.hub.clone();
            let principal = caller.grants.principal.clone();
            tokio::select! {
                () = server::serve_socket(ws, hub.clone(), caller.grants, caller.link.address.ip().to_canonical()) => {}
                () = async {
                    loop {
                        // A token may be revoked and a password changed while the connection lasts. The hub ends the
                        // peer in order, so the other branch is the one that returns.
                        ended(&caller.credential, &state.auth).await;
                        hub.disconnect(&principal);
                    }
                } => {}
            }
        }
        .instrument(span)
    }))
}

/// Returns when what somebody's rights follow from holds no longer.
pub(super) async fn ended(credential: &Credential, auth: &Arc<Auth>) {
    loop {
        tokio::time::sleep(RECHECK).await;
        if !credential.holds(auth).await {
            return;
        }
    }
}

const RECHECK: Duration = Duration::from_secs(3);
