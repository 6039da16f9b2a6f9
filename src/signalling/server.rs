//! One WebSocket as a peer of the hub.
//!
//! In: text frames from somebody whose rights are already settled. Out: the hub's messages to him.
//! Never: decides who may do what (the policy does), writes SDP or whole messages to the log, trusts a sender to
//! stop, to read or to answer.

use super::hub::{Hub, Peer};
use super::ration::Bucket;
use super::wire::{IncomingMessage, OutgoingMessage};
use super::{Grants, Kind};
use crate::names;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info};

/// Bytes of the longest message and frame that is taken.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Sets the limits of size on a WebSocket that is about to be accepted.
pub fn limit(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE)
}

/// Serves one WebSocket until either side ends it. Dropping the future makes the peer leave.
pub async fn serve_socket(ws: WebSocket, hub: Hub, grants: Grants, address: IpAddr) {
    serve(ws, hub, grants, Some(address), Timing::default()).await;
}

/// How patient the server is.
#[derive(Clone, Copy, Debug)]
struct Timing {
    ping: Duration,
    /// Without any frame, pongs included, for this long the peer is gone.
    silence: Duration,
    send: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { ping: Duration::from_secs(15), silence: Duration::from_secs(40), send: Duration::from_secs(5) }
    }
}

/// Why a WebSocket ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The peer closed it or its connection broke.
    Left,
    /// The peer gave no sign of life or took nothing in.
    Silent,
    /// The hub disconnected the peer.
    Dismissed,
    /// The peer broke a rule.
    Misbehaved(&'static str),
}

async fn serve(mut ws: WebSocket, hub: Hub, grants: Grants, address: Option<IpAddr>, timing: Timing) {
    let principal = grants.principal.clone();
    let mut peer = match hub.join_from(Kind::Remote(grants), address) {
        Ok(peer) => peer,
        Err(error) => {
            info!(principal, %error, "signalling peer turned away");
            close(ws, close_code::AGAIN, &error.to_string(), timing).await;
            return;
        }
    };
    // By this name the panel speaks of a person.
    info!(peer = peer.id, name = names::short_name(&peer.id), principal, "signalling peer joined");
    let end = exchange(&mut ws, &mut peer, &hub, timing).await;
    info!(peer = peer.id, principal, ?end, "signalling peer left");
    // Leave before the goodbye, which may take its time.
    drop(peer);
    match end {
        End::Left | End::Silent => {}
        End::Dismissed => close(ws, close_code::POLICY, "disconnected by the service", timing).await,
        End::Misbehaved(reason) => close(ws, close_code::POLICY, reason, timing).await,
    }
}

async fn exchange(ws: &mut WebSocket, peer: &mut Peer, hub: &Hub, timing: Timing) -> End {
    let mut rate = Bucket::new(BURST, PER_SECOND, Instant::now());
    let mut malformed = 0;
    let mut heard = Instant::now();
    let mut pings = interval(timing.ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let outgoing = tokio::select! {
            message = peer.rx.recv() => match message {
                Some(message) => encode(&message),
                None => return End::Dismissed,
            },
            _ = pings.tick() => {
                if heard.elapsed() >= timing.silence {
                    return End::Silent;
                }
                Some(Message::Ping(Default::default()))
            }
            frame = ws.recv() => {
                let frame = match frame {
                    None | Some(Ok(Message::Close(_))) => return End::Left,
                    Some(Err(error)) => return broken(error, peer, hub),
                    Some(Ok(frame)) => frame,
                };
                heard = Instant::now();
                // Pings count too: each one costs an answer.
                if !rate.take(heard) {
                    hub.refused(&peer.id, "flood", FLOODED);
                    return End::Misbehaved(FLOODED);
                }
                match decode(frame) {
                    Decoded::Control => None,
                    Decoded::Request(request) => {
                        peer.tx.send(request);
                        None
                    }
                    Decoded::Malformed => {
                        hub.refused(&peer.id, "malformed", MALFORMED);
                        malformed += 1;
                        if malformed >= MAX_MALFORMED {
                            return End::Misbehaved("too many messages that are not part of the signalling protocol");
                        }
                        encode(&OutgoingMessage::Error { details: MALFORMED.into() })
                    }
                }
            }
        };
        let Some(outgoing) = outgoing else { continue };
        match timeout(timing.send, ws.send(outgoing)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::Left,
            Err(_) => return End::Silent,
        }
    }
}

enum Decoded {
    Request(IncomingMessage),
    /// Pings are answered by the WebSocket layer, pongs are wanted.
    Control,
    Malformed,
}

fn decode(frame: Message) -> Decoded {
    match frame {
        Message::Text(text) => serde_json::from_str(&text).map_or(Decoded::Malformed, Decoded::Request),
        Message::Binary(_) => Decoded::Malformed,
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Decoded::Control,
    }
}

fn encode(message: &OutgoingMessage) -> Option<Message> {
    match serde_json::to_string(message) {
        Ok(text) => Some(Message::Text(text.into())),
        Err(error) => {
            debug!(%error, "a signalling message could not be written");
            None
        }
    }
}

/// A receive error is a broken connection or a frame that breaks the WebSocket rules, its size among them.
fn broken(error: axum::Error, peer: &Peer, hub: &Hub) -> End {
    use std::error::Error;
    let io = error.source().and_then(Error::source).is_some_and(|inner| inner.is::<std::io::Error>());
    let text = error.to_string();
    debug!(peer = peer.id, error = text, "WebSocket error");
    if io || text.contains("without closing handshake") {
        return End::Left;
    }
    hub.refused(&peer.id, "frame", BAD_FRAME);
    End::Misbehaved(BAD_FRAME)
}

/// Says goodbye, and reads on for a moment: closing with unread bytes would reset the connection and lose the reason.
async fn close(mut ws: WebSocket, code: u16, reason: &str, timing: Timing) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
    if !matches!(timeout(timing.send, ws.send(Message::Close(Some(frame)))).await, Ok(Ok(()))) {
        return;
    }
    let drained = timeout(GOODBYE, async { while let Some(Ok(_)) = ws.recv().await {} }).await;
    if drained.is_err() {
        debug!("a WebSocket did not answer the closing handshake");
    }
}

/// Frames a peer may send at once, and each second after that. A call needs about thirty.
const BURST: u32 = 100;
const PER_SECOND: f64 = 50.0;
const MAX_MALFORMED: u32 = 20;
const GOODBYE: Duration = Duration::from_secs(2);
const FLOODED: &str = "too many messages: 100 at once and 50 a second are allowed";
const MALFORMED: &str = "This message is not part of the signalling protocol; it was dropped.";
const BAD_FRAME: &str = "a frame was malformed or longer than 65536 bytes";

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
