//! What a viewer's link carries, by the estimate of congestion control and its receiver's reports.
//!
//! In: estimates (transport-wide feedback; Google congestion control as str0m has it), reports of the last second. Out: a [`Reading`].
//! Never: a guess where nothing was reported; an old word for a new one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How the link does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// kbit/s that it carries, by the estimate; 0 when nothing was reported for [`STALE`].
    pub carries: f64,
    /// kbit/s of media that were sent in the last second.
    pub sent: f64,
    /// kbit/s of them that arrived within that second.
    pub delivered: f64,
    /// Share of packets that were lost, 0 to 1.
    pub loss: f64,
    /// How long a packet and the answer to it take.
    pub round_trip: Option<Duration>,
}

impl Reading {
    /// Whether so much is lost that the link is full, whatever the estimate.
    pub fn is_lossy(&self) -> bool {
        self.loss >= LOST
    }

    /// kbit/s that the link carries at least: of a full one the estimate falls far below what arrives all the same.
    pub fn carries_at_least(&self) -> f64 {
        self.carries.max(self.delivered)
    }
}

/// Share of packets of which so much is lost only where more is sent than the link carries.
const LOST: f64 = 0.15;
/// A receiver that reports on packets, and then on none for so long, gets none. It reports ten times a second, and is looked at once.
pub const STALE: Duration = Duration::from_millis(3500);
const SECOND: Duration = Duration::from_secs(1);
/// What is sent is reckoned over at least so much.
const SPAN: Duration = Duration::from_millis(900);
/// kbit/s of media. Where less is sent there are no pictures, without which GStreamer's receivers do not report.
const QUIET: f64 = 100.0;

/// The reports on one viewer's link.
#[derive(Debug, Default)]
pub struct Link {
    carries: Option<f64>,
    /// kbit/s.
    rate: f64,
    loss: f64,
    round_trip: Option<Duration>,
    /// Those of the last second, and when they were told.
    round_trips: VecDeque<(Instant, Duration)>,
    /// When packets were last reported on; `None`: never.
    heard: Option<Instant>,
    /// Bytes of media that had been sent at the last reckoning, and when that was.
    sent: Option<(u64, Instant)>,
}

impl Link {
    /// `carries`: kbit/s by the estimate. `loss`: share of the last second's packets, `None` if none was reported on; `bytes` of media that
    /// went out so far.
    pub fn reported(
        &mut self,
        carries: Option<f64>,
        loss: Option<f64>,
        bytes: u64,
        round_trip: Option<Duration>,
        now: Instant,
    ) {
        if round_trip.is_some() && round_trip != self.round_trip && self.heard.is_some() {
            // Of what was sent more than a second ago: a long way, and no silence.
            self.heard = Some(now);
        }
        self.round_trip = round_trip.or(self.round_trip);
        self.round_trips.extend(round_trip.map(|round_trip| (now, round_trip)));
        while self.round_trips.len() > 1
            && self.round_trips.front().is_some_and(|(at, _)| now.duration_since(*at) > SECOND)
        {
            self.round_trips.pop_front();
        }
        self.carries = carries.or(self.carries);
        let (sent, since) = *self.sent.get_or_insert((bytes, now));
        let took = now.duration_since(since);
        if took >= SPAN {
            self.rate = bytes.saturating_sub(sent) as f64 * 8.0 / 1000.0 / took.as_secs_f64();
            self.sent = Some((bytes, now));
        }
        if let Some(loss) = loss {
            (self.heard, self.loss) = (Some(now), loss);
        }
    }

    /// The estimate begins anew, from so many kbit/s.
    pub fn begins_anew(&mut self, kbits: f64) {
        self.carries = Some(kbits);
    }

    /// Seconds by which the way grows in a second: so much more is sent than arrives, and waits in a queue.
    fn queues(&self) -> f64 {
        let (Some((begun, short)), Some((now, long))) = (self.round_trips.front(), self.round_trips.back()) else {
            return 0.0;
        };
        let took = now.duration_since(*begun).as_secs_f64();
        if took > 0.0 { long.saturating_sub(*short).as_secs_f64() / took } else { 0.0 }
    }

    /// How the link does; `None` before the first report, and of a receiver that makes none.
    pub fn reading(&self, now: Instant) -> Option<Reading> {
        let (heard, carries) = (self.heard?, self.carries?);
        if now.duration_since(heard) > STALE {
            return (self.rate > QUIET).then_some(Reading {
                carries: 0.0,
                sent: self.rate,
                delivered: 0.0,
                loss: 1.0,
                round_trip: None,
            });
        }
        let (sent, delivered) = (self.rate, self.rate * (1.0 - self.loss) / (1.0 + self.queues()));
        Some(Reading { carries, sent, delivered, loss: self.loss, round_trip: self.round_trip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_first_report_there_is_no_reading() {
        let (mut link, now) = (Link::default(), Instant::now());
        link.reported(Some(2000.0), None, 10_000, None, now);
        assert_eq!(link.reading(now), None);
    }

    #[test]
    fn what_arrived_is_what_was_sent_without_what_was_lost() {
        let (mut link, now) = (Link::default(), Instant::now());
        link.reported(Some(2000.0), Some(0.0), 10_000, Some(SECOND / 50), now);
        link.reported(None, Some(0.25), 110_000, None, now + SECOND);
        let reading = link.reading(now + SECOND).expect("reported");
        assert!((reading.delivered - 600.0).abs() < 0.1, "{reading:?}");
        assert_eq!((reading.carries, reading.loss, reading.round_trip), (2000.0, 0.25, Some(SECOND / 50)));
    }

    #[test]
    fn what_arrives_though_much_is_lost_is_carried() {
        let reading = |carries, loss| Reading { carries, sent: 2000.0, delivered: 1400.0, loss, round_trip: None };
        assert_eq!((reading(260.0, 0.3).is_lossy(), reading(260.0, 0.3).carries_at_least()), (true, 1400.0));
        assert_eq!((reading(3000.0, 0.0).is_lossy(), reading(3000.0, 0.0).carries_at_least()), (false, 3000.0));
    }

    #[test]
    fn what_waits_in_a_queue_has_not_arrived() {
        let (mut link, now, step) = (Link::default(), Instant::now(), SECOND / 4);
        // 2000 kbit/s into a link of 1000: nothing is lost, and the way gets a second longer in each.
        for tick in 0..9_u32 {
            let way = Duration::from_millis(20) + if tick > 4 { step * (tick - 4) } else { Duration::ZERO };
            link.reported(Some(500.0), Some(0.0), u64::from(tick) * 62_500, Some(way), now + step * tick);
            let reading = link.reading(now + step * tick).expect("reported");
            if tick == 4 {
                assert!((reading.delivered - 2000.0).abs() < 1.0, "{reading:?}");
            }
        }
        let reading = link.reading(now + step * 8).expect("reported");
        assert!((reading.delivered - 1000.0).abs() < 1.0, "{reading:?}");
    }

    #[test]
    fn who_reports_no_more_gets_nothing() {
        let (mut link, now) = (Link::default(), Instant::now());
        link.reported(Some(2000.0), Some(0.0), 10_000, None, now);
        let later = now + STALE + SECOND;
        // Nothing was reported on; the sender goes on by itself, first with little.
        link.reported(None, None, 20_000, None, later);
        assert_eq!(link.reading(later), None);
        link.reported(Some(2000.0), None, 220_000, None, later + SECOND);
        let reading = link.reading(later + SECOND).expect("it reported before");
        assert_eq!((reading.carries, reading.loss), (0.0, 1.0));
    }
}
