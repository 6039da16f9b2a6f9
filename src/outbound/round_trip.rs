//! How long a packet to a viewer and the answer to it take together, by the viewer's receiver reports.
//!
//! In: a session's `webrtcbin`, whose statistics have it; looks. Out: the latest round trip. Never: waits for an element,
//! which may be busy; asks it more often than every [`PERIOD`], or again before it has answered; lets others ask.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;

/// Receivers report about once a second; people look every few.
const PERIOD: Duration = Duration::from_secs(2);
/// A receiver that says more makes it up.
const LONGEST: Duration = Duration::from_secs(60);

thread_local! {
    /// Whether this thread asks on our behalf.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Keeps all but us from asking a session for its statistics. webrtcsink does so ten times a second, for a congestion control
/// that is not at work here, and an eighth of what a viewer costs went there. Nothing reads webrtcsink's own `stats`.
pub fn nobody_else_asks(webrtcbin: &gst::Element) {
    webrtcbin.connect(GET_STATS, false, |values| {
        if ASKING.get() {
            return None;
        }
        let webrtcbin = values.first()?.get::<gst::Element>().ok()?;
        let promise = values.get(2)?.get::<gst::Promise>().ok()?;
        // The element's own handler comes after this one.
        webrtcbin.stop_signal_emission_by_name(GET_STATS);
        promise.interrupt();
        None
    });
}

fn ask(webrtcbin: &gst::Element, promise: &gst::Promise) {
    ASKING.set(true);
    webrtcbin.emit_by_name::<()>(GET_STATS, &[&None::<gst::Pad>, promise]);
    ASKING.set(false);
}

/// Takes a pad, if only one stream is meant, and the promise.
const GET_STATS: &str = "get-stats";

/// One viewer's round trip.
#[derive(Debug, Default)]
pub struct RoundTrip {
    webrtcbin: glib::WeakRef<gst::Element>,
    asked: Mutex<Option<Instant>>,
    answer: Arc<Answer>,
}

#[derive(Debug, Default)]
struct Answer {
    /// Nanoseconds; 0: not known.
    latest: AtomicU64,
    awaited: AtomicBool,
}

impl RoundTrip {
    /// Of a session; nothing is known yet.
    pub fn of(webrtcbin: &gst::Element) -> Self {
        Self { webrtcbin: webrtcbin.downgrade(), ..Self::default() }
    }

    /// The latest; `None` before the viewer's first report.
    pub fn latest(&self) -> Option<Duration> {
        let latest = self.answer.latest.load(Ordering::Relaxed);
        (latest > 0).then(|| Duration::from_nanos(latest))
    }

    /// Asks for it, if it is time. Must be called within a Tokio runtime.
    pub fn ask(&self, now: Instant) {
        if !self.is_due(now) {
            return;
        }
        let (webrtcbin, answer) = (self.webrtcbin.clone(), self.answer.clone());
        // The element takes the question only when it is not busy with a description.
        tokio::task::spawn_blocking(move || {
            let Some(webrtcbin) = webrtcbin.upgrade() else { return };
            let promise = gst::Promise::with_change_func(move |reply| {
                if let Some(trip) = reply.ok().flatten().and_then(round_trip) {
                    answer.latest.store(u64::try_from(trip.as_nanos()).unwrap_or_default(), Ordering::Relaxed);
                }
                answer.awaited.store(false, Ordering::Relaxed);
            });
            ask(&webrtcbin, &promise);
        });
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = asked.is_none_or(|asked| now.duration_since(asked) >= PERIOD);
        if !due || self.answer.awaited.swap(true, Ordering::Relaxed) {
            return false;
        }
        *asked = Some(now);
        true
    }
}

/// The shortest of the streams': all take the same way, and what is longer waited somewhere for something else.
fn round_trip(stats: &gst::StructureRef) -> Option<Duration> {
    let entries = stats.iter().filter_map(|(_, value)| value.get::<gst::Structure>().ok());
    let reported = entries.filter(|entry| {
        let kind = entry.get::<gst_webrtc::WebRTCStatsType>("type");
        kind.is_ok_and(|kind| kind == gst_webrtc::WebRTCStatsType::RemoteInboundRtp)
    });
    let trips = reported.filter_map(|entry| entry.get::<f64>("round-trip-time").ok());
    let trips = trips.filter_map(|seconds| Duration::try_from_secs_f64(seconds).ok());
    trips.filter(|trip| !trip.is_zero() && *trip <= LONGEST).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: gst_webrtc::WebRTCStatsType, seconds: f64) -> gst::glib::SendValue {
        gst::Structure::builder("entry").field("type", kind).field("round-trip-time", seconds).build().to_send_value()
    }

    fn stats(trips: &[(gst_webrtc::WebRTCStatsType, f64)]) -> Option<Duration> {
        gst::init().expect("GStreamer");
        let mut stats = gst::Structure::new_empty("application/x-webrtc-stats");
        for (number, (kind, seconds)) in trips.iter().enumerate() {
            stats.set_value(format!("entry-{number}"), entry(*kind, *seconds));
        }
        stats.set("count", trips.len() as u32);
        round_trip(&stats)
    }

    #[test]
    fn the_shortest_that_receivers_reported() {
        use gst_webrtc::WebRTCStatsType::{CandidatePair, RemoteInboundRtp};
        let ms = Duration::from_millis;
        assert_eq!(
            stats(&[(RemoteInboundRtp, 0.25), (RemoteInboundRtp, 0.125), (CandidatePair, 0.0625)]),
            Some(ms(125))
        );
        assert_eq!(stats(&[]), None);
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        use gst_webrtc::WebRTCStatsType::RemoteInboundRtp;
        for seconds in [0.0, -1.0, 60.1, f64::NAN, f64::INFINITY] {
            assert_eq!(stats(&[(RemoteInboundRtp, seconds)]), None, "{seconds}");
        }
    }

    #[tokio::test]
    async fn only_we_are_answered() {
        gst::init().expect("GStreamer");
        let webrtcbin = gst::ElementFactory::make("webrtcbin").build().expect("webrtcbin");
        let pipeline = gst::Pipeline::new();
        pipeline.add(&webrtcbin).expect("added");
        pipeline.set_state(gst::State::Playing).expect("plays");
        nobody_else_asks(&webrtcbin);
        let (promise, other) = gst::Promise::new_future();
        webrtcbin.emit_by_name::<()>(GET_STATS, &[&None::<gst::Pad>, &promise]);
        assert!(matches!(other.await, Err(gst::PromiseError::Interrupted)));
        let (promise, own) = gst::Promise::new_future();
        ask(&webrtcbin, &promise);
        assert!(own.await.expect("answered").is_some());
        pipeline.set_state(gst::State::Null).expect("stops");
    }

    #[test]
    fn asked_seldom_and_never_twice_at_once() {
        let (trip, now) = (RoundTrip::default(), Instant::now());
        assert!(trip.is_due(now));
        assert!(!trip.is_due(now + PERIOD), "it has not answered");
        trip.answer.awaited.store(false, Ordering::Relaxed);
        assert!(!trip.is_due(now + PERIOD / 2));
        assert!(trip.is_due(now + PERIOD));
        assert_eq!(trip.latest(), None);
    }
}
