//! The sending pipeline with its sessions: who is connected, and by when the others must be.
//!
//! In: the configuration's part, the hub, [`Change`]s of sessions. Out: how many watch, which sessions are late.
//! Never: media of its own; a decision to rebuild.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Settings;
use super::climb::{Climb, Need};
use super::encoder::Format;
use super::link::Reading;
use super::rungs;
use super::seats::Seats;
use super::webrtc_sink::WebrtcSink;
use crate::api::{Quality, QualityState};
use crate::metrics::{LinkFigures, Metrics, Standing};
use crate::pipeline::Error;
use crate::signaller::{InProcessSignaller, SessionEnd};
use crate::signalling::hub::Hub;
use crate::transport::Change;

/// webrtcsink registers within this, or is built anew. It takes a tenth of a second on a laptop.
const REGISTER: Duration = Duration::from_secs(20);

/// The pipeline that ends in webrtcsink, with its sessions.
pub struct Sending {
    /// Pipeline and inlets.
    pub sink: WebrtcSink,
    /// What happens to sessions.
    pub changes: mpsc::UnboundedReceiver<Change>,
    /// Whether the device can be called.
    pub registered: watch::Receiver<bool>,
    /// Whether the pipeline hangs.
    pub stuck: watch::Receiver<bool>,
    /// Which viewer stands on which rung.
    pub seats: Seats,
    metrics: Metrics,
    register_by: Instant,
    rungs: Vec<Format>,
    /// What each rung needs of a viewer's link.
    needs: Vec<Need>,
    /// By session id.
    viewers: HashMap<String, Viewer>,
}

struct Viewer {
    peer: String,
    climb: Climb,
    /// By when it must be connected; `None` once it is.
    by: Option<Instant>,
}

impl Viewer {
    fn state(&self, rungs: usize) -> QualityState {
        QualityState { choice: self.climb.choice(), rung: self.climb.rung() as u32, rungs: rungs as u32 }
    }
}

impl Sending {
    /// Builds it; it does not play yet.
    pub fn new(settings: &Settings, hub: &Hub) -> Result<Self, Error> {
        let signaller = InProcessSignaller::producer(hub.clone(), &settings.name);
        let (registered, stuck) = (signaller.registered(), signaller.stuck());
        let (tx, changes) = mpsc::unbounded_channel();
        let (video, audio) = (settings.setup.format.encoded_video(), Format::encoded_audio());
        let (ends, counts) = (tx.clone(), settings.metrics.clone());
        signaller.tell_ends(move |session, end| {
            if end == SessionEnd::Dropped {
                counts.session_ended(&session);
            }
            let change = match end {
                SessionEnd::Refused => Change::Refused(session),
                SessionEnd::Dropped => Change::Dropped(session),
            };
            // Nobody is there any more only while the pipeline is being replaced.
            ends.send(change).ok();
        });
        let seats = Seats::new(settings.rungs.len());
        let rungs = settings.rungs.clone();
        let needs = rungs.iter().map(rungs::need).collect();
        let metrics = settings.metrics.clone();
        let sink = WebrtcSink::new(&video, &audio, &settings.ice, signaller, seats.clone(), tx, metrics.clone())?;
        // Those of a pipeline before this one went with it.
        metrics.no_sessions();
        let register_by = Instant::now() + REGISTER;
        let viewers = HashMap::new();
        Ok(Self { sink, changes, registered, stuck, seats, metrics, register_by, rungs, needs, viewers })
    }

    /// When somebody will be late next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let register_by = (!*self.registered.borrow()).then_some(self.register_by);
        self.viewers.values().filter_map(|viewer| viewer.by).chain(register_by).min()
    }

    /// Whether it should have registered by now.
    pub fn failed_to_register(&self, now: Instant) -> bool {
        !*self.registered.borrow() && self.register_by <= now
    }

    /// Sessions whose media connection should have come about by now.
    pub fn late(&self, now: Instant) -> Vec<String> {
        let late = self.viewers.iter().filter(|(_, viewer)| viewer.by.is_some_and(|by| by <= now));
        late.map(|(session, _)| session.clone()).collect()
    }

    /// A session began; it must be connected by then.
    pub fn joined(&mut self, session: String, peer: String, by: Instant) {
        let climb = Climb::new(self.needs.clone(), Instant::now().into_std());
        self.viewers.insert(session, Viewer { peer, climb, by: Some(by) });
        self.seats.allow_key_frame();
    }

    /// A session has its media connection. Returns whose it is, if it is known.
    pub fn connected(&mut self, session: &str) -> Option<&str> {
        let viewer = self.viewers.get_mut(session)?;
        viewer.by = None;
        self.seats.allow_key_frame();
        self.metrics.session_connected(session);
        Some(&viewer.peer)
    }

    /// Whether a session still waits for its media connection.
    pub fn is_pending(&self, session: &str) -> bool {
        self.viewers.get(session).is_some_and(|viewer| viewer.by.is_some())
    }

    /// Whether a peer has a session with a media connection.
    pub fn is_connected(&self, peer: &str) -> bool {
        self.viewers.values().any(|viewer| viewer.peer == peer && viewer.by.is_none())
    }

    /// A session ended. Returns whose it was, if it was still known.
    pub fn left(&mut self, session: &str) -> Option<String> {
        self.seats.leave(session);
        self.metrics.session_ended(session);
        self.viewers.remove(session).map(|viewer| viewer.peer)
    }

    /// Whether nobody watches.
    pub fn is_idle(&self) -> bool {
        self.viewers.is_empty()
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.viewers.len()
    }

    /// Looks at every viewer's link, and moves those who stand on the wrong rung. Returns who was moved, and where to.
    /// `recording`: it takes the top rung, as well as that can be had.
    pub fn climb(&mut self, recording: bool, now: Instant) -> Vec<(String, QualityState)> {
        let mut moved = Vec::new();
        let readings: HashMap<String, Option<Reading>> =
            self.viewers.keys().map(|session| (session.clone(), self.seats.reading(session, now.into_std()))).collect();
        let wants = |session: &String, viewer: &Viewer| {
            let reading = readings.get(session).copied().flatten();
            (session.clone(), viewer.climb.rung(), viewer.climb.will_want(reading))
        };
        let wanted: Vec<(String, usize, f64)> =
            connected(&self.viewers).map(|(session, viewer)| wants(session, viewer)).collect();
        for (session, viewer) in self.viewers.iter_mut().filter(|(_, viewer)| viewer.by.is_none()) {
            let reading = readings.get(session).copied().flatten();
            let others = wanted.iter().filter(|(other, ..)| other != session).map(|(_, rung, wants)| (*rung, *wants));
            let held = held(&self.needs, others, recording);
            let link = reading.map(|Reading { delivered, loss, queue, .. }| LinkFigures { delivered, loss, queue });
            let rung = viewer.climb.rung();
            let round_trip = self.seats.round_trip(session, now.into_std());
            // Where nothing arrives the last report is an old one.
            let round_trip = round_trip.filter(|_| reading.is_none_or(|reading| reading.delivered > 0.0));
            let size = (self.rungs[rung].width, self.rungs[rung].height);
            self.metrics.session_stands(session, Standing { rung, size, link, round_trip });
            if viewer.climb.needs_key_frame(reading, now.into_std()) {
                self.seats.ask(session);
            }
            if let Some(rung) = viewer.climb.look(reading, &held, now.into_std()) {
                tracing::info!(peer = viewer.peer, rung, ?reading, "viewer moves on the quality ladder");
                self.seats.send(session, rung);
                moved.push((viewer.peer.clone(), viewer.state(self.needs.len())));
            }
        }
        moved
    }

    /// kbit/s with which each rung's pictures are encoded: as many as the one can use who can use most of those who stand on it.
    pub fn bitrates(&self, recording: bool) -> Vec<u32> {
        let wanted = connected(&self.viewers).map(|(_, viewer)| (viewer.climb.rung(), viewer.climb.wants()));
        let held = held(&self.needs, wanted, recording);
        let whole = |held: f64, need: &Need| if held > 0.0 { held } else { need.most };
        let kbits = held.into_iter().zip(&self.needs).map(|(held, need)| whole(held, need));
        kbits.zip(&self.rungs).map(|(kbits, rung)| rungs::video_bitrate(rung, kbits)).collect()
    }

    /// A viewer chose a quality. Returns where its sessions stand then.
    pub fn choose(&mut self, peer: &str, quality: Quality) -> Option<QualityState> {
        let mut state = None;
        for (session, viewer) in self.viewers.iter_mut().filter(|(_, viewer)| viewer.peer == peer) {
            if let Some(rung) = viewer.climb.choose(quality, std::time::Instant::now()) {
                self.seats.send(session, rung);
            }
            state = Some(viewer.state(self.needs.len()));
        }
        state
    }

    /// A session's picture is on its way. Returns whose it is and where it stands; a choice made before takes effect now.
    pub fn seated(&mut self, session: &str) -> Option<(String, QualityState)> {
        let viewer = self.viewers.get(session)?;
        if viewer.climb.rung() > 0 {
            self.seats.send(session, viewer.climb.rung());
        }
        Some((viewer.peer.clone(), viewer.state(self.needs.len())))
    }

    /// Which rungs must be encoded: the top one also for those who are still joining.
    pub fn rungs_wanted(&self) -> Vec<bool> {
        let mut wanted = self.seats.wanted();
        if let Some(top) = wanted.first_mut() {
            *top |= self.viewers.len() > self.seats.taken();
        }
        wanted
    }
}

/// kbit/s at which each rung is held by those who stand there, 0 where nobody does; a recording wants the whole top rung.
/// Those to whom media flows: who may never come costs nobody else anything.
fn connected(viewers: &HashMap<String, Viewer>) -> impl Iterator<Item = (&String, &Viewer)> {
    viewers.iter().filter(|(_, viewer)| viewer.by.is_none())
}

fn held(needs: &[Need], wanted: impl Iterator<Item = (usize, f64)>, recording: bool) -> Vec<f64> {
    let mut held = vec![0.0; needs.len()];
    if recording {
        held[0] = needs[0].most;
    }
    for (rung, wants) in wanted {
        held[rung] = wants.max(held[rung]);
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_need_on_a_rung_holds_it() {
        let needs = [Need { most: 2200.0, least: 1100.0 }, Need { most: 700.0, least: 400.0 }];
        let of = |wanted: &[(usize, f64)], recording| held(&needs, wanted.iter().copied(), recording);
        assert_eq!(of(&[], false), [0.0, 0.0]);
        assert_eq!(of(&[(0, 1200.0), (1, 500.0), (0, 1500.0)], false), [1500.0, 500.0]);
        assert_eq!(of(&[(0, 1200.0)], true), [2200.0, 0.0]);
    }
}
