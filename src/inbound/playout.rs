//! When each piece of the talker's sound is played: as early as it comes in time for the speaker, and no earlier.
//!
//! In: buffers on their way to a speaker, stamped with the time at which they should be heard. Out: the same, later by as much
//! as they come late. Never: a talk that stays silent without a word because all of its sound comes too late.
//!
//! An audio sink drops sound that comes after its time, without a word and for ever: the next piece is late as well. Where the
//! processor has too much to do (or other work began in the middle of a talk) the talker was thus not heard at all. What a
//! jitter buffer does for packets is done here for what comes after it: the delay grows as soon as more than a quarter of half a
//! second's sound was late, by what it was late, and shrinks again when all that came in five seconds had to wait for its
//! turn; as much of it is skipped then. Sound that is later than the longest delay is given up: the player begins anew.

use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;

use crate::bridge::DISCARD;

/// Sound is looked at in pieces of so much time.
const GROW_AFTER: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// So long all sound must have waited before the delay shrinks.
const SHRINK_AFTER: gst::ClockTime = gst::ClockTime::from_seconds(5);
/// What a change leaves as a margin: sound in pieces of 20 ms, which come when the processor has time.
const MARGIN: gst::ClockTime = gst::ClockTime::from_mseconds(20);
/// A delay that is less too long than this is left as it is: a change can be heard.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(40);
/// The longest delay. The queues before it hold hardly more; a conversation is none beyond.
const LIMIT: gst::ClockTime = gst::ClockTime::from_seconds(2);
/// A piece counts for the time since the one before it, at most so much: a talker's pause says nothing.
const WEIGHT: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// Adds delay to what passes an inlet whose pipeline plays at `latency` after the stamps; calls `heard` with each buffer and
/// the time of the common clock at which it is given to the speaker. What is returned wants to know what comes.
pub fn keep_up(
    inlet: &gst_app::AppSrc,
    latency: gst::ClockTime,
    heard: impl Fn(&gst::Buffer, gst::ClockTime) + Send + Sync + 'static,
) -> Late {
    let late = Late { latency, delay: Arc::default() };
    let Some(pad) = inlet.static_pad("src") else { return late };
    inlet.set_property("max-time", (LIMIT + latency + WEIGHT).nseconds());
    let (weak, delay, end) = (inlet.downgrade(), late.delay.clone(), Mutex::new(End::default()));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(inlet) = weak.upgrade() else { return gst::PadProbeReturn::Ok };
        let (Some(base), Some(now)) = (inlet.base_time(), inlet.current_clock_time()) else {
            return gst::PadProbeReturn::Ok;
        };
        let waiting = inlet.current_level_buffers();
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        let Some(stamp) = buffer.pts() else { return gst::PadProbeReturn::Ok };
        let length = buffer.duration().unwrap_or_default();
        let added = {
            let mut delay = delay.lock().unwrap_or_else(PoisonError::into_inner);
            delay.leaves(now, length.saturating_mul(waiting));
            delay.added
        };
        let stamp = stamp + added;
        let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
        // What overlaps what is played already: the delay has shrunk.
        if stamp + MARGIN / 2 < end.at {
            return DISCARD;
        }
        let moved = added != end.added || stamp > end.at + MARGIN / 2;
        *end = End { at: stamp + length, added };
        let writable = buffer.make_mut();
        writable.set_pts(stamp);
        if moved {
            // The speaker takes its new place at once; it would wait for a second to be sure.
            writable.set_flags(gst::BufferFlags::DISCONT);
        }
        heard(buffer, base + stamp + latency);
        gst::PadProbeReturn::Ok
    });
    late
}

/// Where the sound that was played ends, and with what delay it was played.
#[derive(Debug, Default)]
struct End {
    at: gst::ClockTime,
    added: gst::ClockTime,
}

/// How late the sound comes.
#[derive(Debug, Clone)]
pub struct Late {
    latency: gst::ClockTime,
    delay: Arc<Mutex<Delay>>,
}

impl Late {
    /// A piece of sound has come for the inlet. When it leaves says nothing: the speaker takes it when it has room.
    pub fn arrives(&self, sample: &gst::Sample, from: &gst_app::AppSink, to: &gst_app::AppSrc) {
        let stamp = crate::bridge::restamped(sample, from, to).and_then(|buffer| buffer.pts());
        if let (Some(stamp), Some(base), Some(now)) = (stamp, to.base_time(), to.current_clock_time()) {
            self.delay.lock().unwrap_or_else(PoisonError::into_inner).arrives(now, base + stamp + self.latency);
        }
    }

    /// Whether it still came too late when it was played as late as it may be.
    pub fn is_hopeless(&self) -> bool {
        self.delay.lock().unwrap_or_else(PoisonError::into_inner).hopeless
    }
}

fn tell(before: gst::ClockTime, after: gst::ClockTime) {
    if after == before {
        return;
    }
    if after > before {
        tracing::warn!(
            milliseconds = after.mseconds(),
            "the talker's sound comes too late for the speaker, from the network or for want of processor time; it is played later by so much"
        );
    } else {
        tracing::info!(
            milliseconds = after.mseconds(),
            "the talker's sound comes in time again; it is played later by so much"
        );
    }
}

/// How much later than its stamps say the sound is played.
#[derive(Debug, Default)]
struct Delay {
    added: gst::ClockTime,
    hopeless: bool,
    /// Sound since the last look: for how long each piece counts, and how late it was.
    seen: Vec<(gst::ClockTime, gst::ClockTime)>,
    counted: gst::ClockTime,
    last: Option<gst::ClockTime>,
    /// Since when all sound had to wait, and how much of it was there at the least.
    waits: Option<(gst::ClockTime, gst::ClockTime)>,
}

impl Delay {
    /// A piece comes at `now` that should be there by `due`, not counting what is added.
    fn arrives(&mut self, now: gst::ClockTime, due: gst::ClockTime) {
        let weight = self.last.map_or(gst::ClockTime::ZERO, |last| now.saturating_sub(last)).min(WEIGHT);
        self.last = Some(now);
        self.seen.push((weight, now.saturating_sub(due + self.added)));
        self.counted += weight;
        if self.counted >= GROW_AFTER {
            self.grow();
        }
    }

    fn grow(&mut self) {
        self.seen.sort_by_key(|(_, late)| std::cmp::Reverse(*late));
        let in_time =
            self.seen.iter().filter(|(_, late)| late.is_zero()).map(|(weight, _)| *weight).sum::<gst::ClockTime>();
        if in_time < self.counted * 3 / 4 {
            // As late as nine tenths of it were: one piece that came later than all others is not waited for.
            let mut rest = self.counted / 10;
            let late = self.seen.iter().find(|(weight, _)| {
                let there = *weight > rest;
                rest = rest.saturating_sub(*weight);
                there
            });
            self.hopeless = self.added == LIMIT;
            let before = self.added;
            self.added = (self.added + late.map_or(MARGIN, |(_, late)| *late + MARGIN)).min(LIMIT);
            self.waits = None;
            tell(before, self.added);
        }
        self.seen.clear();
        self.counted = gst::ClockTime::ZERO;
    }

    /// A piece leaves at `now`, with so much sound waiting behind it.
    fn leaves(&mut self, now: gst::ClockTime, waiting: gst::ClockTime) {
        if self.added.is_zero() || waiting < STEP {
            self.waits = None;
            return;
        }
        let (since, least) = self.waits.unwrap_or((now, waiting));
        let least = least.min(waiting);
        self.waits = Some((since, least));
        if now.saturating_sub(since) >= SHRINK_AFTER {
            let before = self.added;
            self.added = self.added.saturating_sub(least - MARGIN);
            self.waits = None;
            tell(before, self.added);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::bridge;
    use crate::pipeline::{Pipeline, make};

    const PIECE: u64 = 20;

    fn ms(milliseconds: u64) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(milliseconds)
    }

    /// `seconds` of sound in pieces of 20 ms, each late by `late`, with `waiting` ms behind it.
    fn talk(delay: &mut Delay, from: u64, seconds: u64, late: impl Fn(u64) -> u64, waiting: u64) -> u64 {
        let end = from + seconds * 1000;
        for at in (from..end).step_by(PIECE as usize) {
            delay.arrives(ms(at + late(at)), ms(at));
            delay.leaves(ms(at + late(at)), ms(waiting));
        }
        end
    }

    #[test]
    fn sound_that_is_always_late_is_played_later_and_sound_in_time_is_not() {
        let mut delay = Delay::default();
        let at = talk(&mut delay, 1000, 10, |_| 0, 60);
        assert_eq!(delay.added, ms(0));
        let at = talk(&mut delay, at, 2, |_| 700, 0);
        assert_eq!(delay.added, ms(720));
        // It stays there while it is needed.
        talk(&mut delay, at, 20, |_| 715, 0);
        assert_eq!(delay.added, ms(720));
    }

    #[test]
    fn one_piece_in_ten_that_is_late_changes_nothing() {
        let mut delay = Delay::default();
        talk(&mut delay, 1000, 10, |at| if at % 200 == 0 { 19 } else { 0 }, 0);
        assert_eq!(delay.added, ms(0));
    }

    #[test]
    fn a_speaker_that_hung_does_not_make_all_later_sound_late() {
        let mut delay = Delay::default();
        let at = talk(&mut delay, 1000, 3, |_| 0, 60);
        // Two seconds of it leave at once, then it goes on in time.
        for piece in (at..at + 2000).step_by(PIECE as usize) {
            delay.arrives(ms(piece), ms(piece));
            delay.leaves(ms(at + 2000), ms(0));
        }
        talk(&mut delay, at + 2000, 3, |_| 0, 60);
        assert_eq!(delay.added, ms(0));
    }

    #[test]
    fn a_speaker_that_takes_sound_later_than_it_comes_does_not_make_it_late() {
        let mut delay = Delay::default();
        for at in (1000..20_000).step_by(PIECE as usize) {
            delay.arrives(ms(at - 10), ms(at));
            delay.leaves(ms(at + 25), ms(0));
        }
        assert_eq!(delay.added, ms(0));
    }

    #[test]
    fn the_delay_shrinks_when_it_is_needed_no_longer_and_has_an_end() {
        let mut delay = Delay::default();
        let at = talk(&mut delay, 1000, 2, |_| 500, 0);
        assert_eq!(delay.added, ms(520));
        let at = talk(&mut delay, at, 4, |_| 0, 500);
        assert_eq!(delay.added, ms(520), "not yet");
        assert!(!delay.hopeless);
        let at = talk(&mut delay, at, 2, |_| 0, 500);
        assert_eq!(delay.added, ms(40));
        talk(&mut delay, at, 20, |_| 60_000, 0);
        assert_eq!(delay.added, LIMIT);
        assert!(delay.hopeless);
    }

    /// Through a real sink that drops what is late, as a speaker does.
    #[test]
    fn what_comes_late_is_heard_all_the_same() {
        crate::init_gstreamer().unwrap();
        let caps = gst::Caps::builder("audio/x-raw").build();
        let pipeline = Pipeline::new("test");
        let inlet = bridge::inlet(&caps, 200, ms(50)).unwrap();
        let told = Arc::new(AtomicU64::new(0));
        let seen = told.clone();
        let late = keep_up(&inlet, ms(50), move |_, _| {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let sink = make("fakesink").unwrap();
        sink.set_property("sync", true);
        sink.set_property("async", false);
        sink.set_property("max-lateness", ms(20).nseconds() as i64);
        sink.set_property("signal-handoffs", true);
        let heard = Arc::new(AtomicU64::new(0));
        let count = heard.clone();
        sink.connect("handoff", false, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            None
        });
        pipeline.add_chain("test", &[inlet.upcast_ref(), &sink]).unwrap();
        pipeline.inner().set_state(gst::State::Playing).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let mut given = 0u64;
        // Each piece is given 400 ms after its time.
        while heard.load(Ordering::Relaxed) < 20 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(PIECE));
            let Some(now) = inlet.current_running_time() else { continue };
            let stamp = ms(given * PIECE);
            if now > stamp + ms(450) {
                let mut buffer = gst::Buffer::with_size(8).unwrap();
                buffer.get_mut().unwrap().set_pts(stamp);
                buffer.get_mut().unwrap().set_duration(ms(PIECE));
                let at = inlet.base_time().unwrap() + stamp + ms(50);
                late.delay.lock().unwrap().arrives(inlet.current_clock_time().unwrap(), at);
                inlet.push_buffer(buffer).unwrap();
                given += 1;
            }
        }
        crate::pipeline::to_null(pipeline.inner());
        assert!(heard.load(Ordering::Relaxed) >= 20, "{} of {given} were heard", heard.load(Ordering::Relaxed));
        assert!(told.load(Ordering::Relaxed) >= 20);
    }
}
