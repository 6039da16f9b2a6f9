//! Outbound media, device to browser: sources, mixer, one encode, a session per viewer.
//!
//! In: the configuration's part, commands. Out: encoded media to viewers, [`Report`]s. Never: captures or
//! encodes while nobody watches; stops a viewer because a source failed.
//!
//! One task owns everything here: it starts sources and encoder for the first viewer, stops them some
//! time after the last, ends sessions that do not come up in time, and rebuilds what breaks.

pub mod encoder;
mod feed;
mod mixer;
pub mod source;
mod webrtc_sink;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::api::Part;
use crate::bridge;
use crate::config::Overlay;
use crate::picture_slot::PictureSlot;
use crate::pipeline::{Error, Event};
use crate::signaller::InProcessSignaller;
use crate::signalling::hub::Hub;
use crate::transport::{Change, IceUris};
use encoder::{Format, KeyFrameRation};
use feed::{Fault, Inlets};
use mixer::{Announcement, Mixer};
use source::{End, Wanted};
use webrtc_sink::WebrtcSink;

/// What outbound needs of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the device.
    pub name: String,
    /// What goes out.
    pub wanted: Vec<Wanted>,
    /// Size, rate, codec.
    pub format: Format,
    /// Place of the talker's picture.
    pub overlay: Overlay,
    /// Factor on the programme while somebody talks.
    pub duck: f64,
    /// STUN and TURN.
    pub ice: IceUris,
    /// A session that is not connected after so long is ended.
    pub negotiation_timeout: Duration,
    /// Capture and encoders stop so long after the last viewer left.
    pub idle_grace: Duration,
}

/// What outbound tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// How many sessions there are.
    Viewers(usize),
    /// A source failed or was mended.
    Fault(Part, Option<String>),
    /// A viewer's session did not come up.
    CallFailed {
        /// Its peer id.
        peer: String,
    },
}

/// Something to be heard once over the programme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sound {
    /// A text, spoken.
    Speech(String),
    /// A file.
    File(PathBuf),
}

#[derive(Debug)]
enum Command {
    Duck(bool),
    Announce(Sound, oneshot::Sender<Result<(), Error>>),
    Announced(u64),
    Retry,
    Stop(oneshot::Sender<()>),
}

/// Handle of the outbound task.
#[derive(Debug, Clone)]
pub struct Outbound(mpsc::UnboundedSender<Command>);

impl Outbound {
    /// Builds the sending pipeline and starts the task.
    pub fn start(
        settings: Settings,
        hub: Hub,
        slot: PictureSlot,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Report>), Error> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (reports, outbox) = mpsc::unbounded_channel();
        let sending = Sending::new(&settings, &hub)?;
        // Built once here only to find what is missing before anything starts.
        drop(Mixer::new(&settings.format, &settings.overlay, &slot, Arc::default())?);
        let task = Task {
            settings,
            hub,
            slot,
            sending,
            active: None,
            ducked: false,
            broken: false,
            reports,
            own: commands.clone(),
        };
        tokio::spawn(task.run(inbox));
        Ok((Self(commands), outbox))
    }

    /// Lowers the programme while somebody talks.
    pub fn duck(&self, ducked: bool) {
        self.tell(Command::Duck(ducked));
    }

    /// Plays something over the programme; returns when it has begun.
    pub async fn announce(&self, sound: Sound) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Announce(sound, reply));
        answer.await.unwrap_or_else(|_| Err(Error::Input("the service is stopping".into())))
    }

    /// Stops every pipeline and waits for that.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        self.tell(Command::Stop(done));
        stopped.await.ok();
    }

    fn tell(&self, command: Command) {
        if self.0.send(command).is_err() {
            tracing::debug!("outbound has stopped");
        }
    }
}

/// The pipeline that ends in webrtcsink, with its sessions.
struct Sending {
    sink: WebrtcSink,
    changes: mpsc::UnboundedReceiver<Change>,
    registered: tokio::sync::watch::Receiver<bool>,
    stuck: tokio::sync::watch::Receiver<bool>,
    /// By when it must have registered.
    register_by: Instant,
    /// By peer: how many sessions it has, and the time by which the newest must be connected, `None` once it is.
    viewers: HashMap<String, (usize, Option<Instant>)>,
    ration: Arc<Mutex<KeyFrameRation>>,
}

impl Sending {
    fn new(settings: &Settings, hub: &Hub) -> Result<Self, Error> {
        let signaller = InProcessSignaller::producer(hub.clone(), &settings.name);
        let (registered, stuck) = (signaller.registered(), signaller.stuck());
        let (tx, changes) = mpsc::unbounded_channel();
        let (video, audio) = (settings.format.encoded_video(), Format::encoded_audio());
        let sink = WebrtcSink::new(&video, &audio, &settings.ice, signaller, tx)?;
        let register_by = Instant::now() + REGISTER;
        Ok(Self { sink, changes, registered, stuck, register_by, viewers: HashMap::new(), ration: Arc::default() })
    }

    fn next_deadline(&self) -> Option<Instant> {
        let register_by = (!*self.registered.borrow()).then_some(self.register_by);
        self.viewers.values().filter_map(|(_, by)| *by).chain(register_by).min()
    }
}

/// Capture, mixing and encoding: there only while somebody watches.
struct Active {
    mixer: Mixer,
    feeds: Vec<JoinHandle<()>>,
    faults: mpsc::UnboundedReceiver<Fault>,
    announcements: HashMap<u64, (Announcement, JoinHandle<()>)>,
    next_announcement: u64,
    /// The probe that hands key-frame requests to the encoder.
    requests: Option<(gst::Pad, gst::PadProbeId)>,
    /// Only there so that the device registers: no source is open.
    priming: bool,
    /// When it may stop; `None` while it is needed.
    idle_at: Option<Instant>,
}

impl Drop for Active {
    fn drop(&mut self) {
        // The mixer stops in its own time, and must not feed what a next one feeds.
        bridge::part(&self.mixer.video_out);
        bridge::part(&self.mixer.audio_out);
        if let Some((pad, probe)) = self.requests.take() {
            pad.remove_probe(probe);
        }
        self.feeds.iter().for_each(JoinHandle::abort);
        self.announcements.values().for_each(|(_, task)| task.abort());
    }
}

struct Task {
    settings: Settings,
    hub: Hub,
    slot: PictureSlot,
    sending: Sending,
    active: Option<Active>,
    ducked: bool,
    /// The sending pipeline could not be built anew.
    broken: bool,
    reports: mpsc::UnboundedSender<Report>,
    own: mpsc::UnboundedSender<Command>,
}

/// What woke the task.
enum Woken {
    Command(Option<Command>),
    Change(Change),
    Sink(Event),
    Mixer(Event),
    Fault(Fault),
    Registered,
    Stuck,
    Time,
}

/// webrtcsink registers within this, or is built anew. It takes a tenth of a second on a laptop.
const REGISTER: Duration = Duration::from_secs(20);
/// Longest wait for a pipeline to stop; one that hangs is left behind.
const STOP: Duration = Duration::from_secs(5);
/// Wait before a broken pipeline is built anew.
const REBUILD: Duration = Duration::from_secs(1);

impl Task {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        self.start_sending().await;
        loop {
            match self.wait(&mut inbox).await {
                Woken::Command(None) => break self.stop().await,
                Woken::Command(Some(Command::Stop(done))) => {
                    self.stop().await;
                    done.send(()).ok();
                    break;
                }
                Woken::Command(Some(command)) => self.command(command).await,
                Woken::Change(change) => self.change(change).await,
                Woken::Sink(Event::Error { element, message }) => {
                    tracing::error!(element, message, "the sending pipeline failed; building it anew");
                    self.rebuild().await;
                }
                Woken::Mixer(Event::Error { element, message }) => {
                    tracing::error!(element, message, "the mixing pipeline failed; building it anew");
                    self.deactivate().await;
                    tokio::time::sleep(REBUILD).await;
                    if !self.sending.viewers.is_empty() {
                        self.activate(false).await;
                    }
                }
                Woken::Fault(Fault { part, message }) => {
                    match &message {
                        Some(message) => tracing::warn!(?part, message, "source failed; trying again"),
                        None => tracing::debug!(?part, "source works"),
                    }
                    self.report(Report::Fault(part, message));
                }
                Woken::Registered => {
                    tracing::info!("the device can be called");
                    if self.active.as_ref().is_some_and(|active| active.priming) && self.sending.viewers.is_empty() {
                        self.deactivate().await;
                    }
                }
                Woken::Stuck => {
                    tracing::error!("the sending pipeline hangs; building it anew, viewers join again");
                    self.rebuild().await;
                }
                Woken::Time => self.deadlines().await,
                Woken::Sink(_) | Woken::Mixer(_) => {}
            }
        }
    }

    async fn wait(&mut self, inbox: &mut mpsc::UnboundedReceiver<Command>) -> Woken {
        let deadlines = [self.sending.next_deadline(), self.active.as_ref().and_then(|active| active.idle_at)];
        let deadline = deadlines.into_iter().flatten().min();
        let active = self.active.is_some();
        let (mixer, faults) = match &mut self.active {
            Some(active) => (Some(&mut active.mixer), Some(&mut active.faults)),
            None => (None, None),
        };
        tokio::select! {
            command = inbox.recv() => Woken::Command(command),
            Some(change) = self.sending.changes.recv() => Woken::Change(change),
            Some(event) = self.sending.sink.pipeline.next() => Woken::Sink(event),
            Some(event) = async { mixer?.pipeline.next().await }, if active => Woken::Mixer(event),
            Some(fault) = async { faults?.recv().await }, if active => Woken::Fault(fault),
            Ok(()) = self.sending.registered.changed() => Woken::Registered,
            Ok(()) = self.sending.stuck.changed() => Woken::Stuck,
            () = async { tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)).await }, if deadline.is_some() => Woken::Time,
        }
    }

    /// Plays the sending pipeline and primes it: webrtcsink registers once it has seen media in its
    /// final caps. A card and silence do; no device is opened for it.
    async fn start_sending(&mut self) {
        if let Err(error) = self.sending.sink.pipeline.play().await {
            // It is built anew when it has not registered in time.
            tracing::error!(%error, "the sending pipeline does not start");
        }
        self.activate(true).await;
        // GStreamer makes the process's DTLS key with the first element that needs it, which takes half a second:
        // now, not when the first viewer waits.
        match tokio::task::spawn_blocking(|| crate::pipeline::make("dtlsdec").map(drop)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "no viewer can be served"),
            Err(error) => tracing::error!(%error, "making the DTLS key panicked"),
        }
    }

    async fn rebuild(&mut self) {
        // A sink that hangs could not: and then it would still be listed, and be called.
        self.sending.sink.ender().leave();
        self.deactivate().await;
        tokio::time::sleep(REBUILD).await;
        match Sending::new(&self.settings, &self.hub) {
            Ok(fresh) => {
                self.broken = false;
                let old = std::mem::replace(&mut self.sending, fresh);
                if tokio::time::timeout(STOP, old.sink.pipeline.stop()).await.is_err() {
                    tracing::error!("the old sending pipeline does not stop; it is left behind");
                }
                self.report(Report::Viewers(0));
                self.start_sending().await;
            }
            Err(error) => {
                tracing::error!(%error, "cannot build the sending pipeline; trying again");
                self.broken = true;
                self.retry_later();
            }
        }
    }

    async fn activate(&mut self, prime: bool) {
        let (tx, faults) = mpsc::unbounded_channel();
        let built = Mixer::new(&self.settings.format, &self.settings.overlay, &self.slot, self.sending.ration.clone());
        let mut mixer = match built {
            Ok(mixer) => mixer,
            Err(error) => {
                self.retry_later();
                return tracing::error!(%error, "cannot build the mixer; trying again");
            }
        };
        bridge::join(&mixer.video_out, &[&self.sending.sink.video], || {});
        bridge::join(&mixer.audio_out, &[&self.sending.sink.audio], || {});
        let requests = bridge::forward_key_frame_requests(&self.sending.sink.video, &mixer.video_out);
        if let Err(error) = mixer.pipeline.play().await {
            self.retry_later();
            return tracing::error!(%error, "the mixer does not start; trying again");
        }
        let inlets = Inlets { picture: mixer.picture.clone(), sound: mixer.sound.clone() };
        let wanted =
            if prime { vec![Wanted::Video(crate::config::VideoSource::Test)] } else { self.settings.wanted.clone() };
        let feeds = wanted
            .into_iter()
            .map(|wanted| tokio::spawn(feed::keep(wanted, self.settings.format.clone(), inlets.clone(), tx.clone())))
            .collect();
        self.active = Some(Active {
            mixer,
            feeds,
            faults,
            announcements: HashMap::new(),
            next_announcement: 0,
            requests,
            priming: prime,
            idle_at: None,
        });
        self.apply_duck();
    }

    async fn deactivate(&mut self) {
        if let Some(active) = self.active.take() {
            active.feeds.iter().for_each(JoinHandle::abort);
            drop(active);
        }
    }

    /// Sets or clears the time at which capture stops.
    fn settle(&mut self) {
        if let Some(active) = self.active.as_mut().filter(|active| !active.priming) {
            active.idle_at = self.sending.viewers.is_empty().then(|| Instant::now() + self.settings.idle_grace);
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Duck(ducked) => {
                self.ducked = ducked;
                self.apply_duck();
            }
            Command::Announce(sound, reply) => {
                let begun = self.announce(sound).await;
                reply.send(begun).ok();
            }
            Command::Announced(id) => {
                if let Some(active) = &mut self.active
                    && let Some((announcement, _)) = active.announcements.remove(&id)
                {
                    active.mixer.remove(announcement);
                }
            }
            // A sink that left the hub is replaced; a mixer that did not start is tried again.
            Command::Retry if self.broken => self.rebuild().await,
            Command::Retry if self.active.is_none() && !self.sending.viewers.is_empty() => self.activate(false).await,
            Command::Retry | Command::Stop(_) => {}
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
            active.mixer.set_programme_volume(if self.ducked { self.settings.duck } else { 1.0 });
        }
    }

    async fn announce(&mut self, sound: Sound) -> Result<(), Error> {
        let Some(active) = &mut self.active else {
            return Err(Error::Input("nobody is listening: nothing was played".into()));
        };
        let mut source = match sound {
            Sound::Speech(ref text) => source::speech(text, End::Never)?,
            Sound::File(ref path) => source::file(path, None, true)?,
        };
        source.pipeline.preroll(Duration::from_secs(2)).await.map_err(|error| match &sound {
            Sound::Speech(_) => error,
            Sound::File(path) => Error::Input(format!("cannot play {}: {error}", path.display())),
        })?;
        let announcement = active.mixer.announce()?;
        if let Some(outlet) = &source.audio {
            bridge::join(outlet, &[&announcement.inlet], || {});
        }
        if let Err(error) = source.pipeline.play().await {
            active.mixer.remove(announcement);
            return Err(error);
        }
        let id = active.next_announcement;
        active.next_announcement += 1;
        let own = self.own.clone();
        let task = tokio::spawn(async move {
            while let Some(event) = source.pipeline.next().await {
                match event {
                    Event::Eos => break,
                    Event::Error { message, .. } => {
                        tracing::warn!(message, "an announcement broke off");
                        break;
                    }
                    _ => {}
                }
            }
            // What is still in the mixer's inlet is heard out.
            tokio::time::sleep(Duration::from_millis(200)).await;
            own.send(Command::Announced(id)).ok();
        });
        active.announcements.insert(id, (announcement, task));
        Ok(())
    }

    async fn change(&mut self, change: Change) {
        match change {
            Change::Joined(peer) => {
                tracing::info!(peer, "viewer joins");
                let (sessions, by) = self.sending.viewers.entry(peer).or_default();
                *sessions += 1;
                *by = Some(Instant::now() + self.settings.negotiation_timeout);
                self.allow_key_frame();
                match &mut self.active {
                    Some(active) if !active.priming => active.idle_at = None,
                    _ => {
                        self.deactivate().await;
                        self.activate(false).await;
                    }
                }
                self.tell_viewers();
            }
            Change::Connected(peer) => {
                if let Some((_, by)) = self.sending.viewers.get_mut(&peer) {
                    *by = None;
                    self.allow_key_frame();
                    tracing::info!(peer, "viewer connected");
                }
            }
            Change::Failed(peer) => self.fail(peer),
            Change::Left(peer) => {
                tracing::info!(peer, "viewer left");
                if let Some((sessions, _)) = self.sending.viewers.get_mut(&peer) {
                    *sessions = sessions.saturating_sub(1);
                    if *sessions == 0 {
                        self.sending.viewers.remove(&peer);
                    }
                }
                self.tell_viewers();
                self.settle();
            }
        }
    }

    fn allow_key_frame(&self) {
        self.sending.ration.lock().unwrap_or_else(std::sync::PoisonError::into_inner).joined();
    }

    fn fail(&mut self, peer: String) {
        tracing::warn!(peer, "no media connection to this viewer came about");
        if self.sending.viewers.remove(&peer).is_some() {
            self.report(Report::CallFailed { peer: peer.clone() });
        }
        let sink = self.sending.sink.ender();
        // webrtcsink may block on its own runtime here.
        tokio::task::spawn_blocking(move || sink.end_session_with(&peer));
        self.tell_viewers();
        self.settle();
    }

    async fn deadlines(&mut self) {
        let now = Instant::now();
        if !*self.sending.registered.borrow() && self.sending.register_by <= now {
            tracing::error!("the device did not register with signalling; building the sending pipeline anew");
            return self.rebuild().await;
        }
        let late: Vec<String> = self
            .sending
            .viewers
            .iter()
            .filter(|(_, (_, by))| by.is_some_and(|by| by <= now))
            .map(|(peer, _)| peer.clone())
            .collect();
        late.into_iter().for_each(|peer| self.fail(peer));
        if self.active.as_ref().and_then(|active| active.idle_at).is_some_and(|at| at <= now) {
            tracing::info!("nobody watches: capture and encoder stop");
            self.deactivate().await;
        }
    }

    fn tell_viewers(&self) {
        self.report(Report::Viewers(self.sending.viewers.values().map(|(sessions, _)| sessions).sum()));
    }

    fn report(&self, report: Report) {
        self.reports.send(report).ok();
    }

    async fn stop(&mut self) {
        self.deactivate().await;
        let inner = self.sending.sink.pipeline.inner().clone();
        let stopping = tokio::task::spawn_blocking(move || crate::pipeline::to_null(&inner));
        if !matches!(tokio::time::timeout(STOP, stopping).await, Ok(Ok(()))) {
            tracing::error!("the sending pipeline did not stop cleanly");
        }
    }
}
