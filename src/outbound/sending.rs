//! The sender with its sessions: who is connected, and by when the others must be.
//!
//! In: the configuration's part, the hub, what happens to sessions. Out: how many watch, which sessions are late.
//! Never: media of its own; a decision to rebuild.

use std::collections::HashMap;

use tokio::time::Instant;

use super::Settings;
use super::climb::{Climb, Need};
use super::encoder::Format;
use super::link::Reading;
use super::rungs;
use super::seats::Seats;
use super::sender::{MediaConfig, Sender};
use crate::api::{Quality, QualityState};
use crate::metrics::{LinkFigures, Metrics, Standing};
use crate::pipeline::Error;
use crate::signalling::hub::Hub;

/// The sender, with its sessions.
pub struct Sending {
    /// Where media goes, and what happens to sessions.
    pub sender: Sender,
    /// Which viewer stands on which rung.
    pub seats: Seats,
    metrics: Metrics,
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
    /// Starts it; the device joins signalling.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn new(settings: &Settings, hub: &Hub) -> Result<Self, Error> {
        let top = &settings.setup.format;
        let seats = Seats::new(top.codec, settings.rungs.len());
        let metrics = settings.metrics.clone();
        let config = MediaConfig::new(top, settings.ice.stun.clone())?;
        // Those of a sender before this one went with it.
        metrics.no_sessions();
        let sender = Sender::spawn(config, &settings.name, hub, seats.clone(), metrics.clone())?;
        let rungs = settings.rungs.clone();
        let needs = rungs.iter().map(rungs::need).collect();
        Ok(Self { sender, seats, metrics, rungs, needs, viewers: HashMap::new() })
    }

    /// When somebody will be late next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.viewers.values().filter_map(|viewer| viewer.by).min()
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
        if !self.seats.is_fed(session) {
            // Its transport took so long that what waited for it was too old.
            self.seats.ask(session);
        }
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
            let link = reading.map(|Reading { carries, delivered, loss, .. }| LinkFigures { carries, delivered, loss });
            let rung = viewer.climb.rung();
            let round_trip = reading.and_then(|reading| reading.round_trip);
            let size = (self.rungs[rung].width, self.rungs[rung].height);
            self.metrics.session_stands(session, Standing { rung, size, link, round_trip });
            if viewer.climb.needs_key_frame(reading, now.into_std()) {
                self.seats.ask(session);
            }
            if let Some(anew) = viewer.climb.anew(reading, now.into_std()) {
                tracing::debug!(peer = viewer.peer, ?anew, ?reading, "what a link carries is estimated anew");
                self.seats.estimate_anew(session, anew);
            } else if let Some(rung) = viewer.climb.look(reading, &held, now.into_std()) {
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

    /// Whose a session is, and where it stands.
    pub fn standing(&self, session: &str) -> Option<(String, QualityState)> {
        let viewer = self.viewers.get(session)?;
        Some((viewer.peer.clone(), viewer.state(self.needs.len())))
    }
}

/// Those to whom media flows: who may never come costs nobody else anything.
fn connected(viewers: &HashMap<String, Viewer>) -> impl Iterator<Item = (&String, &Viewer)> {
    viewers.iter().filter(|(_, viewer)| viewer.by.is_none())
}

/// kbit/s at which each rung is held by those who stand there, 0 where nobody does; a recording wants the whole top rung.
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
