//! Decides on which rung of the quality ladder a viewer should stand, and what bit rate it wants there.
//!
//! In: readings of its link, what each rung needs, what others need there, its own choice, the time. Out: moves, and what
//! the viewer wants of its rung. Never: a clock of its own; media; a bit rate that costs another viewer.
//!
//! When the link is full, down at once: to a lower bit rate of the same rung, if little is missing and nobody else on the rung
//! needs more; to a smaller rung otherwise, where what was lost is soon made up for. Up by trial, one step at a time, a rung
//! first with the least that it can do with: what a link would carry shows only when it is asked to. A trial that fails ends
//! quickly, and the next one waits twice as long.

use std::time::{Duration, Instant};

use super::link::Reading;
use crate::api::Quality;

/// What a rung needs of a link, kbit/s, sound included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Need {
    /// At the bit rate that the configuration gives it.
    pub most: f64,
    /// At the lowest bit rate that its pictures are encoded with.
    pub least: f64,
}

/// One viewer's place on the ladder.
#[derive(Debug)]
pub struct Climb {
    /// What each rung needs, the top one first.
    needs: Vec<Need>,
    choice: Quality,
    rung: usize,
    /// kbit/s that its link is taken to carry, sound included; `None`: whatever its rung needs.
    carries: Option<f64>,
    /// kbit/s at which its link was full last: no more is tried without a wait.
    limit: Option<f64>,
    /// When it came to that rung, or to another bit rate there.
    since: Instant,
    /// When it came to that rung.
    moved: Instant,
    /// When its bit rate was last lowered instead.
    eased: Option<Instant>,
    /// When a key frame was last asked for on its behalf.
    asked: Instant,
    /// What is tried.
    trial: Option<Trial>,
    /// How long it stays before the next trial.
    wait: Duration,
    /// How long it had waited for the trial by which it came here; `None`: it did not come by one.
    earned: Option<Duration>,
    /// Loss that stays however little is sent: the link's own, not a sign of too much.
    ambient: f64,
    /// Loss that made it go down last; 0: looked into.
    fled: f64,
}

/// What is tried, and where it goes back to when the link does not carry it.
#[derive(Debug, Clone, Copy)]
enum Trial {
    /// The rung above this one.
    Rung(usize),
    /// More than so many kbit/s.
    Rate(f64),
}

/// After a move down the queue that was there runs empty first.
const SETTLE: Duration = Duration::from_millis(1500);
/// So long after a move down its key frame is repeated when packets are lost, and so often.
const REPAIR: Duration = Duration::from_millis(3000);
const AGAIN: Duration = Duration::from_millis(600);
/// A trial of a rung has passed after so long.
const PASSED: Duration = Duration::from_secs(4);
/// One of a bit rate, which begins without a key frame.
const PASSED_RATE: Duration = Duration::from_secs(3);
/// Who flees sooner from where a trial brought it has climbed too early: the next trial waits twice as long.
const LASTING: Duration = Duration::from_secs(60);
/// How much more is tried at a time: of a link that was full lately, and of one that now carries more than it did then.
const RAISE: (f64, f64) = (1.3, 2.0);
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
/// A link that carries at least this share of what is sent is given a lower bit rate: less would lose too much until the
/// encoder has followed and what was lost is sent again.
const MILD: f64 = 0.75;
/// The lower bit rate, as a share of what the link was seen to carry: what was lost is sent again as well.
const EASE: f64 = 0.8;
/// Who is still full so soon after a move, or a lower bit rate, moves.
const CALM: Duration = Duration::from_secs(5);

impl Climb {
    /// A new viewer, on the top rung.
    pub fn new(needs: Vec<Need>, now: Instant) -> Self {
        Self {
            needs,
            choice: Quality::Auto,
            rung: 0,
            carries: None,
            limit: None,
            since: now,
            moved: now,
            eased: None,
            asked: now,
            trial: None,
            wait: WAIT.0,
            earned: None,
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

    /// kbit/s that it wants of its rung, sound included; never less nor more than the rung can need.
    pub fn wants(&self) -> f64 {
        let Need { most, least } = self.needs[self.rung];
        self.carries.map_or(most, |carries| carries.clamp(least, most))
    }

    /// What it will want after a look at this reading, as far as others on its rung must know.
    pub fn will_want(&self, reading: Option<Reading>) -> f64 {
        let full =
            reading.filter(|reading| self.chosen().is_none() && reading.span >= SPAN && self.is_full(reading, FULL));
        // Of a link that narrows much it moves away.
        let eased =
            |reading: Reading| if reading.delivered < self.wants() * MILD { 0.0 } else { reading.delivered * EASE };
        full.map_or(self.wants(), |reading| self.wants().min(eased(reading)))
    }

    /// The viewer chooses. Returns the rung to move to, if it is another one.
    pub fn choose(&mut self, choice: Quality, now: Instant) -> Option<usize> {
        self.choice = choice;
        self.trial = None;
        (self.carries, self.limit, self.earned) = (None, None, None);
        self.wait = WAIT.0;
        self.go(self.chosen()?, now)
    }

    /// Looks at the link. `held`: kbit/s below which others keep each rung, 0 where nobody else stands. Returns the rung to
    /// move to, if it is another one; what it [wants](Self::wants) of its rung may be another bit rate either way.
    pub fn look(&mut self, reading: Option<Reading>, held: &[f64], now: Instant) -> Option<usize> {
        let reading = reading.filter(|reading| self.chosen().is_none() && reading.span >= SPAN)?;
        let stayed = now.duration_since(self.since);
        match self.trial {
            Some(trial) => self.try_on(trial, &reading, held, now),
            None if stayed < SETTLE && (self.rung > 0 || self.carries.is_some()) => None,
            None => {
                self.learn(&reading);
                if self.is_full(&reading, FULL) {
                    return self.flee(&reading, held, now);
                }
                let rises = stayed >= self.wait && !self.is_full(&reading, FULL_ON_TRIAL);
                if rises { self.rise(held, now) } else { None }
            }
        }
    }

    /// Goes back from what is tried when the link is full, and stays when it was not for long enough.
    fn try_on(&mut self, trial: Trial, reading: &Reading, held: &[f64], now: Instant) -> Option<usize> {
        let stayed = now.duration_since(self.since);
        let (limit, passed) = match trial {
            Trial::Rung(..) if stayed < AT_FIRST => (FULL_AT_FIRST, PASSED),
            Trial::Rung(..) => (FULL_ON_TRIAL, PASSED),
            Trial::Rate(_) => (FULL_ON_TRIAL, PASSED_RATE),
        };
        if self.is_full(reading, limit) {
            self.wait = (self.wait * 2).min(WAIT.1);
            self.trial = None;
            self.limit = Some(reading.delivered.min(self.gets(held)));
            self.since = now;
            return match trial {
                Trial::Rung(from) => {
                    self.carries = None;
                    self.go(from, now)
                }
                Trial::Rate(before) => {
                    self.carries = Some(before);
                    None
                }
            };
        }
        if stayed < passed {
            return None;
        }
        self.trial = None;
        if matches!(trial, Trial::Rung(_)) {
            self.earned = Some(self.wait);
        }
        // So much was sent, be it for others.
        let carried = self.gets(held);
        if self.limit.is_none_or(|limit| limit <= carried) {
            (self.wait, self.limit) = (WAIT.0, None);
        }
        self.carries = self.carries.map(|_| carried).filter(|carried| *carried < self.needs[self.rung].most);
        // More of the same needs no rest.
        let known = self.limit.is_none_or(|limit| carried * RAISE.0 <= limit);
        if self.carries.is_some() && known { self.rise(held, now) } else { None }
    }

    /// kbit/s that are sent to it.
    fn gets(&self, held: &[f64]) -> f64 {
        self.wants().max(held[self.rung])
    }

    /// Tries more: first of the rung it stands on, then the rung above.
    fn rise(&mut self, held: &[f64], now: Instant) -> Option<usize> {
        if let Some(before) = self.carries {
            self.trial = Some(Trial::Rate(before));
            let raise = if self.limit.is_some() { RAISE.0 } else { RAISE.1 };
            self.carries = Some(before.max(held[self.rung]) * raise);
            self.since = now;
            return None;
        }
        let above = self.rung.checked_sub(1)?;
        self.trial = Some(Trial::Rung(self.rung));
        self.carries = Some(self.needs[above].least);
        self.go(above, now)
    }

    /// Whether the key frame with which it came down should be sent again: the link was full, and packets were lost since.
    /// Not every receiver asks for itself.
    pub fn needs_key_frame(&mut self, reading: Option<Reading>, now: Instant) -> bool {
        let lost = reading.is_some_and(|reading| reading.loss > 0.0);
        let came_down = self.rung > 0 && self.trial.is_none() && now.duration_since(self.moved) < REPAIR;
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

    /// Down to a lower bit rate, or to the best smaller rung that the link was seen to carry.
    fn flee(&mut self, reading: &Reading, held: &[f64], now: Instant) -> Option<usize> {
        let bottom = self.needs.len() - 1;
        let gets = self.gets(held);
        self.limit = Some(reading.delivered.min(gets)).filter(|limit| *limit > 0.0);
        self.fled = reading.loss;
        self.since = now;
        if self.eases(reading, gets, held, now) {
            // What it gets now is too much, whatever arrived.
            self.carries = Some(reading.delivered.min(gets) * EASE);
            self.eased = Some(now);
            return None;
        }
        if let Some(waited) = self.earned.take().filter(|_| now.duration_since(self.moved) < LASTING) {
            self.wait = (waited * 2).min(WAIT.1);
        }
        self.carries = None;
        let carried = |rung: &usize| self.needs[*rung].most <= reading.delivered * ROOM;
        let target = (self.rung + 1..=bottom).find(carried).unwrap_or(bottom);
        self.go(target, now)
    }

    /// Whether a lower bit rate will do.
    fn eases(&self, reading: &Reading, gets: f64, held: &[f64], now: Instant) -> bool {
        let bottom = self.rung + 1 == self.needs.len();
        let calm = |since: Instant| now.duration_since(since) >= CALM;
        let could = self.needs[self.rung].least.max(held[self.rung]);
        let mild = reading.delivered >= gets * MILD && reading.delivered * ROOM >= could;
        if bottom { reading.delivered > 0.0 } else { mild && calm(self.moved) && self.eased.is_none_or(calm) }
    }

    /// Loss that is still there after going down comes from elsewhere: it is no reason to stay down.
    fn learn(&mut self, reading: &Reading) {
        if self.fled > 0.0 {
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
        self.moved = now;
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
        /// What others hold each rung at.
        held: [f64; 3],
        /// Looks at which more was sent than the link carries.
        over: usize,
        moves: Vec<(u128, usize)>,
        began: Instant,
    }

    const NEEDS: [Need; 3] =
        [Need { most: 2200.0, least: 1140.0 }, Need { most: 730.0, least: 400.0 }, Need { most: 250.0, least: 165.0 }];

    impl Simulated {
        fn new(carries: f64) -> Self {
            let now = Instant::now();
            let (climb, moves) = (Climb::new(NEEDS.to_vec(), now), Vec::new());
            Self { climb, now, carries, loses: 0.0, held: [0.0; 3], over: 0, moves, began: now }
        }

        /// So many seconds pass, with a look every quarter of one.
        fn pass(&mut self, seconds: u32) -> &mut Self {
            for _ in 0..seconds * 4 {
                self.now += Duration::from_millis(250);
                let (needs, bounds) = (self.gets(), NEEDS[self.climb.rung()]);
                assert!((bounds.least..=bounds.most).contains(&self.climb.wants()), "{}", self.climb.wants());
                let over = (needs - self.carries).max(0.0) / needs;
                self.over += usize::from(over > 0.0);
                let reading = Reading {
                    delivered: needs.min(self.carries) * (1.0 - self.loses),
                    loss: over.max(self.loses),
                    queue: if over > 0.0 { Duration::from_millis(100) } else { Duration::ZERO },
                    span: super::super::link::WINDOW,
                };
                if let Some(rung) = self.climb.look(Some(reading), &self.held, self.now) {
                    self.moves.push((self.now.duration_since(self.began).as_millis(), rung));
                }
            }
            self
        }

        /// kbit/s that are sent to it.
        fn gets(&self) -> f64 {
            self.climb.wants().max(self.held[self.climb.rung()])
        }
    }

    #[test]
    fn a_wide_link_stays_at_the_top() {
        let mut link = Simulated::new(10_000.0);
        assert!(link.pass(600).moves.is_empty());
        assert_eq!(link.gets(), NEEDS[0].most);
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
        let mut link = Simulated::new(300.0);
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
        let mut link = Simulated::new(300.0);
        link.pass(1);
        assert_eq!(link.climb.rung(), 2);
        let reading = |loss| Some(Reading { delivered: 250.0, loss, queue: Duration::ZERO, span: SPAN });
        let since = link.climb.moved;
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
        let mut climb = Climb::new(NEEDS[..1].to_vec(), now);
        let full = Reading { delivered: 1.0, loss: 0.9, queue: Duration::from_secs(2), span: SPAN };
        assert_eq!(climb.look(Some(full), &[0.0], now + SPAN), None);
        assert_eq!(climb.wants(), NEEDS[0].least, "never below its floor");
        assert_eq!(climb.choose(Quality::Low, now), None);
        assert_eq!(climb.wants(), NEEDS[0].most, "a choice is for the whole of it");
    }

    #[test]
    fn a_link_that_narrows_a_little_lowers_the_bit_rate_and_keeps_the_size() {
        let mut link = Simulated::new(10_000.0);
        link.pass(10).carries = 1800.0;
        assert_eq!(link.pass(1).gets(), 1440.0);
        link.pass(60);
        assert!(link.moves.is_empty(), "{:?}", link.moves);
        assert!((1440.0..=1440.0 * RAISE.0).contains(&link.gets()), "{}", link.gets());
        link.carries = 10_000.0;
        link.pass(130);
        assert_eq!((link.gets(), link.moves.len()), (2200.0, 0), "it rises again");
    }

    #[test]
    fn a_link_between_two_rungs_gets_the_upper_one_with_less() {
        let mut link = Simulated::new(10_000.0);
        link.pass(10).carries = 1300.0;
        link.pass(60);
        let moves: Vec<usize> = link.moves.iter().map(|(_, rung)| *rung).collect();
        assert_eq!(moves, [1, 0], "away from a link that is much too full, and back with less");
        assert!((1140.0..=1300.0 * RAISE.0).contains(&link.gets()), "{}", link.gets());
        link.carries = 10_000.0;
        link.pass(130);
        assert_eq!((link.gets(), link.moves.len()), (2200.0, 2), "it rises again");
    }

    #[test]
    fn more_than_a_link_was_full_at_waits() {
        let mut link = Simulated::new(10_000.0);
        link.pass(10).carries = 1300.0;
        link.pass(6).over = 0;
        assert_eq!((link.climb.rung(), link.gets()), (0, 1140.0));
        assert_eq!(
            (link.pass(4).over, link.gets()),
            (0, 1140.0),
            "the trial of the rung has passed; no more is tried at once"
        );
        assert!(link.pass(2).over > 0);
    }

    #[test]
    fn trials_of_a_bit_rate_that_fail_grow_rare_and_cost_little() {
        let mut link = Simulated::new(1500.0);
        link.pass(15);
        (link.over, link.moves) = (0, Vec::new());
        link.pass(600);
        assert!((4..=20).contains(&link.over), "too much was sent at {} looks of 2400", link.over);
        assert!(link.climb.rung() == 0 && link.moves.is_empty(), "{:?}", link.moves);
    }

    #[test]
    fn others_on_the_rung_are_cost_no_bit_rate() {
        let mut link = Simulated::new(10_000.0);
        link.held = [2200.0, 0.0, 0.0];
        link.pass(10).carries = 1800.0;
        link.pass(2);
        assert_eq!(link.moves, [(10_250, 1)], "it moves down, alone");
        // Who stays lowers it to what he needs himself, which is enough for this one.
        let mut link = Simulated::new(10_000.0);
        link.held = [1500.0, 0.0, 0.0];
        link.pass(10).carries = 1800.0;
        link.pass(2);
        assert_eq!((link.moves.len(), link.gets()), (0, 1500.0), "{:?}", link.moves);
    }

    #[test]
    fn who_is_still_full_soon_after_moves() {
        let mut link = Simulated::new(10_000.0);
        link.pass(10).carries = 1800.0;
        link.pass(1).carries = 1280.0;
        link.pass(2);
        assert_eq!(link.moves, [(11_750, 1)]);
        assert_eq!(Simulated::new(1800.0).pass(2).moves, [(250, 1)]);
        // At the bottom there is nowhere to move to.
        let mut link = Simulated::new(200.0);
        link.pass(4);
        assert!(link.climb.rung() == 2 && link.gets() <= 200.0, "{} {:?}", link.gets(), link.moves);
    }

    #[test]
    fn after_a_gap_without_anything_it_climbs_as_from_nowhere() {
        let mut link = Simulated::new(10_000.0);
        let gone = Reading { delivered: 0.0, loss: 1.0, queue: Duration::ZERO, span: SPAN };
        link.now += Duration::from_secs(5);
        assert_eq!(link.climb.look(Some(gone), &link.held, link.now), Some(2));
        link.now += SETTLE;
        assert_eq!(link.climb.look(Some(gone), &link.held, link.now), None);
        assert_eq!(link.gets(), NEEDS[2].most, "nothing is known of it");
        link.pass(30);
        assert_eq!((link.climb.rung(), link.gets()), (0, 2200.0), "{:?}", link.moves);
    }

    #[test]
    fn a_full_link_is_given_less_whatever_arrived() {
        let now = Instant::now();
        let mut climb = Climb::new(NEEDS.to_vec(), now);
        let full = Reading { delivered: 9000.0, loss: 0.0, queue: FULL.0 * 2, span: SPAN };
        for (look, wants) in [(1, 1760.0), (2, 1408.0)] {
            assert_eq!(climb.look(Some(full), &[0.0; 3], now + CALM * look), None);
            assert!((climb.wants() - wants).abs() < 0.1, "{}", climb.wants());
        }
    }

    #[test]
    fn who_cannot_carry_a_rung_does_not_speak_for_it() {
        let now = Instant::now();
        let climb = Climb::new(NEEDS.to_vec(), now);
        let reading = |delivered, queue| Some(Reading { delivered, loss: 0.0, queue, span: SPAN });
        assert_eq!(climb.will_want(reading(1000.0, Duration::ZERO)), 2200.0);
        assert_eq!(climb.will_want(reading(1000.0, FULL.0 * 2)), 0.0);
        assert_eq!(climb.will_want(reading(2000.0, FULL.0 * 2)), 1600.0);
        assert_eq!(climb.will_want(None), 2200.0);
    }

    /// Ten minutes of pictures whose bit rate swings by a third, from an encoder that follows slowly, over a link with a queue
    /// of 200 ms; what is lost is sent again. Moves, and the share of the time on the top rung.
    fn swinging(carries: f64) -> (usize, f64) {
        let (began, mut moves, mut top) = (Instant::now(), 0, 0);
        let mut climb = Climb::new(NEEDS.to_vec(), began);
        let (mut rate, mut queue, mut lost) = (NEEDS[0].most, 0.0_f64, 0.0_f64);
        let mut seen: Vec<(f64, f64)> = Vec::new();
        for look in 1..=2400 {
            let at = f64::from(look) / 4.0;
            let swing = 1.0 + 0.3 * (at / 3.7).sin() * (at / 11.0).cos();
            rate += (climb.wants() * swing - rate) * 0.3;
            let sent: f64 = rate / 4.0;
            let waits: f64 = queue + sent + lost.min(sent / 2.0);
            let out = waits.min(carries / 4.0);
            queue = (waits - out).min(carries / 5.0);
            lost = waits - out - queue;
            seen.push((out, lost));
            let last = &seen[seen.len().saturating_sub(4)..];
            let (arrived, missed) = last.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let half = &last[last.len().saturating_sub(2)..];
            let reading = Reading {
                delivered: half.iter().map(|one| one.0).sum::<f64>() * 4.0 / half.len() as f64,
                loss: missed / (arrived + missed),
                queue: Duration::from_secs_f64(queue / carries),
                span: super::super::link::WINDOW,
            };
            if climb.look(Some(reading), &[0.0; 3], began + Duration::from_millis(250) * look).is_some() {
                rate = climb.wants() * swing;
                seen.clear();
                moves += 1;
            }
            top += usize::from(climb.rung() == 0);
        }
        (moves, top as f64 / 2400.0)
    }

    #[test]
    fn pictures_whose_bit_rate_swings_toss_nobody_about() {
        for (carries, share) in [(500.0, 0.0), (1300.0, 0.0), (1500.0, 0.5), (1800.0, 0.8), (2700.0, 1.0)] {
            let (moves, top) = swinging(carries);
            println!("{carries} kbit/s: {moves} moves, {:.0} % at the top", top * 100.0);
            assert!(moves <= 30 && top >= share, "{carries} kbit/s: {moves} moves, {:.0} % at the top", top * 100.0);
        }
    }
}
