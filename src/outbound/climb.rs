//! Decides on which rung of the quality ladder a viewer should stand, and what bit rate it wants there.
//!
//! In: readings of its link, what each rung needs, what others need there, its own choice, the time. Out: moves, and what
//! the viewer wants of its rung. Never: a clock of its own; media; a bit rate that costs another viewer.
//!
//! What a link carries is an estimate, and a low one where it is full: what arrives all the same, it carries. When it carries less than is
//! sent, down: to a lower bit rate of the same rung, if nobody else on the rung needs more; to a smaller rung otherwise. An estimate is only as
//! good as what was sent to make it: pictures that need little say nothing of a link that carries them. Up in steps, first of the bit rate, then
//! of the rungs, some time after it fled: a short look for more finds too much on many links, so that each step up is a trial. Who flees
//! from what it took waits twice as long the next time.

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
    /// Since when it is full; `None`: it is not.
    full: Option<Instant>,
    /// When it came to that rung, or to another bit rate there.
    since: Instant,
    /// When it came to that rung.
    moved: Instant,
    /// When a key frame was last asked for on its behalf.
    asked: Instant,
    /// How long it stays with what it fled to, and on each rung, before it takes more.
    wait: Duration,
    /// When it last fled from a full link.
    fled: Option<Instant>,
    /// Whether it has taken more since.
    raised: bool,
    /// When it last came down, to another rung or a lower bit rate.
    came_down: Option<Instant>,
    /// How the estimate begins anew, and when: from what the link carried when it fled.
    carried: Option<(Anew, Instant)>,
    /// When the estimate was last doubted.
    doubted: Option<Instant>,
    /// When more was last looked for.
    sought: Instant,
}

/// How the estimate of what a link carries begins anew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anew {
    /// From so many kbit/s.
    pub from: f64,
    /// Whether more is looked for at once.
    pub seeks: bool,
}

/// Of what a link is estimated to carry so much is used: pictures' sizes swing, and what is lost is sent again.
const USED: f64 = 0.9;
/// A link is full when it carries less than this share of what is sent to it.
const FULL: f64 = 0.95;
/// What is sent swings by so much from second to second.
const SWING: f64 = 1.2;
/// An estimate dips now and then, when the receiver's or our own processor is late; a link that is full for so long is.
const DIP: Duration = Duration::from_millis(750);
/// An estimate that says full though everything arrives in time is doubted once in so long.
const DOUBTED: Duration = Duration::from_secs(10);
/// Who fled is looked at again after this: until then the reports are of what was sent before.
const SETTLES: Duration = Duration::from_secs(1);
/// Congestion control looks for more only after it stood still for a quarter of a minute. Who wants more of its link has it begin anew, which
/// makes it look at once, so often; WebRTC's own is as often when what it found is not used in full.
const SEEK: Duration = Duration::from_secs(5);
/// What is wanted less by less than this is no change.
const EASED: f64 = 0.97;
/// The rung above must be carried with so much to spare, at its lowest bit rate.
const SPARE: f64 = 1.1;
/// A higher bit rate is taken when it is so much more, and so long after the last change; at once by so much at most.
const RAISE: (f64, Duration) = (1.05, Duration::from_secs(1));
const STEP: f64 = 1.25;
/// Shortest and longest time between fleeing and taking more, and between two rungs.
const WAIT: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(120));
/// Who flees sooner from what it took has taken it too early.
const LASTING: Duration = Duration::from_secs(60);
/// So long after it fled from loss a key frame is sent again while packets are lost, and so often: more often than the share of lost packets is
/// reckoned over, so that the last one arrives whole.
const REPAIR: Duration = Duration::from_millis(3000);
const AGAIN: Duration = Duration::from_millis(600);

impl Climb {
    /// A new viewer, on the top rung.
    pub fn new(needs: Vec<Need>, now: Instant) -> Self {
        Self {
            needs,
            choice: Quality::Auto,
            rung: 0,
            carries: None,
            full: None,
            since: now,
            moved: now,
            asked: now,
            wait: WAIT.0,
            fled: None,
            raised: false,
            came_down: None,
            carried: None,
            doubted: None,
            sought: now,
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

    /// What it will want after a look at this reading, as far as others on its rung must know: of a rung that it will leave
    /// nothing.
    pub fn will_want(&self, reading: Option<Reading>) -> f64 {
        let full = reading.filter(|reading| self.chosen().is_none() && self.is_full(reading, self.wants()));
        let eased = |carries: f64| if carries * USED < self.needs[self.rung].least { 0.0 } else { carries * USED };
        full.map_or(self.wants(), |reading| self.wants().min(eased(reading.carries_at_least())))
    }

    /// The viewer chooses. Returns the rung to move to, if it is another one.
    pub fn choose(&mut self, choice: Quality, now: Instant) -> Option<usize> {
        self.choice = choice;
        (self.carries, self.full, self.wait, self.raised) = (None, None, WAIT.0, false);
        (self.fled, self.came_down, self.carried, self.doubted) = (None, None, None, None);
        self.go(self.chosen()?, now)
    }

    /// Looks at the link. `held`: kbit/s below which others keep each rung, 0 where nobody else stands. Returns the rung to
    /// move to, if it is another one; what it [wants](Self::wants) of its rung may be another bit rate either way.
    pub fn look(&mut self, reading: Option<Reading>, held: &[f64], now: Instant) -> Option<usize> {
        let reading = reading.filter(|_| self.chosen().is_none())?;
        if self.settles(now) {
            return None;
        }
        if self.raised && now.duration_since(self.since) >= LASTING {
            (self.wait, self.raised) = (WAIT.0, false);
        }
        if self.is_full(&reading, self.wants().max(held[self.rung])) {
            let since = *self.full.get_or_insert(now);
            let dips = !reading.is_lossy() && now.duration_since(since) < DIP;
            if dips {
                return None;
            }
            let carries = reading.carries_at_least();
            let all_arrives = !reading.is_lossy() && reading.delivered >= reading.sent * FULL;
            if all_arrives && self.doubted.is_none_or(|at| now.duration_since(at) >= DOUBTED) {
                // One late report makes it fall for seconds. It begins anew at once, and is believed if it falls again.
                (self.full, self.doubted, self.carried) =
                    (None, Some(now), Some((Anew { from: carries, seeks: true }, now)));
                return None;
            }
            return self.flee(carries, held, now);
        }
        self.full = None;
        self.rise(reading.carries * USED, held, now)
    }

    /// Whether the estimate should begin anew, and how: of a link that was full it is far below what that carries, and where more is wanted of
    /// a link it must be looked for.
    pub fn anew(&mut self, reading: Option<Reading>, now: Instant) -> Option<Anew> {
        let reading = reading.filter(|_| self.chosen().is_none() && !self.settles(now))?;
        if reading.carries_at_least() <= 0.0 {
            // Nothing is reported at the moment.
            return None;
        }
        let least = self.needs[self.rung].least;
        if let Some((Anew { from, seeks }, _)) = self.carried.take() {
            return Some(Anew { from: from.max(least), seeks });
        }
        let wants_more = (self.rung > 0 || self.carries.is_some()) && !self.rests(now);
        if !wants_more || self.full.is_some() || reading.is_lossy() || now.duration_since(self.sought) < SEEK {
            return None;
        }
        self.sought = now;
        Some(Anew { from: reading.carries_at_least().max(least), seeks: true })
    }

    /// Whether the reports are still of what was sent before it fled.
    fn settles(&self, now: Instant) -> bool {
        self.carried.is_some_and(|(_, due)| now < due)
    }

    /// Whether it stays with what it fled to.
    fn rests(&self, now: Instant) -> bool {
        self.fled.is_some_and(|fled| now.duration_since(fled) < self.wait)
    }

    /// Whether a key frame should be sent again: the link was full, and packets are lost since. Not every receiver asks for itself.
    pub fn needs_key_frame(&mut self, reading: Option<Reading>, now: Instant) -> bool {
        let lost = reading.is_some_and(|reading| reading.loss > 0.0);
        let came_down = !self.raised && self.came_down.is_some_and(|at| now.duration_since(at) < REPAIR);
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

    /// Whether the link is full to which so many kbit/s are to be sent. Where pictures need little an estimate falls to a share of that little at the
    /// first delay, whatever the link carries: then only what is lost tells.
    fn is_full(&self, reading: &Reading, gets: f64) -> bool {
        if reading.sent < self.needs[self.rung].least {
            return reading.is_lossy() || reading.delivered < reading.sent * FULL && reading.carries < reading.sent;
        }
        reading.carries < gets.min(reading.sent * SWING) * FULL
    }

    /// Down to a lower bit rate, or to the best smaller rung that the link carries.
    fn flee(&mut self, carried: f64, held: &[f64], now: Instant) -> Option<usize> {
        let (rung, wanted) = (self.rung, self.wants());
        let moved = self.descend(carried * USED, held, now);
        // Where nothing less is to be had, nothing changes for the reports either.
        if self.rung != rung || self.wants() < wanted * EASED {
            // Where nothing at all was carried nothing is known of what will be there.
            let anew = Anew { from: carried, seeks: carried <= 0.0 };
            (self.came_down, self.carried) = (Some(now), Some((anew, now + SETTLES)));
        }
        moved
    }

    fn descend(&mut self, carries: f64, held: &[f64], now: Instant) -> Option<usize> {
        let bottom = self.needs.len() - 1;
        self.full = None;
        if self.raised {
            self.wait = (self.wait * 2).min(WAIT.1);
        }
        (self.since, self.fled, self.raised) = (now, Some(now), false);
        if self.rung == bottom || carries >= self.needs[self.rung].least.max(held[self.rung]) {
            self.carries = Some(carries);
            return None;
        }
        let target = (self.rung + 1..=bottom).find(|rung| self.needs[*rung].least <= carries).unwrap_or(bottom);
        // With little at first: what waits in the queue must go before its key frame can arrive whole.
        self.take(carries.min(self.needs[target].least * SPARE), target);
        self.go(target, now)
    }

    /// Takes more: first of the rung it stands on, then the rung above.
    fn rise(&mut self, carries: f64, held: &[f64], now: Instant) -> Option<usize> {
        if self.rests(now) {
            return None;
        }
        if self.carries.is_some() {
            let carries = carries.min(self.wants() * STEP);
            let more = carries > self.wants() * RAISE.0 || carries >= self.needs[self.rung].most;
            if more && now.duration_since(self.since) >= RAISE.1 {
                self.take(carries, self.rung);
                (self.since, self.raised) = (now, true);
            }
            return None;
        }
        let above = self.rung.checked_sub(1)?;
        let enough = self.needs[above].least.max(held[above]) * SPARE;
        if carries < enough || now.duration_since(self.moved) < self.wait {
            return None;
        }
        self.raised = true;
        self.take(carries.min(enough), above);
        self.go(above, now)
    }

    /// So much of a rung, or the whole of it.
    fn take(&mut self, carries: f64, rung: usize) {
        self.carries = Some(carries).filter(|carries| *carries < self.needs[rung].most);
    }

    fn go(&mut self, rung: usize, now: Instant) -> Option<usize> {
        if rung == self.rung {
            return None;
        }
        self.rung = rung;
        (self.since, self.moved, self.asked) = (now, now, now);
        Some(rung)
    }
}

#[cfg(test)]
#[path = "climb_tests.rs"]
mod tests;
