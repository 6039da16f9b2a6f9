//! The talk lock: one talker at a time, who asks next waits in line, an owner can take the turn over.
//!
//! In: what peers ask for and do, and the time at which they do it. Out: [`Effect`]s to carry out, in their order,
//! and each peer's own [`TalkState`].
//! Never: reads the clock, touches media, decides who may talk; callers have checked that before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::api::{TalkState, Turn};

/// Who has the turn, who waits for it, whose media is there.
///
/// A turn is granted, then *started* as soon as the peer produces media, and ends by release, by the peer's
/// leaving, by its media's end, by an owner or by a deadline. Memory is bounded by the number of peers that are here.
#[derive(Debug)]
pub struct TalkLock {
    limit: Option<Duration>,
    claim: Duration,
    /// Empty only while nobody waits.
    holder: Option<Holder>,
    line: VecDeque<Waiter>,
    producing: BTreeSet<String>,
    revoked: BTreeMap<String, &'static str>,
    /// Counts changes.
    version: u32,
}

/// Who has the turn, and who waits for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    /// Has the turn, started or not.
    pub holder: Option<String>,
    /// Wait for it, the next one first.
    pub line: Vec<String>,
}

/// Something for the device to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The peer has the turn and produces: take its media now.
    Start {
        /// Signalling peer id.
        peer: String,
    },
    /// Let go of the peer's media. Comes exactly once after each `Start`, before the next one.
    Stop {
        /// Signalling peer id.
        peer: String,
        /// A sentence for the peer, if it did not end the turn itself.
        reason: Option<&'static str>,
    },
    /// States differ from before: tell everybody.
    Changed,
}

#[derive(Debug)]
struct Holder {
    peer: String,
    started: bool,
    /// When the turn ends by itself: the claim deadline before the start, the limit after it.
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    peer: String,
    /// Asked in words; if not, its place stands and falls with its media.
    asked: bool,
}

impl TalkLock {
    /// A free lock.
    ///
    /// A started turn ends after `limit`, if there is one; a granted turn that is not taken up by producing
    /// media ends after `claim`.
    pub fn new(limit: Option<Duration>, claim: Duration) -> Self {
        Self {
            limit,
            claim,
            holder: None,
            line: VecDeque::new(),
            producing: BTreeSet::new(),
            revoked: BTreeMap::new(),
            version: 0,
        }
    }

    /// The peer wants to talk. Asking again changes nothing.
    ///
    /// With `take` it gets the turn at once, whoever has it; the caller has checked that the peer may do so.
    #[must_use]
    pub fn ask(&mut self, peer: &str, take: bool, now: Instant) -> Vec<Effect> {
        let mut changed = self.revoked.remove(peer).is_some();
        let mut effects = Vec::new();
        if self.holder() != Some(peer) {
            let waits = self.line.iter().position(|waiter| waiter.peer == peer);
            if take || self.holder.is_none() {
                if let Some(place) = waits {
                    self.line.remove(place);
                }
                self.end(Some(TAKEN), &mut effects);
                self.grant(peer.to_owned(), now, &mut effects);
                changed = true;
            } else if let Some(place) = waits {
                self.line[place].asked = true;
            } else {
                self.line.push_back(Waiter { peer: peer.to_owned(), asked: true });
                changed = true;
            }
        }
        self.finish(effects, changed)
    }

    /// The peer has registered its media. If it had not asked for the turn, this asks for it, since stock pages
    /// know no other way.
    #[must_use]
    pub fn producing(&mut self, peer: &str, now: Instant) -> Vec<Effect> {
        self.producing.insert(peer.to_owned());
        let mut effects = Vec::new();
        let mut changed = false;
        if self.holder() == Some(peer) {
            self.start(now, &mut effects);
        } else if self.holder.is_none() {
            self.revoked.remove(peer);
            self.grant(peer.to_owned(), now, &mut effects);
            changed = true;
        } else if !self.line.iter().any(|waiter| waiter.peer == peer) {
            self.revoked.remove(peer);
            self.line.push_back(Waiter { peer: peer.to_owned(), asked: false });
            changed = true;
        }
        self.finish(effects, changed)
    }

    /// The peer's media is gone, the peer is not: ends a started turn, and a place in the line that only the media had
    /// asked for. A granted turn that waits for its media is kept, since old media may end after the next turn was asked for.
    #[must_use]
    pub fn stopped(&mut self, peer: &str, now: Instant) -> Vec<Effect> {
        self.producing.remove(peer);
        let mut effects = Vec::new();
        let before = self.line.len();
        self.line.retain(|waiter| waiter.asked || waiter.peer != peer);
        let mut changed = self.line.len() != before;
        if self.holder.as_ref().is_some_and(|holder| holder.started && holder.peer == peer) {
            self.end(None, &mut effects);
            self.next(now, &mut effects);
            changed = true;
        }
        self.finish(effects, changed)
    }

    /// The peer gives its turn, or its place in the line, back. Media it has registered does not count any more.
    #[must_use]
    pub fn release(&mut self, peer: &str, now: Instant) -> Vec<Effect> {
        self.producing.remove(peer);
        let mut effects = Vec::new();
        let before = self.line.len();
        self.line.retain(|waiter| waiter.peer != peer);
        let mut changed = self.line.len() != before;
        if self.holder() == Some(peer) {
            self.end(None, &mut effects);
            self.next(now, &mut effects);
            changed = true;
        }
        self.finish(effects, changed)
    }

    /// Nothing comes from the holder: if somebody waits, he gets the turn.
    #[must_use]
    pub fn silent(&mut self, peer: &str, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let given_on = self.holder() == Some(peer) && !self.line.is_empty();
        if given_on {
            self.end(Some(SILENT), &mut effects);
            self.next(now, &mut effects);
        }
        self.finish(effects, given_on)
    }

    /// The peer has left; nothing of it is kept.
    #[must_use]
    pub fn gone(&mut self, peer: &str, now: Instant) -> Vec<Effect> {
        let effects = self.release(peer, now);
        self.revoked.remove(peer);
        effects
    }

    /// Ends what has reached its deadline. Call it at [`next_deadline`](Self::next_deadline) or whenever.
    #[must_use]
    pub fn tick(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut changed = false;
        while let Some(holder) = &self.holder
            && holder.deadline.is_some_and(|deadline| deadline <= now)
        {
            let reason = if holder.started { LIMIT } else { UNCLAIMED };
            self.end(Some(reason), &mut effects);
            self.next(now, &mut effects);
            changed = true;
        }
        self.finish(effects, changed)
    }

    /// When [`tick`](Self::tick) will have something to do; `None` while no deadline runs.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.holder.as_ref().and_then(|holder| holder.deadline)
    }

    /// The peer that has the turn, started or not.
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_ref().map(|holder| holder.peer.as_str())
    }

    /// Who has the turn, and who waits for it.
    pub fn turns(&self) -> Turns {
        Turns {
            holder: self.holder().map(str::to_owned),
            line: self.line.iter().map(|waiter| waiter.peer.clone()).collect(),
        }
    }

    /// The lock as `peer` sees it; a peer never heard of is idle.
    pub fn state_of(&self, peer: &str) -> TalkState {
        let holder = self.holder();
        let place = self.line.iter().position(|waiter| waiter.peer == peer).map_or(0, |before| before + 1);
        let you = if holder == Some(peer) {
            Turn::Talking
        } else if place > 0 {
            Turn::Waiting
        } else {
            Turn::Idle
        };
        TalkState {
            you,
            busy: holder.is_some_and(|holder| holder != peer),
            place: u32::try_from(place).unwrap_or(u32::MAX),
            waiting: u32::try_from(self.line.len()).unwrap_or(u32::MAX),
            version: self.version,
            revoked_by: self.revoked.get(peer).map(|reason| (*reason).to_owned()),
        }
    }

    fn grant(&mut self, peer: String, now: Instant, effects: &mut Vec<Effect>) {
        let produces = self.producing.contains(&peer);
        self.holder = Some(Holder { peer, started: false, deadline: now.checked_add(self.claim) });
        if produces {
            self.start(now, effects);
        }
    }

    fn start(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let limit = self.limit;
        if let Some(holder) = self.holder.as_mut().filter(|holder| !holder.started) {
            holder.started = true;
            holder.deadline = limit.and_then(|limit| now.checked_add(limit));
            effects.push(Effect::Start { peer: holder.peer.clone() });
        }
    }

    /// Takes the turn from its holder, if there is one, and leaves the lock without one.
    fn end(&mut self, reason: Option<&'static str>, effects: &mut Vec<Effect>) {
        let Some(holder) = self.holder.take() else { return };
        // The next turn needs media registered anew: pages close theirs when a turn ends, sooner or later.
        self.producing.remove(&holder.peer);
        if let Some(reason) = reason {
            self.revoked.insert(holder.peer.clone(), reason);
        }
        if holder.started {
            effects.push(Effect::Stop { peer: holder.peer, reason });
        }
    }

    fn next(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if let Some(waiter) = self.line.pop_front() {
            self.grant(waiter.peer, now, effects);
        }
    }

    fn finish(&mut self, mut effects: Vec<Effect>, changed: bool) -> Vec<Effect> {
        if changed {
            self.version = self.version.wrapping_add(1);
            effects.push(Effect::Changed);
        }
        effects
    }
}

const TAKEN: &str = "The owner of the device has taken over.";
const LIMIT: &str = "Your turn has reached its time limit.";
const SILENT: &str = "Your turn was given on because nothing came from you for a while, and somebody waited.";
const UNCLAIMED: &str = "Your turn was given on because no sound or picture came from you in time.";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const CLAIM: Duration = Duration::from_secs(10);
    const LIMIT_TIME: Duration = Duration::from_secs(60);

    fn start(peer: &str) -> Effect {
        Effect::Start { peer: peer.to_owned() }
    }

    fn stop(peer: &str, reason: Option<&'static str>) -> Effect {
        Effect::Stop { peer: peer.to_owned(), reason }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_turn_from_asking_to_giving_it_back() {
        let now = Instant::now();
        let mut lock = TalkLock::new(None, CLAIM);
        assert_eq!(lock.ask("a", false, now), [Effect::Changed]);
        assert_eq!(lock.holder(), Some("a"));
        assert_eq!(
            lock.state_of("a"),
            TalkState {
                you: Turn::Talking,
                busy: false,
                place: 0,
                waiting: 0,
                version: lock.version,
                revoked_by: None
            }
        );
        assert_eq!(
            lock.state_of("b"),
            TalkState { you: Turn::Idle, busy: true, place: 0, waiting: 0, version: lock.version, revoked_by: None }
        );
        assert_eq!(lock.producing("a", now), [start("a")]);
        assert_eq!(lock.next_deadline(), None);
        assert_eq!(lock.ask("a", false, now), []);
        assert_eq!(lock.ask("a", true, now), []);
        assert_eq!(lock.producing("a", now), []);
        assert_eq!(lock.release("a", now), [stop("a", None), Effect::Changed]);
        assert_eq!(lock.release("a", now), []);
        assert_eq!(
            lock.state_of("a"),
            TalkState { you: Turn::Idle, busy: false, place: 0, waiting: 0, version: lock.version, revoked_by: None }
        );
    }

    #[test]
    fn a_silent_holder_keeps_the_turn_until_somebody_waits() {
        let now = Instant::now();
        let mut lock = TalkLock::new(None, CLAIM);
        assert_eq!(lock.producing("a", now), [start("a"), Effect::Changed]);
        assert_eq!(lock.silent("a", now), []);
        assert_eq!(lock.silent("b", now), []);
        assert_eq!(lock.ask("b", false, now), [Effect::Changed]);
        assert_eq!(lock.silent("b", now), []);
        assert_eq!(lock.silent("a", now), [stop("a", Some(SILENT)), Effect::Changed]);
        assert_eq!((lock.holder(), lock.turns().line.len()), (Some("b"), 0));
        assert_eq!(lock.state_of("a").revoked_by.as_deref(), Some(SILENT));
    }

    #[test]
    fn a_stock_page_asks_by_producing() {
        let now = Instant::now();
        let mut lock = TalkLock::new(None, CLAIM);
        assert_eq!(lock.producing("a", now), [start("a"), Effect::Changed]);
        assert_eq!(lock.producing("b", now), [Effect::Changed]);
        assert_eq!(lock.producing("c", now), [Effect::Changed]);
        assert_eq!(
            lock.state_of("c"),
            TalkState { you: Turn::Waiting, busy: true, place: 2, waiting: 2, version: lock.version, revoked_by: None }
        );
        assert_eq!(lock.stopped("b", now), [Effect::Changed]);
        assert_eq!(lock.stopped("a", now), [stop("a", None), start("c"), Effect::Changed]);
    }

    #[test]
    fn media_that_ends_after_the_next_turn_was_asked_for_does_not_end_it() {
        let now = Instant::now();
        let mut lock = TalkLock::new(None, CLAIM);
        drop(lock.ask("a", false, now));
        drop(lock.producing("a", now));
        drop(lock.release("a", now));
        drop(lock.ask("a", false, now));
        assert_eq!(lock.stopped("a", now), []);
        assert_eq!(lock.producing("a", now), [start("a")]);
        // In the line a place that was asked for stays as well.
        drop(lock.ask("b", false, now));
        drop(lock.producing("b", now));
        assert_eq!(lock.stopped("b", now), []);
        // Also where the media was there before the words.
        drop(lock.producing("c", now));
        drop(lock.ask("c", false, now));
        assert_eq!(lock.stopped("c", now), []);
        assert_eq!(lock.release("a", now), [stop("a", None), Effect::Changed]);
        assert_eq!(lock.holder(), Some("b"));
    }

    #[test]
    fn the_owner_takes_over_and_the_other_is_told_until_it_asks_again() {
        let now = Instant::now();
        let mut lock = TalkLock::new(None, CLAIM);
        drop(lock.producing("a", now));
        drop(lock.ask("b", false, now));
        drop(lock.ask("owner", false, now));
        assert_eq!(lock.ask("owner", true, now), [stop("a", Some(TAKEN)), Effect::Changed]);
        assert_eq!(lock.holder(), Some("owner"));
        let state = TalkState {
            you: Turn::Idle,
            busy: true,
            place: 0,
            waiting: 1,
            version: lock.version,
            revoked_by: Some(TAKEN.to_owned()),
        };
        assert_eq!(lock.state_of("a"), state);
        // The page gives back what it no longer has; the sentence stays readable.
        assert_eq!(lock.release("a", now), []);
        assert_eq!(lock.state_of("a"), state);
        assert_eq!(lock.ask("a", false, now), [Effect::Changed]);
        assert_eq!(lock.state_of("a").revoked_by, None);
        // The line kept its order.
        assert_eq!(lock.release("owner", now), [Effect::Changed]);
        assert_eq!(lock.holder(), Some("b"));
    }

    #[test]
    fn media_of_a_turn_that_was_ended_does_not_start_the_next_one() {
        let now = Instant::now();
        let mut lock = TalkLock::new(None, CLAIM);
        drop(lock.producing("a", now));
        drop(lock.ask("owner", true, now));
        // The old media is about to be closed, so the new turn waits for new media.
        drop(lock.ask("a", false, now));
        assert_eq!(lock.release("owner", now), [Effect::Changed]);
        assert_eq!(lock.holder(), Some("a"));
        assert_eq!(lock.stopped("a", now), []);
        assert_eq!(lock.producing("a", now), [start("a")]);
    }

    #[test]
    fn a_granted_turn_that_is_not_taken_up_is_given_on() {
        let now = Instant::now();
        let mut lock = TalkLock::new(Some(LIMIT_TIME), CLAIM);
        drop(lock.ask("a", false, now));
        drop(lock.ask("b", false, now));
        assert_eq!(lock.next_deadline(), Some(now + CLAIM));
        assert_eq!(lock.tick(now + CLAIM - Duration::from_millis(1)), []);
        assert_eq!(lock.tick(now + CLAIM), [Effect::Changed]);
        assert_eq!(lock.state_of("a").revoked_by.as_deref(), Some(UNCLAIMED));
        assert_eq!(lock.holder(), Some("b"));
        assert_eq!(lock.next_deadline(), Some(now + CLAIM + CLAIM));
    }

    #[test]
    fn a_turn_ends_at_its_limit_counted_from_the_start() {
        let now = Instant::now();
        let mut lock = TalkLock::new(Some(LIMIT_TIME), CLAIM);
        drop(lock.ask("a", false, now));
        drop(lock.producing("a", now + seconds(5)));
        drop(lock.producing("b", now + seconds(6)));
        // Registering again does not lengthen the turn.
        drop(lock.producing("a", now + seconds(30)));
        assert_eq!(lock.next_deadline(), Some(now + seconds(65)));
        assert_eq!(lock.tick(now + seconds(64)), []);
        assert_eq!(lock.tick(now + seconds(65)), [stop("a", Some(LIMIT)), start("b"), Effect::Changed]);
        assert_eq!(lock.state_of("a").revoked_by.as_deref(), Some(LIMIT));
    }

    #[test]
    fn limits_beyond_the_clock_are_no_limits() {
        let mut lock = TalkLock::new(Some(Duration::MAX), Duration::MAX);
        drop(lock.ask("a", false, Instant::now()));
        assert_eq!(lock.next_deadline(), None);
    }

    /// A small generator (xorshift), so that a failing run can be repeated by its seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }
    }

    /// Checks effects and states after every step of long random runs.
    #[test]
    fn what_must_hold_holds_in_random_runs() {
        const PEERS: [&str; 5] = ["a", "b", "c", "d", "e"];
        for seed in 1..=400_u64 {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let limit = (seed % 2 == 0).then_some(LIMIT_TIME);
            let mut lock = TalkLock::new(limit, CLAIM);
            let mut now = Instant::now();
            let mut running: Option<String> = None;
            // Who waits, in the order in which they came, kept independently of the lock.
            let mut line: Vec<&str> = Vec::new();
            for step in 0..300 {
                let place = format!("seed {seed}, step {step}");
                let peer = PEERS[random.below(5) as usize];
                let before: Vec<TalkState> = PEERS.iter().map(|peer| lock.state_of(peer)).collect();
                let holder_before = lock.holder().map(str::to_owned);
                let action = random.below(16);
                let effects = match action {
                    0..=3 => lock.ask(peer, false, now),
                    4 => lock.ask(peer, true, now),
                    5..=8 => lock.producing(peer, now),
                    9 => lock.stopped(peer, now),
                    10..=11 => lock.release(peer, now),
                    12 => lock.gone(peer, now),
                    _ => {
                        now += seconds(random.below(9));
                        lock.tick(now)
                    }
                };

                for effect in &effects {
                    match effect {
                        Effect::Start { peer } => {
                            assert_eq!(running, None, "{place}: started while another one runs");
                            assert_eq!(lock.holder(), Some(peer.as_str()), "{place}");
                            running = Some(peer.clone());
                        }
                        Effect::Stop { peer, .. } => assert_eq!(running.take().as_ref(), Some(peer), "{place}"),
                        Effect::Changed => {}
                    }
                }
                if let Some(running) = &running {
                    assert_eq!(lock.holder(), Some(running.as_str()), "{place}: media without the turn");
                }

                let states: Vec<TalkState> = PEERS.iter().map(|peer| lock.state_of(peer)).collect();
                let count = |turn| states.iter().filter(|state| state.you == turn).count();
                assert!(count(Turn::Talking) <= 1, "{place}: two talk");
                assert_eq!(count(Turn::Talking) == 0, lock.holder().is_none(), "{place}");
                assert!(lock.holder().is_some() || count(Turn::Waiting) == 0, "{place}: free, and somebody waits");
                assert!(states.iter().all(|state| state.waiting as usize == count(Turn::Waiting)), "{place}");
                let told = effects.iter().filter(|effect| **effect == Effect::Changed).count();
                // Nobody is left to be told that the reason kept for a peer goes with the peer.
                if action != 12 || told > 0 {
                    assert_eq!(told, usize::from(states != before), "{place}: {effects:?}");
                }

                // First come, first served: whoever was granted the turn without taking it stood first.
                let waits = |peer: &str| lock.state_of(peer).you == Turn::Waiting;
                let granted = lock.holder().filter(|holder| holder_before.as_deref() != Some(holder));
                let took = action == 4 && granted == Some(peer);
                if let Some(granted) = granted.filter(|granted| !took && line.contains(granted)) {
                    let first = line.iter().find(|waiter| **waiter == granted || waits(waiter));
                    assert_eq!(first, Some(&granted), "{place}: the line was jumped");
                }
                line.retain(|waiter| waits(waiter));
                line.extend(PEERS.iter().filter(|peer| waits(peer) && !line.contains(peer)).collect::<Vec<_>>());

                if action == 12 {
                    let fresh = TalkState { you: Turn::Idle, revoked_by: None, ..lock.state_of(peer) };
                    assert_eq!(lock.state_of(peer), fresh, "{place}");
                    assert!(!format!("{lock:?}").contains(&format!("{peer:?}")), "{place}: a trace of {peer} stays");
                }
                assert!(lock.next_deadline().is_none() || lock.holder().is_some(), "{place}");
                if holder_before.is_some() && action > 12 {
                    assert!(lock.next_deadline().is_none_or(|deadline| deadline > now), "{place}: late");
                }
            }
            for peer in PEERS {
                drop(lock.gone(peer, now));
            }
            assert_eq!(lock.holder(), None);
            assert!(lock.line.is_empty() && lock.producing.is_empty() && lock.revoked.is_empty());
        }
    }
}
