//! Who talks in a recording: all who have the turn while it runs.
//!
//! In: turns, as they begin and end. Out: for each file those who are in it, in short. Never: a whole peer id, which lets
//! nobody in but need not stand in files that are handed on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most that a file names: they stand in its head, which has one length.
pub const MOST: usize = 64;

/// What is told by those who know of turns to the thread that writes.
#[derive(Debug, Clone)]
pub struct Talkers(Arc<Mutex<Turns>>);

#[derive(Debug)]
struct Turns {
    now: Option<String>,
    /// Those who came since it was last asked.
    come: Vec<String>,
}

impl Talkers {
    /// A recording begins while this peer has the turn, or nobody.
    pub fn new(now: Option<&str>) -> Self {
        Self(Arc::new(Mutex::new(Turns { now: now.map(short), come: Vec::new() })))
    }

    /// This peer has the turn from now on, or nobody.
    pub fn turn(&self, peer: Option<&str>) {
        let mut turns = self.turns();
        turns.now = peer.map(short);
        if let Some(now) = turns.now.clone() {
            add(&mut turns.come, [now]);
        }
    }

    /// Those with whom a file begins: who has the turn, and whoever came since it was last asked.
    pub fn begin(&self) -> Vec<String> {
        let mut turns = self.turns();
        let mut first: Vec<String> = turns.now.iter().filter(|now| !turns.come.contains(now)).cloned().collect();
        add(&mut first, turns.come.drain(..));
        first
    }

    /// Those who came since it was last asked.
    pub fn come(&self) -> Vec<String> {
        std::mem::take(&mut self.turns().come)
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds those who are not among them yet, up to [`MOST`]. Returns whether there were any.
pub fn add(known: &mut Vec<String>, more: impl IntoIterator<Item = String>) -> bool {
    let before = known.len();
    for talker in more {
        if known.len() < MOST && !known.contains(&talker) {
            known.push(talker);
        }
    }
    known.len() > before
}

/// A peer as files name it: the first letters and digits of its id.
pub fn short(peer: &str) -> String {
    peer.chars().filter(char::is_ascii_alphanumeric).take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_names_those_who_have_the_turn_in_it() {
        let talkers = Talkers::new(Some("766f68f7-05c2-4d5d"));
        assert_eq!(talkers.begin(), ["766f68f7"]);
        talkers.turn(None);
        talkers.turn(Some("0123-456789"));
        talkers.turn(Some("766f68f7-05c2-4d5d"));
        assert_eq!(talkers.come(), ["01234567", "766f68f7"]);
        assert!(talkers.come().is_empty());
        // The next file begins with who has the turn then, and with a turn too short to have been asked about.
        talkers.turn(Some("aaaa"));
        talkers.turn(Some("bbbb"));
        assert_eq!(talkers.begin(), ["aaaa", "bbbb"]);
        assert_eq!(talkers.begin(), ["bbbb"]);
        talkers.turn(None);
        assert!(talkers.begin().is_empty());
    }

    #[test]
    fn nobody_is_named_twice_and_no_more_than_there_is_room_for() {
        let mut known = Vec::new();
        assert!(add(&mut known, ["a".to_owned(), "b".to_owned(), "a".to_owned()]));
        assert!(!add(&mut known, ["b".to_owned()]));
        assert_eq!(known, ["a", "b"]);
        add(&mut known, (0..200).map(|number| number.to_string()));
        assert_eq!(known.len(), MOST);
    }
}
