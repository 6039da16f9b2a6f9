//! Who stands on which rung of the quality ladder, and the pictures each gets.
//!
//! In: encoded pictures at the rungs' outlets, viewers' inlets, moves. Out: each viewer's pictures, from the one rung it
//! stands on; key-frame requests to that rung alone; what receivers report of their links. Never: a copy of a picture; a move before the new rung's key frame is
//! there; one viewer held up by another.
//!
//! ```text
//! rung 0 outlet (appsink) ──┬──────────> inlet of a viewer (appsrc)
//! rung 1 outlet (appsink) ──│─┬────────> inlet of another
//! ...                       └─│─ taps: what takes the top rung without being a viewer
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::encoder::KeyFrameRation;
use super::link::{Link, Packet, Reading};
use super::round_trip::RoundTrip;
use crate::bridge;

/// All viewers' places. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rungs: Vec<Rung>,
    /// Replaced as a whole, so that nobody holds the lock while pictures are pushed.
    seats: Mutex<Arc<[Arc<Seat>]>>,
    taps: Mutex<Vec<gst::glib::WeakRef<gst_app::AppSrc>>>,
}

#[derive(Debug, Default)]
struct Rung {
    outlet: Mutex<Option<gst::glib::WeakRef<gst_app::AppSink>>>,
    ration: Arc<Mutex<KeyFrameRation>>,
}

#[derive(Debug)]
struct Seat {
    session: String,
    inlet: gst_app::AppSrc,
    place: Mutex<Place>,
    link: Mutex<Link>,
    round_trip: RoundTrip,
}

/// Where a viewer stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    rung: usize,
    /// Where it goes at that rung's next key frame.
    next: Option<usize>,
    /// Whether it has a picture to which the next one can refer.
    fed: bool,
    /// Time of its last picture.
    last: Option<gst::ClockTime>,
}

/// Pictures of two rungs may overlap in time; a viewer's go forward by at least this.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(1);

impl Place {
    /// Whether a picture of that rung is for this viewer, and at what time; a key frame may complete a move.
    fn takes(&mut self, rung: usize, key: bool, stamp: gst::ClockTime) -> Option<gst::ClockTime> {
        if key && self.next == Some(rung) {
            *self = Self { rung, next: None, fed: false, last: self.last };
        }
        let wanted = self.rung == rung && (key || self.fed);
        wanted.then(|| self.last.map_or(stamp, |last| stamp.max(last + STEP)))
    }
}

impl Seats {
    /// No viewers yet, on a ladder of so many rungs.
    pub fn new(rungs: usize) -> Self {
        let rungs = (0..rungs.max(1)).map(|_| Rung::default()).collect();
        Self(Arc::new(Shared { rungs, seats: Mutex::new(Arc::new([])), taps: Mutex::default() }))
    }

    /// A viewer's pictures go in there from now on, from the top rung's next key frame on.
    pub fn seat(&self, session: &str, inlet: gst_app::AppSrc, round_trip: RoundTrip) {
        let (place, link) = Default::default();
        let seat = Arc::new(Seat { session: session.to_owned(), inlet, place, link, round_trip });
        hear(&seat, &self.0);
        let mut seats = lock(&self.0.seats);
        let others = seats.iter().filter(|other| other.session != session).cloned();
        *seats = others.chain([seat]).collect();
    }

    /// A viewer is gone.
    pub fn leave(&self, session: &str) {
        let mut seats = lock(&self.0.seats);
        *seats = seats.iter().filter(|seat| seat.session != session).cloned().collect();
    }

    /// Moves a viewer as soon as that rung has a key frame, for which it is asked.
    pub fn send(&self, session: &str, rung: usize) {
        let Some(seat) = self.find(session) else { return };
        {
            let mut place = lock(&seat.place);
            place.next = (place.rung != rung && rung < self.0.rungs.len()).then_some(rung);
        }
        lock(&seat.link).restart();
        self.0.ask(rung);
    }

    /// How a viewer's link does.
    pub fn reading(&self, session: &str, now: Instant) -> Option<Reading> {
        lock(&self.find(session)?.link).reading(now)
    }

    /// How long a packet to a viewer and the answer take, as far as it is known; asks for it anew when it is time.
    pub fn round_trip(&self, session: &str, now: Instant) -> Option<Duration> {
        let seat = self.find(session)?;
        seat.round_trip.ask(now);
        seat.round_trip.latest()
    }

    /// Which rungs must be encoded.
    pub fn wanted(&self) -> Vec<bool> {
        let mut wanted = vec![false; self.0.rungs.len()];
        for seat in lock(&self.0.seats).iter() {
            let place = *lock(&seat.place);
            for rung in [Some(place.rung), place.next].into_iter().flatten() {
                wanted[rung] = true;
            }
        }
        let mut taps = lock(&self.0.taps);
        taps.retain(|tap| tap.upgrade().is_some());
        wanted[0] |= !taps.is_empty();
        wanted
    }

    /// How many viewers have their inlet.
    pub fn taken(&self) -> usize {
        lock(&self.0.seats).len()
    }

    /// The top rung's pictures go there as well, whoever watches, until it is dropped or taken out by [`Seats::untap`].
    pub fn tap(&self, inlet: &gst_app::AppSrc) {
        lock(&self.0.taps).push(inlet.downgrade());
    }

    /// Ends [`Seats::tap`].
    pub fn untap(&self, inlet: &gst_app::AppSrc) {
        lock(&self.0.taps).retain(|tap| tap.upgrade().is_some_and(|tap| tap != *inlet));
    }

    /// Feeds a rung from an outlet, until another one takes its place or [`bridge::part`] ends it.
    pub fn attach(&self, rung: usize, outlet: &gst_app::AppSink) {
        *lock(&self.0.rungs[rung].outlet) = Some(outlet.downgrade());
        let shared = Arc::downgrade(&self.0);
        outlet.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    if let Some(shared) = shared.upgrade() {
                        shared.feed(rung, &sample, sink);
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
    }

    /// The ration of key frames on a rung.
    pub fn ration(&self, rung: usize) -> Arc<Mutex<KeyFrameRation>> {
        self.0.rungs[rung].ration.clone()
    }

    /// Somebody is about to need a key frame of the top rung: the next request for one passes.
    pub fn allow_key_frame(&self) {
        lock(&self.0.rungs[0].ration).joined();
    }

    /// Asks a viewer's rung for a key frame, as far as the ration goes.
    pub fn ask(&self, session: &str) {
        if let Some(place) = self.find(session).map(|seat| *lock(&seat.place)) {
            self.0.ask(place.next.unwrap_or(place.rung));
        }
    }

    /// Asks again for the key frames that moves wait for: the ration may have refused the first request.
    pub fn ask_for_moves(&self) {
        for seat in lock(&self.0.seats).clone().iter() {
            let next = lock(&seat.place).next;
            if let Some(rung) = next {
                self.0.ask(rung);
            }
        }
    }

    /// Asks every rung that somebody stands on for a key frame: the picture is another one altogether.
    pub fn ask_all(&self) {
        for (rung, wanted) in self.wanted().into_iter().enumerate() {
            if wanted {
                lock(&self.0.rungs[rung].ration).joined();
                self.0.ask(rung);
            }
        }
    }

    fn find(&self, session: &str) -> Option<Arc<Seat>> {
        lock(&self.0.seats).iter().find(|seat| seat.session == session).cloned()
    }
}

impl Shared {
    fn feed(&self, rung: usize, sample: &gst::Sample, from: &gst_app::AppSink) {
        let Some(buffer) = bridge::on_common_time(sample) else { return };
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if key {
            tracing::debug!(rung, bytes = buffer.size(), "key frame");
        }
        let seats = lock(&self.seats).clone();
        for seat in seats.iter() {
            seat.feed(rung, key, &buffer);
        }
        if rung == 0 {
            let taps: Vec<_> = lock(&self.taps).iter().filter_map(|tap| tap.upgrade()).collect();
            for tap in taps {
                if let Some(buffer) = bridge::restamped(sample, from, &tap) {
                    // Flushing or stopping: it is on its way out.
                    tap.push_buffer(buffer).ok();
                }
            }
        }
    }

    fn ask(&self, rung: usize) {
        let outlet = lock(&self.rungs[rung].outlet).as_ref().and_then(|outlet| outlet.upgrade());
        let request = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
        if let Some(pad) = outlet.and_then(|outlet| outlet.static_pad("sink"))
            && !pad.push_event(request)
        {
            // Still starting: its first picture is a key frame anyway.
            tracing::debug!(rung, "no encoder took the request for a key frame");
        }
    }
}

impl Seat {
    fn feed(&self, rung: usize, key: bool, buffer: &gst::Buffer) {
        // Held while pushing, which never blocks here (a full inlet drops its oldest): two rungs may feed one seat for a
        // moment, and their pictures must not change places.
        let mut place = lock(&self.place);
        let Some(stamp) = buffer.pts().and_then(|stamp| place.takes(rung, key, stamp)) else { return };
        let mut buffer = buffer.clone();
        if buffer.pts() != Some(stamp) {
            buffer.make_mut().set_pts(stamp);
        }
        // Refused while the session is still starting, or stops: what follows then waits for the next key frame.
        place.fed = self.inlet.push_buffer(buffer).is_ok();
        place.last = Some(stamp);
        lock(&self.link).sent(Instant::now());
    }
}

/// Hears what comes up from a viewer: sends key-frame requests on to the rung it stands on, notes reports on its link.
fn hear(seat: &Arc<Seat>, shared: &Arc<Shared>) {
    let Some(pad) = seat.inlet.static_pad("src") else { return };
    let (seat, shared): (Weak<Seat>, Weak<Shared>) = (Arc::downgrade(seat), Arc::downgrade(shared));
    // Ends with the inlet, which is the session's own.
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let (Some(event), Some(seat), Some(shared)) = (info.event(), seat.upgrade(), shared.upgrade()) else {
            return gst::PadProbeReturn::Ok;
        };
        match event.structure() {
            Some(request) if request.name() == "GstForceKeyUnit" => {
                let rung = lock(&seat.place).rung;
                shared.ask(rung);
                bridge::DISCARD
            }
            Some(report) if report.name() == "RTPTWCCPackets" => {
                // Read before the lock: the rung's own thread takes it at each picture.
                let packets = packets(report);
                lock(&seat.link).report(packets, Instant::now());
                gst::PadProbeReturn::Ok
            }
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

/// A report comes every 50 to 100 ms; so many packets of 1200 bytes in that time are 100 Mbit/s. Who reports more makes it up.
const MOST_REPORTED: usize = 1000;

/// The packets of a report, as GStreamer's RTP session gives it.
fn packets(report: &gst::StructureRef) -> Vec<Packet> {
    let Ok(array) = report.get::<&gst::glib::ValueArray>("packets") else { return Vec::new() };
    let packet = |value: &gst::glib::Value| {
        let packet = value.get::<gst::Structure>().ok()?;
        let time = |name: &str| packet.get::<gst::ClockTime>(name).ok().map(|at| Duration::from_nanos(at.nseconds()));
        let lost = packet.get::<bool>("lost").ok()?;
        Some(Packet {
            left: time("local-ts")?,
            arrived: if lost { None } else { time("remote-ts") },
            size: packet.get("size").ok()?,
        })
    };
    array.iter().take(MOST_REPORTED).filter_map(packet).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(ms)
    }

    #[test]
    fn a_viewer_begins_with_a_key_frame() {
        let mut place = Place::default();
        assert_eq!(place.takes(0, false, ms(10)), None);
        assert_eq!(place.takes(0, true, ms(20)), Some(ms(20)));
    }

    #[test]
    fn a_move_waits_for_the_key_frame_of_the_new_rung() {
        let mut place = Place { fed: true, next: Some(1), ..Place::default() };
        assert_eq!(place.takes(1, false, ms(10)), None);
        assert_eq!(place.takes(0, false, ms(10)), Some(ms(10)));
        assert_eq!(place.takes(1, true, ms(20)), Some(ms(20)));
        assert_eq!((place.rung, place.next), (1, None));
        assert_eq!(place.takes(0, true, ms(30)), None);
    }

    #[test]
    fn the_new_rungs_late_key_frame_goes_forward_in_time() {
        let mut place = Place { fed: true, next: Some(1), last: Some(ms(100)), ..Place::default() };
        assert_eq!(place.takes(1, true, ms(67)), Some(ms(101)));
        place.fed = true;
        place.last = Some(ms(101));
        assert_eq!(place.takes(1, false, ms(100)), Some(ms(102)));
        assert_eq!(place.takes(1, false, ms(133)), Some(ms(133)));
    }

    #[test]
    fn rungs_without_viewers_are_not_wanted() {
        gst::init().expect("GStreamer");
        let seats = Seats::new(3);
        assert_eq!(seats.wanted(), [false, false, false]);
        let inlet = gst_app::AppSrc::builder().build();
        seats.tap(&inlet);
        assert_eq!(seats.wanted(), [true, false, false]);
        seats.untap(&inlet);
        seats.seat("a", inlet, RoundTrip::default());
        seats.send("a", 2);
        assert_eq!(seats.wanted(), [true, false, true]);
        seats.leave("a");
        assert_eq!(seats.wanted(), [false, false, false]);
    }
}
