//! Signalling through real WebSockets: who gets in, and every forbidden act of who is in.

use super::origin::Log;
use super::*;
use crate::http::auth::Scope;
use crate::signalling::Kind;
use crate::signalling::hub::Peer;
use crate::signalling::wire::{IncomingMessage, OutgoingMessage, PeerRole, PeerStatus};
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role as End;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A request for a WebSocket.
pub fn websocket(service: &Service, path: &str) -> Ask {
    service
        .get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// A peer by WebSocket.
pub struct Socket {
    pub id: String,
    ws: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
}

impl Socket {
    pub async fn with_cookie(service: &Service, cookie: &str) -> Self {
        Self::with_header(service, "cookie", cookie).await
    }

    pub async fn with_token(service: &Service, token: &str) -> Self {
        Self::with_header(service, "authorization", &format!("Bearer {token}")).await
    }

    pub async fn with_header(service: &Service, name: &'static str, value: &str) -> Self {
        Self::open(service, websocket(service, "/signalling").header(name, value)).await
    }

    pub async fn open(service: &Service, ask: Ask) -> Self {
        let mut socket = Self::raw(service, ask).await;
        let welcome = socket.next().await;
        assert_eq!(welcome["type"], "welcome");
        socket.id = welcome["peerId"].as_str().expect("an id").to_owned();
        socket
    }

    /// Without waiting for the welcome.
    async fn raw(service: &Service, ask: Ask) -> Self {
        let response = ask.open(service).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let upgraded = hyper::upgrade::on(response).await.expect("an upgrade");
        let ws = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), End::Client, None).await;
        Self { id: String::new(), ws }
    }

    pub async fn send(&mut self, message: Value) {
        self.ws.send(Message::text(message.to_string())).await.expect("connected");
    }

    pub async fn next(&mut self) -> Value {
        // One deadline for the whole: the server's pings must not prolong it.
        let next = async {
            loop {
                let frame = self.ws.next().await.expect("not closed").expect("a frame");
                if let Message::Text(text) = frame {
                    return serde_json::from_str(&text).expect("JSON");
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a message in time")
    }

    /// Everything until an answer of this type.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Sends what is forbidden and gives the sentence it was refused with.
    async fn refused(&mut self, message: Value) -> String {
        self.send(message).await;
        self.until("error").await["details"].as_str().expect("a sentence").to_owned()
    }

    async fn listed(&mut self) -> Vec<String> {
        self.send(json!({"type": "list"})).await;
        let list = self.until("list").await;
        list["producers"].as_array().expect("a list").iter().map(|p| p["id"].as_str().expect("id").to_owned()).collect()
    }

    /// Starts a session and gives its id.
    async fn watch(&mut self, producer: &str) -> String {
        self.send(json!({"type": "startSession", "peerId": producer})).await;
        self.until("sessionStarted").await["sessionId"].as_str().expect("an id").to_owned()
    }

    /// Waits for the end and tells it: the close frame's code and reason, or `broken`.
    pub async fn closed(&mut self) -> String {
        let end = async {
            loop {
                match self.ws.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => {
                        return format!("{} {}", u16::from(frame.code), frame.reason);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(Error::ConnectionClosed)) | None => return "closed".into(),
                    Some(Err(_)) => return "broken".into(),
                }
            }
        };
        timeout(PATIENCE, end).await.expect("an end in time")
    }
}

/// The device, in process.
async fn device(service: &Service) -> Peer {
    let mut device = service.hub.join(Kind::DeviceProducer).expect("there is room");
    let status =
        PeerStatus { roles: vec![PeerRole::Producer], meta: Some(json!({"duplex": {"device": true}})), peer_id: None };
    device.tx.send(IncomingMessage::SetPeerStatus(status));
    assert!(matches!(heard(&mut device).await, OutgoingMessage::Welcome { .. }));
    device
}

async fn heard(peer: &mut Peer) -> OutgoingMessage {
    timeout(PATIENCE, peer.rx.recv()).await.expect("a message in time").expect("connected")
}

#[tokio::test]
async fn nobody_gets_in_without_a_sign_in() {
    let service = Service::start(Setup::default()).await;
    for path in ["/", "/signalling"] {
        websocket(&service, path).send(&service).await.denied(401, "notSignedIn");
        let ask = websocket(&service, path).header("origin", &service.origin());
        ask.send(&service).await.denied(401, "notSignedIn");
        let ask = websocket(&service, path).header("cookie", "__Host-duplex=invented");
        ask.send(&service).await.denied(401, "notSignedIn");
        let ask = websocket(&service, path).header("authorization", "Bearer dpx_invented");
        ask.send(&service).await.denied(401, "wrongToken");
    }
    assert_eq!(service.hub.counts().peers, 0);
}

#[tokio::test]
async fn a_cookie_or_a_token_opens_either_path() {
    let mut service = Service::start(Setup::default()).await;
    let cookie = service.sign_in(OWNER).await;
    let token = format!("Bearer {}", service.auth.token_new("stock", &[Scope::Watch], None).expect("a token"));
    for path in ["/", "/signalling"] {
        let page = websocket(&service, path).header("cookie", &cookie).header("origin", &service.origin());
        let page = Socket::open(&service, page).await;
        let grants = service.hub.grants(&page.id).expect("connected");
        assert!(
            grants.browser && grants.watch && grants.talk && grants.owner && !grants.produce && !grants.consume_peer
        );
        assert!(grants.principal.starts_with("session:"));
        let stock = Socket::open(&service, websocket(&service, path).header("authorization", &token)).await;
        let grants = service.hub.grants(&stock.id).expect("connected");
        assert_eq!(
            (grants.watch, grants.talk, grants.browser, grants.principal.as_str()),
            (true, false, false, "token:stock")
        );
        let ids = [page.id.clone(), stock.id.clone()];
        drop((page, stock));
        for _ in 0..2 {
            assert!(matches!(service.notice().await, Notice::PeerGone(id) if ids.contains(&id)));
        }
    }
    service.get("/signalling").header("cookie", &cookie).send(&service).await.denied(426, "upgradeRequired");
}

#[tokio::test]
async fn a_viewer_watches_and_that_is_all() {
    let log = Log::capture();
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let mut device = device(&service).await;
    let viewer = service.sign_in(VIEWER).await;
    let talker = service.sign_in(TALKER).await;
    let mut viewer = Socket::with_cookie(&service, &viewer).await;
    let mut talker = Socket::with_cookie(&service, &talker).await;
    talker.send(json!({"type": "setPeerStatus", "roles": ["listener", "producer"], "meta": null})).await;
    talker.until("peerStatusChanged").await;
    let session = talker.watch(&device.id).await;
    assert!(matches!(heard(&mut device).await, OutgoingMessage::StartSession { .. }));

    assert_eq!(viewer.listed().await, [device.id.clone()], "the talker is not shown");
    let ice = json!({"candidate": "candidate:1 1 UDP 1 192.0.2.1 9 typ host", "sdpMLineIndex": 0});
    let forbidden = [
        json!({"type": "newPeer"}),
        json!({"type": "setPeerStatus", "roles": ["producer"]}),
        json!({"type": "setPeerStatus", "roles": ["consumer"]}),
        json!({"type": "setPeerStatus", "roles": ["listener"], "peerId": device.id}),
        json!({"type": "setPeerStatus", "roles": ["listener"], "peerId": talker.id}),
        json!({"type": "setPeerStatus", "roles": ["listener"], "meta": {"duplex": {"device": true}}}),
        json!({"type": "setPeerStatus", "roles": ["listener"], "meta": {"a": "x".repeat(3000)}}),
        json!({"type": "setPeerStatus", "roles": ["listener"], "meta": "text"}),
        json!({"type": "startSession", "peerId": talker.id}),
        json!({"type": "startSession", "peerId": viewer.id}),
        json!({"type": "startSession", "peerId": "nobody"}),
        json!({"type": "endSession", "sessionId": session}),
        json!({"type": "endSession", "sessionId": "nothing"}),
        json!({"type": "peer", "sessionId": session, "ice": ice}),
        json!({"type": "peer", "sessionId": session, "sdp": {"type": "answer", "sdp": "v=0"}}),
        json!({"type": "peer", "sessionId": session, "sdp": {"type": "offer", "sdp": "v=0"}}),
    ];
    let count = forbidden.len() as u64;
    for act in forbidden {
        let sentence = viewer.refused(act.clone()).await;
        let kind = act["type"].as_str().expect("a type");
        assert!(sentence.starts_with(&format!("{kind}: ")) && sentence.ends_with('.'), "{sentence}");
    }
    assert_eq!(service.hub.counts().refused, count);
    let text = log.text();
    for act in ["newPeer", "setPeerStatus", "startSession"] {
        assert!(
            text.contains("signalling message refused") && text.contains(&format!("act=\"{act}\"")),
            "{act}:\n{text}"
        );
    }
    // Nobody noticed anything, and what is allowed still works.
    assert!(device.rx.try_recv().is_err(), "the device was not bothered");
    assert_eq!(talker.listed().await, [device.id.clone()], "nothing came in between");
    viewer.watch(&device.id).await;
    assert_eq!(service.hub.counts().sessions, 2);
    assert!(!log.text().contains("v=0"), "SDP is in the log");
}

#[tokio::test]
async fn a_talker_is_taken_only_by_the_device_and_by_machines_that_may() {
    let service = Service::start(Setup::default()).await;
    let owner = service.sign_in(OWNER).await;
    let mut talker = Socket::with_cookie(&service, &owner).await;
    talker.send(json!({"type": "setPeerStatus", "roles": ["listener", "producer"], "meta": {"name": "me"}})).await;
    assert_eq!(talker.until("peerStatusChanged").await["peerId"], json!(talker.id), "pages wait for this confirmation");
    let token = |name: &str, scope| service.auth.token_new(name, &[scope], None).expect("a token");
    for (name, scope) in [("watcher", Scope::Watch), ("producer", Scope::Produce), ("talker", Scope::Talk)] {
        let mut machine = Socket::with_token(&service, &token(name, scope)).await;
        assert!(machine.listed().await.is_empty(), "{name}");
        machine.refused(json!({"type": "startSession", "peerId": talker.id})).await;
    }
    let mut machine = Socket::with_token(&service, &token("speaker", Scope::ConsumePeer)).await;
    assert_eq!(machine.listed().await, [talker.id.clone()]);
    let session = machine.watch(&talker.id).await;
    assert_eq!(talker.until("startSession").await["sessionId"], json!(session));
    talker.send(json!({"type": "peer", "sessionId": session, "sdp": {"type": "offer", "sdp": "v=0"}})).await;
    assert_eq!(machine.until("peer").await["sdp"]["type"], "offer");
    machine.send(json!({"type": "endSession", "sessionId": session})).await;
    assert_eq!(talker.until("endSession").await["sessionId"], json!(session));
}

#[tokio::test]
async fn a_published_producer_is_seen_by_viewers() {
    let service = Service::start(Setup::default()).await;
    let device = device(&service).await;
    let owner = service.sign_in(OWNER).await;
    let token = service.auth.token_new("camera", &[Scope::Produce], None).expect("a token");
    let mut viewer = Socket::with_cookie(&service, &owner).await;
    viewer.send(json!({"type": "setPeerStatus", "roles": ["listener"]})).await;
    viewer.until("peerStatusChanged").await;
    let mut camera = Socket::with_token(&service, &token).await;
    camera.send(json!({"type": "setPeerStatus", "roles": ["producer"], "meta": {"name": "hall"}})).await;
    let news = viewer.until("peerStatusChanged").await;
    assert_eq!((&news["peerId"], &news["meta"]["name"]), (&json!(camera.id), &json!("hall")));
    assert_eq!(viewer.listed().await, [device.id.clone(), camera.id.clone()], "the device comes first");
    viewer.watch(&camera.id).await;
    let id = camera.id.clone();
    drop(camera);
    viewer.until("endSession").await;
    assert_eq!(viewer.until("peerStatusChanged").await["peerId"], json!(id));
}

#[tokio::test]
async fn the_words_of_the_stock_page_are_understood() {
    let service = Service::start(Setup::default()).await;
    let mut device = device(&service).await;
    let owner = service.sign_in(OWNER).await;
    let mut page = Socket::with_cookie(&service, &owner).await;
    page.send(json!({"type": "setPeerStatus", "roles": ["listener"], "meta": null})).await;
    page.until("peerStatusChanged").await;
    page.send(json!({"type": "listConsumers"})).await;
    assert_eq!(page.until("listConsumers").await["consumers"], json!([]));
    let session = page.watch(&device.id).await;
    // Fields that the protocol does not know, as browsers send them.
    let ice = json!({"candidate": "candidate:1 1 UDP 1 x.local 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "a"});
    page.send(json!({"type": "peer", "sessionId": session, "ice": ice})).await;
    assert!(matches!(heard(&mut device).await, OutgoingMessage::StartSession { .. }));
    assert!(matches!(heard(&mut device).await, OutgoingMessage::Peer(_)));
    assert_eq!(service.hub.counts().refused, 0);
}

#[tokio::test]
async fn what_is_not_the_protocol_is_dropped_and_then_the_peer() {
    let service = Service::start(Setup::default()).await;
    let owner = service.sign_in(OWNER).await;
    let mut other = Socket::with_cookie(&service, &owner).await;
    let mut socket = Socket::with_cookie(&service, &owner).await;
    let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let junk = [
        Message::text(""),
        Message::text("hello"),
        Message::text("{}"),
        Message::text("[1, 2"),
        Message::text(r#"{"type": "reboot"}"#),
        Message::text(r#"{"type": "startSession"}"#),
        Message::text(r#"{"type": "peer", "sessionId": "x"}"#),
        Message::text(r#"{"type": "peer", "sessionId": "x", "ice": {"candidate": "x", "sdpMLineIndex": -1}}"#),
        Message::text(r#"{"type": "setPeerStatus", "roles": ["king"]}"#),
        Message::text(r#"{"type": ["list"]}"#),
        Message::text(nested),
        Message::binary(vec![0xff; 100]),
        Message::binary(&br#"{"type": "list"}"#[..]),
    ];
    for message in junk.iter().cloned() {
        socket.ws.send(message).await.expect("connected");
        assert!(socket.until("error").await["details"].as_str().is_some_and(|text| text.contains("dropped")));
    }
    assert!(socket.listed().await.is_empty(), "it is still there");
    for message in junk.iter().cycle().take(20 - junk.len()).cloned() {
        socket.ws.send(message).await.expect("connected");
    }
    let end = socket.closed().await;
    assert!(end.starts_with("1008 ") && end.contains("signalling protocol"), "{end}");
    assert_eq!(service.hub.counts().refused, 20);
    assert!(other.listed().await.is_empty(), "others notice nothing");
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let service = Service::start(Setup::default()).await;
    let owner = service.sign_in(OWNER).await;
    let mut other = Socket::with_cookie(&service, &owner).await;
    let mut socket = Socket::with_cookie(&service, &owner).await;
    for _ in 0..1000 {
        // The end may come while still sending.
        if socket.ws.send(Message::text(r#"{"type":"list"}"#)).await.is_err() {
            break;
        }
    }
    let end = socket.closed().await;
    assert!(end.starts_with("1008 ") && end.contains("too many messages"), "{end}");
    eventually("it is gone", || service.hub.counts().peers == 1).await;
    assert_eq!(service.hub.counts().refused, 1);
    assert!(other.listed().await.is_empty(), "others notice nothing");
}

#[tokio::test]
async fn a_burst_within_the_limit_is_fine() {
    let service = Service::start(Setup::default()).await;
    let owner = service.sign_in(OWNER).await;
    let mut socket = Socket::with_cookie(&service, &owner).await;
    for _ in 0..99 {
        socket.send(json!({"type": "list"})).await;
    }
    for _ in 0..99 {
        socket.until("list").await;
    }
}

#[tokio::test]
async fn oversized_messages_are_not_taken_in() {
    let service = Service::start(Setup::default()).await;
    let mut device = device(&service).await;
    let owner = service.sign_in(OWNER).await;
    let mut other = Socket::with_cookie(&service, &owner).await;
    let mut socket = Socket::with_cookie(&service, &owner).await;
    let id = device.id.clone();
    socket.send(json!({"type": "startSession", "peerId": id})).await;
    let OutgoingMessage::StartSession { session_id, .. } = heard(&mut device).await else { panic!("no session") };
    let answer = |size: usize| json!({"type": "peer", "sessionId": session_id, "sdp": {"type": "answer", "sdp": "x".repeat(size)}});
    socket.send(answer(60_000)).await;
    assert!(matches!(heard(&mut device).await, OutgoingMessage::Peer(_)));
    // The server may hang up before all of it is sent.
    let sent = socket.ws.send(Message::text(answer(70_000).to_string())).await;
    let end = socket.closed().await;
    assert!(end.starts_with("1008 ") || end == "broken" || sent.is_err(), "{end}");
    assert!(matches!(heard(&mut device).await, OutgoingMessage::EndSession(_)), "its session ended with it");
    assert_eq!(service.hub.counts().refused, 1);
    assert_eq!(other.listed().await, [id], "others notice nothing");
}

#[tokio::test]
async fn peers_are_limited_and_told_so() {
    let limits = Limits { max_peers: 2, ..Limits::default() };
    let mut service = Service::start(Setup { limits, ..Setup::default() }).await;
    let owner = service.sign_in(OWNER).await;
    let first = Socket::with_cookie(&service, &owner).await;
    let _second = Socket::with_cookie(&service, &owner).await;
    let ask = websocket(&service, "/signalling").header("cookie", &owner);
    let mut third = Socket::raw(&service, ask).await;
    let end = third.closed().await;
    assert!(end.starts_with("1013 ") && end.contains("too many peers (2)"), "{end}");
    drop(first);
    assert!(matches!(service.notice().await, Notice::PeerGone(_)));
    let _third = Socket::with_cookie(&service, &owner).await;
}

#[tokio::test]
async fn viewers_are_limited_and_told_so() {
    let limits = Limits { max_viewers: 1, ..Limits::default() };
    let service = Service::start(Setup { limits, ..Setup::default() }).await;
    let device = device(&service).await;
    let owner = service.sign_in(OWNER).await;
    let mut first = Socket::with_cookie(&service, &owner).await;
    let mut second = Socket::with_cookie(&service, &owner).await;
    let session = first.watch(&device.id).await;
    let sentence = second.refused(json!({"type": "startSession", "peerId": device.id})).await;
    assert!(sentence.contains("too many viewers (1)"), "{sentence}");
    first.send(json!({"type": "endSession", "sessionId": session})).await;
    first.listed().await;
    device.tx.let_go(&session);
    second.watch(&device.id).await;
}
