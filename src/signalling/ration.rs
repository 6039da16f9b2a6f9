//! Limits on how often something may happen.
//!
//! In: events and the time. Out: whether each is within its budget.
//! Never: waiting; it only answers.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A token bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    capacity: f64,
    per_second: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket: `capacity` events at once, `per_second` more each second.
    pub fn new(capacity: u32, per_second: f64, now: Instant) -> Self {
        let capacity = f64::from(capacity);
        Self { capacity, per_second, level: capacity, at: now }
    }

    /// Takes one token; `false` when there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + elapsed * self.per_second).min(self.capacity);
        self.at = now;
        let granted = self.level >= 1.0;
        if granted {
            self.level -= 1.0;
        }
        granted
    }
}

/// Keeps a flood of events out of the log: ten lines at once, then one a second, with the number left out.
#[derive(Debug)]
pub struct LogRation {
    state: Mutex<(Bucket, u64)>,
}

impl LogRation {
    /// A ration that has its whole burst left.
    pub fn new() -> Self {
        Self { state: Mutex::new((Bucket::new(10, 1.0, Instant::now()), 0)) }
    }

    /// `Some(n)`: log this one, and say that `n` before it were left out. `None`: leave it out.
    pub fn pass(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.take(Instant::now()) {
            Some(std::mem::take(&mut state.1))
        } else {
            state.1 += 1;
            None
        }
    }
}

impl Default for LogRation {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, 2.0, start);
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..5).filter(|_| bucket.take(later)).count(), 2);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!((0..9).filter(|_| bucket.take(much_later)).count(), 3);
    }

    #[test]
    fn time_that_runs_backwards_gives_nothing() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::new(1, 1.0, start);
        assert!(bucket.take(start));
        assert!(!bucket.take(start - Duration::from_secs(5)));
    }

    #[test]
    fn the_log_ration_counts_what_it_left_out() {
        let ration = LogRation::new();
        let passed = (0..100).filter_map(|_| ration.pass()).count();
        assert!((10..20).contains(&passed), "{passed} lines passed");
        std::thread::sleep(Duration::from_millis(1100));
        assert!(ration.pass().is_some_and(|left_out| left_out > 80));
    }
}
