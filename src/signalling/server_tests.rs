//! The patience of the server, with its times shortened; all else is tested through the whole web side.

use super::*;
use crate::signalling::policy::Limits;
use crate::signalling::wire::{PeerMessage, PeerMessageInner, PeerRole, PeerStatus, SdpMessage};
use axum::Router;
use axum::routing::get;
use futures::{SinkExt, StreamExt};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(timing: Timing) -> (SocketAddr, Hub) {
    let (hub, _) = Hub::spawn(Limits::default());
    let served = hub.clone();
    let accept = async move |upgrade: WebSocketUpgrade| {
        let grants = Grants {
            watch: true,
            talk: false,
            produce: false,
            consume_peer: false,
            owner: false,
            browser: false,
            principal: "open".into(),
        };
        limit(upgrade).on_upgrade(move |ws| serve(ws, served, grants, None, timing))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(accept))).await });
    (address, hub)
}

async fn connect(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.expect("it listens");
    tokio_tungstenite::client_async("ws://localhost/", tcp).await.expect("a WebSocket").0
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn who_answers_no_ping_is_gone_and_who_does_stays() {
    let short = Timing { ping: Duration::from_millis(50), silence: Duration::from_millis(500), ..Timing::default() };
    let (address, hub) = start(short).await;
    // Pongs are sent when the client reads, so one that never reads gives no sign of life.
    let silent = connect(address).await;
    let mut lively = connect(address).await;
    eventually("both are in", || hub.counts().peers == 2).await;
    let reading = tokio::spawn(async move { while let Some(Ok(_)) = lively.next().await {} });
    eventually("the silent one is gone", || hub.counts().peers == 1).await;
    tokio::time::sleep(short.silence * 2).await;
    assert_eq!(hub.counts().peers, 1, "the lively one stays");
    reading.abort();
    eventually("it left", || hub.counts().peers == 0).await;
    drop(silent);
}

#[tokio::test]
async fn who_takes_nothing_in_is_gone() {
    let (address, hub) = start(Timing { send: Duration::from_millis(300), ..Timing::default() }).await;
    let mut device = hub.join(Kind::DeviceProducer).expect("there is room");
    let status = PeerStatus { roles: vec![PeerRole::Producer], meta: None, peer_id: None };
    device.tx.send(IncomingMessage::SetPeerStatus(status));
    let mut deaf = connect(address).await;
    let watch = format!(r#"{{"type":"startSession","peerId":"{}"}}"#, device.id);
    deaf.send(Frame::text(watch)).await.expect("connected");
    let session = loop {
        match timeout(PATIENCE, device.rx.recv()).await.expect("in time").expect("connected") {
            OutgoingMessage::StartSession { session_id, .. } => break session_id,
            _ => continue,
        }
    };
    let start = Instant::now();
    while hub.counts().peers == 1 {
        assert!(start.elapsed() < PATIENCE, "it is still there");
        let sdp = "x".repeat(60_000);
        let peer_message = PeerMessageInner::Sdp(SdpMessage::Offer { sdp });
        device.tx.send(IncomingMessage::Peer(PeerMessage { session_id: session.clone(), peer_message }));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(hub.counts().sessions, 0);
}

#[tokio::test]
async fn who_just_hangs_up_is_gone() {
    let (address, hub) = start(Timing::default()).await;
    let ws = connect(address).await;
    eventually("it is in", || hub.counts().peers == 1).await;
    drop(ws);
    eventually("it is gone", || hub.counts().peers == 0).await;
    assert_eq!(hub.counts().refused, 0, "that is no offence");
}
