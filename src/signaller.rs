//! The device's own signaller: joins the `webrtcsrc` of a talk to the signalling hub inside the
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

glib::wrapper! {
    /// A `Signallable` that speaks to the [`Hub`] without a socket.
    pub struct InProcessSignaller(ObjectSubclass<imp::InProcessSignaller>) @implements Signallable;
}

impl InProcessSignaller {
    /// For a `webrtcsrc` that takes the media of one talker.
    pub fn consumer(hub: Hub, talker: &str) -> Self {
        let object: Self = glib::Object::new();
        object.imp().lock().joined = Some((hub, talker.to_owned(), tokio::runtime::Handle::current()));
        object
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

    /// One message from the hub.
    fn dispatch(&self, talker: &str, message: wire::OutgoingMessage) {
        match message {
            wire::OutgoingMessage::Welcome { .. } => {
                let peer_id = talker.to_owned();
                self.send(wire::IncomingMessage::StartSession(wire::StartSessionMessage { peer_id, offer: None }));
            }
            wire::OutgoingMessage::SessionStarted { peer_id, session_id } => {
                self.remember(&session_id);
                self.emit_by_name::<()>("session-started", &[&session_id, &peer_id]);
            }
            wire::OutgoingMessage::EndSession(end) => self.session_over(&end.session_id),
            wire::OutgoingMessage::Peer(wire::PeerMessage { session_id, peer_message }) => match peer_message {
                wire::PeerMessageInner::Sdp(_) if self.is_described(&session_id) => {}
                wire::PeerMessageInner::Sdp(sdp) => {
                    let parsed = match sdp {
                        wire::SdpMessage::Offer { sdp } => description(&sdp),
                        wire::SdpMessage::Answer { .. } => Err("an answer came where there was no offer"),
                    };
                    match parsed.map(|parsed| self.accept(&session_id, parsed)) {
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
            wire::OutgoingMessage::StartSession { .. }
            | wire::OutgoingMessage::PeerStatusChanged(_)
            | wire::OutgoingMessage::List { .. }
            | wire::OutgoingMessage::ListConsumers { .. } => {}
        }
    }

    fn remember(&self, session: &str) {
        self.imp().lock().sessions.push(Session { id: session.to_owned(), answered: None });
    }

    /// Whether a session was described by its peer already, or is over.
    fn is_described(&self, session: &str) -> bool {
        let state = self.imp().lock();
        state.sessions.iter().find(|known| known.id == session).is_none_or(|known| known.answered.is_some())
    }

    /// Notes that a session was described by its peer. `None`: it already was, or is over; one description is taken.
    fn accept(&self, session: &str, sdp: WebRTCSessionDescription) -> Option<WebRTCSessionDescription> {
        let mut state = self.imp().lock();
        let known = state.sessions.iter_mut().find(|known| known.id == session)?;
        known.answered.replace(Instant::now()).is_none().then_some(sdp)
    }

    fn refuse(&self, session: &str, reason: &'static str) {
        tracing::warn!(session, reason, "ending a session over its description");
        self.send(wire::IncomingMessage::EndSession(wire::EndSessionMessage { session_id: session.to_owned() }));
        self.session_over(session);
    }
}

/// How long after a peer's description its session is kept even if the peer has left: a description is taken in on a thread of
/// webrtcbin's, which waits for itself when the session is torn down meanwhile (gst-plugin-webrtc 0.15.4, GStreamer 1.22).
const SETTLE: Duration = Duration::from_millis(1500);
/// The element takes a message in within this, or it hangs. Usually it takes 10 ms.
const OFFER: Duration = Duration::from_secs(8);

/// Parses and checks a peer's description; the error names the rule, never the text.
fn description(sdp: &str) -> Result<WebRTCSessionDescription, &'static str> {
    Ok(WebRTCSessionDescription::new(WebRTCSDPType::Offer, sdp_check::parse(sdp)?))
}

async fn receive(object: glib::WeakRef<InProcessSignaller>, talker: PeerId, mut peer: Peer) {
    while let Some(message) = peer.rx.recv().await {
        // webrtcsrc may block on their own runtime in these signals.
        let Some(object) = object.upgrade() else { return };
        let (talker, element) = (talker.clone(), object.clone());
        let done = tokio::task::spawn_blocking(move || element.dispatch(&talker, message));
        match tokio::time::timeout(OFFER, done).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("a signalling message made the WebRTC element panic"),
            // Whoever waits for the talker's media gives it up in time.
            Err(_) => return tracing::error!("the WebRTC element hangs over a signalling message"),
        }
    }
}

use imp::Session;

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct State {
        pub joined: Option<(Hub, PeerId, tokio::runtime::Handle)>,
        pub sender: Option<PeerSender>,
        pub task: Option<tokio::task::JoinHandle<()>>,
        pub sessions: Vec<Session>,
    }

    pub struct Session {
        pub id: String,
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
                    Some((_, talker, _)) => Some(talker.clone()).to_value(),
                    None => None::<String>.to_value(),
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
            let Some((hub, talker, runtime)) = state.joined.clone() else {
                return;
            };
            match hub.join(Kind::DeviceConsumer { talker: talker.clone() }) {
                Ok(peer) => {
                    state.sender = Some(peer.tx.clone());
                    state.task = Some(runtime.spawn(receive(self.obj().downgrade(), talker, peer)));
                }
                Err(error) => tracing::error!(%error, "the device cannot join its own signalling"),
            }
        }

        fn stop(&self) {
            self.obj().leave();
        }

        fn send_sdp(&self, session: &str, sdp: &WebRTCSessionDescription) {
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
            self.obj().let_go(session);
        }
    }
}
