//! The outbound end: one thread that sends the encoded picture and sound to all viewers by WebRTC, a session each.
//!
//! In: encoded pictures of the rungs and sound, from any thread; the signalling hub's messages for the device; datagrams. Out: RTP to
//! each viewer, from the rung it stands on; [`Event`]s about sessions; what their links carry, in [`Seats`]. Never: an encoder; a copy of a
//! picture for each viewer; a public STUN server; one viewer's broken messages, or a panic over them, in the way of another.
//!
//! ```text
//! rung 0 outlet ──┐                              ┌─> session of a viewer (str0m): numbers, SRTP, reports, history ─┐
//! rung 1 outlet ──┼─> packetised once ─> queue ──┼─> session of another ──────────────────────────────────────────┼─> sockets (UDP; TCP)
//! sound outlet ───┘                              └─> ...                                                           ┘
//! ```
//!
//! 2026-11-28: `webrtcsink`, which was here before, gives each viewer a pipeline of GStreamer: payloader, RTP session, SRTP, ICE and four
//! threads. A further viewer cost 1.6 to 2.4 % of a core and some 3 MB, most of it not encryption and system calls but how that is built.
//! Refused as well: forwarding by a media server in the process (Janus is C and a service of its own), and an own stack on top of
//! the parts of webrtc-rs, which is what str0m is.

mod candidates;
mod config;
mod consent;
mod descriptions;
mod frame;
mod redundancy;
mod session;
mod sockets;
mod stun;
mod tcp;
mod viewers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use config::MediaConfig;
pub use frame::{Frame, Packetiser};

use super::climb::Anew;
use super::seats::Seats;
use crate::metrics::Metrics;
use crate::pipeline::Error;
use crate::signalling::Kind;
use crate::signalling::hub::Hub;
use viewers::Given;

/// What happens to sessions, each named by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The device can be called.
    Registered,
    /// A session was made, and its offer is on its way; media is wanted.
    Joined {
        /// Its id.
        session: String,
        /// Whose it is.
        peer: String,
    },
    /// Its transport is up.
    Connected(String),
    /// Its transport, or what its peer sent, made it end.
    Dropped(String),
    /// Its peer cannot play what is sent.
    Refused(String),
    /// Its session is gone.
    Left(String),
}

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Input {
    /// An encoded picture of a rung.
    Picture(Arc<Frame>),
    /// A packet of sound.
    Sound(Arc<Frame>),
    /// What a session's link carries is estimated anew.
    Anew(String, Anew),
    /// Ends a session, for its peer as well.
    End(String),
    /// Ends all of them, and the thread.
    Stop,
    /// Ends with a panic, as a fault in a library would end it.
    #[cfg(test)]
    Break,
}

/// Where media goes in. Cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Inlet(mpsc::UnboundedSender<Input>);

impl Inlet {
    /// One that leads nowhere, for trials.
    pub fn nowhere() -> Self {
        Self(mpsc::unbounded_channel().0)
    }

    /// An encoded picture for those who stand on its rung.
    pub fn picture(&self, frame: Frame) {
        self.put(Input::Picture(Arc::new(frame)));
    }

    /// A packet of sound for all.
    pub fn sound(&self, frame: Frame) {
        self.put(Input::Sound(Arc::new(frame)));
    }

    /// What a session's link carries is estimated anew.
    pub fn estimate_anew(&self, session: &str, anew: Anew) {
        self.put(Input::Anew(session.to_owned(), anew));
    }

    fn put(&self, input: Input) {
        // It has ended only while it is being replaced.
        if self.0.send(input).is_err() {
            tracing::debug!("nobody sends media at the moment");
        }
    }
}

/// Longest wait for the thread to tell all viewers that it ends.
const STOP: Duration = Duration::from_secs(2);

impl Drop for Sender {
    fn drop(&mut self) {
        // The thread holds a way to itself, by the seats.
        self.inlet.put(Input::Stop);
    }
}

/// The thread's handle. The thread ends with it, and all sessions.
#[derive(Debug)]
pub struct Sender {
    inlet: Inlet,
    /// What happens to sessions; ends when the thread has ended.
    pub events: mpsc::UnboundedReceiver<Event>,
}

impl Sender {
    /// Starts the thread, which joins signalling as the device; `name` is shown to those who list producers.
    ///
    /// # Errors
    /// It cannot join, or no thread can be started.
    pub fn spawn(config: MediaConfig, name: &str, hub: &Hub, seats: Seats, metrics: Metrics) -> Result<Self, Error> {
        let peer = hub.join(Kind::DeviceProducer).map_err(|error| Error::Input(error.to_string()))?;
        let (inlet, inputs) = mpsc::unbounded_channel();
        let (tell, events) = mpsc::unbounded_channel();
        let meta = serde_json::json!({ "name": name, "duplex": { "device": true } });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::Input(format!("cannot send media: {error}")))?;
        let given = Given { config, hub: hub.clone(), peer, meta, seats: seats.clone(), metrics, inputs, events: tell };
        let run = move || runtime.block_on(viewers::serve(given));
        let thread = std::thread::Builder::new().name("viewers".to_owned()).spawn(run);
        thread.map_err(|error| Error::Input(format!("cannot start the thread that sends media: {error}")))?;
        let inlet = Inlet(inlet);
        seats.lead_to(inlet.clone());
        Ok(Self { inlet, events })
    }

    /// Where media goes in.
    pub fn inlet(&self) -> &Inlet {
        &self.inlet
    }

    /// Ends a session, for its peer as well.
    pub fn end_session(&self, session: &str) {
        self.inlet.put(Input::End(session.to_owned()));
    }

    /// Ends all sessions, for their peers as well, and the thread.
    pub async fn stop(&mut self) {
        self.inlet.put(Input::Stop);
        let ended = async { while self.events.recv().await.is_some() {} };
        if tokio::time::timeout(STOP, ended).await.is_err() {
            tracing::error!("what sends media does not stop");
        }
    }

    /// As a fault in a library would end it.
    #[cfg(test)]
    pub fn break_off(&self) {
        self.inlet.put(Input::Break);
    }
}
