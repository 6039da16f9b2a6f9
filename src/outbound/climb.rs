//! Decides on which rung of the quality ladder a viewer should stand.
//!
//! In: readings of its link, what each rung needs, its own choice, the time. Out: moves. Never: a clock of its own; media;
//! anything about another viewer.
//!
//! Down at once when the link is full. Up by trial, one rung at a time: what a link would carry shows only when it is
//! asked to. A trial that fails ends quickly, and the next one waits twice as long.

use std::time::{Duration, Instant};

use super::link::Reading;
use crate::api::Quality;

/// One viewer's place on the ladder.
#[derive(Debug)]
pub struct Climb {
    /// kbit/s that each rung needs, sound included, the top one first.
    needs: Vec<f64>,
    choice: Quality,
    rung: usize,
    /// When it came there.
    since: Instant,
    /// When a key frame was last asked for on its behalf.
    asked: Instant,
    /// Where it came from, while it is on trial.
    trial: Option<usize>,
    /// How long it stays before the next trial.
    wait: Duration,
    /// Loss that stays however little is sent: the link's own, not a sign of too much.
    ambient: f64,
    /// Loss that made it go down last; 0: looked into.
    fled: f64,
}

/// After a move down the queue that was there runs empty first.
const SETTLE: Duration = Duration::from_millis(1500);
/// So long after a move down its key frame is repeated when packets are lost, and so often.
const REPAIR: Duration = Duration::from_millis(3000);
const AGAIN: Duration = Duration::from_millis(600);
/// A trial has passed after so long.
const PASSED: Duration = Duration::from_secs(4);
/// Shortest and longest time between a move and the next trial.
const WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(120));
/// A link that is full: packets wait so long, or so many are lost.
const FULL: (Duration, f64) = (Duration::from_millis(150), 0.10);
/// The same for a trial: its first second, in which the key frame passes, and what follows.
const FULL_AT_FIRST: (Duration, f64) = (Duration::from_millis(300), 0.15);
const FULL_ON_TRIAL: (Duration, f64) = (Duration::from_millis(80), 0.05);
const AT_FIRST: Duration = Duration::from_millis(1200);
/// A reading of less than this says nothing yet.
const SPAN: Duration = Duration::from_millis(400);
/// More loss than this is never taken for the link's own.
const MOST_AMBIENT: f64 = 0.3;
/// What a rung needs must be within this share of what the link was seen to carry.
const ROOM: f64 = 0.9;

impl Climb {
    /// A new viewer, on the top rung.
    pub fn new(needs: Vec<f64>, now: Instant) -> Self {
        Self {
            needs,
            choice: Quality::Auto,
            rung: 0,
            since: now,
            asked: now,
            trial: None,
            wait: WAIT.0,
            ambient: 0.0,
            fled: 0.0,
        }
    }

    /// The rung it should stand on.
    pub fn rung(&self) -> usize {
        self.rung
    }

    /// The viewer's own choice.
    pub fn choice(&self) -> Quality {
        self.choice
    }

    /// The viewer chooses. Returns the rung to move to, if it is another one.
    pub fn choose(&mut self, choice: Quality, now: Instant) -> Option<usize> {
        self.choice = choice;
        self.trial = None;
        self.wait = WAIT.0;
        self.go(self.chosen()?, now)
    }

    /// Looks at the link. Returns the rung to move to, if it is another one.
    pub fn look(&mut self, reading: Option<Reading>, now: Instant) -> Option<usize> {
        let reading = reading.filter(|reading| self.chosen().is_none() && reading.span >= SPAN)?;
        let stayed = now.duration_since(self.since);
        if let Some(from) = self.trial {
            if self.is_full(&reading, if stayed < AT_FIRST { FULL_AT_FIRST } else { FULL_ON_TRIAL }) {
                self.wait = (self.wait * 2).min(WAIT.1);
                self.trial = None;
                return self.go(from, now);
            }
            if stayed >= PASSED {
                self.trial = None;
                self.wait = WAIT.0;
            }
            return None;
        }
        if stayed < SETTLE && self.rung > 0 {
            return None;
        }
        self.learn(&reading);
        if self.is_full(&reading, FULL) {
            return self.flee(&reading, now);
        }
        if self.rung > 0 && stayed >= self.wait && !self.is_full(&reading, FULL_ON_TRIAL) {
            self.trial = Some(self.rung);
            return self.go(self.rung - 1, now);
        }
        None
    }

    /// Whether the key frame with which it came down should be sent again: the link was full, and packets were lost since.
    /// Not every receiver asks for itself.
    pub fn needs_key_frame(&mut self, reading: Option<Reading>, now: Instant) -> bool {
        let lost = reading.is_some_and(|reading| reading.loss > 0.0);
        let came_down = self.rung > 0 && self.trial.is_none() && now.duration_since(self.since) < REPAIR;
        let again = lost && came_down && now.duration_since(self.asked) >= AGAIN;
        if again {
            self.asked = now;
        }
        again
    }

    fn chosen(&self) -> Option<usize> {
        let bottom = self.needs.len() - 1;
        match self.choice {
            Quality::Auto => None,
            Quality::High => Some(0),
            Quality::Medium => Some(bottom.min(1)),
            Quality::Low => Some(bottom),
        }
    }

    fn is_full(&self, reading: &Reading, (queue, loss): (Duration, f64)) -> bool {
        reading.queue > queue || reading.loss > self.ambient + loss
    }

    /// Down to the best rung that the link was seen to carry.
    fn flee(&mut self, reading: &Reading, now: Instant) -> Option<usize> {
        let bottom = self.needs.len() - 1;
        let carried = |rung: &usize| self.needs[*rung] <= reading.delivered * ROOM;
        let target = (self.rung + 1..=bottom).find(carried).unwrap_or(bottom);
        self.fled = reading.loss;
        self.go(target, now)
    }

    /// Loss that is still there after going down comes from elsewhere: it is no reason to stay down.
    fn learn(&mut self, reading: &Reading) {
        if self.rung > 0 && self.fled > 0.0 {
            if reading.loss > self.fled / 2.0 && reading.queue < FULL_ON_TRIAL.0 {
                self.ambient = self.ambient.max(reading.loss).min(MOST_AMBIENT);
            }
            self.fled = 0.0;
        } else if self.rung == 0 && reading.loss < self.ambient / 2.0 {
            self.ambient = reading.loss;
        }
    }

    fn go(&mut self, rung: usize, now: Instant) -> Option<usize> {
        if rung == self.rung {
            return None;
        }
        self.rung = rung;
        self.since = now;
        self.asked = now;
        Some(rung)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that carries so many kbit/s, with a short queue, and loses a share of its own.
    struct Simulated {
        climb: Climb,
        now: Instant,
        carries: f64,
        loses: f64,
        moves: Vec<(u128, usize)>,
        began: Instant,
    }

    const NEEDS: [f64; 3] = [2200.0, 730.0, 250.0];

    impl Simulated {
        fn new(carries: f64) -> Self {
            let now = Instant::now();
            Self { climb: Climb::new(NEEDS.to_vec(), now), now, carries, loses: 0.0, moves: Vec::new(), began: now }
        }

        /// So many seconds pass, with a look every quarter of one.
        fn pass(&mut self, seconds: u32) -> &mut Self {
            for _ in 0..seconds * 4 {
                self.now += Duration::from_millis(250);
                let needs = NEEDS[self.climb.rung()];
                let over = (needs - self.carries).max(0.0) / needs;
                let reading = Reading {
                    delivered: needs.min(self.carries) * (1.0 - self.loses),
                    loss: over.max(self.loses),
                    queue: if over > 0.0 { Duration::from_millis(100) } else { Duration::ZERO },
                    span: super::super::link::WINDOW,
                };
                if let Some(rung) = self.climb.look(Some(reading), self.now) {
                    self.moves.push((self.now.duration_since(self.began).as_millis(), rung));
                }
            }
            self
        }
    }

    #[test]
    fn a_wide_link_stays_at_the_top() {
        let mut link = Simulated::new(10_000.0);
        assert!(link.pass(600).moves.is_empty());
    }

    #[test]
    fn a_narrow_link_is_left_at_once_for_the_rung_it_carries() {
        let mut link = Simulated::new(10_000.0);
        link.pass(10).carries = 900.0;
        link.pass(2);
        assert_eq!(link.moves, [(10_250, 1)]);
        let mut link = Simulated::new(500.0);
        assert_eq!(link.pass(2).moves, [(250, 2)]);
    }

    #[test]
    fn trials_that_fail_end_quickly_and_grow_rare() {
        let mut link = Simulated::new(500.0);
        link.pass(600);
        let trials = link.moves.iter().filter(|(_, rung)| *rung == 1).count();
        assert!((4..=9).contains(&trials), "{:?}", link.moves);
        assert!(link.moves.iter().all(|(_, rung)| *rung > 0), "never two rungs up: {:?}", link.moves);
        let spent: u128 = link.moves.windows(2).filter(|pair| pair[0].1 == 1).map(|pair| pair[1].0 - pair[0].0).sum();
        assert!(spent < 2_000 * trials as u128, "{spent} ms in {trials} trials");
    }

    #[test]
    fn a_link_that_widens_is_climbed_to_the_top() {
        let mut link = Simulated::new(500.0);
        link.pass(4).carries = 10_000.0;
        link.pass(16);
        assert_eq!(link.climb.rung(), 0, "{:?}", link.moves);
        let before = link.moves.len();
        assert_eq!(link.pass(600).moves.len(), before);
    }

    #[test]
    fn loss_of_the_links_own_does_not_keep_it_down() {
        let mut link = Simulated::new(10_000.0);
        link.loses = 0.2;
        link.pass(60);
        assert_eq!(link.climb.rung(), 0, "{:?}", link.moves);
        assert!(link.moves.len() <= 4, "{:?}", link.moves);
    }

    #[test]
    fn a_key_frame_lost_in_the_queue_is_sent_again() {
        let mut link = Simulated::new(500.0);
        link.pass(1);
        assert_eq!(link.climb.rung(), 2);
        let reading = |loss| Some(Reading { delivered: 250.0, loss, queue: Duration::ZERO, span: SPAN });
        let since = link.climb.since;
        assert!(!link.climb.needs_key_frame(reading(0.2), since + Duration::from_millis(250)));
        assert!(link.climb.needs_key_frame(reading(0.2), since + Duration::from_millis(750)));
        assert!(!link.climb.needs_key_frame(reading(0.2), since + Duration::from_millis(1000)));
        assert!(!link.climb.needs_key_frame(reading(0.0), since + Duration::from_millis(1500)));
        assert!(!link.climb.needs_key_frame(reading(0.2), since + REPAIR));
    }

    #[test]
    fn a_choice_is_kept_whatever_the_link_does() {
        let mut link = Simulated::new(500.0);
        let now = link.now;
        assert_eq!(link.climb.choose(Quality::High, now), None);
        assert!(link.pass(20).moves.is_empty());
        let now = link.now;
        assert_eq!(link.climb.choose(Quality::Low, now), Some(2));
        assert_eq!(link.climb.choose(Quality::Medium, now), Some(1));
        assert_eq!(link.climb.choose(Quality::Auto, now), None);
        link.pass(3);
        assert_eq!(link.climb.rung(), 2);
    }

    #[test]
    fn a_ladder_of_one_rung_has_no_moves() {
        let now = Instant::now();
        let mut climb = Climb::new(vec![2200.0], now);
        let full = Reading { delivered: 1.0, loss: 0.9, queue: Duration::from_secs(2), span: SPAN };
        assert_eq!(climb.look(Some(full), now + SPAN), None);
        assert_eq!(climb.choose(Quality::Low, now), None);
    }
}
