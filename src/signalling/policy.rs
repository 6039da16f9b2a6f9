//! The rules of signalling: who may send which message, and who gets to see which.
//!
//! In: every message from a peer before the protocol handler gets it, and every message of the handler before a
//! peer gets it. Out: the message, possibly thinned, or a refusal with one sentence.
//! Never: sockets, tasks, the clock. The caller processes one message completely, with all its answers, before
//! it brings the next: only then are the limits on sessions exact.
//!
//! Who sees whom:
//!
//! | producer                                | is seen by                                                        |
//! |-----------------------------------------|-------------------------------------------------------------------|
//! | the device; one published (`produce`)   | whoever has `watch`; the device also by its own publisher         |
//! | a talker (`talk` without `produce`)     | whoever has `consume_peer`; the device's consumer made for him    |
//!
//! Nobody sees himself, and what one does not see is refused in the same words as what does not exist.

use super::wire::{
    EndSessionMessage, IncomingMessage, OutgoingMessage, PeerMessage, PeerMessageInner, PeerStatus, SdpMessage,
    StartSessionMessage,
};
use super::{Grants, Kind, PeerId};
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};

/// How much of everything one service takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions in which the device is the producer, at least 1; each counts until the device has let go of it.
    pub max_viewers: usize,
    /// Remote peers connected at once, at least 1; the device's own are not counted.
    pub max_peers: usize,
    /// Sessions one remote peer may consume at once.
    pub max_sessions_per_peer: usize,
    /// ICE candidates each side of a session may send in its lifetime.
    pub max_candidates: u32,
    /// Bytes of a remote peer's `meta`, serialised.
    pub max_meta: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_viewers: 32, max_peers: 64, max_sessions_per_peer: 4, max_candidates: 256, max_meta: 2048 }
    }
}

/// Why a message was not let through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The type of the message, as on the wire.
    pub act: &'static str,
    /// One sentence for the sender.
    pub reason: String,
}

/// What kind of producer a peer is, or would be; ordered as a list shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProducerClass {
    /// The device itself.
    Device,
    /// A remote one for every viewer.
    Published,
    /// A remote one for the device.
    Talker,
}

/// The rules and the tables they need.
#[derive(Debug)]
pub struct Policy {
    limits: Limits,
    members: HashMap<PeerId, Member>,
    sessions: HashMap<String, Session>,
    /// Sessions that are over for their viewers, and of which the device has not let go yet, with the device's peer id.
    lingering: HashMap<String, PeerId>,
    /// The last sessions that ended, with their members.
    ended: VecDeque<(String, [PeerId; 2])>,
    joined: u64,
}

#[derive(Debug)]
struct Member {
    kind: Kind,
    /// Position in the order of joining.
    joined: u64,
    producing: bool,
    /// Producers this peer was told of and not yet told to be gone.
    shown: HashSet<PeerId>,
}

#[derive(Debug)]
struct Session {
    producer: PeerId,
    consumer: PeerId,
    /// Candidates sent by the producer and by the consumer.
    candidates: [u32; 2],
    /// Descriptions likewise.
    descriptions: [u32; 2],
}

impl Policy {
    /// No peers yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            members: HashMap::new(),
            sessions: HashMap::new(),
            lingering: HashMap::new(),
            ended: VecDeque::new(),
            joined: 0,
        }
    }

    /// Admits a peer; whatever it sends before is refused.
    pub fn peer_joined(&mut self, id: PeerId, kind: Kind) {
        self.joined += 1;
        let member = Member { kind, joined: self.joined, producing: false, shown: HashSet::new() };
        self.members.insert(id, member);
    }

    /// Forgets a peer and its sessions. Comes after the handler's messages about its leaving went through [`Self::outbound`].
    pub fn peer_left(&mut self, id: &str) {
        self.members.remove(id);
        self.sessions.retain(|_, session| session.producer != id && session.consumer != id);
        self.lingering.retain(|_, device| device != id);
        for member in self.members.values_mut() {
            member.shown.remove(id);
        }
    }

    /// The device has let go of a session that is over: its place is free from now on.
    pub fn let_go(&mut self, session_id: &str) {
        self.lingering.remove(session_id);
    }

    /// The device has not been told of a session that it was asked for: it cannot let go of it.
    pub fn never_began(&mut self, session_id: &str) {
        self.sessions.remove(session_id);
    }

    /// Checks a message of peer `from`. An accepted one must go to the handler at once.
    pub fn inbound(&mut self, from: &str, message: IncomingMessage) -> Result<IncomingMessage, Refusal> {
        let act = act(&message);
        let refused = |reason: String| Refusal { act, reason: format!("{act}: {reason}") };
        if !self.members.contains_key(from) {
            return Err(refused("this peer is not connected.".into()));
        }
        match message {
            IncomingMessage::NewPeer => Err("only the server announces peers.".into()),
            IncomingMessage::SetPeerStatus(status) => self.set_peer_status(from, status),
            IncomingMessage::StartSession(start) => self.start_session(from, start),
            IncomingMessage::EndSession(end) => self.end_session(from, end),
            IncomingMessage::Peer(peer) => self.peer_message(from, peer),
            // Stock pages ask for both as soon as they are connected; the answers are thinned on their way out.
            IncomingMessage::List => Ok(IncomingMessage::List),
            IncomingMessage::ListConsumers => Ok(IncomingMessage::ListConsumers),
        }
        .map_err(refused)
    }

    /// What peer `to` gets of a message of the handler, if anything. Keeps the table of sessions true.
    pub fn outbound(&mut self, to: &str, message: OutgoingMessage) -> Option<OutgoingMessage> {
        match message {
            OutgoingMessage::Welcome { .. } | OutgoingMessage::Error { .. } => {
                self.members.contains_key(to).then_some(message)
            }
            OutgoingMessage::PeerStatusChanged(status) => {
                self.shows_change(to, &status).then_some(OutgoingMessage::PeerStatusChanged(status))
            }
            OutgoingMessage::SessionStarted { ref peer_id, ref session_id } => {
                let session = Session {
                    producer: peer_id.clone(),
                    consumer: to.to_owned(),
                    candidates: [0, 0],
                    descriptions: [0, 0],
                };
                self.sessions.insert(session_id.clone(), session);
                Some(message)
            }
            OutgoingMessage::StartSession { ref session_id, .. } => {
                self.sessions.get(session_id).is_some_and(|session| session.producer == to).then_some(message)
            }
            OutgoingMessage::EndSession(end) => {
                // The table may have lost it already, when the other side asked for the end.
                self.close(&end.session_id);
                self.members.contains_key(to).then_some(OutgoingMessage::EndSession(end))
            }
            OutgoingMessage::Peer(peer) => {
                let side = self.sessions.get(&peer.session_id).and_then(|session| session.side(to));
                // The end of candidates is news for the publisher alone: not every stock client knows it.
                let known = !ends_candidates(&peer) || self.is_publisher(to);
                (side.is_some() && known).then_some(OutgoingMessage::Peer(peer))
            }
            OutgoingMessage::List { producers } => Some(self.thin_list(to, producers)),
            // Passive consumers are the device's own; a stock webrtcsink must not be told to send them anything.
            OutgoingMessage::ListConsumers { .. } => Some(OutgoingMessage::ListConsumers { consumers: Vec::new() }),
        }
    }

    /// Whether peer `id` is registered as a producer.
    pub fn producing(&self, id: &str) -> bool {
        self.members.get(id).is_some_and(|member| member.producing)
    }

    /// What kind of producer peer `id` is or would be; `None` for those who may not produce.
    pub fn producer_class(&self, id: &str) -> Option<ProducerClass> {
        self.members.get(id).and_then(|member| class_of(&member.kind))
    }

    /// Producer and consumer of a session.
    pub fn session(&self, id: &str) -> Option<(PeerId, PeerId)> {
        self.sessions.get(id).map(|session| (session.producer.clone(), session.consumer.clone()))
    }

    /// Number of running sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    fn set_peer_status(&mut self, from: &str, status: PeerStatus) -> Result<IncomingMessage, String> {
        let Some(member) = self.members.get_mut(from) else { return Err(UNKNOWN_PRODUCER.into()) };
        if status.peer_id.as_deref().is_some_and(|id| id != from) {
            return Err("peerId must be your own id or be left out.".into());
        }
        if status.roles.len() > MAX_ROLES {
            return Err(format!("{} roles were given; at most {MAX_ROLES} are allowed.", status.roles.len()));
        }
        if status.producing() && status.consuming() {
            return Err("a peer cannot be producer and consumer at once.".into());
        }
        if status.producing() && class_of(&member.kind).is_none() {
            return Err(
                "this sign-in may not send media; the role producer needs the right to talk or to produce.".into()
            );
        }
        if let Kind::Remote(_) = member.kind {
            if status.consuming() {
                return Err("the role consumer is the device's alone; start a session with a producer instead.".into());
            }
            check_meta(status.meta.as_ref(), self.limits.max_meta)?;
        }
        member.producing = status.producing();
        Ok(IncomingMessage::SetPeerStatus(status))
    }

    fn start_session(&self, from: &str, start: StartSessionMessage) -> Result<IncomingMessage, String> {
        if !self.sees(from, &start.peer_id) || !self.producing(&start.peer_id) {
            return Err(UNKNOWN_PRODUCER.into());
        }
        let consumed = self.sessions.values().filter(|session| session.consumer == from).count();
        if consumed >= self.limits.max_sessions_per_peer {
            return Err(format!("this peer has too many sessions ({consumed}); end one first."));
        }
        if self.producer_class(&start.peer_id) == Some(ProducerClass::Device) {
            let most = self.limits.max_viewers;
            if self.viewers() >= most && !self.is_publisher(from) {
                return Err(format!("too many viewers ({most}); try again when somebody has left."));
            }
        }
        Ok(IncomingMessage::StartSession(start))
    }

    fn end_session(&mut self, from: &str, end: EndSessionMessage) -> Result<IncomingMessage, String> {
        let own = self.sessions.get(&end.session_id).is_some_and(|session| session.side(from).is_some());
        if !own && !self.crossed(from, &end.session_id) {
            return Err(UNKNOWN_SESSION.into());
        }
        // The handler tells only the other side, if that is still there.
        self.close(&end.session_id);
        Ok(IncomingMessage::EndSession(end))
    }

    fn close(&mut self, session_id: &str) {
        if let Some(session) = self.sessions.remove(session_id) {
            let place = !self.is_publisher(&session.consumer);
            if place && self.producer_class(&session.producer) == Some(ProducerClass::Device) {
                self.lingering.insert(session_id.to_owned(), session.producer.clone());
            }
            self.ended.truncate(ENDED_KEPT - 1);
            self.ended.push_front((session_id.to_owned(), [session.producer, session.consumer]));
        }
    }

    /// Whether a session of this peer has just ended: what the peer still says to it crossed the other side's end on
    /// the way and is no offence. The handler knows nothing of the session then, and does nothing.
    fn crossed(&self, from: &str, session_id: &str) -> bool {
        self.ended.iter().any(|(id, members)| id == session_id && members.iter().any(|member| member == from))
    }

    fn peer_message(&mut self, from: &str, peer: PeerMessage) -> Result<IncomingMessage, String> {
        if self.crossed(from, &peer.session_id) {
            return Ok(IncomingMessage::Peer(peer));
        }
        let remote = self.members.get(from).is_some_and(|member| matches!(member.kind, Kind::Remote(_)));
        let Some(session) = self.sessions.get_mut(&peer.session_id) else { return Err(UNKNOWN_SESSION.into()) };
        let Some(side) = session.side(from) else { return Err(UNKNOWN_SESSION.into()) };
        match peer.peer_message {
            PeerMessageInner::Sdp(SdpMessage::Offer { .. }) if side == CONSUMER => {
                return Err("only the producer of a session may send an offer; put yours into startSession.".into());
            }
            // Each is parsed in full: a session needs one, and a few more are no harm.
            PeerMessageInner::Sdp(_) => {
                if remote && session.descriptions[side] >= MAX_DESCRIPTIONS {
                    return Err(format!("too many descriptions ({MAX_DESCRIPTIONS}) in this session."));
                }
                session.descriptions[side] += 1;
            }
            PeerMessageInner::Ice { .. } => {
                if session.candidates[side] >= self.limits.max_candidates {
                    return Err(format!("too many ICE candidates ({}) in this session.", self.limits.max_candidates));
                }
                session.candidates[side] += 1;
            }
        }
        Ok(IncomingMessage::Peer(peer))
    }

    /// Places taken at the device. One that was left counts until the device has let go of it: it takes its time over
    /// that, and who comes and goes quickly would otherwise have more sessions there than the limit says. The publisher
    /// has none: viewers cannot keep it out, nor it them.
    fn viewers(&self) -> usize {
        let of_device = |session: &&Session| self.producer_class(&session.producer) == Some(ProducerClass::Device);
        let viewers = self.sessions.values().filter(of_device);
        viewers.filter(|session| !self.is_publisher(&session.consumer)).count() + self.lingering.len()
    }

    fn is_publisher(&self, id: &str) -> bool {
        self.members.get(id).is_some_and(|member| matches!(member.kind, Kind::DevicePublisher))
    }

    /// Whether `viewer` may know of `target` as a producer, be it one at the moment or not.
    fn sees(&self, viewer: &str, target: &str) -> bool {
        let (Some(member), Some(class)) = (self.members.get(viewer), self.producer_class(target)) else { return false };
        viewer != target
            && match (&member.kind, class) {
                (Kind::Remote(grants), ProducerClass::Device | ProducerClass::Published) => grants.watch,
                (Kind::Remote(grants), ProducerClass::Talker) => grants.consume_peer,
                (Kind::DeviceConsumer { talker }, ProducerClass::Talker) => talker == target,
                (Kind::DevicePublisher, class) => class == ProducerClass::Device,
                (Kind::DeviceConsumer { .. } | Kind::DeviceProducer, _) => false,
            }
    }

    /// Decides on a change of status, and remembers who was told of which producer: its end is news only to those.
    fn shows_change(&mut self, to: &str, status: &PeerStatus) -> bool {
        let Some(about) = status.peer_id.as_deref() else { return false };
        if about == to {
            // One's own status comes back as its confirmation; pages wait for it.
            return self.members.contains_key(to);
        }
        let visible = self.sees(to, about);
        let Some(member) = self.members.get_mut(to) else { return false };
        if visible && status.producing() {
            member.shown.insert(about.to_owned());
            true
        } else {
            member.shown.remove(about)
        }
    }

    fn thin_list(&mut self, to: &str, producers: Vec<super::wire::Peer>) -> OutgoingMessage {
        let mut producers: Vec<_> = producers.into_iter().filter(|producer| self.sees(to, &producer.id)).collect();
        // Stock clients that "connect to the first producer" mean the device.
        producers.sort_by_key(|producer| {
            (self.producer_class(&producer.id), self.members.get(&producer.id).map(|member| member.joined))
        });
        if let Some(member) = self.members.get_mut(to) {
            member.shown = producers.iter().map(|producer| producer.id.clone()).collect();
        }
        OutgoingMessage::List { producers }
    }
}

impl Session {
    /// On which side of the session a peer is.
    fn side(&self, peer: &str) -> Option<usize> {
        if self.producer == peer {
            Some(PRODUCER)
        } else if self.consumer == peer {
            Some(CONSUMER)
        } else {
            None
        }
    }
}

fn class_of(kind: &Kind) -> Option<ProducerClass> {
    match kind {
        Kind::DeviceProducer => Some(ProducerClass::Device),
        Kind::DeviceConsumer { .. } | Kind::DevicePublisher => None,
        Kind::Remote(Grants { produce: true, .. }) => Some(ProducerClass::Published),
        Kind::Remote(Grants { talk: true, .. }) => Some(ProducerClass::Talker),
        Kind::Remote(_) => None,
    }
}

/// A candidate without text: there are no more to come.
fn ends_candidates(peer: &PeerMessage) -> bool {
    matches!(&peer.peer_message, PeerMessageInner::Ice { candidate, .. } if candidate.is_empty())
}

fn check_meta(meta: Option<&Value>, max_bytes: usize) -> Result<(), String> {
    let object = match meta {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(object)) => object,
        Some(_) => return Err("meta must be a JSON object or null.".into()),
    };
    // The page tells the device from impostors by this key.
    if object.contains_key(DEVICE_KEY) {
        return Err(format!("the key {DEVICE_KEY:?} in meta is the device's alone."));
    }
    let bytes = serde_json::to_vec(object).map_err(|error| format!("meta cannot be written: {error}."))?.len();
    if bytes > max_bytes {
        return Err(format!("meta has {bytes} bytes; at most {max_bytes} are allowed."));
    }
    Ok(())
}

fn act(message: &IncomingMessage) -> &'static str {
    match message {
        IncomingMessage::NewPeer => "newPeer",
        IncomingMessage::SetPeerStatus(_) => "setPeerStatus",
        IncomingMessage::StartSession(_) => "startSession",
        IncomingMessage::EndSession(_) => "endSession",
        IncomingMessage::Peer(_) => "peer",
        IncomingMessage::List => "list",
        IncomingMessage::ListConsumers => "listConsumers",
    }
}

const PRODUCER: usize = 0;
const CONSUMER: usize = 1;
/// Descriptions a remote side of a session may send in its lifetime.
const MAX_DESCRIPTIONS: u32 = 8;
/// Ended sessions that are remembered.
const ENDED_KEPT: usize = 64;
/// There are three roles; a longer list only serves to make others' messages large.
const MAX_ROLES: usize = 3;
/// The key in a producer's meta under which the device says that it is the device.
pub const DEVICE_KEY: &str = "duplex";
const UNKNOWN_PRODUCER: &str = "there is no producer with this peer id.";
const UNKNOWN_SESSION: &str = "you have no session with this id.";

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
