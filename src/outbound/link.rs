//! What a viewer's link carries, read from the receiver's own reports on every packet (transport-wide feedback).
//!
//! In: for each packet its size, when it left and whether and when it arrived. Out: a [`Reading`] of the last second.
//! Never: the receiver's clock taken for ours (only differences count); a guess where nothing was reported.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One packet of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// When it left, on our clock.
    pub left: Duration,
    /// When it arrived, on the receiver's clock; `None`: it did not.
    pub arrived: Option<Duration>,
    /// Bytes.
    pub size: u32,
}

/// How the link did in the last second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// kbit/s that came out at the far end, lately.
    pub delivered: f64,
    /// Share of packets that were lost, 0 to 1.
    pub loss: f64,
    /// How much longer packets are on their way now than at the best of times.
    pub queue: Duration,
    /// What it is the reading of: less than [`WINDOW`] after a change.
    pub span: Duration,
}

/// What a reading looks at.
pub const WINDOW: Duration = Duration::from_millis(1000);
/// The best time on the way is that of the last one to two of these: paths change, and clocks drift apart.
const EPOCH: Duration = Duration::from_secs(20);
/// The time on the way now is the mean over so much of the window's end.
const RECENT: Duration = Duration::from_millis(250);
/// What is delivered is reckoned over so much of the window's end: a link that narrows shall show what it carries now.
const LATELY: Duration = Duration::from_millis(500);
/// Pictures that go out without any report for so long do not arrive.
const STALE: Duration = Duration::from_secs(2);
/// Nothing goes out when the last picture is so long ago.
const PAUSE: Duration = Duration::from_millis(1500);

/// Packets that are looked at: more than a second's at the highest bit rate there is.
const MOST: usize = 8000;

/// The reports on one viewer's packets.
#[derive(Debug, Default)]
pub struct Link {
    packets: VecDeque<Packet>,
    heard: Option<Instant>,
    sent: Option<Instant>,
    /// The shortest way (ours to theirs, in whatever their clock says) of this epoch and the one before, nanoseconds.
    best: [Option<i128>; 2],
    epoch: Option<Instant>,
}

impl Link {
    /// Takes a report.
    pub fn report(&mut self, packets: impl IntoIterator<Item = Packet>, now: Instant) {
        self.heard = Some(now);
        if self.epoch.is_none_or(|began| now.duration_since(began) >= EPOCH) {
            self.epoch = Some(now);
            self.best = [None, self.best[0]];
        }
        for packet in packets {
            if let Some(way) = packet.way() {
                self.best[0] = Some(self.best[0].map_or(way, |best| best.min(way)));
            }
            self.packets.push_back(packet);
        }
        let newest = self.packets.iter().map(|packet| packet.left).max().unwrap_or_default();
        self.packets.retain(|packet| newest.saturating_sub(packet.left) <= WINDOW);
        // The same packets may be reported again and again.
        self.packets.drain(..self.packets.len().saturating_sub(MOST));
    }

    /// Forgets what was sent before, but not the best time on the way: what is sent has changed.
    pub fn restart(&mut self) {
        self.packets.clear();
    }

    /// A picture went out.
    pub fn sent(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    /// How the link does; `None` before the first report, and while too little is sent to tell.
    pub fn reading(&self, now: Instant) -> Option<Reading> {
        if now.duration_since(self.heard?) > STALE {
            let sends = self.sent.is_some_and(|sent| now.duration_since(sent) < PAUSE);
            return sends.then_some(Reading { delivered: 0.0, loss: 1.0, queue: Duration::ZERO, span: WINDOW });
        }
        let first = self.packets.iter().map(|packet| packet.left).min()?;
        let last = self.packets.iter().map(|packet| packet.left).max()?;
        let span = last - first;
        if span < RECENT {
            return None;
        }
        let lost = self.packets.iter().filter(|packet| packet.arrived.is_none()).count();
        Some(Reading {
            delivered: self.delivered(last, span.min(LATELY)),
            loss: lost as f64 / self.packets.len() as f64,
            queue: self.queue(last),
            span,
        })
    }

    /// kbit/s that arrived of what left within `span` before `last`.
    fn delivered(&self, last: Duration, span: Duration) -> f64 {
        let lately = self.packets.iter().filter(|packet| packet.left + span >= last);
        let arrivals: Vec<(Duration, u32)> = lately.filter_map(|packet| Some((packet.arrived?, packet.size))).collect();
        let times = || arrivals.iter().map(|(at, _)| *at);
        // A queue that fills stretches the time in which they arrive.
        let stretch = match (times().min(), times().max()) {
            (Some(first), Some(last)) => span.max(last - first),
            _ => span,
        };
        let bytes: u64 = arrivals.iter().map(|(_, size)| u64::from(*size)).sum();
        bytes as f64 * 8.0 / 1000.0 / stretch.as_secs_f64()
    }

    /// How much longer the last packets were on their way than the quickest.
    fn queue(&self, last: Duration) -> Duration {
        let recent = self.packets.iter().filter(|packet| packet.left + RECENT >= last);
        let ways: Vec<i128> = recent.filter_map(Packet::way).collect();
        let Some(best) = self.best.iter().flatten().min().filter(|_| !ways.is_empty()) else { return Duration::ZERO };
        let longer = ways.iter().sum::<i128>() / ways.len() as i128 - best;
        Duration::from_nanos(u64::try_from(longer.max(0)).unwrap_or(u64::MAX))
    }
}

impl Packet {
    fn way(&self) -> Option<i128> {
        self.arrived.map(|at| at.as_nanos() as i128 - self.left.as_nanos() as i128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Packets of 1000 bytes every 10 ms (800 kbit/s) from `from` ms on; the way takes what `way` says of each.
    fn packets(from: u32, count: u32, way: impl Fn(u32) -> Option<u32>) -> Vec<Packet> {
        let at = |i: u32| MS * (from + i * 10);
        // Their clock is an hour ahead.
        let theirs = Duration::from_secs(3600);
        (0..count)
            .map(|i| Packet { left: at(i), arrived: way(i).map(|way| theirs + at(i) + MS * way), size: 1000 })
            .collect()
    }

    #[test]
    fn a_wide_link() {
        let (mut link, now) = (Link::default(), Instant::now());
        link.report(packets(0, 100, |_| Some(20)), now);
        let reading = link.reading(now).expect("reported");
        assert!((reading.delivered - 816.0).abs() < 1.0, "{reading:?}");
        assert_eq!((reading.loss, reading.queue), (0.0, Duration::ZERO));
    }

    #[test]
    fn a_queue_that_fills_is_seen_with_what_the_link_carries() {
        let (mut link, now) = (Link::default(), Instant::now());
        link.report(packets(0, 100, |_| Some(20)), now);
        // Twice as much as it carries: each packet waits 10 ms longer.
        link.report(packets(1000, 100, |i| Some(20 + i * 10)), now + MS * 1000);
        let reading = link.reading(now + MS * 1000).expect("reported");
        assert!((380.0..=450.0).contains(&reading.delivered), "{reading:?}");
        assert!(reading.queue > MS * 700, "{reading:?}");
    }

    #[test]
    fn losses_are_counted() {
        let (mut link, now) = (Link::default(), Instant::now());
        link.report(packets(0, 100, |i| (i % 4 == 0).then_some(20)), now);
        let reading = link.reading(now).expect("reported");
        assert!((reading.loss - 0.75).abs() < 0.01, "{reading:?}");
        assert!((190.0..=215.0).contains(&reading.delivered), "{reading:?}");
    }

    #[test]
    fn before_the_first_report_there_is_no_reading() {
        let (mut link, now) = (Link::default(), Instant::now());
        link.sent(now);
        assert_eq!(link.reading(now), None);
        link.report(packets(0, 100, |_| Some(20)), now);
        link.restart();
        assert_eq!(link.reading(now), None);
    }

    #[test]
    fn pictures_that_nobody_reports_do_not_arrive() {
        let (mut link, now) = (Link::default(), Instant::now());
        link.report(packets(0, 100, |_| Some(20)), now);
        let later = now + STALE + MS;
        assert_eq!(link.reading(later), None, "nothing is sent");
        link.sent(later);
        assert_eq!(link.reading(later).expect("sends").loss, 1.0);
    }

    #[test]
    fn an_old_best_is_forgotten() {
        let (mut link, now) = (Link::default(), Instant::now());
        link.report(packets(0, 100, |_| Some(20)), now);
        for epoch in 1..=2 {
            link.report(packets(epoch * 20_000, 100, |_| Some(90)), now + EPOCH * epoch);
        }
        assert_eq!(link.reading(now + EPOCH * 2).expect("reported").queue, Duration::ZERO);
    }

    #[test]
    fn the_same_packets_reported_for_ever_take_no_more_room() {
        let (mut link, now) = (Link::default(), Instant::now());
        for _ in 0..200 {
            link.report(packets(0, 90, |_| Some(5)), now);
        }
        assert_eq!(link.packets.len(), MOST);
    }
}
