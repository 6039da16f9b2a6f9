//! The desk: where a call comes together. Knows who talks and who watches, and tells everybody.
//!
//! In: asks from the API, notices from signalling, reports from both directions of media. Out: talks
//! started and ended, the programme ducked, a status snapshot, events for each subscribed page.
//! Never: media, sockets, or a decision that is not [`TalkLock`]'s.

use std::collections::{BTreeMap, HashMap};
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};

use crate::api::{Access, Event, Part, Quality, Recording, Status, TalkSound, TalkState};
use crate::inbound::{self, Talk};
use crate::metrics::Metrics;
use crate::outbound::{self, Outbound};
use crate::picture_slot::PictureSlot;
use crate::publish;
use crate::recording::{self, Began, Recorder};
use crate::session::{Effect, TalkLock, Turns};
use crate::signalling::hub::Hub;
use crate::signalling::{Notice, PeerId};
use crate::words;

/// The service is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the service is stopping")]
pub struct DeskClosed;

#[derive(Debug)]
enum Ask {
    Turn { peer: PeerId, take: bool, reply: oneshot::Sender<TalkState> },
    Release { peer: PeerId, reply: oneshot::Sender<TalkState> },
    Quality { peer: PeerId, quality: Quality },
    Subscribe { peer: PeerId, reply: oneshot::Sender<mpsc::Receiver<Event>> },
    Sound(SoundNow),
    Tell { peer: PeerId, event: Box<Event> },
    Pulse(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// Handle of the desk.
#[derive(Debug, Clone)]
pub struct Desk {
    asks: mpsc::Sender<Ask>,
    status: watch::Receiver<Status>,
    turns: watch::Receiver<Turns>,
    faults: watch::Receiver<BTreeMap<Part, String>>,
    recorded: watch::Receiver<Option<SystemTime>>,
}

/// Everything the desk listens to.
#[derive(Debug)]
pub struct Inputs {
    /// From signalling.
    pub notices: mpsc::UnboundedReceiver<Notice>,
    /// From outbound.
    pub outbound: mpsc::UnboundedReceiver<outbound::Report>,
    /// From the recorder.
    pub recorder: mpsc::UnboundedReceiver<recording::Report>,
    /// From the publisher.
    pub publisher: mpsc::UnboundedReceiver<publish::Report>,
}

/// Everything the desk steers.
pub struct Parts {
    /// Outgoing media.
    pub outbound: Outbound,
    /// How talks are taken.
    pub inbound: inbound::Settings,
    /// What records calls; it is told who talks.
    pub recorder: Recorder,
    /// Signalling.
    pub hub: Hub,
    /// Where the talker's picture goes.
    pub slot: PictureSlot,
    /// Where it is counted.
    pub metrics: Metrics,
}

/// What is heard, and what is not, by the owner's will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoundNow {
    /// The device sends sound.
    pub sent: bool,
    /// The device's own sound is muted.
    pub muted: bool,
    /// What becomes of the talker's.
    pub talk: TalkSound,
}

impl SoundNow {
    fn of(status: &Status) -> Self {
        Self { sent: status.audio, muted: status.audio_muted, talk: status.talk_sound }
    }
}

/// Events that wait for one page; a page that reads none for so many is cut off and comes back.
const BACKLOG: usize = 64;

impl Desk {
    /// Starts the desk.
    pub fn start(status: Status, lock: TalkLock, parts: Parts, inputs: Inputs) -> Self {
        let (asks, inbox) = mpsc::channel(64);
        let (status, shown) = watch::channel(status);
        let (reports, inbound) = mpsc::unbounded_channel();
        let (told_turns, turns) = watch::channel(Turns::default());
        let (faulty, faults) = watch::channel(BTreeMap::new());
        let (told_recorded, recorded_since) = watch::channel(None);
        let task = Task {
            status,
            turns: told_turns,
            lock,
            parts,
            talk: None,
            reports,
            subscribers: HashMap::new(),
            viewers: 0,
            recorded: Recorded::default(),
            recorded_since: told_recorded,
            faults: faulty,
        };
        tokio::spawn(task.run(inbox, inputs, inbound));
        Self { asks, status: shown, turns, faults, recorded: recorded_since }
    }

    /// Asks for the turn.
    ///
    /// # Errors
    /// The service is stopping.
    pub async fn ask(&self, peer: &str, take: bool) -> Result<TalkState, DeskClosed> {
        self.put(|reply| Ask::Turn { peer: peer.to_owned(), take, reply }).await
    }

    /// Gives the turn or the place in line back.
    ///
    /// # Errors
    /// The service is stopping.
    pub async fn release(&self, peer: &str) -> Result<TalkState, DeskClosed> {
        self.put(|reply| Ask::Release { peer: peer.to_owned(), reply }).await
    }

    /// Sets a viewer's choice of picture quality.
    ///
    /// # Errors
    /// The service is stopping.
    pub async fn choose_quality(&self, peer: &str, quality: Quality) -> Result<(), DeskClosed> {
        self.asks.send(Ask::Quality { peer: peer.to_owned(), quality }).await.map_err(|_| DeskClosed)
    }

    /// The status as someone with this access gets it.
    pub fn status(&self, access: Access) -> Status {
        let mut status = self.status.borrow().clone();
        status.access = access;
        status
    }

    /// Whether its task still turns; waits for an answer.
    pub async fn answers(&self) -> bool {
        self.put(Ask::Pulse).await.is_ok()
    }

    /// Who has the turn to talk, and who waits for it.
    pub fn turns(&self) -> Turns {
        self.turns.borrow().clone()
    }

    /// What does not work just now though the service goes on, a sentence each: a source, the speaker, a recording,
    /// publishing.
    pub fn faults(&self) -> Vec<String> {
        self.faults.borrow().iter().map(|(part, message)| sentence(*part, message)).collect()
    }

    /// Since when anything of the call is recorded: both directions by the recorder, or what comes of the talker.
    pub fn recorded_since(&self) -> Option<SystemTime> {
        *self.recorded.borrow()
    }

    /// Gives one peer's page an event; nothing happens when it does not listen.
    ///
    /// # Errors
    /// The service is stopping.
    pub async fn tell(&self, peer: &str, event: Event) -> Result<(), DeskClosed> {
        let tell = Ask::Tell { peer: peer.to_owned(), event: Box::new(event) };
        self.asks.send(tell).await.map_err(|_| DeskClosed)
    }

    /// Whether the device can be called.
    pub fn is_callable(&self) -> bool {
        self.status.borrow().device_id.is_some()
    }

    /// Waits until the device can be called.
    pub async fn callable(&self) {
        // Err: the desk has stopped, and whoever waits is stopping as well.
        self.status.clone().wait_for(|status| status.device_id.is_some()).await.ok();
    }

    /// Everything that happens from now on, as far as `peer` is concerned; the present state first.
    ///
    /// # Errors
    /// The service is stopping.
    pub async fn subscribe(&self, peer: &str) -> Result<mpsc::Receiver<Event>, DeskClosed> {
        self.put(|reply| Ask::Subscribe { peer: peer.to_owned(), reply }).await
    }

    /// What is heard from now on.
    ///
    /// # Errors
    /// The service is stopping.
    pub async fn sound(&self, now: SoundNow) -> Result<(), DeskClosed> {
        self.asks.send(Ask::Sound(now)).await.map_err(|_| DeskClosed)
    }

    /// Ends the talk and closes its files.
    pub async fn stop(&self) {
        // Err: it has stopped already.
        self.put(Ask::Stop).await.ok();
    }

    async fn put<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, DeskClosed> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| DeskClosed)?;
        answer.await.map_err(|_| DeskClosed)
    }
}

struct Task {
    status: watch::Sender<Status>,
    /// Who has the turn, and who waits.
    turns: watch::Sender<Turns>,
    lock: TalkLock,
    parts: Parts,
    talk: Option<(PeerId, Talk)>,
    reports: mpsc::UnboundedSender<inbound::Report>,
    subscribers: HashMap<PeerId, Vec<mpsc::Sender<Event>>>,
    viewers: u32,
    recorded: Recorded,
    /// Since when, for whoever asks.
    recorded_since: watch::Sender<Option<SystemTime>>,
    faults: watch::Sender<BTreeMap<Part, String>>,
}

/// Who records at present.
#[derive(Debug, Default)]
struct Recorded {
    call: Option<Began>,
    talker: Option<Began>,
    /// What is wrong with recording is the talker's own file.
    talker_fault: bool,
}

impl Recorded {
    fn began(&self) -> Option<Began> {
        [self.call, self.talker].into_iter().flatten().min_by_key(|began| began.seen)
    }
}

/// A recording that began then, or none, as the API tells it now.
pub fn recording_state(began: Option<Began>) -> Recording {
    let elapsed = |began: Began| u64::try_from(began.seen.elapsed().as_millis()).unwrap_or(u64::MAX);
    Recording { on: began.is_some(), since: began.and_then(|began| rfc3339(began.at)), elapsed_ms: began.map(elapsed) }
}

/// A time as the API writes it.
pub fn rfc3339(time: SystemTime) -> Option<String> {
    time::OffsetDateTime::from(time).format(&time::format_description::well_known::Rfc3339).ok()
}

impl Task {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Ask>,
        mut inputs: Inputs,
        mut inbound: mpsc::UnboundedReceiver<inbound::Report>,
    ) {
        loop {
            let deadline = self.lock.next_deadline().map(tokio::time::Instant::from_std);
            tokio::select! {
                // The end of a talk first: the same talker may be about to begin the next one.
                biased;
                Some(report) = inbound.recv() => self.inbound(report).await,
                ask = inbox.recv() => match ask {
                    None => break,
                    Some(Ask::Stop(done)) => {
                        self.end_talk().await;
                        done.send(()).ok();
                        break;
                    }
                    Some(ask) => self.ask(ask).await,
                },
                Some(notice) = inputs.notices.recv() => self.notice(notice).await,
                Some(report) = inputs.outbound.recv() => self.outbound(report),
                Some(report) = inputs.recorder.recv() => match report {
                    recording::Report::On(since) => self.record(|recorded| recorded.call = since),
                    recording::Report::Fault(message) => self.fault(Part::Recording, message),
                },
                Some(publish::Report(message)) = inputs.publisher.recv() => self.fault(Part::Publish, message),
                () = async { tokio::time::sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)).await }, if deadline.is_some() => {
                    let effects = self.lock.tick(Instant::now());
                    self.apply(effects).await;
                }
            }
        }
    }

    async fn ask(&mut self, ask: Ask) {
        // An answer nobody waits for any more is no fault.
        match ask {
            Ask::Turn { peer, take, reply } => {
                let effects = self.lock.ask(&peer, take, Instant::now());
                self.apply(effects).await;
                reply.send(self.lock.state_of(&peer)).ok();
            }
            Ask::Release { peer, reply } => {
                let effects = self.lock.release(&peer, Instant::now());
                self.apply(effects).await;
                reply.send(self.lock.state_of(&peer)).ok();
            }
            Ask::Quality { peer, quality } => self.parts.outbound.choose_quality(peer, quality),
            Ask::Subscribe { peer, reply } => {
                let (tx, rx) = mpsc::channel(BACKLOG);
                let status = self.status.borrow().clone();
                let first = [
                    Event::Status { status },
                    Event::Talk { talk: self.lock.state_of(&peer) },
                    Event::Viewers { count: self.viewers },
                    Event::Recording { recording: recording_state(self.recorded.began()) },
                ];
                for event in first {
                    tx.try_send(event).ok();
                }
                for (part, message) in self.faults.borrow().iter().filter(|(part, _)| is_viewers_business(**part)) {
                    tx.try_send(Event::Fault { part: *part, message: Some(message.clone()) }).ok();
                }
                let senders = self.subscribers.entry(peer).or_default();
                senders.retain(|sender| !sender.is_closed());
                senders.push(tx);
                reply.send(rx).ok();
            }
            Ask::Sound(now) => {
                let changed = self.status.send_if_modified(|status| {
                    let before = SoundNow::of(status);
                    (status.audio, status.audio_muted, status.talk_sound) = (now.sent, now.muted, now.talk);
                    before != now
                });
                if changed {
                    let status = self.status.borrow().clone();
                    self.tell_all(&Event::Status { status });
                }
            }
            Ask::Tell { peer, event } => self.tell(&peer, *event),
            // Nobody waits any more only when it took too long.
            Ask::Pulse(reply) => {
                reply.send(()).ok();
            }
            Ask::Stop(_) => {}
        }
    }

    async fn notice(&mut self, notice: Notice) {
        let now = Instant::now();
        let effects = match notice {
            Notice::DeviceProducing(id) => return self.device(Some(id)),
            Notice::DeviceGone(id) => {
                let current = self.status.borrow().device_id.clone();
                if current.as_deref() == Some(&*id) {
                    self.device(None);
                }
                return;
            }
            Notice::TalkerProducing(peer) => self.lock.producing(&peer, now),
            Notice::TalkerStopped(peer) => self.lock.stopped(&peer, now),
            Notice::PeerGone(peer) => {
                let effects = self.lock.gone(&peer, now);
                self.subscribers.remove(&peer);
                effects
            }
            // The hub has logged it.
            Notice::Refused { .. } => return,
        };
        self.apply(effects).await;
    }

    fn outbound(&mut self, report: outbound::Report) {
        match report {
            outbound::Report::Viewers(count) => {
                self.viewers = u32::try_from(count).unwrap_or(u32::MAX);
                self.tell_all(&Event::Viewers { count: self.viewers });
            }
            outbound::Report::Fault(part, message) => self.fault(part, message),
            outbound::Report::Quality { peer, state } => self.tell(&peer, Event::Quality { state }),
            outbound::Report::CallFailed { peer, why } => {
                let message = match why {
                    outbound::Failure::NoMedia => NO_MEDIA.to_owned(),
                    outbound::Failure::Codec(codec) => format!(
                        "This browser does not play what the device sends ({codec} with Opus). Another browser may; \
                         or the device's owner sets video-codec to another one."
                    ),
                };
                self.tell(&peer, Event::CallFailed { message })
            }
        }
    }

    async fn inbound(&mut self, report: inbound::Report) {
        match report {
            inbound::Report::Connected(peer) => tracing::info!(peer, "talker connected"),
            inbound::Report::Fault(part, message) => {
                if part == Part::Recording {
                    self.recorded.talker_fault = message.is_some();
                }
                self.fault(part, message);
            }
            inbound::Report::Silent(peer) => {
                let effects = self.lock.silent(&peer, Instant::now());
                self.apply(effects).await;
            }
            inbound::Report::Recorded(on) => self.record(|recorded| recorded.talker = on.then(Began::now)),
            inbound::Report::Over(peer, reason) => {
                // What was wrong with this talk ends with it.
                self.fault(Part::Talk, None);
                if std::mem::take(&mut self.recorded.talker_fault) {
                    self.fault(Part::Recording, None);
                }
                if let Some(reason) = reason {
                    tracing::warn!(peer, reason, "a talk ended early");
                    let message = format!("The device could not take your sound and picture: {reason}.");
                    self.tell(&peer, Event::TalkFailed { message });
                }
                if self.talk.as_ref().is_some_and(|(talker, _)| *talker == peer) {
                    self.talk = None;
                    self.parts.outbound.duck(false);
                    self.parts.recorder.talker(None);
                    let effects = self.lock.release(&peer, Instant::now());
                    self.apply(effects).await;
                }
            }
        }
    }

    async fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start { peer } => {
                    self.end_talk().await;
                    let talk = Talk::start(
                        &peer,
                        &self.parts.inbound,
                        self.parts.hub.clone(),
                        self.parts.slot.clone(),
                        self.reports.clone(),
                    );
                    self.parts.recorder.talker(Some(&peer));
                    self.parts.metrics.talk_began();
                    self.talk = Some((peer, talk));
                    self.parts.outbound.duck(true);
                }
                Effect::Stop { peer, reason } => {
                    tracing::info!(peer, reason, "turn ends");
                    // Before the media goes: the talker's page shall know why.
                    self.tell_turns();
                    if reason.is_some() {
                        tokio::time::sleep(WORD).await;
                    }
                    self.end_talk().await;
                }
                Effect::Changed => self.tell_turns(),
            }
        }
    }

    async fn end_talk(&mut self) {
        if let Some((_, talk)) = self.talk.take() {
            self.parts.outbound.duck(false);
            self.parts.recorder.talker(None);
            talk.end().await;
        }
    }

    fn device(&mut self, id: Option<PeerId>) {
        self.status.send_modify(|status| status.device_id = id);
        let status = self.status.borrow().clone();
        self.tell_all(&Event::Status { status });
    }

    fn record(&mut self, change: impl FnOnce(&mut Recorded)) {
        let before = self.recorded.began();
        change(&mut self.recorded);
        let began = self.recorded.began();
        self.recorded_since.send_replace(began.map(|began| began.at));
        if began != before {
            if began.is_some() != before.is_some() {
                self.parts.metrics.recording(began.is_some());
            }
            self.tell_all(&Event::Recording { recording: recording_state(began) });
        }
    }

    fn fault(&mut self, part: Part, message: Option<String>) {
        let message = message.map(words::plain);
        let mut before = None;
        self.faults.send_modify(|faults| {
            before = match &message {
                Some(message) => faults.insert(part, message.clone()),
                None => faults.remove(&part),
            };
        });
        if before.is_some() != message.is_some() {
            self.parts.metrics.fault(part.word(), message.is_some());
        }
        if before != message && is_viewers_business(part) {
            self.tell_all(&Event::Fault { part, message });
        }
    }

    fn tell_turns(&mut self) {
        let turns = self.lock.turns();
        self.parts.metrics.turns(turns.holder.is_some(), turns.line.len());
        self.turns.send_replace(turns);
        let peers: Vec<PeerId> = self.subscribers.keys().cloned().collect();
        for peer in peers {
            let talk = self.lock.state_of(&peer);
            self.tell(&peer, Event::Talk { talk });
        }
    }

    fn tell_all(&mut self, event: &Event) {
        for senders in self.subscribers.values_mut() {
            senders.retain(|sender| sender.try_send(event.clone()).is_ok());
        }
    }

    fn tell(&mut self, peer: &str, event: Event) {
        if let Some(senders) = self.subscribers.get_mut(peer) {
            senders.retain(|sender| sender.try_send(event.clone()).is_ok());
        }
    }
}

/// Whether everybody who watches is told.
fn is_viewers_business(part: Part) -> bool {
    part != Part::Publish
}

/// A fault as a sentence of its own.
fn sentence(part: Part, message: &str) -> String {
    match part {
        Part::Video => format!("The picture fails: {message}."),
        Part::Audio => format!("The sound fails: {message}."),
        Part::Publish => format!("Publishing {message}."),
        Part::Talk | Part::Recording => {
            let mut letters = message.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            format!("{first}{}.", letters.as_str())
        }
    }
}

/// Head start of the word that a turn was taken over the end of its media, which travels another way.
const WORD: std::time::Duration = std::time::Duration::from_millis(250);
/// What to look at when no media connection comes about.
const NO_MEDIA: &str = "No media could be exchanged with the device. If it is in another subnet, behind a VPN or a firewall, \
    UDP between you and it must be open, or a TURN server must be configured (ice-server).";
