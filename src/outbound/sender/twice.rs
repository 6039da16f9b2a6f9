//! Sound that goes twice to who loses packets: each packet brings the one before it again (RED, RFC 2198). What is lost alone is heard all the
//! same, without a round trip. Opus' own redundancy is in its mode for speech only.
//!
//! In: packets of sound, what a peer takes, how its link does. Out: a packet with the one before; whether a peer gets it. Never: sound twice on a
//! link that has no room for it, or to who does not take it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::Pt;
use str0m::rtp::{RedEncoder, RedundantBlock};

use super::config::AUDIO;
use super::frame::PAYLOAD;
use crate::outbound::link::Reading;

/// Share of packets of which so much is lost makes it worth it.
const LOST: f64 = 0.005;
/// So long after the last such loss.
const KEPT: Duration = Duration::from_secs(20);
/// kbit/s that the link must carry: on a narrower one loss comes of too much being sent.
const ROOM: f64 = 400.0;

/// Whether one peer gets it.
#[derive(Debug, Default)]
pub struct Twice {
    /// As which payload type it takes it; `None`: not.
    pub payload_type: Option<Pt>,
    until: Option<Instant>,
}

impl Twice {
    /// How its link does.
    pub fn link(&mut self, reading: &Reading, now: Instant) {
        if reading.carries_at_least() < ROOM {
            self.until = None;
        } else if reading.loss >= LOST {
            self.until = Some(now + KEPT);
        }
    }

    /// As which payload type its sound goes twice now, if it does.
    pub fn goes(&self, now: Instant) -> Option<Pt> {
        self.payload_type.filter(|_| self.until.is_some_and(|until| now < until))
    }
}

/// A packet of sound with the one before it, each with its time stamp; `None`: they do not fit into one.
pub fn both((before, earlier): (&[u8], u32), (payload, time): (&[u8], u32)) -> Option<Arc<[u8]>> {
    let block = RedundantBlock { pt: AUDIO, timestamp_offset: time.wrapping_sub(earlier), payload: before.to_vec() };
    let both = block.fits().then(|| RedEncoder::encode(AUDIO, payload, &[block]))?;
    (both.len() <= PAYLOAD).then(|| Arc::from(both))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use str0m::rtp::RedDecoder;

    use super::*;

    fn reading(carries: f64, loss: f64) -> Reading {
        Reading { carries, sent: 300.0, delivered: 300.0, loss, round_trip: None }
    }

    #[test]
    fn goes_while_packets_are_lost_and_some_time_after() {
        let (mut twice, now) = (Twice { payload_type: Some(63.into()), until: None }, Instant::now());
        twice.link(&reading(2000.0, 0.0), now);
        assert_eq!(twice.goes(now), None);
        twice.link(&reading(2000.0, 0.03), now);
        twice.link(&reading(2000.0, 0.0), now + KEPT / 2);
        assert_eq!((twice.goes(now + KEPT / 2), twice.goes(now + KEPT)), (Some(63.into()), None));
        twice.payload_type = None;
        assert_eq!(twice.goes(now), None);
    }

    #[test]
    fn does_not_fill_a_narrow_link() {
        let (mut twice, now) = (Twice { payload_type: Some(63.into()), until: None }, Instant::now());
        twice.link(&reading(310.0, 0.1), now);
        assert_eq!(twice.goes(now), None);
        twice.link(&reading(2000.0, 0.1), now);
        twice.link(&reading(310.0, 0.1), now);
        assert_eq!(twice.goes(now), None);
    }

    #[test]
    fn one_packet_brings_two() {
        let (earlier, time) = (u32::MAX - 100, 860);
        let both = both((&[1, 2, 3], earlier), (&[4, 5], time)).unwrap();
        let blocks = RedDecoder::decode(&both).unwrap();
        let found: Vec<_> = blocks.iter().map(|block| (block.pt, block.timestamp_offset, block.payload)).collect();
        assert_eq!(found, [(AUDIO, 961, &[1, 2, 3][..]), (AUDIO, 0, &[4, 5])]);
    }

    #[test]
    fn what_does_not_fit_goes_once() {
        // A block is of 1023 bytes at most, and 16383 units before; and there is the datagram.
        assert!(both((&[0; 1024], 0), (&[0; 10], 960)).is_none());
        assert!(both((&[0; 10], 0), (&[0; 10], 16384)).is_none());
        assert!(both((&[0; 600], 0), (&[0; 600], 960)).is_none());
        assert!(both((&[0; 500], 0), (&[0; 500], 960)).is_some());
    }
}
