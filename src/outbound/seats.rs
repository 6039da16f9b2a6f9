//! Who stands on which rung of the quality ladder, and what each viewer's link carries.
//!
//! In: the rungs' outlets, moves, what receivers report. Out: the rungs' pictures, cut for sending, into the sender's inlet; which of them
//! is for whom, and when; key-frame requests to the rung that somebody stands on. Never: a copy of a picture for each viewer; a move
//! before the new rung's key frame is there.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::climb::Anew;
use super::encoder::KeyFrameRation;
use super::link::{Link, Reading};
use super::sender::{Inlet, Packetiser};
use crate::bridge;
use crate::config::VideoCodec;

/// All viewers' places. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    codec: VideoCodec,
    rungs: Vec<Rung>,
    /// By session id.
    seats: Mutex<HashMap<String, Seat>>,
    inlet: Mutex<Inlet>,
}

#[derive(Debug, Default)]
struct Rung {
    outlet: Mutex<Option<gst::glib::WeakRef<gst_app::AppSink>>>,
    ration: Arc<Mutex<KeyFrameRation>>,
}

#[derive(Debug, Default)]
struct Seat {
    place: Place,
    link: Link,
}

/// Where a viewer stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    rung: usize,
    /// Where it goes at that rung's next key frame.
    next: Option<usize>,
    /// Whether it has a picture to which the next one can refer.
    fed: bool,
    /// Time of its last picture, in the units of its RTP clock.
    last: Option<u32>,
}

/// Pictures of two rungs may overlap in time; a viewer's go forward by at least this: a millisecond.
const STEP: u32 = 90;
/// And by no more than this they overlap: ten seconds.
const OVERLAP: u32 = 900_000;

impl Place {
    /// Whether a picture of that rung is for this viewer, and at what time; a key frame may complete a move.
    fn takes(&mut self, rung: usize, key: bool, time: u32) -> Option<u32> {
        if key && self.next == Some(rung) {
            *self = Self { rung, next: None, fed: false, last: self.last };
        }
        if self.rung != rung || !(key || self.fed) {
            return None;
        }
        // The clock goes round; after hours without a picture it may be anywhere.
        let backwards = |last: u32| (1..OVERLAP).contains(&last.wrapping_add(STEP).wrapping_sub(time));
        let time = self.last.filter(|last| backwards(*last)).map_or(time, |last| last.wrapping_add(STEP));
        (self.fed, self.last) = (true, Some(time));
        Some(time)
    }
}

impl Seats {
    /// No viewers yet, on a ladder of so many rungs, whose pictures lead nowhere yet.
    pub fn new(codec: VideoCodec, rungs: usize) -> Self {
        let rungs = (0..rungs.max(1)).map(|_| Rung::default()).collect();
        let (seats, inlet) = (Mutex::default(), Mutex::new(Inlet::nowhere()));
        Self(Arc::new(Shared { codec, rungs, seats, inlet }))
    }

    /// From now on the rungs' pictures go there.
    pub fn lead_to(&self, inlet: Inlet) {
        *lock(&self.0.inlet) = inlet;
    }

    /// A viewer gets pictures from now on, from the top rung's next key frame on.
    pub fn sit(&self, session: &str) {
        lock(&self.0.seats).insert(session.to_owned(), Seat::default());
    }

    /// A viewer is gone.
    pub fn leave(&self, session: &str) {
        lock(&self.0.seats).remove(session);
    }

    /// Whether a picture is for this viewer, and at what time of its stream.
    pub fn takes(&self, session: &str, rung: usize, key: bool, time: u32) -> Option<u32> {
        lock(&self.0.seats).get_mut(session)?.place.takes(rung, key, time)
    }

    /// A viewer did not get its picture: it waits for a key frame.
    pub fn starve(&self, session: &str) {
        self.with(session, |seat| seat.place.fed = false);
    }

    /// Whether a viewer has a picture to which the next one can refer.
    pub fn is_fed(&self, session: &str) -> bool {
        self.with(session, |seat| seat.place.fed).unwrap_or_default()
    }

    /// Moves a viewer as soon as that rung has a key frame, for which it is asked.
    pub fn send(&self, session: &str, rung: usize) {
        let known = self.with(session, |seat| {
            seat.place.next = (seat.place.rung != rung && rung < self.0.rungs.len()).then_some(rung);
        });
        if known.is_some() {
            self.0.ask(rung);
        }
    }

    /// How a viewer's link does, by congestion control and its receiver's reports; see [`Link::reported`].
    pub fn reported(
        &self,
        session: &str,
        carries: Option<f64>,
        loss: Option<f64>,
        bytes: u64,
        round_trip: Option<Duration>,
        now: Instant,
    ) {
        self.with(session, |seat| seat.link.reported(carries, loss, bytes, round_trip, now));
    }

    /// What a viewer's link carries is estimated anew.
    pub fn estimate_anew(&self, session: &str, anew: Anew) {
        self.with(session, |seat| seat.link.begins_anew(anew.from));
        lock(&self.0.inlet).estimate_anew(session, anew);
    }

    /// How a viewer's link does.
    pub fn reading(&self, session: &str, now: Instant) -> Option<Reading> {
        self.with(session, |seat| seat.link.reading(now)).flatten()
    }

    /// Which rungs must be encoded.
    pub fn wanted(&self) -> Vec<bool> {
        let mut wanted = vec![false; self.0.rungs.len()];
        for Seat { place, .. } in lock(&self.0.seats).values() {
            for rung in [Some(place.rung), place.next].into_iter().flatten() {
                wanted[rung] = true;
            }
        }
        wanted
    }

    /// Feeds a rung from an outlet, until another one takes its place or [`bridge::part`] ends it.
    pub fn attach(&self, rung: usize, outlet: &gst_app::AppSink) {
        *lock(&self.0.rungs[rung].outlet) = Some(outlet.downgrade());
        let (shared, mut packetiser) = (Arc::downgrade(&self.0), Packetiser::video(self.0.codec, rung));
        outlet.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let frame = bridge::on_common_time(&sample).and_then(|buffer| packetiser.cut(&buffer));
                    if let (Some(shared), Some(frame)) = (shared.upgrade(), frame) {
                        if frame.key {
                            tracing::debug!(rung, packets = frame.payloads.len(), "key frame");
                        }
                        let inlet = lock(&shared.inlet).clone();
                        inlet.picture(frame);
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
        if let Some(rung) = self.with(session, |seat| seat.place.next.unwrap_or(seat.place.rung)) {
            self.0.ask(rung);
        }
    }

    /// Asks again for the key frames that moves wait for, and viewers without a picture: the ration may have refused the first request, and
    /// who gets nothing does not ask.
    pub fn ask_again(&self) {
        self.awaited().into_iter().for_each(|rung| self.0.ask(rung));
    }

    /// Rungs of which a key frame is awaited.
    fn awaited(&self) -> BTreeSet<usize> {
        let awaits = |Seat { place, .. }: &Seat| place.next.or((!place.fed).then_some(place.rung));
        lock(&self.0.seats).values().filter_map(awaits).collect()
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

    fn with<T>(&self, session: &str, what: impl FnOnce(&mut Seat) -> T) -> Option<T> {
        lock(&self.0.seats).get_mut(session).map(what)
    }
}

impl Shared {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_begins_with_a_key_frame() {
        let mut place = Place::default();
        assert_eq!(place.takes(0, false, 10), None);
        assert_eq!(place.takes(0, true, 2000), Some(2000));
        assert_eq!(place.takes(0, false, 5000), Some(5000));
    }

    #[test]
    fn a_move_waits_for_the_key_frame_of_the_new_rung() {
        let mut place = Place { fed: true, next: Some(1), ..Place::default() };
        assert_eq!(place.takes(1, false, 1000), None);
        assert_eq!(place.takes(0, false, 1000), Some(1000));
        assert_eq!(place.takes(1, true, 2000), Some(2000));
        assert_eq!((place.rung, place.next), (1, None));
        assert_eq!(place.takes(0, true, 3000), None);
    }

    #[test]
    fn the_new_rungs_late_key_frame_goes_forward_in_time() {
        let mut place = Place { fed: true, next: Some(1), last: Some(9000), ..Place::default() };
        assert_eq!(place.takes(1, true, 6000), Some(9090));
        assert_eq!(place.takes(1, false, 9000), Some(9180));
        assert_eq!(place.takes(1, false, 12_000), Some(12_000));
    }

    #[test]
    fn time_goes_round() {
        let mut place = Place { fed: true, last: Some(u32::MAX - 10), ..Place::default() };
        assert_eq!(place.takes(0, false, 2990), Some(2990));
        assert_eq!(place.takes(0, false, u32::MAX), Some(3080));
        let hours = 3080 + u32::MAX / 2 + 1000;
        assert_eq!(place.takes(0, false, hours), Some(hours));
    }

    #[test]
    fn who_has_no_picture_awaits_a_key_frame() {
        gst::init().expect("GStreamer is there");
        let seats = Seats::new(VideoCodec::Vp8, 3);
        let awaited = || seats.awaited().into_iter().collect::<Vec<_>>();
        seats.sit("a");
        assert_eq!(awaited(), [0]);
        assert_eq!(seats.takes("a", 0, true, 5), Some(5));
        assert_eq!(awaited(), [0; 0]);
        seats.starve("a");
        assert_eq!(awaited(), [0]);
        seats.send("a", 1);
        assert_eq!(awaited(), [1]);
        assert_eq!(seats.takes("a", 1, true, 9), Some(95));
        assert_eq!(awaited(), [0; 0]);
    }

    #[test]
    fn rungs_without_viewers_are_not_wanted() {
        gst::init().expect("GStreamer is there");
        let seats = Seats::new(VideoCodec::Vp8, 3);
        assert_eq!(seats.wanted(), [false, false, false]);
        seats.sit("a");
        seats.send("a", 2);
        assert_eq!(seats.wanted(), [true, false, true]);
        assert_eq!(seats.takes("a", 2, true, 5), Some(5));
        assert_eq!(seats.wanted(), [false, false, true]);
        seats.leave("a");
        assert_eq!((seats.wanted(), seats.takes("a", 2, true, 9)), (vec![false, false, false], None));
    }
}
