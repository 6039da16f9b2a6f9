//! The thread in which all viewers' sessions live.
//!
//! In: signalling for the device, encoded media, datagrams, time. Out: signalling to viewers, datagrams, [`Event`]s, what links carry.
//! Never: waits for a viewer; a session that its peer's messages break in the way of another.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::Candidate;
use str0m::net::Protocol;
use tokio::sync::mpsc;

use super::candidates::candidates;
use super::config::MediaConfig;
use super::frame::Frame;
use super::session::{Happening, Session};
use super::sockets::{Datagram, Sockets};
use super::stun::{Request, Stun, addressee};
use super::{Event, Input};
use crate::metrics::Metrics;
use crate::outbound::seats::Seats;
use crate::sdp_check;
use crate::signalling::hub::{Hub, Peer};
use crate::signalling::wire::{
    EndSessionMessage, IncomingMessage, OutgoingMessage, PeerMessage, PeerMessageInner, PeerRole, PeerStatus,
    SdpMessage,
};

/// What the thread is given.
pub struct Given {
    /// How sessions are made.
    pub config: MediaConfig,
    /// Who is who.
    pub hub: Hub,
    /// The device's place there.
    pub peer: Peer,
    /// What is shown to those who list producers.
    pub meta: serde_json::Value,
    /// Who stands where.
    pub seats: Seats,
    /// Where sessions are counted.
    pub metrics: Metrics,
    /// What it is told.
    pub inputs: mpsc::UnboundedReceiver<Input>,
    /// What it tells.
    pub events: mpsc::UnboundedSender<Event>,
}

/// The thread's state.
struct Viewers {
    given: Given,
    sockets: Sockets,
    datagrams: mpsc::Receiver<Datagram>,
    stun: Stun,
    sessions: HashMap<String, Session>,
    /// Sessions by the name that their peers' checks call.
    names: HashMap<String, String>,
    /// Who is not told yet that these are all of our candidates.
    untold: Vec<String>,
    /// When the machine's addresses are looked at next.
    refresh: Instant,
    /// Whose session the datagrams from an address belong to.
    routes: HashMap<SocketAddr, String>,
}

/// Longest sleep.
const IDLE: Duration = Duration::from_secs(3600);
/// What waited so long for this thread is not sent any more.
const LATE: Duration = Duration::from_millis(500);
/// A key frame, with which others begin, that came out of its encoder longer ago.
const OLD: Duration = Duration::from_secs(2);
/// A session whose peer has not answered for so long ends. Until then it may be a network that comes back.
const GIVEN_UP: Duration = Duration::from_secs(600);
/// How often the machine's addresses are looked at while somebody watches.
const REFRESH: Duration = Duration::from_secs(5);
/// Addresses remembered: of sessions that are over some stay until it is too many.
const ROUTES: usize = 1024;

/// Serves until the handle is gone, or the hub has let go of the device.
pub async fn serve(given: Given) {
    tokio::task::LocalSet::new().run_until(Viewers::new(given).serve()).await;
}

impl Viewers {
    fn new(given: Given) -> Self {
        let (sockets, datagrams) = Sockets::new();
        let stun = Stun::new(given.config.stun.as_deref());
        let (sessions, names, untold, routes) = Default::default();
        Self { given, sockets, datagrams, stun, sessions, names, untold, refresh: Instant::now(), routes }
    }

    async fn serve(mut self) {
        self.stun.watch();
        loop {
            let refresh = (!self.sessions.is_empty()).then_some(self.refresh);
            let next = self.sessions.values().map(|session| session.next).chain(self.stun.next()).chain(refresh).min();
            let next = next.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                input = self.given.inputs.recv() => match input {
                    Some(Input::Stop) | None => break,
                    Some(input) => self.input(input),
                },
                message = self.given.peer.rx.recv() => match message {
                    Some(message) => self.message(message),
                    // The hub let go of the device: without a place in it nobody can call.
                    None => break,
                },
                Some(datagram) = self.datagrams.recv() => self.datagram(&datagram),
                () = tokio::time::sleep_until(next.into()) => self.time(),
            }
        }
        let ended: Vec<String> = self.sessions.keys().cloned().collect();
        ended.iter().for_each(|session| self.end(session, true));
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Picture(frame) => self.picture(&frame),
            Input::Sound(frame) if frame.made.elapsed() > LATE => {}
            Input::Sound(frame) => {
                let now = Instant::now();
                self.each(|session, sockets| session.sound(&frame, sockets, now));
            }
            Input::Anew(session, anew) => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.estimate_anew(anew);
                }
            }
            Input::End(session) => self.end(&session, true),
            Input::Stop => {}
            #[cfg(test)]
            Input::Break => panic!("broken by a test"),
        }
    }

    fn picture(&mut self, frame: &Arc<Frame>) {
        let (now, seats) = (Instant::now(), self.given.seats.clone());
        let late = frame.made.elapsed();
        if late > if frame.key { OLD } else { LATE } {
            // This thread is late. Who would have got the picture begins anew with the next key frame.
            return self
                .sessions
                .keys()
                .filter(|id| seats.takes(id, frame.rung, false, frame.time).is_some())
                .for_each(|id| {
                    seats.starve(id);
                    seats.ask(id);
                });
        }
        self.each(|session, sockets| {
            let Some(time) = seats.takes(&session.id, frame.rung, frame.key, frame.time) else { return Vec::new() };
            let (happenings, fed) = session.picture(frame, time, sockets, now);
            if !fed {
                seats.starve(&session.id);
            }
            happenings
        });
    }

    /// Does something with each session.
    fn each(&mut self, mut what: impl FnMut(&mut Session, &Sockets) -> Vec<Happening>) {
        let happened: Vec<(String, Vec<Happening>)> = self
            .sessions
            .values_mut()
            .map(|session| (what(session, &self.sockets), session))
            .filter(|(happenings, _)| !happenings.is_empty())
            .map(|(happenings, session)| (session.id.clone(), happenings))
            .collect();
        happened.into_iter().for_each(|(session, happenings)| self.happened(&session, happenings));
    }

    fn time(&mut self) {
        let now = Instant::now();
        let over = |session: &&Session| session.silent.is_some_and(|since| now.duration_since(since) > GIVEN_UP);
        let over: Vec<String> = self.sessions.values().filter(over).map(|session| session.id.clone()).collect();
        over.iter().for_each(|id| self.drop_session(id, "its peer has not answered for long"));
        self.stun.again(now).iter().for_each(|request| self.request(request));
        self.tell_all();
        if self.refresh <= now && !self.sessions.is_empty() {
            self.refresh(now);
        }
        self.each(|session, sockets| if session.next <= now { session.time(sockets, now) } else { Vec::new() });
    }

    fn datagram(&mut self, datagram: &Datagram) {
        let now = Instant::now();
        if let Some(found) = self.stun.take(datagram.from, &datagram.bytes) {
            return self.reflected(found);
        }
        let takes = |id: &String| self.sessions.get(id).is_some_and(|session| session.takes(datagram, now));
        // A check names whom it is for: an address may have been another's before.
        let id = if let Some(name) = addressee(&datagram.bytes) {
            self.names.get(name).filter(|id| takes(id)).cloned()
        } else {
            let known = self.routes.get(&datagram.from).filter(|id| takes(id));
            known.or_else(|| self.sessions.keys().find(|id| takes(id))).cloned()
        };
        let Some(id) = id else { return };
        self.sockets.knows(datagram);
        if self.routes.len() >= ROUTES {
            self.routes.clear();
        }
        self.routes.insert(datagram.from, id.clone());
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let happenings = session.datagram(datagram, &self.sockets, now);
        self.happened(&id, happenings);
    }

    fn message(&mut self, message: OutgoingMessage) {
        let now = Instant::now();
        match message {
            OutgoingMessage::Welcome { .. } => {
                let (roles, meta) = (vec![PeerRole::Producer], Some(self.given.meta.clone()));
                self.given.peer.tx.send(IncomingMessage::SetPeerStatus(PeerStatus { roles, meta, peer_id: None }));
                self.tell(Event::Registered);
            }
            OutgoingMessage::StartSession { peer_id, session_id, offer } => self.start(session_id, peer_id, offer),
            OutgoingMessage::EndSession(end) => self.end(&end.session_id, false),
            OutgoingMessage::Peer(PeerMessage { session_id, peer_message }) => {
                let Some(session) = self.sessions.get_mut(&session_id) else { return };
                let happened = match peer_message {
                    PeerMessageInner::Sdp(SdpMessage::Answer { sdp }) => session.answer(&sdp, &self.sockets, now),
                    PeerMessageInner::Sdp(SdpMessage::Offer { .. }) => Err("an offer is no answer"),
                    PeerMessageInner::Ice { candidate, .. } => Ok(session.candidate(&candidate, &self.sockets, now)),
                };
                match happened {
                    Ok(happenings) => self.happened(&session_id, happenings),
                    Err(reason) => self.refuse(&session_id, reason),
                }
            }
            OutgoingMessage::Error { details } => tracing::warn!(%details, "the signalling hub refused the device"),
            OutgoingMessage::SessionStarted { .. }
            | OutgoingMessage::PeerStatusChanged(_)
            | OutgoingMessage::List { .. }
            | OutgoingMessage::ListConsumers { .. } => {}
        }
    }

    /// A session begins: with our offer, unless its peer has made one.
    fn start(&mut self, id: String, peer: String, offer: Option<String>) {
        let now = Instant::now();
        let ends = self.sockets.refresh(!self.sessions.is_empty());
        self.refresh = now + REFRESH;
        let udp: Vec<SocketAddr> = ends.iter().filter(|end| !end.tcp).map(|end| end.address).collect();
        let mut ours = candidates(&ends);
        ours.extend(udp.iter().filter_map(|end| self.stun.known(*end)).cloned());
        if ours.is_empty() {
            tracing::warn!("this machine has no network address that a viewer could reach");
        }
        // A GStreamer client that gets redundant sound needs more of its pipeline than most have.
        let browser = self.given.hub.grants(&peer).is_some_and(|grants| grants.browser);
        let counted = self.given.metrics.session_began(&id, &peer);
        let failed = |error| {
            tracing::error!(%error, "a viewer cannot be served");
            "the device cannot make a description"
        };
        let made = Session::new(&self.given.config, &id, &peer, browser, counted, now).map_err(failed).and_then(
            |mut session| {
                let Some(offer) = offer else {
                    let sdp = session.offer().map_err(failed)?;
                    self.say(&id, PeerMessageInner::Sdp(SdpMessage::Offer { sdp }));
                    self.offer_candidates(&mut session, ours);
                    return Ok((session, Vec::new()));
                };
                // All of ours are in the answer: who calls so may not hear of any later, or takes none before.
                ours.into_iter().for_each(|candidate| drop(session.offer_candidate(candidate)));
                let (sdp, happenings) = session.called(&offer, &self.sockets, now)?;
                self.say(&id, PeerMessageInner::Sdp(SdpMessage::Answer { sdp }));
                Ok((session, happenings))
            },
        );
        let (mut session, happenings) = match made {
            Ok(made) => made,
            Err(reason) => {
                self.given.metrics.session_ended(&id);
                return self.refuse(&id, reason);
            }
        };
        for request in udp.iter().filter_map(|end| self.stun.ask(*end, now)).collect::<Vec<_>>() {
            self.request(&request);
        }
        self.untold.push(id.clone());
        self.tell_all();
        if session.takes_pictures() {
            self.given.seats.sit(&id);
        }
        self.names.insert(session.name(), id.clone());
        self.sessions.insert(id.clone(), session);
        self.tell(Event::Joined { session: id.clone(), peer });
        self.happened(&id, happenings);
    }

    fn offer_candidates(&self, session: &mut Session, candidates: Vec<Candidate>) {
        let offered: Vec<String> = candidates.into_iter().filter_map(|one| session.offer_candidate(one)).collect();
        for candidate in offered {
            self.say(&session.id, PeerMessageInner::Ice { candidate, sdp_m_line_index: 0 });
        }
    }

    fn request(&self, request: &Request) {
        self.sockets.send(Protocol::Udp, request.end, request.server, &request.bytes);
    }

    /// Tells that these are all candidates, once STUN servers have answered, or do not. The policy passes it on to the publisher alone, which waits
    /// for it.
    fn tell_all(&mut self) {
        if self.stun.next().is_none() {
            for id in std::mem::take(&mut self.untold) {
                self.say(&id, PeerMessageInner::Ice { candidate: String::new(), sdp_m_line_index: 0 });
            }
        }
    }

    /// The machine may have got other addresses: those who watch can go on by way of them.
    fn refresh(&mut self, now: Instant) {
        self.refresh = now + REFRESH;
        let fresh = candidates(&self.sockets.refresh(true));
        for (id, session) in &mut self.sessions {
            for candidate in fresh.iter().cloned().filter_map(|candidate| session.offer_candidate(candidate)) {
                tracing::debug!(session = id, candidate, "another address of this machine");
                let (session_id, sdp_m_line_index) = (id.clone(), 0);
                let peer_message = PeerMessageInner::Ice { candidate, sdp_m_line_index };
                self.given.peer.tx.send(IncomingMessage::Peer(PeerMessage { session_id, peer_message }));
            }
        }
    }

    /// A STUN server told by which address the world sees us: a candidate for those who are not connected yet.
    fn reflected(&mut self, found: Option<Candidate>) {
        let Some(candidate) = found else { return self.tell_all() };
        let waiting = self.sessions.values_mut().filter(|session| !session.connected);
        let told: Vec<(String, String)> = waiting
            .filter_map(|session| session.offer_candidate(candidate.clone()).map(|text| (session.id.clone(), text)))
            .collect();
        for (id, candidate) in told {
            self.say(&id, PeerMessageInner::Ice { candidate, sdp_m_line_index: 0 });
        }
        self.tell_all();
    }

    fn happened(&mut self, id: &str, happenings: Vec<Happening>) {
        for happening in happenings {
            match happening {
                Happening::Connected => {
                    let Some(session) = self.sessions.get_mut(id) else { return };
                    let (more, fed) = session.begin(&self.sockets, Instant::now());
                    if !fed {
                        self.given.seats.starve(id);
                    }
                    self.tell(Event::Connected(id.to_owned()));
                    self.happened(id, more);
                }
                Happening::KeyFrameWanted => self.given.seats.ask(id),
                Happening::Reported { carries, loss, bytes, round_trip } => {
                    let now = Instant::now();
                    self.given.seats.reported(id, carries, loss, bytes, round_trip, now);
                    if let (Some(session), Some(reading)) =
                        (self.sessions.get_mut(id), self.given.seats.reading(id, now))
                    {
                        session.link(&reading, now);
                    }
                }
                Happening::Silent(silent) => self.silent(id, silent),
                Happening::Over(reason) => self.drop_session(id, &reason),
            }
        }
    }

    /// A peer answers no more, or again. Nothing is sent to who does not answer (RFC 7675). A viewer often comes back, and has signalling to tell
    /// that he is gone; a server has not, nor may who made the offer himself.
    fn silent(&mut self, id: &str, silent: bool) {
        let Some(session) = self.sessions.get_mut(id).filter(|session| session.connected) else { return };
        if silent && (session.calls || self.given.hub.grants(&session.peer).is_none()) {
            return self.drop_session(id, "its peer answers no more");
        }
        let was = session.silent.is_some();
        session.silent = silent.then(|| session.silent.unwrap_or_else(Instant::now));
        if was && !silent {
            self.given.seats.starve(id);
            self.given.seats.ask(id);
        }
    }

    /// Ends a session that cannot go on, for its peer as well.
    fn drop_session(&mut self, id: &str, reason: &str) {
        if self.sessions.contains_key(id) {
            tracing::debug!(session = id, reason, "a session is over");
            self.tell(Event::Dropped(id.to_owned()));
            self.end(id, true);
        }
    }

    fn refuse(&mut self, id: &str, reason: &'static str) {
        tracing::warn!(session = id, reason, "ending a session over its description");
        if reason == sdp_check::REFUSES {
            self.tell(Event::Refused(id.to_owned()));
        }
        self.end(id, true);
    }

    /// Ends a session; `for_peer`: its peer is told.
    fn end(&mut self, id: &str, for_peer: bool) {
        if for_peer {
            self.given.peer.tx.send(IncomingMessage::EndSession(EndSessionMessage { session_id: id.to_owned() }));
        }
        // Another can take its place.
        self.given.peer.tx.let_go(id);
        let Some(mut session) = self.sessions.remove(id) else { return };
        session.close(&self.sockets);
        self.routes.retain(|_, route| route != id);
        self.names.retain(|_, named| named != id);
        self.untold.retain(|untold| untold != id);
        self.given.seats.leave(id);
        self.given.metrics.session_ended(id);
        self.tell(Event::Left(id.to_owned()));
    }

    fn say(&self, id: &str, peer_message: PeerMessageInner) {
        self.given.peer.tx.send(IncomingMessage::Peer(PeerMessage { session_id: id.to_owned(), peer_message }));
    }

    fn tell(&self, event: Event) {
        // Nobody listens only while the service stops, or the thread is replaced.
        self.given.events.send(event).ok();
    }
}

#[cfg(test)]
#[path = "viewers_tests.rs"]
mod tests;
