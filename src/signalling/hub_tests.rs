//! Peers in one process, with the real protocol handler between them.

use super::*;
use crate::signalling::wire::{PeerMessage, PeerMessageInner, PeerRole, PeerStatus, SdpMessage, StartSessionMessage};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn remote(rights: &str, principal: &str) -> Kind {
    Kind::Remote(Grants {
        watch: rights.contains("watch"),
        talk: rights.contains("talk"),
        produce: rights.contains("produce"),
        consume_peer: rights.contains("consume"),
        owner: rights.contains("owner"),
        browser: true,
        principal: principal.into(),
    })
}

async fn joined(hub: &Hub, kind: Kind) -> Peer {
    let mut peer = hub.join(kind).expect("there is room");
    let welcome = next(&mut peer).await;
    assert_eq!(welcome, OutgoingMessage::Welcome { peer_id: peer.id.clone() });
    peer
}

async fn next(peer: &mut Peer) -> OutgoingMessage {
    timeout(PATIENCE, peer.rx.recv()).await.expect("a message in time").expect("still connected")
}

/// Everything said to a peer so far: its own list request marks the end.
async fn said(peer: &mut Peer) -> Vec<OutgoingMessage> {
    peer.tx.send(IncomingMessage::ListConsumers);
    let mut all = Vec::new();
    loop {
        match next(peer).await {
            OutgoingMessage::ListConsumers { .. } => return all,
            message => all.push(message),
        }
    }
}

async fn list(peer: &mut Peer) -> Vec<String> {
    peer.tx.send(IncomingMessage::List);
    loop {
        if let OutgoingMessage::List { producers } = next(peer).await {
            return producers.into_iter().map(|producer| producer.id).collect();
        }
    }
}

async fn notice(notices: &mut mpsc::UnboundedReceiver<Notice>) -> Notice {
    timeout(PATIENCE, notices.recv()).await.expect("a notice in time").expect("the hub lives")
}

fn produce(peer: &Peer) {
    let roles = vec![PeerRole::Listener, PeerRole::Producer];
    peer.tx.send(IncomingMessage::SetPeerStatus(PeerStatus { roles, meta: None, peer_id: Some(peer.id.clone()) }));
}

fn listen(peer: &Peer) {
    let roles = vec![PeerRole::Listener];
    peer.tx.send(IncomingMessage::SetPeerStatus(PeerStatus { roles, meta: None, peer_id: None }));
}

/// Starts a session and gives its id, as consumer and producer were told.
async fn start(consumer: &mut Peer, producer: &mut Peer) -> String {
    let request = StartSessionMessage { peer_id: producer.id.clone(), offer: None };
    consumer.tx.send(IncomingMessage::StartSession(request));
    let told = said(consumer).await;
    let Some(OutgoingMessage::SessionStarted { session_id, .. }) = told.last() else { panic!("told {told:?}") };
    let told = said(producer).await;
    assert!(
        matches!(told.last(), Some(OutgoingMessage::StartSession { session_id: id, .. }) if id == session_id),
        "told {told:?}"
    );
    session_id.clone()
}

fn end(session_id: &str) -> IncomingMessage {
    IncomingMessage::EndSession(EndSessionMessage { session_id: session_id.into() })
}

#[tokio::test]
async fn a_call_from_hello_to_goodbye() {
    let (hub, mut notices) = Hub::spawn(Limits::default());
    let mut device = joined(&hub, Kind::DeviceProducer).await;
    produce(&device);
    assert_eq!(notice(&mut notices).await, Notice::DeviceProducing(device.id.clone()));
    let mut viewer = joined(&hub, remote("watch", "session:a")).await;
    assert_eq!(list(&mut viewer).await, [device.id.clone()]);
    let session = start(&mut viewer, &mut device).await;
    assert_eq!(hub.counts(), Counts { peers: 1, sessions: 1, refused: 0 });
    let sdp = |sdp: SdpMessage| {
        let peer_message = PeerMessageInner::Sdp(sdp);
        IncomingMessage::Peer(PeerMessage { session_id: session.clone(), peer_message })
    };
    device.tx.send(sdp(SdpMessage::Offer { sdp: "v=0".into() }));
    assert!(matches!(next(&mut viewer).await, OutgoingMessage::Peer(_)));
    viewer.tx.send(sdp(SdpMessage::Answer { sdp: "v=0".into() }));
    assert!(matches!(next(&mut device).await, OutgoingMessage::Peer(_)));
    viewer.tx.send(end(&session));
    assert!(matches!(next(&mut device).await, OutgoingMessage::EndSession(_)));
    let id = viewer.id.clone();
    drop(viewer);
    assert_eq!(notice(&mut notices).await, Notice::PeerGone(id));
    assert_eq!(hub.counts(), Counts { peers: 0, sessions: 0, refused: 0 });
}

#[tokio::test]
async fn the_end_of_a_viewer_is_told_to_the_device() {
    let (hub, _notices) = Hub::spawn(Limits::default());
    let mut device = joined(&hub, Kind::DeviceProducer).await;
    produce(&device);
    let mut viewer = joined(&hub, remote("watch", "session:a")).await;
    let session = start(&mut viewer, &mut device).await;
    drop(viewer);
    let ended = next(&mut device).await;
    assert_eq!(ended, OutgoingMessage::EndSession(EndSessionMessage { session_id: session }));
}

#[tokio::test]
async fn the_end_of_the_device_is_told_to_viewers_and_desk() {
    let (hub, mut notices) = Hub::spawn(Limits::default());
    let mut device = joined(&hub, Kind::DeviceProducer).await;
    let id = device.id.clone();
    produce(&device);
    assert_eq!(notice(&mut notices).await, Notice::DeviceProducing(id.clone()));
    let mut viewer = joined(&hub, remote("watch", "session:a")).await;
    listen(&viewer);
    assert_eq!(list(&mut viewer).await, std::slice::from_ref(&id));
    let session = start(&mut viewer, &mut device).await;
    drop(device);
    assert_eq!(notice(&mut notices).await, Notice::DeviceGone(id.clone()));
    let told = said(&mut viewer).await;
    assert!(told.contains(&OutgoingMessage::EndSession(EndSessionMessage { session_id: session })), "{told:?}");
    let gone = |m: &OutgoingMessage| matches!(m, OutgoingMessage::PeerStatusChanged(s) if s.roles.is_empty() && s.peer_id.as_ref() == Some(&id));
    assert!(told.iter().any(gone), "{told:?}");
    assert_eq!(hub.counts().sessions, 0);
}

#[tokio::test]
async fn talkers_are_known_to_the_desk_and_to_nobody_else() {
    let (hub, mut notices) = Hub::spawn(Limits::default());
    let mut viewer = joined(&hub, remote("watch talk", "session:a")).await;
    listen(&viewer);
    said(&mut viewer).await;
    let mut talker = joined(&hub, remote("watch talk", "session:b")).await;
    produce(&talker);
    assert_eq!(notice(&mut notices).await, Notice::TalkerProducing(talker.id.clone()));
    assert!(list(&mut viewer).await.is_empty());
    let mut receiver = joined(&hub, Kind::DeviceConsumer { talker: talker.id.clone() }).await;
    let session = start(&mut receiver, &mut talker).await;
    let mut wrong = joined(&hub, Kind::DeviceConsumer { talker: viewer.id.clone() }).await;
    wrong.tx.send(IncomingMessage::StartSession(StartSessionMessage { peer_id: talker.id.clone(), offer: None }));
    assert!(matches!(next(&mut wrong).await, OutgoingMessage::Error { .. }));
    assert!(matches!(notice(&mut notices).await, Notice::Refused { act: "startSession", .. }));
    listen(&talker);
    assert_eq!(notice(&mut notices).await, Notice::TalkerStopped(talker.id.clone()));
    let told = said(&mut receiver).await;
    assert_eq!(told, [OutgoingMessage::EndSession(EndSessionMessage { session_id: session })]);
    produce(&talker);
    assert_eq!(notice(&mut notices).await, Notice::TalkerProducing(talker.id.clone()));
    let id = talker.id.clone();
    drop(talker);
    assert_eq!(notice(&mut notices).await, Notice::TalkerStopped(id.clone()));
    assert_eq!(notice(&mut notices).await, Notice::PeerGone(id));
    assert!(said(&mut viewer).await.is_empty(), "the other browser noticed nothing of all this");
}

#[tokio::test]
async fn a_refusal_is_answered_counted_and_noticed_and_changes_nothing() {
    let (hub, mut notices) = Hub::spawn(Limits::default());
    let mut device = joined(&hub, Kind::DeviceProducer).await;
    produce(&device);
    assert!(matches!(notice(&mut notices).await, Notice::DeviceProducing(_)));
    let mut viewer = joined(&hub, remote("watch", "session:a")).await;
    let session = start(&mut viewer, &mut device).await;
    let mut stranger = joined(&hub, remote("watch talk", "session:b")).await;
    stranger.tx.send(end(&session));
    let OutgoingMessage::Error { details } = next(&mut stranger).await else { panic!("no error") };
    let Notice::Refused { peer, act, reason } = notice(&mut notices).await else { panic!("no notice") };
    assert_eq!((peer, act, reason), (stranger.id.clone(), "endSession", details));
    assert_eq!(hub.counts(), Counts { peers: 2, sessions: 1, refused: 1 });
    assert!(said(&mut viewer).await.is_empty() && said(&mut device).await.is_empty());
}

#[tokio::test]
async fn many_at_once_get_no_more_places_than_there_are_and_a_left_one_only_when_it_is_free() {
    let (hub, _notices) = Hub::spawn(Limits { max_viewers: 2, ..Limits::default() });
    let mut device = joined(&hub, Kind::DeviceProducer).await;
    produce(&device);
    said(&mut device).await;
    let mut viewers = Vec::new();
    for n in 0..20 {
        viewers.push(joined(&hub, remote("watch", &format!("session:{n}"))).await);
    }
    let id = device.id.clone();
    let ask = || IncomingMessage::StartSession(StartSessionMessage { peer_id: id.clone(), offer: None });
    viewers.iter().for_each(|viewer| viewer.tx.send(ask()));
    let mut started = Vec::new();
    for viewer in &mut viewers {
        match next(viewer).await {
            OutgoingMessage::SessionStarted { session_id, .. } => started.push(session_id),
            OutgoingMessage::Error { details } => assert!(details.contains("too many viewers (2)"), "{details}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(started.len(), 2);
    viewers[0].tx.send(end(&started[0]));
    let last = viewers.last_mut().expect("twenty");
    last.tx.send(ask());
    assert!(matches!(next(last).await, OutgoingMessage::Error { .. }), "the device still has it");
    device.tx.let_go(&started[0]);
    last.tx.send(ask());
    assert!(matches!(next(last).await, OutgoingMessage::SessionStarted { .. }));
}

#[tokio::test]
async fn the_service_ends_a_session_for_both_sides() {
    let (hub, _notices) = Hub::spawn(Limits::default());
    let mut device = joined(&hub, Kind::DeviceProducer).await;
    produce(&device);
    let mut viewer = joined(&hub, remote("watch", "session:a")).await;
    let session = start(&mut viewer, &mut device).await;
    hub.end_session("no such session");
    hub.end_session(&session);
    let ended = OutgoingMessage::EndSession(EndSessionMessage { session_id: session });
    assert_eq!(next(&mut viewer).await, ended);
    assert_eq!(next(&mut device).await, ended);
    said(&mut viewer).await;
    assert_eq!(hub.counts().sessions, 0);
}

#[tokio::test]
async fn signing_out_disconnects_that_principal_only() {
    let (hub, mut notices) = Hub::spawn(Limits::default());
    let mut first = joined(&hub, remote("watch", "session:a")).await;
    let mut second = joined(&hub, remote("watch", "session:a")).await;
    let mut other = joined(&hub, remote("watch", "session:b")).await;
    hub.disconnect("session:a");
    for peer in [&mut first, &mut second] {
        assert!(matches!(next(peer).await, OutgoingMessage::Error { .. }), "it is told why");
        assert_eq!(timeout(PATIENCE, peer.rx.recv()).await.expect("in time"), None);
        assert!(matches!(notice(&mut notices).await, Notice::PeerGone(_)));
    }
    assert!(said(&mut other).await.is_empty());
    assert!(hub.grants(&first.id).is_none() && hub.grants(&other.id).is_some());
    // What a disconnected peer still says is nobody's.
    produce(&first);
    assert!(said(&mut other).await.is_empty());
    assert_eq!(hub.counts(), Counts { peers: 1, sessions: 0, refused: 0 });
}

#[tokio::test]
async fn remote_peers_are_limited_and_the_device_is_not() {
    let (hub, mut notices) = Hub::spawn(Limits { max_peers: 2, ..Limits::default() });
    let first = joined(&hub, remote("watch, owner", "open")).await;
    let _second = joined(&hub, remote("watch, owner", "open")).await;
    assert_eq!(hub.join(remote("watch, owner", "open")).err(), Some(JoinError::TooManyPeers(2)));
    let _device = joined(&hub, Kind::DeviceProducer).await;
    drop(first);
    assert!(matches!(notice(&mut notices).await, Notice::PeerGone(_)));
    let _third = joined(&hub, remote("watch, owner", "open")).await;
}

#[tokio::test]
async fn one_sign_in_does_not_take_all_places() {
    let (hub, _notices) = Hub::spawn(Limits { max_peers: 4, ..Limits::default() });
    let _first = joined(&hub, remote("watch", "session:a")).await;
    let second = joined(&hub, remote("watch", "session:a")).await;
    assert_eq!(hub.join(remote("watch", "session:a")).err(), Some(JoinError::TooManyOfOne(2)));
    let _other = joined(&hub, remote("watch", "session:b")).await;
    drop(second);
}

#[tokio::test]
async fn who_sends_the_device_too_much_goes_and_the_device_stays() {
    let (hub, mut notices) = Hub::spawn(Limits::default());
    let device = joined(&hub, Kind::DeviceProducer).await;
    device.tx.send(IncomingMessage::SetPeerStatus(PeerStatus {
        roles: vec![PeerRole::Producer],
        meta: None,
        peer_id: None,
    }));
    assert!(matches!(notice(&mut notices).await, Notice::DeviceProducing(_)));
    let mut flood = joined(&hub, remote("watch", "session:flood")).await;
    // The device reads nothing meanwhile. A session begun and ended is two messages for it.
    let mut other = joined(&hub, remote("watch", "session:b")).await;
    let mut told = 0;
    while told <= DEVICE_QUEUE {
        flood.tx.send(IncomingMessage::StartSession(StartSessionMessage { peer_id: device.id.clone(), offer: None }));
        let message = timeout(PATIENCE, flood.rx.recv()).await.expect("in time");
        let Some(message) = message else { break };
        if let OutgoingMessage::SessionStarted { session_id, .. } = message {
            flood.tx.send(end(&session_id));
            device.tx.let_go(&session_id);
        }
        told += 2;
    }
    assert_eq!(notice(&mut notices).await, Notice::PeerGone(flood.id.clone()));
    assert_eq!(list(&mut other).await.len(), 1, "the device is still there");
}

#[tokio::test]
async fn who_does_not_read_is_disconnected_and_others_go_on() {
    let (hub, mut notices) = Hub::spawn(Limits::default());
    let mut deaf = joined(&hub, remote("watch", "session:deaf")).await;
    let mut other = joined(&hub, remote("watch", "session:b")).await;
    for _ in 0..=QUEUE {
        deaf.tx.send(IncomingMessage::List);
    }
    assert_eq!(notice(&mut notices).await, Notice::PeerGone(deaf.id.clone()));
    assert!(list(&mut other).await.is_empty());
    let mut waiting = 0;
    while timeout(PATIENCE, deaf.rx.recv()).await.expect("in time").is_some() {
        waiting += 1;
    }
    assert_eq!(waiting, QUEUE, "what had been sent is still there, then the end");
}

#[tokio::test]
async fn parts_of_a_peer_can_live_apart() {
    let (hub, mut notices) = Hub::spawn(Limits::default());
    let Peer { id, tx, mut rx, .. } = hub.join(remote("watch", "open")).expect("there is room");
    // The guard went with the rest of the pattern: the peer has left, and its parts do no harm.
    assert_eq!(notice(&mut notices).await, Notice::PeerGone(id));
    tx.send(IncomingMessage::List);
    while timeout(PATIENCE, rx.recv()).await.expect("in time").is_some() {}
}

#[tokio::test]
async fn joining_works_from_any_thread() {
    let (hub, _notices) = Hub::spawn(Limits::default());
    let from_thread = hub.clone();
    let mut device = std::thread::spawn(move || from_thread.join(Kind::DeviceProducer).expect("there is room"))
        .join()
        .expect("no panic");
    assert_eq!(next(&mut device).await, OutgoingMessage::Welcome { peer_id: device.id.clone() });
    assert!(uuid::Uuid::parse_str(&device.id).is_ok_and(|id| id.get_version_num() == 4));
}

#[tokio::test]
async fn a_thousand_calls_leave_nothing_behind() {
    let (hub, mut notices) = Hub::spawn(Limits::default());
    let mut device = joined(&hub, Kind::DeviceProducer).await;
    produce(&device);
    said(&mut device).await;
    for turn in 0..1000 {
        let mut viewer = joined(&hub, remote("watch", "open")).await;
        let session = start(&mut viewer, &mut device).await;
        if turn % 2 == 0 {
            viewer.tx.send(end(&session));
        }
        drop(viewer);
        assert!(matches!(next(&mut device).await, OutgoingMessage::EndSession(_)));
        device.tx.let_go(&session);
        while notices.try_recv().is_ok() {}
    }
    said(&mut device).await;
    assert_eq!(hub.counts(), Counts::default());
}
