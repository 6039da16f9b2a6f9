//! Who wants capture to run besides viewers: a recording, a snapshot.
//!
//! In: purposes that begin and end. Out: whether there is any. Never: a decision when capture stops.

use std::collections::BTreeMap;
use std::fmt;

/// What capture is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A recording.
    Recording,
    /// A snapshot.
    Snapshot,
}

/// Keeps capture running while it lives.
pub struct Hold(Option<Box<dyn FnOnce() + Send>>);

impl Hold {
    pub(super) fn new(release: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(release)))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

/// The purposes that there are, each counted.
#[derive(Debug, Default)]
pub(super) struct Holders(BTreeMap<Purpose, usize>);

impl Holders {
    pub fn add(&mut self, purpose: Purpose) {
        *self.0.entry(purpose).or_default() += 1;
    }

    pub fn remove(&mut self, purpose: Purpose) {
        if let Some(count) = self.0.get_mut(&purpose) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&purpose);
            }
        }
    }

    pub fn has(&self, purpose: Purpose) -> bool {
        self.0.contains_key(&purpose)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capture_is_wanted_until_the_last_lets_go() {
        let mut holders = Holders::default();
        assert!(holders.is_empty());
        for purpose in [Purpose::Recording, Purpose::Snapshot, Purpose::Snapshot] {
            holders.add(purpose);
        }
        holders.remove(Purpose::Snapshot);
        holders.remove(Purpose::Recording);
        assert!(!holders.is_empty() && holders.has(Purpose::Snapshot) && !holders.has(Purpose::Recording));
        holders.remove(Purpose::Snapshot);
        assert!(holders.is_empty());
        holders.remove(Purpose::Snapshot);
        assert!(holders.is_empty());
    }

    #[test]
    fn a_hold_lets_go_once() {
        let (sender, receiver) = std::sync::mpsc::channel();
        drop(Hold::new(move || sender.send(()).unwrap()));
        assert_eq!(receiver.iter().count(), 1);
    }
}
