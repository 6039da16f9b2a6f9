//! One after another: for what must not happen twice at the same time in a process, though different parts of it do it.
//!
//! In: what is to be done, and how long to wait for those before. Out: its result, or that their time was too long. Never:
//! two at once; one who came later before one who came earlier. It is not re-entrant: who is inside and asks again waits for himself.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lets through one at a time, in the order in which they came.
#[derive(Debug)]
pub struct Gate {
    line: Mutex<Line>,
    moved: Condvar,
}

#[derive(Debug)]
struct Line {
    occupied: bool,
    waiting: VecDeque<u64>,
    next: u64,
}

/// Somebody is inside; the next may enter when it is dropped, also by a panic.
struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.line().occupied = false;
        self.0.moved.notify_all();
    }
}

impl Gate {
    /// Nobody is inside.
    pub const fn new() -> Self {
        let line = Line { occupied: false, waiting: VecDeque::new(), next: 0 };
        Self { line: Mutex::new(line), moved: Condvar::new() }
    }

    /// Does it when those who came before are done. Blocks.
    pub fn pass<T>(&self, act: impl FnOnce() -> T) -> T {
        let (mut line, ticket) = self.queue();
        while line.must_wait(ticket) {
            line = self.moved.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        let _inside = self.enter(line);
        act()
    }

    /// The same, but gives up after `limit`; then nothing was done. Blocks.
    pub fn pass_within<T>(&self, limit: Duration, act: impl FnOnce() -> T) -> Option<T> {
        let (line, ticket) = self.queue();
        let waited = self.moved.wait_timeout_while(line, limit, |line| line.must_wait(ticket));
        let (mut line, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if line.must_wait(ticket) {
            line.waiting.retain(|other| *other != ticket);
            drop(line);
            // Who stood behind may be the first now.
            self.moved.notify_all();
            return None;
        }
        let _inside = self.enter(line);
        Some(act())
    }

    fn queue(&self) -> (MutexGuard<'_, Line>, u64) {
        let mut line = self.line();
        let ticket = line.next;
        line.next += 1;
        line.waiting.push_back(ticket);
        (line, ticket)
    }

    fn enter(&self, mut line: MutexGuard<'_, Line>) -> Inside<'_> {
        line.waiting.pop_front();
        line.occupied = true;
        Inside(self)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing that is done inside can leave the line half changed.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many stand before it.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.line().waiting.len()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    fn must_wait(&self, ticket: u64) -> bool {
        self.occupied || self.waiting.front() != Some(&ticket)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{JoinHandle, scope, sleep, spawn};
    use std::time::Instant;

    use super::*;

    /// Somebody who is inside until told to leave.
    pub fn occupied(gate: &'static Gate) -> (Sender<()>, JoinHandle<()>) {
        let (begun, begins) = channel();
        let (end, ends) = channel();
        let holder = spawn(move || {
            gate.pass(|| {
                begun.send(()).unwrap();
                ends.recv().unwrap();
            });
        });
        begins.recv().unwrap();
        (end, holder)
    }

    /// Waits until it is so, ten seconds at most.
    pub fn until(what: &str, so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !so() {
            assert!(Instant::now() < deadline, "not within ten seconds: {what}");
            sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn they_pass_in_the_order_in_which_they_came_and_never_two_at_once() {
        static GATE: Gate = Gate::new();
        let (end, holder) = occupied(&GATE);
        let order = Mutex::new(Vec::new());
        scope(|scope| {
            for number in 0..5 {
                let order = &order;
                scope.spawn(move || GATE.pass(|| order.lock().unwrap().push(number)));
                until("the next one waits", || GATE.waiting() == number + 1);
            }
            assert!(order.lock().unwrap().is_empty(), "one passed beside who was inside");
            end.send(()).unwrap();
        });
        holder.join().unwrap();
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn who_gives_up_does_nothing_and_stands_in_nobodys_way() {
        static GATE: Gate = Gate::new();
        let (end, holder) = occupied(&GATE);
        scope(|scope| {
            let patient = scope.spawn(|| {
                until("one waits before", || GATE.waiting() == 1);
                GATE.pass(|| "passed")
            });
            assert_eq!(GATE.pass_within(Duration::from_secs(2), || unreachable!()), None::<()>);
            until("the patient one waits", || GATE.waiting() == 1);
            end.send(()).unwrap();
            assert_eq!(patient.join().unwrap(), "passed");
        });
        holder.join().unwrap();
        assert_eq!(GATE.pass_within(Duration::ZERO, || "free"), Some("free"));
    }

    #[test]
    fn a_panic_inside_leaves_it_open() {
        let gate = Gate::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| gate.pass(|| panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(gate.pass_within(Duration::ZERO, || "free"), Some("free"));
    }
}
