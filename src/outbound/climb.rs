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
#[path = "climb_tests.rs"]
mod tests;
