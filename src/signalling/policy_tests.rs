//! Every forbidden act, and every permitted one beside it.

use super::*;
use crate::signalling::wire::{Peer as Listed, PeerRole};
use serde_json::json;

const DEVICE: &str = "device";
const RECEIVER: &str = "receiver";
const VIEWER: &str = "viewer";
const TALKER: &str = "talker";
const OTHER: &str = "other-talker";
const CAMERA: &str = "published-camera";
const MACHINE: &str = "machine-that-takes-talkers";
const NOBODY: &str = "machine-without-rights";

fn grants(rights: &str) -> Kind {
    Kind::Remote(Grants {
        watch: rights.contains("watch"),
        talk: rights.contains("talk"),
        produce: rights.contains("produce"),
        consume_peer: rights.contains("consume"),
        owner: false,
        browser: false,
        principal: "session:test".into(),
    })
}

/// A policy with one peer of each sort; those who may produce do.
fn house() -> Policy {
    house_with(Limits::default())
}

fn house_with(limits: Limits) -> Policy {
    let mut policy = Policy::new(limits);
    let kinds = [
        (CAMERA, grants("produce")),
        (TALKER, grants("watch talk")),
        (VIEWER, grants("watch")),
        (OTHER, grants("watch talk")),
        (DEVICE, Kind::DeviceProducer),
        (RECEIVER, Kind::DeviceConsumer { talker: TALKER.into() }),
        (MACHINE, grants("consume")),
        (NOBODY, grants("")),
    ];
    for (id, kind) in kinds {
        policy.peer_joined(id.into(), kind);
    }
    for id in [DEVICE, TALKER, OTHER, CAMERA] {
        policy.inbound(id, status(&[PeerRole::Listener, PeerRole::Producer], Value::Null)).expect("may produce");
    }
    policy
}

fn status(roles: &[PeerRole], meta: Value) -> IncomingMessage {
    IncomingMessage::SetPeerStatus(PeerStatus { roles: roles.to_vec(), meta: Some(meta), peer_id: None })
}

fn start(peer: &str) -> IncomingMessage {
    IncomingMessage::StartSession(StartSessionMessage { peer_id: peer.into(), offer: None })
}

fn end(session: &str) -> IncomingMessage {
    IncomingMessage::EndSession(EndSessionMessage { session_id: session.into() })
}

fn peer(session: &str, inner: PeerMessageInner) -> IncomingMessage {
    IncomingMessage::Peer(PeerMessage { session_id: session.into(), peer_message: inner })
}

fn offer() -> PeerMessageInner {
    PeerMessageInner::Sdp(SdpMessage::Offer { sdp: "v=0".into() })
}

fn answer() -> PeerMessageInner {
    PeerMessageInner::Sdp(SdpMessage::Answer { sdp: "v=0".into() })
}

fn candidate() -> PeerMessageInner {
    PeerMessageInner::Ice { candidate: "candidate:1 1 UDP 1 192.0.2.1 9 typ host".into(), sdp_m_line_index: 0 }
}

/// What the handler does when it accepts a session.
fn started(policy: &mut Policy, producer: &str, consumer: &str, session: &str) {
    policy.inbound(consumer, start(producer)).expect("session is permitted");
    let (session_id, peer_id) = (session.to_string(), producer.to_string());
    let told = policy.outbound(consumer, OutgoingMessage::SessionStarted { peer_id, session_id: session_id.clone() });
    assert!(told.is_some(), "the consumer is told");
    let told =
        policy.outbound(producer, OutgoingMessage::StartSession { peer_id: consumer.into(), session_id, offer: None });
    assert!(told.is_some(), "the producer is told");
}

#[track_caller]
fn refused(policy: &mut Policy, from: &str, message: IncomingMessage) -> String {
    let act = act(&message);
    let refusal = policy.inbound(from, message).expect_err("is forbidden");
    assert_eq!(refusal.act, act);
    assert!(refusal.reason.starts_with(act) && refusal.reason.ends_with('.'), "no sentence: {}", refusal.reason);
    refusal.reason
}

fn listed(policy: &mut Policy, to: &str) -> Vec<String> {
    // The handler's map gives no order.
    let everybody = [TALKER, CAMERA, OTHER, DEVICE].map(|id| Listed { id: id.into(), meta: None });
    match policy.outbound(to, OutgoingMessage::List { producers: everybody.into() }) {
        Some(OutgoingMessage::List { producers }) => producers.into_iter().map(|producer| producer.id).collect(),
        other => panic!("no list but {other:?}"),
    }
}

fn change(about: &str, roles: &[PeerRole]) -> OutgoingMessage {
    OutgoingMessage::PeerStatusChanged(PeerStatus { roles: roles.to_vec(), meta: None, peer_id: Some(about.into()) })
}

#[test]
fn the_internal_message_is_refused() {
    let mut policy = house();
    for id in [VIEWER, TALKER, MACHINE, CAMERA, NOBODY] {
        refused(&mut policy, id, IncomingMessage::NewPeer);
    }
}

#[test]
fn who_has_not_joined_or_has_left_is_refused_everything() {
    let mut policy = house();
    policy.peer_left(VIEWER);
    for from in ["stranger", VIEWER] {
        refused(&mut policy, from, IncomingMessage::List);
        refused(&mut policy, from, start(DEVICE));
        refused(&mut policy, from, status(&[PeerRole::Listener], Value::Null));
        assert!(policy.outbound(from, OutgoingMessage::Error { details: "x".into() }).is_none());
        assert!(policy.outbound(from, change(DEVICE, &[PeerRole::Producer])).is_none());
        assert!(listed(&mut policy, from).is_empty());
    }
}

#[test]
fn everybody_may_listen() {
    let mut policy = house();
    for id in [VIEWER, TALKER, MACHINE, CAMERA, NOBODY] {
        policy.inbound(id, status(&[PeerRole::Listener], Value::Null)).expect("listening is free");
        policy.inbound(id, status(&[], Value::Null)).expect("so is no role");
    }
}

#[test]
fn only_who_may_send_media_is_a_producer() {
    let mut policy = house();
    for id in [VIEWER, MACHINE, NOBODY, RECEIVER] {
        let reason = refused(&mut policy, id, status(&[PeerRole::Producer], Value::Null));
        assert!(reason.contains("may not send media"), "{reason}");
        assert!(!policy.producing(id));
    }
    for id in [TALKER, CAMERA, DEVICE] {
        policy.inbound(id, status(&[PeerRole::Producer], Value::Null)).expect("may produce");
        assert!(policy.producing(id));
        policy.inbound(id, status(&[], Value::Null)).expect("may stop");
        assert!(!policy.producing(id));
    }
}

#[test]
fn passive_consumers_are_the_devices_own() {
    let mut policy = house();
    for id in [VIEWER, TALKER, MACHINE, CAMERA, NOBODY] {
        refused(&mut policy, id, status(&[PeerRole::Consumer], Value::Null));
        refused(&mut policy, id, status(&[PeerRole::Listener, PeerRole::Consumer], Value::Null));
    }
    policy.inbound(RECEIVER, status(&[PeerRole::Consumer], Value::Null)).expect("the device may");
    refused(&mut policy, TALKER, status(&[PeerRole::Producer, PeerRole::Consumer], Value::Null));
    refused(&mut policy, DEVICE, status(&[PeerRole::Producer, PeerRole::Consumer], Value::Null));
}

#[test]
fn nobody_speaks_in_anothers_name() {
    let mut policy = house();
    let as_peer = |id: &str| {
        IncomingMessage::SetPeerStatus(PeerStatus {
            roles: vec![PeerRole::Producer],
            meta: None,
            peer_id: Some(id.into()),
        })
    };
    refused(&mut policy, TALKER, as_peer(DEVICE));
    refused(&mut policy, TALKER, as_peer(OTHER));
    refused(&mut policy, TALKER, as_peer("nobody"));
    policy.inbound(TALKER, as_peer(TALKER)).expect("one's own id is fine");
}

#[test]
fn a_refused_status_changes_nothing() {
    let mut policy = house();
    refused(&mut policy, TALKER, status(&[], json!("text")));
    assert!(policy.producing(TALKER), "still a producer");
}

#[test]
fn nobody_poses_as_the_device() {
    let mut policy = house();
    let meta = json!({"name": "Door", "duplex": {"device": true}});
    for id in [TALKER, CAMERA] {
        let reason = refused(&mut policy, id, status(&[PeerRole::Producer], meta.clone()));
        assert!(reason.contains("duplex"), "{reason}");
        refused(&mut policy, id, status(&[PeerRole::Producer], json!({"duplex": null})));
    }
    policy.inbound(DEVICE, status(&[PeerRole::Producer], meta)).expect("the device is the device");
}

#[test]
fn meta_is_a_small_object() {
    let mut policy = house();
    for meta in [json!("text"), json!(3), json!([1, 2]), json!(true)] {
        refused(&mut policy, TALKER, status(&[], meta));
    }
    // {"a":"..."} has eight bytes around the text.
    let sized = |bytes: usize| status(&[], json!({"a": "x".repeat(bytes - 8)}));
    policy.inbound(TALKER, sized(2048)).expect("2 KiB are allowed");
    let reason = refused(&mut policy, TALKER, sized(2049));
    assert!(reason.contains("2049 bytes") && reason.contains("2048"), "{reason}");
    policy.inbound(TALKER, status(&[], Value::Null)).expect("null is no meta");
    policy.inbound(TALKER, status(&[], json!({"display-name": "me"}))).expect("a small object");
}

#[test]
fn roles_are_at_most_three() {
    let mut policy = house();
    let many = vec![PeerRole::Listener; 4];
    refused(&mut policy, VIEWER, status(&many, Value::Null));
}

#[test]
fn who_sees_whom_in_a_list() {
    let mut policy = house();
    let device_first = vec![DEVICE.to_string(), CAMERA.to_string()];
    assert_eq!(listed(&mut policy, VIEWER), device_first);
    assert_eq!(listed(&mut policy, TALKER), device_first, "a talker sees neither himself nor the other");
    assert_eq!(listed(&mut policy, MACHINE), [TALKER, OTHER], "in the order of joining");
    assert_eq!(listed(&mut policy, RECEIVER), [TALKER], "made for this one");
    assert!(listed(&mut policy, NOBODY).is_empty());
    assert!(listed(&mut policy, CAMERA).is_empty());
    assert!(listed(&mut policy, DEVICE).is_empty());
}

#[test]
fn a_machine_with_all_rights_is_published_and_sees_all_but_itself() {
    let mut policy = house();
    policy.peer_joined("all".into(), grants("watch talk produce consume"));
    policy.inbound("all", status(&[PeerRole::Producer], Value::Null)).expect("may produce");
    assert_eq!(policy.producer_class("all"), Some(ProducerClass::Published));
    assert_eq!(listed(&mut policy, "all"), [DEVICE, CAMERA, TALKER, OTHER]);
    policy.inbound(VIEWER, start("all")).expect("published for viewers");
    refused(&mut policy, "all", start("all"));
}

#[test]
fn the_list_of_consumers_is_always_empty() {
    let mut policy = house();
    policy.inbound(VIEWER, IncomingMessage::ListConsumers).expect("stock pages ask");
    let consumers = vec![Listed { id: RECEIVER.into(), meta: None }];
    let thinned = policy.outbound(VIEWER, OutgoingMessage::ListConsumers { consumers });
    assert_eq!(thinned, Some(OutgoingMessage::ListConsumers { consumers: vec![] }));
}

#[test]
fn changes_are_told_to_those_who_see() {
    let mut policy = house();
    let producing = [PeerRole::Producer];
    assert!(policy.outbound(VIEWER, change(DEVICE, &producing)).is_some());
    assert!(policy.outbound(VIEWER, change(CAMERA, &producing)).is_some());
    assert!(policy.outbound(VIEWER, change(TALKER, &producing)).is_none());
    assert!(policy.outbound(TALKER, change(OTHER, &producing)).is_none());
    assert!(policy.outbound(MACHINE, change(TALKER, &producing)).is_some());
    assert!(policy.outbound(MACHINE, change(DEVICE, &producing)).is_none());
    assert!(policy.outbound(RECEIVER, change(TALKER, &producing)).is_some());
    assert!(policy.outbound(RECEIVER, change(OTHER, &producing)).is_none());
    assert!(policy.outbound(NOBODY, change(DEVICE, &producing)).is_none());
}

#[test]
fn ones_own_change_is_confirmed() {
    let mut policy = house();
    for id in [VIEWER, TALKER, NOBODY] {
        assert!(policy.outbound(id, change(id, &[PeerRole::Listener])).is_some());
    }
}

#[test]
fn comings_and_goings_of_mere_listeners_are_nobodys_business() {
    let mut policy = house();
    for about in [VIEWER, TALKER, NOBODY, "somebody who left"] {
        assert!(policy.outbound(MACHINE, change(about, &[PeerRole::Listener])).is_none());
        assert!(policy.outbound(OTHER, change(about, &[])).is_none());
    }
}

#[test]
fn the_end_of_a_producer_is_told_once_to_those_who_knew_it() {
    let mut policy = house();
    assert!(policy.outbound(VIEWER, change(DEVICE, &[PeerRole::Producer])).is_some());
    assert_eq!(listed(&mut policy, TALKER).len(), 2, "he learns of the device from the list");
    for knew in [VIEWER, TALKER] {
        assert!(policy.outbound(knew, change(DEVICE, &[])).is_some());
        assert!(policy.outbound(knew, change(DEVICE, &[])).is_none());
    }
    assert!(policy.outbound(OTHER, change(DEVICE, &[])).is_none(), "he never heard of it");
}

#[test]
fn sessions_only_with_producers_one_sees() {
    let mut policy = house();
    let permitted =
        [(VIEWER, DEVICE), (VIEWER, CAMERA), (TALKER, DEVICE), (MACHINE, TALKER), (MACHINE, OTHER), (RECEIVER, TALKER)];
    let everybody = [DEVICE, RECEIVER, VIEWER, TALKER, OTHER, CAMERA, MACHINE, NOBODY];
    for from in everybody {
        for to in everybody {
            let expected = permitted.contains(&(from, to)) || (from, to) == (TALKER, CAMERA) || {
                from == OTHER && (to == DEVICE || to == CAMERA)
            };
            assert_eq!(policy.inbound(from, start(to)).is_ok(), expected, "{from} with {to}");
        }
    }
}

#[test]
fn the_unseen_and_the_missing_are_refused_alike() {
    let mut policy = house();
    let hidden = refused(&mut policy, VIEWER, start(TALKER));
    let missing = refused(&mut policy, VIEWER, start("no such peer"));
    let itself = refused(&mut policy, VIEWER, start(VIEWER));
    assert_eq!(hidden, missing);
    assert_eq!(hidden, itself);
    started(&mut policy, DEVICE, VIEWER, "s1");
    let foreign = refused(&mut policy, OTHER, end("s1"));
    let unknown = refused(&mut policy, OTHER, end("no such session"));
    assert_eq!(foreign, unknown);
}

#[test]
fn a_producer_that_stopped_is_no_longer_one() {
    let mut policy = house();
    policy.inbound(DEVICE, status(&[], Value::Null)).expect("may stop");
    refused(&mut policy, VIEWER, start(DEVICE));
}

#[test]
fn the_devices_own_start_nothing_elsewhere() {
    let mut policy = house();
    for to in [VIEWER, TALKER, CAMERA, RECEIVER] {
        refused(&mut policy, DEVICE, start(to));
    }
    for to in [OTHER, DEVICE, CAMERA, VIEWER] {
        refused(&mut policy, RECEIVER, start(to));
    }
}

#[test]
fn the_device_has_a_limit_of_viewers() {
    let mut policy = house_with(Limits { max_viewers: 2, ..Limits::default() });
    started(&mut policy, DEVICE, VIEWER, "s1");
    started(&mut policy, CAMERA, VIEWER, "of no matter");
    started(&mut policy, DEVICE, TALKER, "s2");
    let reason = refused(&mut policy, OTHER, start(DEVICE));
    assert!(reason.contains("too many viewers (2)"), "{reason}");
    policy.inbound(TALKER, end("s2")).expect("his own");
    refused(&mut policy, OTHER, start(DEVICE));
    policy.let_go("no such session");
    refused(&mut policy, OTHER, start(DEVICE));
    policy.let_go("s2");
    policy.inbound(OTHER, start(DEVICE)).expect("there is room again");
}

#[test]
fn a_device_that_comes_again_begins_with_all_its_places() {
    let mut policy = house_with(Limits { max_viewers: 1, ..Limits::default() });
    started(&mut policy, DEVICE, VIEWER, "s1");
    policy.inbound(VIEWER, end("s1")).expect("his own");
    policy.peer_left(DEVICE);
    policy.peer_joined(DEVICE.into(), Kind::DeviceProducer);
    policy.inbound(DEVICE, status(&[PeerRole::Producer], Value::Null)).expect("it is the device");
    policy.inbound(OTHER, start(DEVICE)).expect("there is room");
}

#[test]
fn a_peer_has_a_limit_of_sessions() {
    let mut policy = house();
    for n in 0..4 {
        started(&mut policy, DEVICE, VIEWER, &format!("s{n}"));
    }
    let reason = refused(&mut policy, VIEWER, start(DEVICE));
    assert!(reason.contains("too many sessions (4)"), "{reason}");
    started(&mut policy, DEVICE, TALKER, "another peer's");
}

#[test]
fn nobody_ends_anothers_session() {
    let mut policy = house();
    started(&mut policy, DEVICE, VIEWER, "s1");
    for id in [TALKER, OTHER, CAMERA, MACHINE, NOBODY, RECEIVER] {
        refused(&mut policy, id, end("s1"));
    }
    assert_eq!(policy.session_count(), 1);
    policy.inbound(VIEWER, end("s1")).expect("his own");
    started(&mut policy, DEVICE, VIEWER, "s2");
    policy.inbound(DEVICE, end("s2")).expect("the device's own");
    assert_eq!(policy.session_count(), 0);
    for id in [TALKER, OTHER, CAMERA, MACHINE, NOBODY, RECEIVER] {
        refused(&mut policy, id, end("s1"));
    }
}

#[test]
fn words_that_crossed_the_end_of_a_session_are_no_offence_and_reach_nobody() {
    let mut policy = house();
    started(&mut policy, DEVICE, VIEWER, "s1");
    policy.inbound(DEVICE, end("s1")).expect("its own");
    policy.inbound(VIEWER, end("s1")).expect("both may end it at once");
    for inner in [offer(), answer(), candidate()] {
        for from in [VIEWER, DEVICE] {
            policy.inbound(from, peer("s1", inner.clone())).expect("it was under way");
        }
        refused(&mut policy, OTHER, peer("s1", inner.clone()));
        let message = PeerMessage { session_id: "s1".into(), peer_message: inner };
        assert!(policy.outbound(DEVICE, OutgoingMessage::Peer(message)).is_none());
    }
    // Only so many are remembered.
    for n in 0..ENDED_KEPT {
        started(&mut policy, DEVICE, VIEWER, &format!("later {n}"));
        policy.inbound(VIEWER, end(&format!("later {n}"))).expect("his own");
        policy.let_go(&format!("later {n}"));
    }
    assert_eq!(policy.ended.len(), ENDED_KEPT);
    refused(&mut policy, VIEWER, end("s1"));
    refused(&mut policy, VIEWER, peer("s1", candidate()));
}

#[test]
fn nobody_speaks_into_anothers_session() {
    let mut policy = house();
    started(&mut policy, DEVICE, VIEWER, "s1");
    for id in [TALKER, OTHER, CAMERA, MACHINE, NOBODY, RECEIVER] {
        for inner in [offer(), answer(), candidate()] {
            refused(&mut policy, id, peer("s1", inner));
        }
        let message = PeerMessage { session_id: "s1".into(), peer_message: candidate() };
        assert!(policy.outbound(id, OutgoingMessage::Peer(message)).is_none(), "{id} hears nothing of it");
    }
    policy.inbound(DEVICE, peer("s1", offer())).expect("the producer offers");
    policy.inbound(VIEWER, peer("s1", answer())).expect("the consumer answers");
    policy.inbound(VIEWER, peer("s1", candidate())).expect("both send candidates");
    policy.inbound(DEVICE, peer("s1", candidate())).expect("both send candidates");
    refused(&mut policy, VIEWER, peer("s2", answer()));
}

#[test]
fn a_consumer_sends_no_offer_into_a_running_session() {
    let mut policy = house();
    started(&mut policy, DEVICE, VIEWER, "s1");
    refused(&mut policy, VIEWER, peer("s1", offer()));
    policy.inbound(DEVICE, peer("s1", answer())).expect("the answer to an offer in startSession");
}

#[test]
fn an_offer_of_a_viewers_own_goes_to_the_device() {
    let mut policy = house();
    let call = StartSessionMessage { peer_id: DEVICE.into(), offer: Some("v=0".into()) };
    let passed = policy.inbound(VIEWER, IncomingMessage::StartSession(call)).expect("who may watch may offer");
    assert!(matches!(passed, IncomingMessage::StartSession(call) if call.offer.as_deref() == Some("v=0")));
}

#[test]
fn candidates_are_counted_by_session_and_side() {
    let mut policy = house();
    started(&mut policy, DEVICE, VIEWER, "s1");
    started(&mut policy, DEVICE, VIEWER, "s2");
    for _ in 0..256 {
        policy.inbound(VIEWER, peer("s1", candidate())).expect("within the limit");
    }
    let reason = refused(&mut policy, VIEWER, peer("s1", candidate()));
    assert!(reason.contains("256"), "{reason}");
    policy.inbound(DEVICE, peer("s1", candidate())).expect("the other side has its own");
    policy.inbound(VIEWER, peer("s2", candidate())).expect("so has another session");
    policy.inbound(VIEWER, peer("s1", answer())).expect("descriptions are not candidates");
}

#[test]
fn sessions_end_with_their_producers_and_peers() {
    let mut policy = house();
    started(&mut policy, DEVICE, VIEWER, "s1");
    // The handler's own words when the producer stops.
    let ended = OutgoingMessage::EndSession(EndSessionMessage { session_id: "s1".into() });
    assert!(policy.outbound(VIEWER, ended).is_some());
    assert_eq!(policy.session_count(), 0);
    started(&mut policy, DEVICE, VIEWER, "s2");
    started(&mut policy, DEVICE, TALKER, "s3");
    policy.peer_left(VIEWER);
    assert_eq!(policy.session("s2"), None);
    assert_eq!(policy.session("s3"), Some((DEVICE.into(), TALKER.into())));
    policy.peer_left(DEVICE);
    assert_eq!(policy.session_count(), 0);
}

#[test]
fn an_end_is_told_even_when_the_table_knows_it_already() {
    let mut policy = house();
    started(&mut policy, DEVICE, VIEWER, "s1");
    policy.inbound(VIEWER, end("s1")).expect("his own");
    let ended = OutgoingMessage::EndSession(EndSessionMessage { session_id: "s1".into() });
    assert!(policy.outbound(DEVICE, ended).is_some(), "the device must hear that the viewer hung up");
}

#[test]
fn a_producer_hears_only_of_its_own_sessions() {
    let mut policy = house();
    started(&mut policy, DEVICE, VIEWER, "s1");
    let foreign = |session: &str| OutgoingMessage::StartSession {
        peer_id: VIEWER.into(),
        session_id: session.into(),
        offer: None,
    };
    assert!(policy.outbound(CAMERA, foreign("s1")).is_none());
    assert!(policy.outbound(CAMERA, foreign("unknown")).is_none());
}

#[test]
fn a_leaving_peer_leaves_no_trace() {
    let mut policy = house();
    started(&mut policy, DEVICE, VIEWER, "s1");
    for id in [DEVICE, RECEIVER, VIEWER, TALKER, OTHER, CAMERA, MACHINE, NOBODY] {
        listed(&mut policy, id);
    }
    for id in [DEVICE, RECEIVER, VIEWER, TALKER, OTHER, CAMERA, NOBODY] {
        policy.peer_left(id);
    }
    assert_eq!(policy.members.len(), 1);
    assert!(policy.members[MACHINE].shown.is_empty());
    assert!(policy.sessions.is_empty());
}

#[test]
fn the_publisher_gets_the_device_alone_and_takes_no_viewers_place() {
    const PUBLISHER: &str = "publisher";
    let mut policy = house_with(Limits { max_viewers: 1, ..Limits::default() });
    policy.peer_joined(PUBLISHER.into(), Kind::DevicePublisher);
    started(&mut policy, DEVICE, VIEWER, "s1");
    policy.inbound(OTHER, start(DEVICE)).expect_err("there is one place");
    started(&mut policy, DEVICE, PUBLISHER, "s2");
    for other in [TALKER, CAMERA] {
        policy.inbound(PUBLISHER, start(other)).expect_err("not the device");
    }
    policy.inbound(PUBLISHER, status(&[PeerRole::Producer], Value::Null)).expect_err("it only takes");
    policy.inbound(VIEWER, end("s1")).expect("its own");
    policy.let_go("s1");
    started(&mut policy, DEVICE, OTHER, "s3");
}

#[test]
fn the_end_of_candidates_is_news_for_the_publisher_alone() {
    let mut policy = house();
    policy.peer_joined("publisher".into(), Kind::DevicePublisher);
    for (consumer, session, hears) in [(VIEWER, "s1", false), ("publisher", "s2", true)] {
        started(&mut policy, DEVICE, consumer, session);
        let none = PeerMessageInner::Ice { candidate: String::new(), sdp_m_line_index: 0 };
        for (inner, passes) in [(candidate(), true), (none, hears)] {
            let message = PeerMessage { session_id: session.into(), peer_message: inner };
            assert_eq!(policy.outbound(consumer, OutgoingMessage::Peer(message)).is_some(), passes, "{consumer}");
        }
    }
}
