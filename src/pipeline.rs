//! Owns GStreamer pipelines: builds elements with a clear error, turns bus messages into async
//! events, keeps every pipeline on one clock, and sets it to Null when it is dropped.
//!
//! In: elements and links from the stages, and a gate where pipelines must start and stop in turn. Out: [`Event`]s over a channel, one pipeline state at a time.
//! Never: a domain word, the configuration, or text parsed into a launch line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::mpsc;

use crate::gate::Gate;

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

impl Error {
    /// Why, without the name of the pipeline: who asks knows what was to be played.
    pub fn reason(self) -> String {
        match self {
            Self::Start { detail, .. } => detail,
            error => error.to_string(),
        }
    }
}

/// A `gst::Pipeline` on the process's common clock, with its bus as a channel.
#[derive(Debug)]
pub struct Pipeline {
    inner: gst::Pipeline,
    events: mpsc::UnboundedReceiver<Event>,
    gate: Option<&'static Gate>,
    /// Whether its end has begun: a start that has waited until then comes too late, and being dropped ends nothing any more.
    over: Arc<AtomicBool>,
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
        Self { inner, events, gate: None, over: Arc::default() }
    }

    /// A pipeline whose running time is the process's common one, so that buffers bridged
    /// into it by [`crate::bridge`] keep their place in time.
    pub fn on_common_time(name: &str) -> Self {
        let pipeline = Self::new(name);
        pipeline.inner.set_start_time(gst::ClockTime::NONE);
        pipeline.inner.set_base_time(common_base_time());
        pipeline
    }

    /// From here on [`play`](Self::play), [`stop`](Self::stop) and the end by being dropped go through `gate`.
    pub fn go_through(&mut self, gate: &'static Gate) {
        self.gate = Some(gate);
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
        let (inner, over) = (self.inner.clone(), self.over.clone());
        let limit = gst::ClockTime::try_from(limit).unwrap_or(gst::ClockTime::from_seconds(10));
        let reached = tokio::task::spawn_blocking(move || {
            unless_over(&inner, &over, || inner.set_state(gst::State::Paused))?;
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
    ///
    /// # Errors
    /// An element refuses, or those before it at its gate take longer than [`WAIT`].
    pub async fn play(&mut self) -> Result<(), Error> {
        let (inner, gate, over) = (self.inner.clone(), self.gate, self.over.clone());
        let start = move || unless_over(&inner, &over, || inner.set_state(gst::State::Playing));
        let passed = tokio::task::spawn_blocking(move || match gate {
            Some(gate) => gate.pass_within(WAIT, start),
            None => Some(start()),
        });
        match passed.await {
            Ok(Some(Ok(_))) => Ok(()),
            Ok(None) => Err(self.start_error("a device before it is still being opened, closed or listed").await),
            _ => Err(self.start_error("the state change was refused").await),
        }
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
    pub async fn stop(self) {
        if let Err(error) = tokio::task::spawn_blocking(self.ending()).await {
            tracing::error!(pipeline = %self.inner.name(), %error, "stopping a pipeline panicked");
        }
    }

    /// What stops it; blocks. From now on it does not start any more.
    fn ending(&self) -> impl FnOnce() + Send + use<> {
        self.over.store(true, Ordering::SeqCst);
        let (inner, gate) = (self.inner.clone(), self.gate);
        move || match gate {
            Some(gate) => gate.pass(|| to_null(&inner)),
            None => to_null(&inner),
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if self.over.load(Ordering::SeqCst) {
            return;
        }
        // A thread of its own: elements of gst-plugin-webrtc block on their own runtime when
        // they stop, which tokio forbids on a worker thread.
        if let Err(error) = std::thread::Builder::new().name("to-null".into()).spawn(self.ending()) {
            tracing::error!(%error, "cannot stop a pipeline");
        }
    }
}

/// Longest wait for the error behind a refused state change.
const EXPLANATION: Duration = Duration::from_millis(300);

/// Longest wait for those before at a gate.
pub const WAIT: Duration = Duration::from_secs(2);

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

/// Changes the state of a pipeline that may be dropped meanwhile: nobody else would stop it then.
fn unless_over(
    pipeline: &gst::Pipeline,
    over: &AtomicBool,
    change: impl FnOnce() -> Result<gst::StateChangeSuccess, gst::StateChangeError>,
) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
    if over.load(Ordering::SeqCst) {
        return Err(gst::StateChangeError);
    }
    let changed = change();
    // Where it ended between the look above and the change, its end came first.
    if over.load(Ordering::SeqCst) {
        to_null(pipeline);
        return Err(gst::StateChangeError);
    }
    changed
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

/// An error in a person's words, without a full stop: it becomes part of a sentence. GStreamer's own words are of the system's
/// language, those of `debug` are not.
fn plain(error: &gst::glib::Error, debug: &str) -> String {
    if error.matches(gst::ResourceError::NotFound) {
        return "it is not there".to_owned();
    }
    if error.matches(gst::StreamError::TypeNotFound) {
        return "it is of no kind that can be played".to_owned();
    }
    // decodebin takes text for a type only where the whole file is nothing else.
    if error.matches(gst::StreamError::WrongType) && debug.contains("plain text") {
        return "it is a text file".to_owned();
    }
    if error.matches(gst::CoreError::MissingPlugin)
        && let Some(kinds) = undecoded(debug)
    {
        return format!("nothing that is installed decodes {kinds}");
    }
    error.to_string().trim_end_matches('.').to_owned()
}

/// Names of what nothing decodes, of lines such as `Missing decoder: H.264 (High Profile) (video/x-h264, level=(string)4)`.
fn undecoded(debug: &str) -> Option<String> {
    let named = |line: &str| {
        let told = line.trim().strip_prefix("Missing decoder: ")?;
        // The caps begin at the first bracket with a media type in it.
        let is_type = |rest: &str| rest.split([',', ')']).next().is_some_and(|word| word.contains('/'));
        let caps = told.match_indices(" (").find(|(at, bracket)| is_type(&told[at + bracket.len()..]));
        Some(caps.map_or(told, |(at, _)| &told[..at]).to_owned())
    };
    let kinds: Vec<String> = debug.lines().filter_map(named).collect();
    (!kinds.is_empty()).then(|| kinds.join(" and "))
}

fn translate(message: &gst::Message, pipeline: &gst::glib::WeakRef<gst::Pipeline>) -> Option<Event> {
    match message.view() {
        gst::MessageView::Error(error) => {
            let element = error.src().map(|s| s.name().to_string()).unwrap_or_default();
            tracing::debug!(element, error = %error.error(), debug = ?error.debug(), "pipeline error");
            let debug = error.debug().map(|debug| debug.to_string()).unwrap_or_default();
            Some(Event::Error { element, message: plain(&error.error(), &debug) })
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
    use super::*;
    use crate::gate::tests::{occupied, until};

    #[test]
    fn what_a_file_is_and_what_is_missing_is_told_in_words() {
        let said = |error: gst::glib::Error, debug| plain(&error, debug);
        let missing =
            || gst::glib::Error::new(gst::CoreError::MissingPlugin, "Your installation is missing a plug-in.");
        let debug = "gstdecodebin2.c(4705): gst_decode_bin_expose ():\nno suitable plugins found:\n\
            Missing decoder: H.264 (High Profile) (video/x-h264, level=(string)4.1)\nMissing decoder: text/html (text/html)\n";
        assert_eq!(said(missing(), debug), "nothing that is installed decodes H.264 (High Profile) and text/html");
        assert_eq!(said(missing(), "no suitable plugins found"), "Your installation is missing a plug-in");
        let wrong = || gst::glib::Error::new(gst::StreamError::WrongType, "the file has no sound");
        assert_eq!(said(wrong(), "file.rs(46)"), "the file has no sound");
        assert_eq!(said(wrong(), "x(1):\ndecodebin cannot decode plain text files"), "it is a text file");
    }

    fn through(gate: &'static Gate) -> (Pipeline, gst::Pipeline) {
        gst::init().unwrap();
        let mut pipeline = Pipeline::new("through-a-gate");
        pipeline.go_through(gate);
        let inner = pipeline.inner().clone();
        (pipeline, inner)
    }

    /// One that waits for its start.
    fn waiting(gate: &'static Gate) -> (tokio::task::JoinHandle<Pipeline>, gst::Pipeline) {
        let (mut pipeline, inner) = through(gate);
        let playing = tokio::spawn(async move {
            pipeline.play().await.unwrap();
            pipeline
        });
        until("it waits for its start", || gate.waiting() == 1);
        (playing, inner)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pipeline_starts_and_stops_when_it_is_let_through() {
        static GATE: Gate = Gate::new();
        let (end, holder) = occupied(&GATE);
        let (playing, inner) = waiting(&GATE);
        assert_eq!(inner.current_state(), gst::State::Null);
        end.send(()).unwrap();
        let pipeline = playing.await.unwrap();
        assert_eq!(inner.current_state(), gst::State::Playing);
        holder.join().unwrap();

        for dropped in [false, true] {
            let (mut other, inner) = through(&GATE);
            other.play().await.unwrap();
            let (end, holder) = occupied(&GATE);
            if dropped {
                drop(other);
            } else {
                tokio::spawn(other.stop());
            }
            until("it waits for its end", || GATE.waiting() == 1);
            assert_eq!(inner.current_state(), gst::State::Playing);
            end.send(()).unwrap();
            holder.join().unwrap();
            until("it has stopped", || inner.current_state() == gst::State::Null);
        }
        pipeline.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_is_dropped_while_it_waits_never_starts() {
        static GATE: Gate = Gate::new();
        let (end, holder) = occupied(&GATE);
        let (playing, inner) = waiting(&GATE);
        playing.abort();
        until("it waits for its end", || GATE.waiting() == 2);
        end.send(()).unwrap();
        holder.join().unwrap();
        until("both are through", || GATE.waiting() == 0);
        GATE.pass(|| assert_eq!(inner.current_state(), gst::State::Null));
        // One that has played keeps the time at which it began.
        let (mut other, played) = through(&GATE);
        other.play().await.unwrap();
        other.stop().await;
        assert_ne!(played.base_time(), Some(gst::ClockTime::ZERO));
        assert_eq!(inner.base_time(), Some(gst::ClockTime::ZERO), "it has played");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_waits_too_long_says_so() {
        static GATE: Gate = Gate::new();
        let (mut pipeline, _) = through(&GATE);
        let (end, holder) = occupied(&GATE);
        let error = pipeline.play().await.unwrap_err().to_string();
        assert!(error.contains("still being opened"), "{error}");
        end.send(()).unwrap();
        holder.join().unwrap();
    }
}
