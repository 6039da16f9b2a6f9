//! Recording: both directions of a call together, in sync, in one file that ordinary players play.
//!
//! In: encoded media of both directions through a [`tap::Tap`], rules of the configuration, the owner's word. Out: files
//! on a [`shelf::Shelf`], [`Report`]s. Never: an encode of a picture; a call that suffers (packets wait in memory for a
//! slow disk, and are lost when it is too slow); recording without telling everybody.
//!
//! ```text
//! outbound mixer ── encoded picture ───────────────┐
//!                └─ encoded sound ─┬───────────────┤
//!                                  mix ─> Opus ────┼─> tap ─> writer (a thread) ─> TIME_PEER.webm
//! inbound talker ── Opus ──────────┴───────────────┤
//!                └─ VP8 ───────────────────────────┘
//! ```
//!
//! | track | what | why |
//! |---|---|---|
//! | 1 | the device's outgoing picture | it is encoded anyway, and has the talker in its corner where that is configured |
//! | 2 | both sides mixed | any player gives the whole conversation; costs one Opus encode |
//! | 3, 4 | the device's and the talker's sound alone | for a transcript, or where one drowns the other; cost nothing |
//! | 5 | the talker's picture | in its own size, as it came |
//!
//! A file's name has who talked when the recording began, its metadata (the tag `TALKERS`) all who talked in it.
//!
//! The file is WebM where the device sends VP8: browsers play that. With H.264 it is Matroska, to be downloaded.
//! All tracks are on the process's clock. The talker's are placed where the device plays them: later than they came by
//! the time that packets wait in the jitter buffer.

pub mod ebml;
pub mod h264;
pub mod layout;
pub mod mend;
pub mod mix;
pub mod packet;
pub mod roll;
pub mod shelf;
pub mod talkers;
pub mod tap;
pub mod writer;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::config::RecordRule;
use crate::pipeline::{Error, Event, Pipeline};
use layout::Kind;
use roll::Roll;
use shelf::Shelf;
use tap::Tap;
use writer::Note;

/// What recording needs of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When to record without being told.
    pub rule: RecordRule,
    /// Where, and how much is kept.
    pub shelf: Shelf,
    /// Whether browsers shall play it.
    pub kind: Kind,
    /// kbit/s of the mixed sound.
    pub bitrate: u32,
}

/// When a recording began: by the clock, for people, and by what no setting of the clock changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Began {
    /// By the device's clock.
    pub at: SystemTime,
    /// By the monotonic clock.
    pub seen: std::time::Instant,
}

impl Began {
    /// It begins at this moment.
    pub fn now() -> Self {
        Self { at: SystemTime::now(), seen: std::time::Instant::now() }
    }
}

/// What the recorder tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A recording runs since then, or none does.
    On(Option<Began>),
    /// It failed, or works again.
    Fault(Option<String>),
}

/// Keeps capture running while it lives.
pub type Capture = Arc<dyn Fn() -> Box<dyn Send> + Send + Sync>;

#[derive(Debug)]
enum Ask {
    Record { on: bool, reply: oneshot::Sender<Result<(), String>> },
    Talker(Option<String>),
    Stop(oneshot::Sender<()>),
}

/// Handle of the recorder.
#[derive(Debug, Clone)]
pub struct Recorder {
    asks: mpsc::UnboundedSender<Ask>,
    on: watch::Receiver<Option<Began>>,
    open: watch::Receiver<Option<String>>,
    shelf: Shelf,
}

/// A recording by the rule `talk` goes on so long after the talk, for the answer.
const LINGER: Duration = Duration::from_secs(5);
/// What failed is tried again after so long, where a rule asks for it.
const RETRY: Duration = Duration::from_secs(30);
/// How often it is asked whether packets were lost, or the file.
const LOOK: Duration = Duration::from_secs(2);
/// Longest wait for the first packet of a recording somebody asked for.
const BEGIN: Duration = Duration::from_secs(8);

impl Recorder {
    /// Starts the task; finishes what an earlier run left behind first.
    pub fn start(settings: Settings, tap: Tap, capture: Capture) -> (Self, mpsc::UnboundedReceiver<Report>) {
        let (asks, inbox) = mpsc::unbounded_channel();
        let (reports, outbox) = mpsc::unbounded_channel();
        let (on, on_seen) = watch::channel(None);
        let (open, open_seen) = watch::channel(None);
        let shelf = settings.shelf.clone();
        let task = Task {
            settings,
            tap,
            capture,
            reports,
            on,
            open,
            asked: None,
            talker: None,
            linger: None,
            paused: false,
            retry: None,
            running: None,
            lost: 0,
            told: None,
        };
        tokio::spawn(task.run(inbox));
        (Self { asks, on: on_seen, open: open_seen, shelf }, outbox)
    }

    /// Starts or stops by the owner's word; returns once the file is begun or closed.
    ///
    /// # Errors
    /// A sentence: it cannot be written.
    pub async fn record(&self, on: bool) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        self.tell(Ask::Record { on, reply });
        answer.await.unwrap_or_else(|_| Err("the service is stopping".to_owned()))
    }

    /// Somebody talks now, or nobody does.
    pub fn talker(&self, peer: Option<&str>) {
        self.tell(Ask::Talker(peer.map(str::to_owned)));
    }

    /// Since when a recording runs.
    pub fn began(&self) -> Option<Began> {
        *self.on.borrow()
    }

    /// Name of the file that is being written.
    pub fn open_file(&self) -> Option<String> {
        self.open.borrow().clone()
    }

    /// Where recordings are.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Ends the recording and waits for its file.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        self.tell(Ask::Stop(done));
        // Err: it has stopped already.
        stopped.await.ok();
    }

    fn tell(&self, ask: Ask) {
        if self.asks.send(ask).is_err() {
            tracing::debug!("the recorder has stopped");
        }
    }
}

/// Whether somebody has removed a file or its folder, or moved it away.
async fn is_gone(path: &std::path::Path) -> bool {
    // A disk that does not answer is told of by what is written.
    let looked = tokio::time::timeout(Duration::from_secs(1), tokio::fs::symlink_metadata(path)).await;
    let gone = |error: std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    looked.is_ok_and(|looked| looked.is_err_and(gone))
}

struct Task {
    settings: Settings,
    tap: Tap,
    capture: Capture,
    reports: mpsc::UnboundedSender<Report>,
    on: watch::Sender<Option<Began>>,
    open: watch::Sender<Option<String>>,
    /// The owner asked for it; all who wait for its beginning.
    asked: Option<Vec<oneshot::Sender<Result<(), String>>>>,
    talker: Option<String>,
    /// When a recording by the rule `talk` ends.
    linger: Option<Instant>,
    /// The owner stopped what a rule began.
    paused: bool,
    retry: Option<Instant>,
    running: Option<Running>,
    lost: u64,
    /// When the last fault was told that is not mended.
    told: Option<Instant>,
}

/// A recording under way and all that it holds.
struct Running {
    roll: Roll,
    mix: Pipeline,
    began: Instant,
    _capture: Box<dyn Send>,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Ask>) {
        let shelf = self.settings.shelf.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || mend::mend_all(&shelf)).await {
            tracing::error!(%error, "finishing old recordings panicked");
        }
        let mut look = tokio::time::interval(LOOK);
        loop {
            self.settle().await;
            let deadline = [self.linger, self.retry].into_iter().flatten().min();
            let running = self.running.is_some();
            let (roll, mix) = match &mut self.running {
                Some(running) => (Some(&mut running.roll), Some(&mut running.mix)),
                None => (None, None),
            };
            tokio::select! {
                ask = inbox.recv() => match ask {
                    None => break,
                    Some(Ask::Stop(done)) => {
                        self.end().await;
                        // Nobody waits for it only when the service was told twice.
                        done.send(()).ok();
                        break;
                    }
                    Some(ask) => self.ask(ask).await,
                },
                note = async { roll?.note().await }, if running => self.note(note).await,
                Some(event) = async { mix?.next().await }, if running => {
                    if let Event::Error { element, message } = event {
                        self.failed(format!("the sound cannot be mixed: {element}: {message}")).await;
                    }
                }
                () = async { tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)).await }, if deadline.is_some() => {
                    let now = Instant::now();
                    self.linger = self.linger.filter(|at| *at > now);
                    self.retry = self.retry.filter(|at| *at > now);
                }
                _ = look.tick() => self.look().await,
            }
        }
    }

    async fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Record { on: true, reply } => {
                self.paused = false;
                self.retry = None;
                self.asked.get_or_insert_default().push(reply);
                if self.on.borrow().is_some() {
                    self.answer(Ok(()));
                }
            }
            Ask::Record { on: false, reply } => {
                self.answer(Err("it was ended before it began".to_owned()));
                self.asked = None;
                self.paused = true;
                self.settle().await;
                reply.send(Ok(())).ok();
            }
            Ask::Talker(talker) => {
                if talker.is_some() {
                    // By its rule each talk is recorded anew, whatever was said about the last one.
                    self.paused = self.paused && self.settings.rule != RecordRule::Talk;
                    self.linger = None;
                } else if self.talker.is_some() {
                    self.linger = Some(Instant::now() + LINGER);
                }
                if let Some(running) = &self.running {
                    running.roll.talker(talker.as_deref());
                }
                self.talker = talker;
            }
            Ask::Stop(_) => {}
        }
    }

    fn is_wanted(&self) -> bool {
        let talk = self.talker.is_some() || self.linger.is_some();
        let by_rule = match self.settings.rule {
            RecordRule::Off => false,
            RecordRule::Always => true,
            RecordRule::Talk => talk,
        };
        self.asked.is_some() || (by_rule && !self.paused && self.retry.is_none())
    }

    /// Begins or ends what is or is not wanted.
    async fn settle(&mut self) {
        if self.running.is_none()
            && let Some(waiting) = self.asked.as_mut().filter(|waiting| !waiting.is_empty())
        {
            // Who has left meanwhile was told that there is no answer: nobody would know that it records.
            waiting.retain(|reply| !reply.is_closed());
            self.asked.take_if(|waiting| waiting.is_empty());
        }
        match (self.is_wanted(), self.running.is_some()) {
            (true, false) => {
                if let Err(reason) = self.begin().await {
                    self.failed(reason).await;
                }
            }
            (false, true) => self.end().await,
            _ => {}
        }
    }

    async fn begin(&mut self) -> Result<(), String> {
        let shelf = self.settings.shelf.clone();
        let prepare = move || {
            let cannot = |error| format!("cannot make the folder {} for recordings: {error}", shelf.folder.display());
            shelf.prepare().map_err(cannot)?;
            shelf.check_room()
        };
        tokio::task::spawn_blocking(prepare).await.map_err(|error| error.to_string())??;
        let words = |error: Error| error.to_string();
        let (mut mix, inlets) = mix::mix(&self.tap, self.settings.bitrate).map_err(words)?;
        mix.play().await.map_err(words)?;
        let capture = (self.capture)();
        let talker = self.talker.as_deref();
        let roll = Roll::start(&self.tap, self.settings.shelf.clone(), self.settings.kind, talker, Some(inlets));
        self.lost = 0;
        self.running = Some(Running { roll, mix, began: Instant::now(), _capture: capture });
        Ok(())
    }

    async fn note(&mut self, note: Option<Note>) {
        match note {
            Some(Note::Began(path)) => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                tracing::info!(file = %path.display(), "recording the call");
                self.open.send_replace(name);
                if self.on.borrow().is_none() {
                    self.tell_on(Some(Began::now()));
                }
                self.report(Report::Fault(None));
                self.answer(Ok(()));
            }
            Some(Note::Failed(reason)) => self.failed(reason).await,
            None => self.failed("it ended by itself".to_owned()).await,
        }
    }

    /// Looks whether the file is there, whether the disk keeps up and whether anything comes at all.
    async fn look(&mut self) {
        let Some(running) = &self.running else {
            // What nobody wants any more need not be mended: the word stays for a while, not for ever.
            if self.retry.is_none() && self.told.is_some_and(|at| at.elapsed() > RETRY) {
                self.report(Report::Fault(None));
            }
            return;
        };
        let (lost, began) = (running.roll.lost(), running.began);
        // Bound first: nothing borrowed may outlive the wait.
        let open = self.open.borrow().clone();
        if let Some(name) = open
            && is_gone(&self.settings.shelf.folder.join(&name)).await
        {
            return self.failed(format!("its file {name} is gone")).await;
        }
        if lost > self.lost {
            self.lost = lost;
            let sentence = "the disk is too slow: parts of the recording are missing".to_owned();
            tracing::warn!(lost, "{sentence}");
            self.report(Report::Fault(Some(sentence)));
        } else if self.on.borrow().is_none() && began.elapsed() > BEGIN {
            self.failed("neither picture nor sound comes from the device".to_owned()).await;
        }
    }

    async fn failed(&mut self, reason: String) {
        let what = if self.on.borrow().is_some() { "stopped" } else { "did not begin" };
        let sentence = format!("recording {what}: {reason}");
        tracing::warn!("{sentence}");
        self.retry = Some(Instant::now() + RETRY);
        self.answer(Err(reason));
        self.asked = None;
        self.end().await;
        self.report(Report::Fault(Some(sentence)));
    }

    /// Tells all who asked for it.
    fn answer(&mut self, result: Result<(), String>) {
        for reply in self.asked.iter_mut().flat_map(std::mem::take) {
            // An answer nobody waits for any more is no fault.
            reply.send(result.clone()).ok();
        }
    }

    async fn end(&mut self) {
        // Capture goes on until the file is closed: late packets belong in it.
        let Some(Running { roll, mix, _capture, .. }) = self.running.take() else { return };
        if let Some(reason) = roll.close().await {
            tracing::warn!(reason, "a recording did not end well");
        }
        mix.stop().await;
        self.open.send_replace(None);
        self.tell_on(None);
        tracing::info!("recording ended");
    }

    fn tell_on(&mut self, since: Option<Began>) {
        if self.on.send_replace(since) != since {
            self.report(Report::On(since));
        }
    }

    fn report(&mut self, report: Report) {
        if let Report::Fault(fault) = &report {
            self.told = fault.is_some().then(Instant::now);
        }
        // Nobody listens only while the service stops.
        self.reports.send(report).ok();
    }
}
