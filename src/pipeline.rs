//! Owns GStreamer pipelines: builds elements with a clear error, turns bus messages into async
//! events, keeps every pipeline on one clock, and sets it to Null when it is dropped.
//!
//! In: elements and links from the stages. Out: [`Event`]s over a channel, one pipeline state at a time.
//! Never: a domain word, the configuration, or text parsed into a launch line.

use std::sync::{Mutex, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use tokio::sync::mpsc;

/// What a pipeline reports on its bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An element failed; the pipeline no longer works.
    Error {
        /// Name of the element that failed.
        element: String,
        /// A sentence by GStreamer.
        message: String,
    },
    /// Every sink has seen the end of its stream.
    Eos,
    /// A segment seek came to its end (used to loop files without a gap).
    SegmentDone,
    /// Latency inside changed and was redistributed.
    Latency,
}

/// Why a pipeline could not be built or started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An element factory is missing.
    #[error("GStreamer element \"{factory}\" is missing; on Debian install the package {package}")]
    MissingElement {
        /// Factory name.
        factory: String,
        /// Debian package that has it.
        package: &'static str,
    },
    /// Elements would not link.
    #[error("cannot link the {stage} pipeline: {source}")]
    Link {
        /// Stage.
        stage: &'static str,
        /// GStreamer's words.
        source: gst::glib::BoolError,
    },
    /// A state change failed; `detail` is the first error on the bus.
    #[error("{name} does not start: {detail}")]
    Start {
        /// Pipeline name.
        name: String,
        /// GStreamer's words.
        detail: String,
    },
    /// Text from outside is not what the stage takes.
    #[error("{0}")]
    Input(String),
}

/// A `gst::Pipeline` on the process's common clock, with its bus as a channel.
#[derive(Debug)]
pub struct Pipeline {
    inner: gst::Pipeline,
    events: mpsc::UnboundedReceiver<Event>,
    stopped: bool,
    turn: Option<&'static Turn>,
}

impl Pipeline {
    /// A pipeline whose running time starts when it plays: for sources.
    pub fn new(name: &str) -> Self {
        let inner = gst::Pipeline::with_name(name);
        inner.use_clock(Some(&clock()));
        let (tx, events) = mpsc::unbounded_channel();
        if let Some(bus) = inner.bus() {
            let weak = inner.downgrade();
            bus.set_sync_handler(move |_, message| {
                if let Some(event) = translate(message, &weak) {
                    // The receiver is gone only while the pipeline is being dropped.
                    tx.send(event).ok();
                }
                gst::BusSyncReply::Drop
            });
        }
        Self { inner, events, stopped: false, turn: None }
    }

    /// A pipeline whose running time is the process's common one, so that buffers bridged
    /// into it by [`crate::bridge`] keep their place in time.
    pub fn on_common_time(name: &str) -> Self {
        let pipeline = Self::new(name);
        pipeline.inner.set_start_time(gst::ClockTime::NONE);
        pipeline.inner.set_base_time(common_base_time());
        pipeline
    }

    /// From here on it starts and stops in turn with all that shares `turn`.
    pub fn in_turn(&mut self, turn: &'static Turn) {
        self.turn = Some(turn);
    }

    /// The pipeline itself, to add elements to.
    pub fn inner(&self) -> &gst::Pipeline {
        &self.inner
    }

    /// Adds elements and links them in order.
    pub fn add_chain(&self, stage: &'static str, elements: &[&gst::Element]) -> Result<(), Error> {
        for element in elements {
            self.inner.add(*element).map_err(|source| Error::Link { stage, source })?;
        }
        gst::Element::link_many(elements.iter().copied()).map_err(|source| Error::Link { stage, source })
    }

    /// Opens what it reads and waits for the first data, at most `limit`; for sources that are not live.
    pub async fn preroll(&mut self, limit: Duration) -> Result<(), Error> {
        let inner = self.inner.clone();
        let limit = gst::ClockTime::try_from(limit).unwrap_or(gst::ClockTime::from_seconds(10));
        let reached = tokio::task::spawn_blocking(move || {
            inner.set_state(gst::State::Paused)?;
            inner.state(limit).0
        })
        .await;
        match reached {
            Ok(Ok(gst::StateChangeSuccess::Async)) => Err(self.start_error("no data came").await),
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.start_error("it cannot be opened").await),
        }
    }

    /// Starts playing. State changes run off the async runtime: elements may block in them.
    pub async fn play(&mut self) -> Result<(), Error> {
        let (inner, turn) = (self.inner.clone(), self.turn);
        let changed = tokio::task::spawn_blocking(move || taking(turn, || inner.set_state(gst::State::Playing))).await;
        if matches!(changed, Ok(Ok(_))) {
            return Ok(());
        }
        Err(self.start_error("the state change was refused").await)
    }

    /// The first error on the bus, or `otherwise`.
    ///
    /// The state change may come back a moment before the error that explains it.
    async fn start_error(&mut self, otherwise: &str) -> Error {
        let explained = async {
            while let Some(event) = self.events.recv().await {
                if let Event::Error { message, .. } = event {
                    return Some(message);
                }
            }
            None
        };
        let detail = tokio::time::timeout(EXPLANATION, explained).await.ok().flatten();
        Error::Start { name: self.inner.name().to_string(), detail: detail.unwrap_or_else(|| otherwise.to_owned()) }
    }

    /// The next event; `None` never comes while the pipeline lives.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// An event that is already there.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Stops and waits until every element is in Null.
    pub async fn stop(mut self) {
        self.stopped = true;
        let (inner, turn) = (self.inner.clone(), self.turn);
        if let Err(error) = tokio::task::spawn_blocking(move || taking(turn, || to_null(&inner))).await {
            tracing::error!(pipeline = %self.inner.name(), %error, "stopping a pipeline panicked");
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        // A thread of its own: elements of gst-plugin-webrtc block on their own runtime when
        // they stop, which tokio forbids on a worker thread.
        let (inner, turn) = (self.inner.clone(), self.turn);
        let stop = move || taking(turn, || to_null(&inner));
        if let Err(error) = std::thread::Builder::new().name("to-null".into()).spawn(stop) {
            tracing::error!(%error, "cannot stop a pipeline");
        }
    }
}

/// Longest wait for the error behind a refused state change.
const EXPLANATION: Duration = Duration::from_millis(300);

/// One thing after another: starts and stops of pipelines, and whatever else must not happen beside them.
#[derive(Debug, Default)]
pub struct Turn(Mutex<()>);

impl Turn {
    /// Longest wait for one's turn: a device that hangs while it is closed must not hold up all others for good.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// How often is looked whether it has come.
    const LOOK: Duration = Duration::from_millis(2);

    /// Nobody's turn.
    pub const fn new() -> Self {
        Self(Mutex::new(()))
    }

    /// Does it when nobody else is at it, or when the one who is takes longer than five seconds. Blocks.
    pub fn take<T>(&self, act: impl FnOnce() -> T) -> T {
        self.take_within(Self::PATIENCE, act)
    }

    fn take_within<T>(&self, patience: Duration, act: impl FnOnce() -> T) -> T {
        let deadline = Instant::now() + patience;
        let turn = loop {
            match self.0.try_lock() {
                Ok(turn) => break Some(turn),
                // Nothing is kept in it that a panic could have left half done.
                Err(TryLockError::Poisoned(turn)) => break Some(PoisonError::into_inner(turn)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(Self::LOOK),
                Err(TryLockError::WouldBlock) => break None,
            }
        };
        if turn.is_none() {
            tracing::warn!(
                seconds = patience.as_secs(),
                "a device neither opens nor closes; not waiting for it any longer"
            );
        }
        act()
    }
}

fn taking<T>(turn: Option<&Turn>, act: impl FnOnce() -> T) -> T {
    match turn {
        Some(turn) => turn.take(act),
        None => act(),
    }
}

/// Makes an element, or says which Debian package has it.
pub fn make(factory: &str) -> Result<gst::Element, Error> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| Error::MissingElement { factory: factory.to_owned(), package: package_of(factory) })
}

/// Debian package that has an element factory.
pub fn package_of(factory: &str) -> &'static str {
    PACKAGES
        .iter()
        .find(|(names, _)| names.contains(&factory))
        .map_or("gstreamer1.0-plugins-base", |(_, package)| package)
}

/// The system clock that every pipeline uses.
pub fn clock() -> gst::Clock {
    gst::SystemClock::obtain()
}

/// Base time shared by all pipelines made with [`Pipeline::on_common_time`].
pub fn common_base_time() -> gst::ClockTime {
    static BASE: OnceLock<gst::ClockTime> = OnceLock::new();
    *BASE.get_or_init(|| clock().time())
}

/// Stops a pipeline; blocks until it has.
pub fn to_null(pipeline: &gst::Pipeline) {
    if let Err(error) = pipeline.set_state(gst::State::Null) {
        // Of one that has failed before, and that was told.
        tracing::debug!(pipeline = %pipeline.name(), %error, "does not stop cleanly");
    }
    if let Some(bus) = pipeline.bus() {
        bus.unset_sync_handler();
    }
}

/// An error in a person's words, without a full stop: it becomes part of a sentence.
fn plain(error: &gst::glib::Error) -> String {
    if error.matches(gst::ResourceError::NotFound) {
        return "it is not there".to_owned();
    }
    if error.matches(gst::StreamError::TypeNotFound) {
        return "it is of no kind that can be played".to_owned();
    }
    error.to_string().trim_end_matches('.').to_owned()
}

fn translate(message: &gst::Message, pipeline: &gst::glib::WeakRef<gst::Pipeline>) -> Option<Event> {
    match message.view() {
        gst::MessageView::Error(error) => {
            let element = error.src().map(|s| s.name().to_string()).unwrap_or_default();
            tracing::debug!(element, error = %error.error(), debug = ?error.debug(), "pipeline error");
            Some(Event::Error { element, message: plain(&error.error()) })
        }
        gst::MessageView::Warning(warning) => {
            tracing::debug!(warning = %warning.error(), debug = ?warning.debug(), "pipeline warning");
            None
        }
        gst::MessageView::Eos(_) => Some(Event::Eos),
        gst::MessageView::SegmentDone(_) => Some(Event::SegmentDone),
        gst::MessageView::Latency(_) => {
            // recalculate_latency takes element locks: not from the thread that posted.
            if let Some(pipeline) = pipeline.upgrade() {
                pipeline.call_async(|p| {
                    if let Err(error) = p.recalculate_latency() {
                        tracing::debug!(%error, "latency not redistributed");
                    }
                });
            }
            Some(Event::Latency)
        }
        _ => None,
    }
}

/// Factories outside gstreamer1.0-plugins-base, by Debian package.
const PACKAGES: &[(&[&str], &str)] = &[
    (
        &[
            "vp8enc",
            "vp8dec",
            "rtpvp8pay",
            "rtpvp8depay",
            "rtph264pay",
            "rtph264depay",
            "rtpopuspay",
            "rtpopusdepay",
            "rtpbin",
            "v4l2src",
            "wavenc",
            "level",
            "rtpjitterbuffer",
            "imagefreeze",
            "pngdec",
            "jpegdec",
            "videoflip",
        ],
        "gstreamer1.0-plugins-good",
    ),
    (
        &[
            "webrtcbin",
            "opusparse",
            "dtlsenc",
            "dtlsdec",
            "srtpenc",
            "srtpdec",
            "sctpenc",
            "h264parse",
            "timecodestamper",
            "webrtcdsp",
            "webrtcechoprobe",
            "errorignore",
        ],
        "gstreamer1.0-plugins-bad",
    ),
    (&["queue", "tee", "capsfilter", "clocksync", "fakesink", "filesrc", "filesink"], "libgstreamer1.0-0"),
    (&["x264enc"], "gstreamer1.0-plugins-ugly"),
    (&["avdec_h264", "avdec_aac"], "gstreamer1.0-libav"),
    (&["nicesrc", "nicesink"], "gstreamer1.0-nice"),
    (&["alsasrc", "alsasink"], "gstreamer1.0-alsa"),
    (&["textoverlay", "clockoverlay", "timeoverlay"], "gstreamer1.0-x"),
    (&["espeak"], "gstreamer1.0-espeak"),
    (&["libcamerasrc"], "gstreamer1.0-libcamera"),
];

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;

    /// Somebody whose turn it is until told otherwise.
    fn holds(turn: &'static Turn) -> (Sender<()>, thread::JoinHandle<()>) {
        let (begun, begins): (Sender<()>, Receiver<()>) = channel();
        let (end, ends) = channel();
        let holder = thread::spawn(move || {
            turn.take(|| {
                begun.send(()).unwrap();
                ends.recv().unwrap();
            });
        });
        begins.recv().unwrap();
        (end, holder)
    }

    #[test]
    fn pipelines_that_share_a_turn_start_and_stop_one_after_another() {
        static TURN: Turn = Turn::new();
        gst::init().unwrap();
        let (end, holder) = holds(&TURN);
        let mut pipeline = Pipeline::new("waits");
        pipeline.in_turn(&TURN);
        let inner = pipeline.inner().clone();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let playing = runtime.spawn(async move {
            pipeline.play().await.unwrap();
            pipeline
        });
        thread::sleep(Duration::from_millis(50));
        assert_eq!(inner.current_state(), gst::State::Null);
        end.send(()).unwrap();
        holder.join().unwrap();
        let pipeline = runtime.block_on(playing).unwrap();
        assert_eq!(inner.current_state(), gst::State::Playing);

        let (end, holder) = holds(&TURN);
        drop(pipeline);
        thread::sleep(Duration::from_millis(50));
        assert_eq!(inner.current_state(), gst::State::Playing);
        end.send(()).unwrap();
        holder.join().unwrap();
        while inner.current_state() != gst::State::Null {
            thread::yield_now();
        }
    }

    #[test]
    fn nobody_waits_for_good_for_a_turn_that_does_not_end() {
        static TURN: Turn = Turn::new();
        let (end, holder) = holds(&TURN);
        assert_eq!(TURN.take_within(Duration::from_millis(20), || "done"), "done");
        end.send(()).unwrap();
        holder.join().unwrap();
    }
}
