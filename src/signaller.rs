//! The device's own signaller: joins `webrtcsink` and `webrtcsrc` to the signalling hub inside the
//! process, so that the device needs no certificate, port or token to reach itself.
//!
//! In: the hub's messages for one peer. Out: the signals of gst-plugin-webrtc's `Signallable`
//! interface, and the peer's messages. Never: the `error` signal for what a remote sent (it would
//! end the whole element); a remote's broken message ends that remote's session, no other.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_webrtc::{WebRTCSDPType, WebRTCSessionDescription};
use gstrswebrtc::signaller::{Signallable, SignallableImpl};

use crate::sdp_check;
use crate::signalling::hub::{Hub, Peer, PeerSender};
use crate::signalling::wire;
use crate::signalling::{Kind, PeerId};

/// What the signaller is there for.
#[derive(Debug, Clone)]
pub enum Role {
    /// Registers the device as a producer with this meta.
    Producer {
        /// Shown to those who list producers.
        meta: serde_json::Value,
    },
    /// Asks this peer for its media.
    Consumer {
        /// The talker's peer id.
        talker: PeerId,
    },
}

/// How a session ended of which the element sends no signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// Its peer does not take what is offered.
    Refused,
    /// The element gave it up itself.
    Dropped,
}

glib::wrapper! {
    /// A `Signallable` that speaks to the [`Hub`] without a socket.
    pub struct InProcessSignaller(ObjectSubclass<imp::InProcessSignaller>) @implements Signallable;
}

impl InProcessSignaller {
    /// For the device's `webrtcsink`; `name` is shown to those who list producers.
    pub fn producer(hub: Hub, name: &str) -> Self {
        let meta = serde_json::json!({ "name": name, "duplex": { "device": true } });
        Self::with_role(hub, Role::Producer { meta })
    }

    /// For a `webrtcsrc` that takes the media of one talker.
    pub fn consumer(hub: Hub, talker: &str) -> Self {
        Self::with_role(hub, Role::Consumer { talker: talker.to_owned() })
    }

    /// Becomes true once the element has asked to be registered: it has seen media in final caps.
    pub fn registered(&self) -> tokio::sync::watch::Receiver<bool> {
        self.imp().lock().registered.subscribe()
    }

    /// Becomes true when the element has left a request for a session without an offer for [`OFFER`]: it hangs.
    pub fn stuck(&self) -> tokio::sync::watch::Receiver<bool> {
        self.imp().lock().stuck.subscribe()
    }

    /// Whether a session is not over, as far as signalling goes.
    pub fn knows(&self, session: &str) -> bool {
        self.imp().lock().sessions.iter().any(|known| known.id == session)
    }

    /// Calls `tell` with the id of a session that ends in a way of which the element itself says nothing.
    pub fn tell_ends(&self, tell: impl Fn(String, SessionEnd) + Send + Sync + 'static) {
        self.imp().lock().tell_end = Some(std::sync::Arc::new(tell));
    }

    /// Leaves the hub at once, whether or not the element can still stop.
    pub fn leave(&self) {
        let task = {
            let mut state = self.imp().lock();
            state.sender = None;
            state.sessions.clear();
            state.task.take()
        };
        if let Some(task) = task {
            // Dropping the peer inside the task is what leaves the hub.
            task.abort();
        }
    }

    /// Tells a session's peer that all candidates were sent; [`crate::signalling::policy`] passes it on to the publisher alone.
    pub fn end_of_candidates(&self, session: &str) {
        let (candidate, sdp_m_line_index) = (String::new(), 0);
        self.send(wire::IncomingMessage::Peer(wire::PeerMessage {
            session_id: session.to_owned(),
            peer_message: wire::PeerMessageInner::Ice { candidate, sdp_m_line_index },
        }));
    }

    /// Whether a peer is one of the device's own and came over no network.
    pub fn is_own(&self, peer: &str) -> bool {
        let hub = self.imp().lock().joined.as_ref().map(|(hub, _, _)| hub.clone());
        hub.is_some_and(|hub| hub.grants(peer).is_none())
    }

    /// Ends all sessions of this element, for their peers as well.
    pub fn end_sessions(&self) {
        let sessions: Vec<String> = self.imp().lock().sessions.iter().map(|session| session.id.clone()).collect();
        sessions.iter().for_each(|session| self.end_session(session));
    }

    /// Ends a session of this element, for its peer as well.
    pub fn end_session(&self, session: &str) {
        self.send(wire::IncomingMessage::EndSession(wire::EndSessionMessage { session_id: session.to_owned() }));
        self.session_over(session);
    }

    fn with_role(hub: Hub, role: Role) -> Self {
        let object: Self = glib::Object::new();
        let mut state = object.imp().lock();
        state.joined = Some((hub, role, tokio::runtime::Handle::current()));
        drop(state);
        object
    }

    fn send(&self, message: wire::IncomingMessage) {
        let sender = self.imp().lock().sender.clone();
        if let Some(sender) = sender {
            sender.send(message);
        }
    }

    /// The element has let go of a session, and has told so: what follows it can take its place.
    fn let_go(&self, session: &str) {
        let sender = self.imp().lock().sender.clone();
        if let Some(sender) = sender {
            sender.let_go(session);
        }
    }

    /// Lets the element go of a session; not while it may still be at work on the answer, see [`SETTLE`].
    fn session_over(&self, session: &str) {
        let (wait, runtime) = {
            let mut state = self.imp().lock();
            let answered = state.sessions.iter().find(|known| known.id == session).and_then(|known| known.answered);
            state.sessions.retain(|known| known.id != session);
            let wait = answered.map(|at| SETTLE.saturating_sub(at.elapsed())).filter(|wait| !wait.is_zero());
            (wait, state.joined.as_ref().map(|(_, _, runtime)| runtime.clone()))
        };
        let (Some(wait), Some(runtime)) = (wait, runtime) else {
            self.emit_by_name::<bool>("session-ended", &[&session]);
            return self.let_go(session);
        };
        let (weak, session) = (self.downgrade(), session.to_owned());
        runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            let ended = tokio::task::spawn_blocking(move || {
                if let Some(object) = weak.upgrade() {
                    object.emit_by_name::<bool>("session-ended", &[&session]);
                    object.let_go(&session);
                }
            });
            if ended.await.is_err() {
                tracing::error!("ending a session made the WebRTC element panic");
            }
        });
    }

    /// Looks whether a requested session gets its offer.
    fn expect_offer(&self, session: &str) {
        let Some(runtime) = self.imp().lock().joined.as_ref().map(|(_, _, runtime)| runtime.clone()) else { return };
        let (weak, session) = (self.downgrade(), session.to_owned());
        runtime.spawn(async move {
            tokio::time::sleep(OFFER).await;
            let Some(object) = weak.upgrade() else { return };
            let state = object.imp().lock();
            if state.sessions.iter().any(|known| known.id == session && !known.offered) {
                state.stuck.send_replace(true);
            }
        });
    }

    /// One message from the hub.
    fn dispatch(&self, role: &Role, message: wire::OutgoingMessage) {
        match message {
            wire::OutgoingMessage::Welcome { .. } => {
                self.imp().lock().registered.send_replace(true);
                self.send(match role {
                    Role::Producer { meta } => wire::IncomingMessage::SetPeerStatus(wire::PeerStatus {
                        roles: vec![wire::PeerRole::Producer],
                        meta: Some(meta.clone()),
                        peer_id: None,
                    }),
                    Role::Consumer { talker } => wire::IncomingMessage::StartSession(wire::StartSessionMessage {
                        peer_id: talker.clone(),
                        offer: None,
                    }),
                });
            }
            wire::OutgoingMessage::StartSession { peer_id, session_id, offer } => {
                if offer.is_some() {
                    return self.refuse(&session_id, "a viewer's own offer is not taken");
                }
                self.remember(&session_id, &peer_id, false);
                self.expect_offer(&session_id);
                self.emit_by_name::<()>(
                    "session-requested",
                    &[&session_id, &peer_id, &None::<WebRTCSessionDescription>],
                );
            }
            wire::OutgoingMessage::SessionStarted { peer_id, session_id } => {
                self.remember(&session_id, &peer_id, true);
                self.emit_by_name::<()>("session-started", &[&session_id, &peer_id]);
            }
            wire::OutgoingMessage::EndSession(end) => self.session_over(&end.session_id),
            wire::OutgoingMessage::Peer(wire::PeerMessage { session_id, peer_message }) => match peer_message {
                wire::PeerMessageInner::Sdp(_) if self.is_described(&session_id) => {}
                wire::PeerMessageInner::Sdp(sdp) => {
                    let parsed = match sdp {
                        wire::SdpMessage::Offer { sdp } => description(WebRTCSDPType::Offer, &sdp),
                        wire::SdpMessage::Answer { sdp } => description(WebRTCSDPType::Answer, &sdp),
                    };
                    match parsed.and_then(|parsed| self.accept(&session_id, parsed)) {
                        Ok(Some(parsed)) => self.emit_by_name::<()>("session-description", &[&session_id, &parsed]),
                        Ok(None) => {}
                        Err(reason) => self.refuse(&session_id, reason),
                    }
                }
                wire::PeerMessageInner::Ice { candidate, sdp_m_line_index } => {
                    self.emit_by_name::<()>(
                        "handle-ice",
                        &[&session_id, &sdp_m_line_index, &None::<String>, &candidate],
                    );
                }
            },
            wire::OutgoingMessage::Error { details } => {
                tracing::warn!(%details, "the signalling hub refused the device")
            }
            wire::OutgoingMessage::PeerStatusChanged(_)
            | wire::OutgoingMessage::List { .. }
            | wire::OutgoingMessage::ListConsumers { .. } => {}
        }
    }

    fn remember(&self, session: &str, peer: &str, offered: bool) {
        let known = Session { id: session.to_owned(), peer: peer.to_owned(), offered, offer: None, answered: None };
        self.imp().lock().sessions.push(known);
    }

    /// Whether a session was described by its peer already, or is over.
    fn is_described(&self, session: &str) -> bool {
        let state = self.imp().lock();
        state.sessions.iter().find(|known| known.id == session).is_none_or(|known| known.answered.is_some())
    }

    /// Notes that a session was described by its peer. `None`: it already was, or is over; one description is taken.
    fn accept(
        &self,
        session: &str,
        sdp: WebRTCSessionDescription,
    ) -> Result<Option<WebRTCSessionDescription>, &'static str> {
        let mut state = self.imp().lock();
        let Some(known) = state.sessions.iter_mut().find(|known| known.id == session) else { return Ok(None) };
        if known.answered.replace(Instant::now()).is_some() {
            return Ok(None);
        }
        match (&known.offer, sdp.type_()) {
            (Some(offer), WebRTCSDPType::Answer) => sdp_check::answers(sdp.sdp(), offer)?,
            (None, WebRTCSDPType::Answer) => return Err("an answer came before there was an offer"),
            _ => {}
        }
        Ok(Some(sdp))
    }

    fn refuse(&self, session: &str, reason: &'static str) {
        tracing::warn!(session, reason, "ending a session over its description");
        if reason == sdp_check::REFUSES {
            self.tell_end(session, SessionEnd::Refused);
        }
        self.send(wire::IncomingMessage::EndSession(wire::EndSessionMessage { session_id: session.to_owned() }));
        self.session_over(session);
    }

    fn tell_end(&self, session: &str, end: SessionEnd) {
        let tell = self.imp().lock().tell_end.clone();
        if let Some(tell) = tell {
            tell(session.to_owned(), end);
        }
    }
}

/// How long after a peer's description its session is kept even if the peer has left. webrtcsink takes an answer in on a
/// thread of webrtcbin's; when the session is torn down meanwhile, that thread waits for itself, with webrtcsink's lock
/// held, and every other session stops (gst-plugin-webrtc 0.15.4, GStreamer 1.22).
const SETTLE: Duration = Duration::from_millis(1500);
/// A session that was asked for has its offer within this, or the element hangs. Usually it takes 10 ms.
const OFFER: Duration = Duration::from_secs(8);

/// Parses and checks a peer's description; the error names the rule, never the text.
fn description(kind: WebRTCSDPType, sdp: &str) -> Result<WebRTCSessionDescription, &'static str> {
    Ok(WebRTCSessionDescription::new(kind, sdp_check::parse(sdp)?))
}

async fn receive(object: glib::WeakRef<InProcessSignaller>, role: Role, mut peer: Peer) {
    while let Some(message) = peer.rx.recv().await {
        // webrtcsink and webrtcsrc may block on their own runtime in these signals.
        let Some(object) = object.upgrade() else { return };
        let role = role.clone();
        let element = object.clone();
        let done = tokio::task::spawn_blocking(move || element.dispatch(&role, message));
        match tokio::time::timeout(OFFER, done).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("a signalling message made the WebRTC element panic"),
            Err(_) => {
                object.imp().lock().stuck.send_replace(true);
                return;
            }
        }
    }
    // The hub let go of the device: without a place in it nobody can call.
    if let Some(object) = object.upgrade() {
        object.imp().lock().stuck.send_replace(true);
    }
}

use imp::Session;

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct State {
        pub joined: Option<(Hub, Role, tokio::runtime::Handle)>,
        pub sender: Option<PeerSender>,
        pub task: Option<tokio::task::JoinHandle<()>>,
        pub sessions: Vec<Session>,
        pub registered: tokio::sync::watch::Sender<bool>,
        pub stuck: tokio::sync::watch::Sender<bool>,
        pub tell_end: Option<TellEnd>,
    }

    pub type TellEnd = std::sync::Arc<dyn Fn(String, SessionEnd) + Send + Sync>;

    pub struct Session {
        pub id: String,
        pub peer: PeerId,
        /// The element has sent its description, or need not.
        pub offered: bool,
        /// The element's own offer.
        pub offer: Option<gst_sdp::SDPMessage>,
        /// When the peer's description came.
        pub answered: Option<Instant>,
    }

    #[derive(Default)]
    pub struct InProcessSignaller {
        state: Mutex<State>,
    }

    impl InProcessSignaller {
        pub fn lock(&self) -> std::sync::MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for InProcessSignaller {
        const NAME: &'static str = "DuplexInProcessSignaller";
        type Type = super::InProcessSignaller;
        type ParentType = glib::Object;
        type Interfaces = (Signallable,);
    }

    impl ObjectImpl for InProcessSignaller {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: std::sync::LazyLock<Vec<glib::ParamSpec>> = std::sync::LazyLock::new(|| {
                vec![
                    glib::ParamSpecBoolean::builder("manual-sdp-munging").read_only().build(),
                    glib::ParamSpecString::builder("producer-peer-id").read_only().build(),
                ]
            });
            PROPERTIES.as_ref()
        }

        fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
            match pspec.name() {
                "producer-peer-id" => match &self.lock().joined {
                    Some((_, Role::Consumer { talker }, _)) => Some(talker.clone()).to_value(),
                    _ => None::<String>.to_value(),
                },
                _ => false.to_value(),
            }
        }

        fn dispose(&self) {
            let task = self.lock().task.take();
            if let Some(task) = task {
                task.abort();
            }
        }
    }

    impl SignallableImpl for InProcessSignaller {
        fn start(&self) {
            let mut state = self.lock();
            let Some((hub, role, runtime)) = state.joined.clone() else {
                return;
            };
            let kind = match &role {
                Role::Producer { .. } => Kind::DeviceProducer,
                Role::Consumer { talker } => Kind::DeviceConsumer { talker: talker.clone() },
            };
            match hub.join(kind) {
                Ok(peer) => {
                    state.sender = Some(peer.tx.clone());
                    state.task = Some(runtime.spawn(receive(self.obj().downgrade(), role, peer)));
                }
                Err(error) => tracing::error!(%error, "the device cannot join its own signalling"),
            }
        }

        fn stop(&self) {
            self.obj().leave();
        }

        fn send_sdp(&self, session: &str, sdp: &WebRTCSessionDescription) {
            if let Some(known) = self.lock().sessions.iter_mut().find(|known| known.id == session) {
                known.offered = true;
                if sdp.type_() == WebRTCSDPType::Offer {
                    known.offer = Some(sdp.sdp().to_owned());
                }
            }
            let text = sdp.sdp().to_string();
            let sdp = match sdp.type_() {
                WebRTCSDPType::Offer => wire::SdpMessage::Offer { sdp: text },
                _ => wire::SdpMessage::Answer { sdp: text },
            };
            self.obj().send(wire::IncomingMessage::Peer(wire::PeerMessage {
                session_id: session.to_owned(),
                peer_message: wire::PeerMessageInner::Sdp(sdp),
            }));
        }

        fn add_ice(&self, session: &str, candidate: &str, sdp_m_line_index: u32, _sdp_mid: Option<String>) {
            self.obj().send(wire::IncomingMessage::Peer(wire::PeerMessage {
                session_id: session.to_owned(),
                peer_message: wire::PeerMessageInner::Ice { candidate: candidate.to_owned(), sdp_m_line_index },
            }));
        }

        fn end_session(&self, session: &str) {
            self.lock().sessions.retain(|known| known.id != session);
            self.obj()
                .send(wire::IncomingMessage::EndSession(wire::EndSessionMessage { session_id: session.to_owned() }));
            self.obj().tell_end(session, SessionEnd::Dropped);
            self.obj().let_go(session);
        }
    }
}
