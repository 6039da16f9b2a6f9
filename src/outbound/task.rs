//! The one task that owns everything outbound.
//!
//! In: commands, changes of sessions, events of pipelines, faults of sources, time. Out: pipelines started, stopped and built
//! anew; [`Report`]s. Never: waits for a viewer; lets one viewer's failure reach another.

mod commands;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::active::Active;
use super::feed::Fault;
use super::hold::{Holders, Purpose};
use super::sender;
use super::sending::Sending;
use super::{Command, Failure, Report, Settings, snapshot};
use crate::api::Part;
use crate::arenas;
use crate::picture_slot::PictureSlot;
use crate::pipeline::Event;
use crate::signalling::hub::Hub;

/// Outbound's state.
pub(super) struct Task {
    settings: Settings,
    hub: Hub,
    slot: PictureSlot,
    sending: Sending,
    active: Option<Active>,
    /// Who wants capture besides viewers.
    holders: Holders,
    /// Frames that are waited for.
    wishes: Vec<snapshot::Wish>,
    /// Who waits for which peer's media connection.
    awaited: Vec<(String, oneshot::Sender<()>)>,
    /// What is wrong with the source of the picture.
    video_fault: Option<String>,
    ducked: bool,
    /// The sender could not be started anew.
    broken: bool,
    next_look: Instant,
    /// When what capture had in memory goes back to the kernel, unless somebody wants it before; the next time last.
    give_back_at: Vec<Instant>,
    reports: mpsc::UnboundedSender<Report>,
    own: mpsc::UnboundedSender<Command>,
}

/// What woke the task.
enum Woken {
    Command(Option<Command>),
    /// `None`: the sender has ended.
    Sender(Option<sender::Event>),
    Mixer(Event),
    Fault(Fault),
    Time,
    Look,
}

/// How often viewers' links are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Wait before what broke is built anew.
const REBUILD: Duration = Duration::from_secs(1);
/// Pipelines that were dropped close what they had in their own time: after so long they mostly have, then those of a busy machine, last first.
const CLOSED: [Duration; 3] = [Duration::from_secs(45), Duration::from_secs(15), Duration::from_secs(5)];

impl Task {
    /// Nothing runs yet.
    pub fn new(
        settings: Settings,
        hub: Hub,
        slot: PictureSlot,
        sending: Sending,
        reports: mpsc::UnboundedSender<Report>,
        own: mpsc::UnboundedSender<Command>,
    ) -> Self {
        Self {
            settings,
            hub,
            slot,
            sending,
            active: None,
            holders: Holders::default(),
            wishes: Vec::new(),
            awaited: Vec::new(),
            video_fault: None,
            ducked: false,
            broken: false,
            next_look: Instant::now(),
            give_back_at: Vec::new(),
            reports,
            own,
        }
    }

    /// Until it is told to stop.
    pub async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        loop {
            match self.wait(&mut inbox).await {
                Woken::Command(None) => break self.stop().await,
                Woken::Command(Some(Command::Stop(done))) => {
                    self.stop().await;
                    done.send(()).ok();
                    break;
                }
                Woken::Command(Some(command)) => self.command(command).await,
                Woken::Sender(Some(event)) => self.happened(event).await,
                Woken::Sender(None) => {
                    tracing::error!("what sends media has ended; starting it anew, viewers join again");
                    self.rebuild().await;
                }
                Woken::Mixer(Event::Error { element, message }) => {
                    tracing::error!(element, message, "the mixing pipeline failed; building it anew");
                    self.settings.metrics.restarted("mixing");
                    self.deactivate().await;
                    tokio::time::sleep(REBUILD).await;
                    if self.is_wanted() {
                        self.activate().await;
                    }
                }
                Woken::Fault(Fault { part, message }) => {
                    if message.is_none() {
                        tracing::debug!(?part, "source works");
                    }
                    if part == Part::Video {
                        if let Some(message) = &message {
                            self.wishes.drain(..).for_each(|wish| wish.refuse(message));
                        }
                        self.video_fault.clone_from(&message);
                    }
                    if part == Part::Video {
                        self.sending.seats.ask_all();
                    }
                    self.report(Report::Fault(part, message));
                }
                Woken::Time => self.deadlines().await,
                Woken::Look => self.look(),
                Woken::Mixer(_) => {}
            }
        }
    }

    async fn wait(&mut self, inbox: &mut mpsc::UnboundedReceiver<Command>) -> Woken {
        let deadlines = [
            self.sending.next_deadline(),
            self.active.as_ref().and_then(|active| active.idle_at),
            self.give_back_at.last().copied(),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let active = self.active.is_some();
        // With one rung nobody moves, and the owner still sees how links do.
        let watched = !self.sending.is_idle();
        let (mixer, faults) = match &mut self.active {
            Some(active) => (Some(&mut active.mixer), Some(&mut active.faults)),
            None => (None, None),
        };
        tokio::select! {
            command = inbox.recv() => Woken::Command(command),
            event = self.sending.sender.events.recv(), if !self.broken => Woken::Sender(event),
            Some(event) = async { mixer?.pipeline.next().await }, if active => Woken::Mixer(event),
            Some(fault) = async { faults?.recv().await }, if active => Woken::Fault(fault),
            () = tokio::time::sleep_until(self.next_look), if watched => Woken::Look,
            () = async { tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)).await }, if deadline.is_some() => Woken::Time,
        }
    }

    async fn rebuild(&mut self) {
        self.settings.metrics.restarted("sending");
        self.deactivate().await;
        tokio::time::sleep(REBUILD).await;
        match Sending::new(&self.settings, &self.hub) {
            Ok(fresh) => {
                self.broken = false;
                self.sending = fresh;
                self.report(Report::Viewers(0));
                if self.is_wanted() {
                    self.activate().await;
                }
            }
            Err(error) => {
                tracing::error!(%error, "what sends media cannot be started; trying again");
                self.broken = true;
                self.retry_later();
            }
        }
    }

    async fn activate(&mut self) {
        let recording = self.holders.has(Purpose::Recording);
        match Active::start(&self.settings, &self.slot, &self.sending, recording).await {
            Ok(mut active) => {
                self.wishes.iter().for_each(|wish| active.grant(wish.clone()));
                self.active = Some(active);
            }
            Err(error) => {
                self.retry_later();
                return tracing::error!(%error, "capture and encoder do not start; trying again");
            }
        }
        self.apply_duck();
    }

    async fn deactivate(&mut self) {
        drop(self.active.take());
    }

    /// Whether anybody wants capture.
    fn is_wanted(&self) -> bool {
        !self.sending.is_idle() || !self.holders.is_empty()
    }

    /// Capture runs from here on; somebody has just begun to want it.
    async fn wake(&mut self) {
        self.give_back_at.clear();
        match &mut self.active {
            Some(active) => active.idle_at = None,
            None => self.activate().await,
        }
    }

    /// Moves viewers whose links say so.
    fn look(&mut self) {
        self.next_look = Instant::now() + LOOK;
        let recording = self.holders.has(Purpose::Recording);
        for (peer, state) in self.sending.climb(recording, Instant::now()) {
            self.report(Report::Quality { peer, state });
        }
        // Also without a move: one that was begun earlier may have left a rung empty.
        self.encode();
        self.sending.seats.ask_again();
    }

    /// Encodes the rungs that somebody stands on, and the top one for a recording, with the bit rates that they carry.
    fn encode(&mut self) {
        let recording = self.holders.has(Purpose::Recording);
        let Some(active) = &mut self.active else { return };
        let mut wanted = self.sending.seats.wanted();
        wanted.iter_mut().take(1).for_each(|top| *top |= recording);
        if let Err(error) = active.encode(&wanted, &self.settings.tap) {
            tracing::error!(%error, "a rung cannot be encoded");
        }
        active.mixer.set_bitrates(&self.sending.bitrates(recording));
    }

    /// Sets or clears the time at which capture stops.
    fn settle(&mut self) {
        let wanted = self.is_wanted();
        if let Some(active) = &mut self.active {
            active.idle_at = (!wanted).then(|| Instant::now() + self.settings.idle_grace);
        }
    }

    fn retry_later(&self) {
        let own = self.own.clone();
        tokio::spawn(async move {
            tokio::time::sleep(REBUILD * 2).await;
            own.send(Command::Retry).ok();
        });
    }

    fn apply_duck(&self) {
        if let Some(active) = &self.active {
            let duck = if self.ducked { self.settings.duck } else { 1.0 };
            active.mixer.set_programme_volume(self.settings.volume * duck);
        }
    }

    async fn happened(&mut self, event: sender::Event) {
        match event {
            sender::Event::Registered => tracing::info!("the device can be called"),
            sender::Event::Joined { session, peer } => {
                tracing::info!(peer, "viewer joins");
                self.sending.joined(session.clone(), peer, Instant::now() + self.settings.negotiation_timeout);
                self.wake().await;
                self.encode();
                // While its transport comes up: its first picture waits for that then.
                self.sending.seats.ask(&session);
                self.tell_viewers();
            }
            sender::Event::Connected(session) => {
                if let Some(peer) = self.sending.connected(&session) {
                    tracing::info!(peer, "viewer connected");
                }
                // Who has just come may not have listened yet when his session was made.
                if let Some((peer, state)) = self.sending.standing(&session) {
                    self.report(Report::Quality { peer, state });
                }
                self.tell_connected();
            }
            // Who had media and lost it calls again by himself; who never had any is told what to look at.
            sender::Event::Dropped(session) if self.sending.is_pending(&session) => {
                self.fail(session, Failure::NoMedia);
            }
            sender::Event::Refused(session) => self.fail(session, Failure::Codec(self.settings.setup.format.codec)),
            sender::Event::Left(session) | sender::Event::Dropped(session) => {
                if let Some(peer) = self.sending.left(&session) {
                    tracing::info!(peer, "viewer left");
                    self.encode();
                    self.tell_viewers();
                    self.settle();
                }
            }
        }
    }

    fn fail(&mut self, session: String, why: Failure) {
        let Some(peer) = self.sending.left(&session) else { return };
        tracing::warn!(peer, ?why, "no media connection to this viewer came about");
        self.settings.metrics.session_failed(why.word());
        self.report(Report::CallFailed { peer, why });
        self.sending.sender.end_session(&session);
        self.encode();
        self.tell_viewers();
        self.settle();
    }

    async fn deadlines(&mut self) {
        let now = Instant::now();
        self.sending.late(now).into_iter().for_each(|session| self.fail(session, Failure::NoMedia));
        if self.active.as_ref().and_then(|active| active.idle_at).is_some_and(|at| at <= now) {
            tracing::info!("nobody watches: capture and encoder stop");
            self.deactivate().await;
            self.give_back_at = CLOSED.map(|after| now + after).to_vec();
            // The next who wants it finds out anew.
            self.video_fault = None;
        }
        if self.give_back_at.pop_if(|at| *at <= now).is_some() {
            tokio::spawn(arenas::give_back());
        }
    }

    fn tell_connected(&mut self) {
        let sending = &self.sending;
        for (_, reply) in self.awaited.extract_if(.., |(peer, _)| sending.is_connected(peer)) {
            // Nobody waits any more: it gave up.
            reply.send(()).ok();
        }
    }

    fn tell_viewers(&self) {
        self.report(Report::Viewers(self.sending.sessions()));
    }

    fn report(&self, report: Report) {
        self.reports.send(report).ok();
    }

    async fn stop(&mut self) {
        self.deactivate().await;
        self.sending.sender.stop().await;
    }
}
