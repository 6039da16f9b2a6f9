//! What the service counts about itself: for Prometheus, for the owner's panel and for the health check.
//!
//! In: events, one atomic step each, from any thread. Out: text in the OpenMetrics format; figures of the sessions that
//! run; how long ago a picture left the encoder.
//! Never: a label whose values grow with use (a session's label is its slot, taken again when it is free); a lock in the
//! way of media.

mod process;
mod sessions;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use sessions::Sessions;
pub use sessions::{Figures, LinkFigures, NotTaken, Session, Standing};

/// A handle to all counters; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    began: Instant,
    /// Milliseconds after `began` at which the encoder last gave a picture, plus one; 0: never.
    last_frame: AtomicU64,
    captured: Family<Media, Counter>,
    encoded: Family<Encode, Counter>,
    encoded_bytes: Family<Encode, Counter>,
    encoder_rate: Family<Encode, Gauge>,
    key_frames: Counter,
    sessions: Arc<Sessions>,
    sessions_begun: Counter,
    join: Histogram,
    capture_to_screen: Histogram,
    sessions_failed: Family<Reason, Counter>,
    faults: Family<Part, Counter>,
    mended: Family<Part, Counter>,
    restarts: Family<Pipeline, Counter>,
    talks: Counter,
    talkers: Gauge,
    waiting: Gauge,
    recordings: Counter,
    recording: Gauge,
    publications: Counter,
    publish_failures: Counter,
    published: Gauge,
    peers: Gauge,
    dropped: Counter,
    sign_ins: Counter,
    refusals: Family<Code, Counter>,
    sign_in_refusals: Family<Code, Counter>,
    own: Registry,
    process: Registry,
}

/// Kind of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pictures.
    Picture,
    /// Sound.
    Sound,
}

impl Kind {
    fn label(self) -> Media {
        Media { media: if self == Self::Picture { "picture" } else { "sound" } }
    }

    fn encode(self, rung: usize) -> Encode {
        Encode { media: self.label().media, rung: u32::try_from(rung).unwrap_or(u32::MAX) }
    }
}

/// What the web side knows at the moment of a scrape.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scrape {
    /// Remote signalling peers.
    pub peers: usize,
    /// Signalling messages dropped since the start.
    pub dropped: u64,
}

/// How the outgoing picture is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// Sessions that are there.
    pub viewers: usize,
    /// For how long there has been at least one; zero without one.
    pub watched: Duration,
    /// Age of the last encoded picture; `None`: there was none yet.
    pub frame_age: Option<Duration>,
}

impl Metrics {
    /// All at zero.
    pub fn new(version: &str) -> Self {
        let mut own = Registry::with_prefix("duplex");
        let mut process = Registry::default();
        process.register_collector(Box::new(process::Process));
        own.register("build", "The service", Info::new(vec![("version", version.to_owned())]));
        let sessions = Arc::new(Sessions::default());
        own.register_collector(Box::new(sessions.clone()));
        let join = Histogram::new([0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0, 10.0, 15.0]);
        let help = "Time from a viewer's session being made to its media connection";
        own.register_with_unit("session_join", help, Unit::Seconds, join.clone());
        let capture_to_screen = Histogram::new([0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0]);
        let help = "Time from capture to a viewer's screen, one observation every ten seconds of each page that is looked \
            at, as the browser measured it (Chromium; Firefox does not tell)";
        own.register_with_unit("capture_to_screen", help, Unit::Seconds, capture_to_screen.clone());
        let mut add = Adder(&mut own);
        let inner = Inner {
            began: Instant::now(),
            last_frame: AtomicU64::new(0),
            captured: add.one("captured_buffers", "Raw buffers that sources gave: pictures, and pieces of sound"),
            encoded: add
                .one("encoded_buffers", "Buffers that the encoders gave: pictures of each rung, packets of sound"),
            encoded_bytes: add.one("encoded_bytes", "Bytes that the encoders gave"),
            encoder_rate: add.one(
                "encoder_target_bits_per_second",
                "Bit rate that the encoder of a rung was set to last, be it at work or not: it follows what the viewers on it can carry",
            ),
            key_frames: add.one("key_frames", "Pictures among them that are key frames"),
            sessions_begun: add.one("sessions_begun", "Sessions of viewers that were made"),
            sessions_failed: add.one("sessions_failed", "Sessions of viewers that brought no media, by reason"),
            faults: add.one("faults", "Times a part of the device failed"),
            mended: add.one("faults_mended", "Times a part of the device worked again after it had failed"),
            restarts: add.one("pipeline_restarts", "Times a pipeline was built anew because it failed or hung"),
            talks: add.one("talks", "Turns to talk whose media was taken"),
            talkers: add.one("talkers", "1 while somebody has the turn to talk"),
            waiting: add.one("talkers_waiting", "Peers in the line for the turn"),
            recordings: add.one("recordings", "Recordings begun"),
            recording: add.one("recording", "1 while something is recorded"),
            publications: add.one("publications", "Times media began to go to the media server of publish-url"),
            publish_failures: add.one("publish_failures", "Times publishing failed, or broke off"),
            published: add.one("published", "1 while media goes to the media server of publish-url"),
            peers: add.one("signalling_peers", "Remote signalling peers that are connected"),
            dropped: add.one("signalling_messages_dropped", "Signalling messages refused or not understood"),
            sign_ins: add.one("sign_ins", "Sign-ins that were let in"),
            refusals: add.one("requests_refused", "HTTP requests refused, by the name of the error"),
            sign_in_refusals: add.one("sign_in_refusals", "Sign-ins refused, by the name of the error"),
            sessions,
            join,
            capture_to_screen,
            own,
            process,
        };
        // A counter that is there from the start at 0 can be told from one that is missing.
        for kind in [Kind::Picture, Kind::Sound] {
            drop(inner.captured.get_or_create(&kind.label()));
            for family in [&inner.encoded, &inner.encoded_bytes] {
                drop(family.get_or_create(&kind.encode(0)));
            }
        }
        for part in ["video", "audio", "talk", "recording", "publish"] {
            drop((inner.faults.get_or_create(&Part { part }), inner.mended.get_or_create(&Part { part })));
        }
        Self(Arc::new(inner))
    }

    /// The counter of raw buffers, to be counted up where they pass.
    pub fn captured(&self, kind: Kind) -> Counter {
        self.0.captured.get_or_create_owned(&kind.label())
    }

    /// The counters of encoded buffers and of their bytes. Rung 0 is the best one; sound has no other.
    pub fn encoded(&self, kind: Kind, rung: usize) -> (Counter, Counter) {
        let label = kind.encode(rung);
        (self.0.encoded.get_or_create_owned(&label), self.0.encoded_bytes.get_or_create_owned(&label))
    }

    /// The encoder of a rung's pictures is set to so many kbit/s.
    pub fn encodes_with(&self, rung: usize, kbits: u32) {
        self.0.encoder_rate.get_or_create(&Kind::Picture.encode(rung)).set(i64::from(kbits) * 1000);
    }

    /// The encoder gave a picture.
    pub fn picture(&self, key_frame: bool) {
        let age = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.0.last_frame.store(age + 1, Ordering::Relaxed);
        if key_frame {
            self.0.key_frames.inc();
        }
    }

    /// A viewer's session was made.
    pub fn session_began(&self, id: &str, peer: &str) -> Arc<Session> {
        self.0.sessions_begun.inc();
        self.0.sessions.begin(id, peer)
    }

    /// A viewer's session has its media connection.
    pub fn session_connected(&self, id: &str) {
        if let Some(took) = self.0.sessions.connected(id) {
            self.0.join.observe(took.as_secs_f64());
        }
    }

    /// Where a viewer's session stands now.
    pub fn session_stands(&self, id: &str, standing: Standing) {
        self.0.sessions.stands(id, standing);
    }

    /// A viewer's browser measured so long from capture to its screen.
    ///
    /// # Errors
    /// The peer has no session, or said so a moment ago; nothing is counted then.
    pub fn shown(&self, peer: &str, latency: Duration) -> Result<(), NotTaken> {
        self.0.sessions.shown(peer, latency, Instant::now())?;
        self.0.capture_to_screen.observe(latency.as_secs_f64());
        Ok(())
    }

    /// A viewer's session brought no media; `reason` is one of few words.
    pub fn session_failed(&self, reason: &'static str) {
        self.0.sessions_failed.get_or_create(&Reason { reason }).inc();
    }

    /// A viewer's session is over.
    pub fn session_ended(&self, id: &str) {
        self.0.sessions.end(id);
    }

    /// What made the sessions is gone, and they with it.
    pub fn no_sessions(&self) {
        self.0.sessions.clear();
    }

    /// The sessions that run.
    pub fn sessions(&self) -> Vec<Figures> {
        self.0.sessions.list()
    }

    /// How the outgoing picture is doing.
    pub fn pulse(&self) -> Pulse {
        let (viewers, watched) = self.0.sessions.watched();
        let last = self.0.last_frame.load(Ordering::Relaxed);
        let age = |last: u64| self.0.began.elapsed().saturating_sub(Duration::from_millis(last - 1));
        Pulse { viewers, watched, frame_age: (last > 0).then(|| age(last)) }
    }

    /// A part of the device failed, or works again.
    pub fn fault(&self, part: &'static str, failed: bool) {
        let family = if failed { &self.0.faults } else { &self.0.mended };
        family.get_or_create(&Part { part }).inc();
    }

    /// A pipeline was built anew.
    pub fn restarted(&self, pipeline: &'static str) {
        self.0.restarts.get_or_create(&Pipeline { pipeline }).inc();
    }

    /// A talk's media is taken from now on.
    pub fn talk_began(&self) {
        self.0.talks.inc();
    }

    /// How many have the turn and how many wait for it.
    pub fn turns(&self, talking: bool, waiting: usize) {
        self.0.talkers.set(i64::from(talking));
        self.0.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// A recording began (`true`) or ended.
    pub fn recording(&self, runs: bool) {
        if runs {
            self.0.recordings.inc();
        }
        self.0.recording.set(i64::from(runs));
    }

    /// Media goes to the media server (`true`), or no longer.
    pub fn published(&self, goes: bool) {
        if goes {
            self.0.publications.inc();
        }
        self.0.published.set(i64::from(goes));
    }

    /// Publishing failed, or broke off.
    pub fn publish_failed(&self) {
        self.0.publish_failures.inc();
    }

    /// Somebody signed in.
    pub fn signed_in(&self) {
        self.0.sign_ins.inc();
    }

    /// A request was refused with the error of this name; `sign_in`: it was one to sign in.
    pub fn refused(&self, code: &'static str, sign_in: bool) {
        self.0.refusals.get_or_create(&Code { code }).inc();
        if sign_in {
            self.0.sign_in_refusals.get_or_create(&Code { code }).inc();
        }
    }

    /// How long the service has been running.
    pub fn uptime(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Everything, in the OpenMetrics text format.
    ///
    /// # Errors
    /// A metric could not be written.
    pub fn text(&self, now: Scrape) -> Result<String, fmt::Error> {
        self.0.peers.set(i64::try_from(now.peers).unwrap_or(i64::MAX));
        // The signalling hub counts them itself; its figure never falls.
        self.0.dropped.inner().store(now.dropped, Ordering::Relaxed);
        let mut text = String::new();
        encode_registry(&mut text, &self.0.own)?;
        encode_registry(&mut text, &self.0.process)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Registers a metric and keeps a handle to it.
struct Adder<'a>(&'a mut Registry);

impl Adder<'_> {
    fn one<M>(&mut self, name: &str, help: &str) -> M
    where
        M: Default + Clone + prometheus_client::registry::Metric,
    {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Media {
    media: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Encode {
    media: &'static str,
    rung: u32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Pipeline {
    pipeline: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(text: &'a str, start: &str) -> Option<&'a str> {
        text.lines().find(|line| line.starts_with(start))
    }

    #[test]
    fn a_session_is_counted_under_a_slot_that_is_taken_again() {
        let metrics = Metrics::new("1.2.3");
        let first = metrics.session_began("a", "peer-a");
        let second = metrics.session_began("b", "peer-b");
        first.sent(1200);
        second.sent(300);
        metrics.session_connected("b");
        let text = metrics.text(Scrape { peers: 2, dropped: 7 }).unwrap();
        assert_eq!(
            line(&text, "duplex_session_sent_bytes_total{slot=\"0\"}"),
            Some("duplex_session_sent_bytes_total{slot=\"0\"} 1200")
        );
        assert_eq!(line(&text, "duplex_viewers "), Some("duplex_viewers 2"));
        assert_eq!(
            line(&text, "duplex_signalling_messages_dropped_total"),
            Some("duplex_signalling_messages_dropped_total 7")
        );
        assert_eq!(line(&text, "duplex_session_join_seconds_count"), Some("duplex_session_join_seconds_count 1"));
        assert!(text.ends_with("# EOF\n") && !text.contains("peer-a"), "{text}");
        metrics.session_ended("a");
        let third = metrics.session_began("c", "peer-c");
        third.sent(5);
        let text = metrics.text(Scrape::default()).unwrap();
        assert_eq!(
            line(&text, "duplex_session_sent_bytes_total{slot=\"0\"}"),
            Some("duplex_session_sent_bytes_total{slot=\"0\"} 5")
        );
        // What all sent together never falls.
        assert_eq!(line(&text, "duplex_sent_bytes_total"), Some("duplex_sent_bytes_total 1505"));
        assert_eq!(
            metrics.sessions().iter().map(|figures| figures.peer.as_str()).collect::<Vec<_>>(),
            ["peer-b", "peer-c"]
        );
    }

    #[test]
    fn what_a_browser_measured_is_kept_for_its_session_and_rationed() {
        let metrics = Metrics::new("1.2.3");
        let ms = Duration::from_millis;
        assert_eq!(metrics.shown("peer-a", ms(90)), Err(NotTaken::NotWatching));
        drop(metrics.session_began("a", "peer-a"));
        drop(metrics.session_began("b", "peer-b"));
        assert_eq!(metrics.shown("peer-b", ms(250)), Ok(()));
        assert!(matches!(metrics.shown("peer-b", ms(10)), Err(NotTaken::TooSoon(wait)) if wait > ms(1000)));
        assert_eq!(metrics.shown("peer-a", ms(60)), Ok(()), "another's ration is its own");
        let text = metrics.text(Scrape::default()).unwrap();
        for expected in [
            "duplex_session_capture_to_screen_seconds{slot=\"0\"} 0.06",
            "duplex_session_capture_to_screen_seconds{slot=\"1\"} 0.25",
            "duplex_capture_to_screen_seconds_count 2",
            "duplex_capture_to_screen_seconds_bucket{le=\"0.08\"} 1",
            "duplex_capture_to_screen_seconds_bucket{le=\"0.3\"} 2",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} in {text}");
        }
        metrics.session_ended("a");
        let later = Instant::now() + ms(5000);
        assert_eq!(metrics.0.sessions.shown("peer-b", ms(80), later), Ok(()));
        assert_eq!(metrics.sessions()[0].capture_to_screen, Some(ms(80)));
    }

    #[test]
    fn where_a_session_stands_is_told_with_its_round_trip() {
        let metrics = Metrics::new("1.2.3");
        drop(metrics.session_began("a", "peer-a"));
        let none = metrics.text(Scrape::default()).unwrap();
        assert_eq!(line(&none, "duplex_session_round_trip_seconds"), None);
        let round_trip = Some(Duration::from_millis(125));
        metrics.session_stands("a", Standing { rung: 1, size: (640, 360), link: None, round_trip });
        let text = metrics.text(Scrape::default()).unwrap();
        let expected = "duplex_session_round_trip_seconds{slot=\"0\"} 0.125";
        assert_eq!(line(&text, "duplex_session_round_trip_seconds"), Some(expected));
    }

    #[test]
    fn the_pulse_follows_viewers_and_pictures() {
        let metrics = Metrics::new("1.2.3");
        assert_eq!(metrics.pulse(), Pulse { viewers: 0, watched: Duration::ZERO, frame_age: None });
        drop(metrics.session_began("a", "peer"));
        metrics.picture(true);
        let pulse = metrics.pulse();
        assert_eq!(pulse.viewers, 1);
        assert!(pulse.frame_age.is_some_and(|age| age < Duration::from_secs(5)), "{pulse:?}");
        metrics.no_sessions();
        assert_eq!((metrics.pulse().viewers, metrics.pulse().watched), (0, Duration::ZERO));
    }

    #[test]
    fn the_same_name_is_not_registered_twice() {
        let text = Metrics::new("1.2.3").text(Scrape::default()).unwrap();
        let mut names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(text.contains("duplex_build_info{version=\"1.2.3\"} 1"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
