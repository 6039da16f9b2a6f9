//! Sound for who loses packets: each packet brings those before it again (RED, RFC 2198). What is lost is heard all the same, without a round trip, as
//! long as not three in a row are. Opus' own redundancy is in its mode for speech only.
//!
//! In: packets of sound, what a peer takes, how its link does. Out: a packet with those before; whether a peer gets it. Never: more on a link that
//! loses because it is full; a payload type that the peer has not agreed to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::Pt;
use str0m::rtp::{RedEncoder, RedundantBlock};

use super::config::AUDIO;
use super::frame::PAYLOAD;
use crate::outbound::link::Reading;

/// Share of packets of which so much is lost makes it worth it: two or three of a second's, beside pictures.
const LOST: f64 = 0.01;
/// So long after the last such loss.
const KEPT: Duration = Duration::from_secs(20);
/// kbit/s that the link must carry.
const ROOM: f64 = 400.0;
/// A link that takes so much longer than at its best has a queue: it is full.
const QUEUE: Duration = Duration::from_millis(80);
/// Packets that come again.
const LEVELS: usize = 2;

/// Whether one peer gets it.
#[derive(Debug, Default)]
pub struct Redundancy {
    /// As which payload type it takes it; `None`: not.
    pub payload_type: Option<Pt>,
    until: Option<Instant>,
    /// Of its round trips the shortest.
    shortest: Option<Duration>,
}

impl Redundancy {
    /// How its link does.
    pub fn link(&mut self, reading: &Reading, now: Instant) {
        self.shortest = self.shortest.into_iter().chain(reading.round_trip).min();
        let queues = reading.round_trip > self.shortest.map(|shortest| shortest + QUEUE);
        if reading.carries_at_least() < ROOM || reading.is_lossy() || (queues && reading.loss >= LOST) {
            self.until = None;
        } else if reading.loss >= LOST {
            self.until = Some(now + KEPT);
        }
    }

    /// As which payload type its sound goes now, if packets come again.
    pub fn goes(&self, now: Instant) -> Option<Pt> {
        self.payload_type.filter(|_| self.until.is_some_and(|until| now < until))
    }
}

/// The last packets of sound, with their time stamps.
#[derive(Debug, Default)]
pub struct Before(VecDeque<(Arc<[u8]>, u32)>);

impl Before {
    /// The next packet, with those before it; `None`: none of them fits.
    pub fn with(&mut self, payload: &Arc<[u8]>, time: u32) -> Option<Arc<[u8]>> {
        let block = |(before, earlier): &(Arc<[u8]>, u32)| RedundantBlock {
            pt: AUDIO,
            timestamp_offset: time.wrapping_sub(*earlier),
            payload: before.to_vec(),
        };
        let mut blocks: Vec<RedundantBlock> = self.0.iter().map(block).filter(RedundantBlock::fits).collect();
        // A header for each, and one for the packet itself.
        let size = |blocks: &[RedundantBlock]| {
            blocks.iter().map(|block| block.payload.len() + 4).sum::<usize>() + 1 + payload.len()
        };
        while size(&blocks) > PAYLOAD && !blocks.is_empty() {
            blocks.remove(0);
        }
        self.0.push_back((payload.clone(), time));
        if self.0.len() > LEVELS {
            self.0.pop_front();
        }
        (!blocks.is_empty()).then(|| Arc::from(RedEncoder::encode(AUDIO, payload, &blocks)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use str0m::rtp::RedDecoder;

    use super::*;

    fn reading(carries: f64, loss: f64, round_trip: u64) -> Reading {
        let round_trip = Some(Duration::from_millis(round_trip));
        Reading { carries, sent: 300.0, delivered: 300.0, loss, round_trip }
    }

    fn taken() -> (Redundancy, Instant) {
        (Redundancy { payload_type: Some(63.into()), ..Redundancy::default() }, Instant::now())
    }

    #[test]
    fn goes_while_packets_are_lost_and_some_time_after() {
        let (mut sound, now) = taken();
        sound.link(&reading(2000.0, 0.0, 50), now);
        assert_eq!(sound.goes(now), None);
        sound.link(&reading(2000.0, 0.03, 50), now);
        sound.link(&reading(2000.0, 0.0, 50), now + KEPT / 2);
        assert_eq!((sound.goes(now + KEPT / 2), sound.goes(now + KEPT)), (Some(63.into()), None));
        sound.payload_type = None;
        assert_eq!(sound.goes(now), None);
    }

    #[test]
    fn does_not_fill_a_link_that_is_narrow_or_full() {
        let (mut sound, now) = taken();
        sound.link(&reading(310.0, 0.1, 50), now);
        assert_eq!(sound.goes(now), None);
        for full in [reading(310.0, 0.1, 50), reading(2000.0, 0.1, 300), reading(2000.0, 0.2, 50)] {
            sound.link(&reading(2000.0, 0.1, 50), now);
            assert!(sound.goes(now).is_some());
            sound.link(&full, now);
            assert_eq!(sound.goes(now), None);
        }
    }

    #[test]
    fn a_packet_brings_the_two_before_it() {
        let mut before = Before::default();
        let mut with = |bytes: &[u8], time| before.with(&Arc::from(bytes), time);
        let start = u32::MAX - 100;
        assert!(with(&[9], start.wrapping_sub(960)).is_none());
        with(&[1, 2, 3], start).unwrap();
        with(&[4], start.wrapping_add(960)).unwrap();
        let red = with(&[5, 6], start.wrapping_add(1920)).unwrap();
        let blocks = RedDecoder::decode(&red).unwrap();
        let found: Vec<_> = blocks.iter().map(|block| (block.pt, block.timestamp_offset, block.payload)).collect();
        assert_eq!(found, [(AUDIO, 1920, &[1, 2, 3][..]), (AUDIO, 960, &[4]), (AUDIO, 0, &[5, 6])]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let blocks = |sizes: [usize; 3], step: u32| {
            let mut before = Before::default();
            let mut last = None;
            for (place, size) in sizes.into_iter().enumerate() {
                last = before.with(&Arc::from(vec![7; size]), place as u32 * step);
            }
            last.map_or(0, |red| RedDecoder::decode(&red).unwrap().len() - 1)
        };
        assert_eq!(blocks([100; 3], 960), 2);
        // A datagram takes one of them, or none.
        assert_eq!(blocks([500; 3], 960), 1);
        assert_eq!(blocks([600; 3], 960), 0);
        // A block is of 1023 bytes, and 16383 units before, at most.
        assert_eq!(blocks([1024, 10, 10], 960), 1);
        assert_eq!(blocks([10; 3], 16_384), 0);
        assert_eq!(blocks([10; 3], 10_000), 1);
    }
}
