//! How long publishing waits before it tries again.
//!
//! In: how long the last try lasted. Out: the wait. Never: the clock.

use std::time::Duration;

/// Doubles with each failure.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The wait after a publication in which media went for so long.
    pub fn next(&mut self, lasted: Duration) -> Duration {
        if lasted >= STEADY {
            self.0 = FIRST;
        }
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST);
        wait
    }
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// After so long it was no try any more: the next failure is a first one.
const STEADY: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_minute_and_begins_anew_after_one_that_held() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.next(Duration::ZERO).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        // A server that takes each offer and drops it is not asked every second.
        assert_eq!(backoff.next(STEADY - Duration::from_millis(1)).as_secs(), 60);
        assert_eq!(backoff.next(STEADY).as_secs(), 1);
        assert_eq!(backoff.next(Duration::ZERO).as_secs(), 2);
    }
}
