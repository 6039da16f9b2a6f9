//! WHEP (draft-ietf-wish-whep): a player's offer in one request, the device's answer in the response. For players that know nothing of our
//! signalling.
//!
//! In: an SDP offer of whoever may watch. Out: an SDP answer; a peer in the hub, as long as the player watches and its sign-in holds. Never: more
//! than the page gets; candidates after the answer (the player's checks tell where it is).

use super::access::{Caller, Credential};
use super::api::own_peer;
use super::denied::Denied;
use super::{AppState, socket};
use crate::api::IceServer;
use crate::signalling::hub::Peer;
use crate::signalling::ration::Bucket;
use crate::signalling::server::MAX_MESSAGE;
use crate::signalling::wire::{
    IncomingMessage, OutgoingMessage, PeerMessage, PeerMessageInner, SdpMessage, StartSessionMessage,
};
use crate::signalling::{Kind, PeerId};
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::info;

/// Those who watch so, and how fast more may come.
#[derive(Debug)]
pub struct Players {
    /// Peer ids.
    present: HashSet<PeerId>,
    rate: Bucket,
}

impl Default for Players {
    fn default() -> Self {
        Self { present: HashSet::new(), rate: Bucket::new(BURST, PER_SECOND, Instant::now()) }
    }
}

fn lock(players: &Mutex<Players>) -> MutexGuard<'_, Players> {
    // Nothing is left half done in there, so a panic elsewhere is no reason to stop.
    players.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/whep", post(play)).route("/whep/{id}", delete(leave))
}

/// Watches the device by WHEP: an SDP offer that takes its picture, its sound or both. `Location` in the answer is what to DELETE in the end.
#[utoipa::path(
    post,
    path = "/whep",
    tag = "call",
    request_body(content = String, content_type = "application/sdp"),
    responses(
        (status = 201, content_type = "application/sdp", body = String),
        (status = 400, body = crate::api::ApiError),
        (status = 406, body = crate::api::ApiError),
        (status = 413, body = crate::api::ApiError),
        (status = 415, body = crate::api::ApiError),
        (status = 429, body = crate::api::ApiError),
        (status = 503, body = crate::api::ApiError)
    )
)]
pub(super) async fn play(State(state): State<AppState>, caller: Caller, request: Request) -> Result<Response, Denied> {
    caller.must_watch()?;
    if !lock(&state.players).rate.take(Instant::now()) {
        return Err(Denied::new(
            StatusCode::TOO_MANY_REQUESTS,
            "tooMany",
            "Too many players begin at once; try again in a second.",
        ));
    }
    let offer = offer(request).await?;
    let status = state.desk.status(caller.access.clone());
    let Some(peer_id) = status.device_id else { return Err(busy("the device cannot be called at the moment")) };
    let address = caller.link.address.ip().to_canonical();
    let joined = state.hub.join_from(Kind::Remote(caller.grants.clone()), Some(address));
    let mut peer = joined.map_err(|error| busy(&error.to_string()))?;
    peer.tx.send(IncomingMessage::StartSession(StartSessionMessage { peer_id, offer: Some(offer) }));
    let answer = tokio::time::timeout(ANSWER_TIME, answered(&mut peer)).await;
    let answer = answer.map_err(|_| busy("the device does not answer"))??;
    info!(peer = peer.id, principal = caller.grants.principal, "a player watches by WHEP");
    // Relative to this address, whatever a proxy calls it.
    let place = format!("whep/{}", peer.id);
    lock(&state.players).present.insert(peer.id.clone());
    tokio::spawn(stay(peer, caller.credential, state));
    let headers = [
        (header::CONTENT_TYPE, SDP.to_owned()),
        (header::LOCATION, place),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let mut response = (StatusCode::CREATED, headers, answer).into_response();
    for link in status.ice_servers.iter().flat_map(links).filter_map(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().append(header::LINK, link);
    }
    Ok(response)
}

/// A STUN or TURN server as a player is told of it (RFC 9725, 4.6).
fn links(server: &IceServer) -> Vec<String> {
    let quoted = |name: &str, value: &Option<String>| {
        let escaped = |value: &String| value.replace('\\', r"\\").replace('"', r#"\""#);
        value.as_ref().map_or_else(String::new, |value| format!("; {name}=\"{}\"", escaped(value)))
    };
    let kind = if server.credential.is_some() { "; credential-type=\"password\"" } else { "" };
    let more = quoted("username", &server.username) + &quoted("credential", &server.credential) + kind;
    server.urls.iter().map(|url| format!("<{url}>; rel=\"ice-server\"{more}")).collect()
}

/// A player has enough.
#[utoipa::path(
    delete,
    path = "/whep/{id}",
    tag = "call",
    params(("id" = String, Path, description = "The end of the address in `Location`")),
    responses((status = 204), (status = 404, body = crate::api::ApiError))
)]
pub(super) async fn leave(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Denied> {
    caller.must_watch()?;
    let is_player = lock(&state.players).present.contains(&id);
    if !is_player || own_peer(&state, &caller, &id).is_err() {
        let message = "You have no player with this address; it may have ended already.";
        return Err(Denied::new(StatusCode::NOT_FOUND, "unknownPlayer", message));
    }
    state.hub.leave(&id);
    Ok(StatusCode::NO_CONTENT)
}

async fn offer(request: Request) -> Result<String, Denied> {
    let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if !kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().eq_ignore_ascii_case(SDP.as_bytes()) {
        let message = "The body must be an SDP offer, with Content-Type: application/sdp.";
        return Err(Denied::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "notSdp", message));
    }
    let Ok(body) = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(request.into_body(), MAX_MESSAGE)).await else {
        return Err(Denied::new(StatusCode::REQUEST_TIMEOUT, "tooSlow", "The body must arrive within 10 s."));
    };
    let bytes = body.map_err(|_| {
        let message = format!("The body must have at most {MAX_MESSAGE} bytes.");
        Denied::new(StatusCode::PAYLOAD_TOO_LARGE, "tooLarge", message)
    })?;
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Denied::new(StatusCode::BAD_REQUEST, "badRequest", "The body is not an SDP offer: it is no text."))
}

async fn answered(peer: &mut Peer) -> Result<String, Denied> {
    while let Some(message) = peer.rx.recv().await {
        match message {
            OutgoingMessage::Peer(PeerMessage {
                peer_message: PeerMessageInner::Sdp(SdpMessage::Answer { sdp }),
                ..
            }) => return Ok(sdp),
            OutgoingMessage::EndSession(_) => {
                let message = "The device cannot answer this offer. It must take one picture (VP8, or what `video-codec` says), one sound \
                    (Opus) or both, bundled, over DTLS-SRTP, with names (a=mid) of letters and digits; and no data channel.";
                return Err(Denied::new(StatusCode::NOT_ACCEPTABLE, "notAcceptable", message));
            }
            OutgoingMessage::Error { details } => return Err(busy(details.trim_start_matches("startSession: "))),
            _ => {}
        }
    }
    Err(busy("the service is stopping"))
}

/// Keeps the player's place until either side ends it.
async fn stay(mut peer: Peer, credential: Credential, state: AppState) {
    let over = async {
        while let Some(message) = peer.rx.recv().await {
            if matches!(message, OutgoingMessage::EndSession(_)) {
                return "the session is over";
            }
        }
        "it has left"
    };
    let why = tokio::select! {
        why = over => why,
        () = socket::ended(&credential, &state.auth) => "its sign-in has ended",
    };
    lock(&state.players).present.remove(&peer.id);
    info!(peer = peer.id, why, "a player that watched by WHEP is gone");
}

fn busy(reason: &str) -> Denied {
    let message = format!("Not now: {}.", reason.trim_end_matches('.'));
    Denied { retry_after: Some(2), ..Denied::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message) }
}

/// Players that may begin at once, and each second after that: each is a description to look at, and a connection to make.
const BURST: u32 = 20;
const PER_SECOND: f64 = 2.0;
const SDP: &str = "application/sdp";
const BODY_TIME: Duration = Duration::from_secs(10);
/// Far more than the device takes.
const ANSWER_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_are_told_as_links() {
        let urls = vec!["stun:a.example:3478".to_owned()];
        assert_eq!(
            links(&IceServer { urls, username: None, credential: None }),
            ["<stun:a.example:3478>; rel=\"ice-server\""]
        );
        let urls = vec!["turns:b.example?transport=tcp".to_owned()];
        let server = IceServer { urls, username: Some("me".to_owned()), credential: Some("a\"b".to_owned()) };
        let wanted = "<turns:b.example?transport=tcp>; rel=\"ice-server\"; username=\"me\"; credential=\"a\\\"b\"; credential-type=\"password\"";
        assert_eq!(links(&server), [wanted]);
    }
}
