//! The last lines of the log, kept in memory for the owner's panel.
//!
//! In: every event of the log, through a layer of `tracing`. Out: the last [`KEPT`] lines, and a sign when there are
//! more. Never: a file; more than [`LONGEST`] characters of a line; a line that the log itself does not have.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines that are kept.
pub const KEPT: usize = 500;
/// Characters of a line that are kept.
pub const LONGEST: usize = 600;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counts the lines since the start, from 1.
    pub number: u64,
    /// Milliseconds since 1970, by the device's clock.
    pub time: u64,
    /// How grave it is.
    pub level: Level,
    /// The part of the program that wrote it.
    pub part: String,
    /// The message, then its fields as `name=value`.
    pub text: String,
}

/// A handle to the lines; cheap to clone.
#[derive(Clone)]
pub struct LogTail(Arc<Inner>);

struct Inner {
    lines: Mutex<VecDeque<Line>>,
    /// Number of the newest line.
    newest: watch::Sender<u64>,
}

impl LogTail {
    /// No lines yet.
    pub fn new() -> Self {
        Self(Arc::new(Inner { lines: Mutex::default(), newest: watch::Sender::new(0) }))
    }

    /// Lines with a number above `after`, the newest `most` of them, oldest first.
    pub fn lines(&self, after: u64, most: usize) -> Vec<Line> {
        let lines = self.lock();
        let newer: Vec<&Line> = lines.iter().filter(|line| line.number > after).collect();
        newer.iter().skip(newer.len().saturating_sub(most)).map(|line| (*line).clone()).collect()
    }

    /// Tells the number of the newest line whenever there are more.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }

    fn add(&self, level: Level, part: &str, text: String) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut lines = self.lock();
        let number = lines.back().map_or(0, |line| line.number) + 1;
        if lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back(Line { number, time, level, part: part.to_owned(), text });
        drop(lines);
        self.0.newest.send_replace(number);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for LogTail {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogTail").field("lines", &self.lock().len()).finish()
    }
}

impl<S: Subscriber> Layer<S> for LogTail {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let target = event.metadata().target();
        let part = target.strip_prefix("duplex::").unwrap_or(target);
        self.add(*event.metadata().level(), part, words.line());
    }
}

/// Message and fields of one event.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Words {
    /// One line, whatever control characters were in it, and not too long.
    fn line(self) -> String {
        let text = self.message + &self.fields;
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        let mut line: String = text.trim_start().chars().take(LONGEST).map(plain).collect();
        if text.chars().nth(LONGEST).is_some() {
            line.push('…');
        }
        line
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.record_debug(field, &format_args!("{value}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        if field.name() == "message" {
            write!(self.message, "{value:?}").ok();
        } else {
            write!(self.fields, " {}={value:?}", field.name()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn lines_are_kept_in_order_and_bounded() {
        let tail = LogTail::new();
        let newest = tail.follow();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(tail.clone()), || {
            for count in 0..KEPT + 20 {
                tracing::info!(count, peer = "abc", "viewer joins");
            }
            tracing::warn!("{}", "x\n".repeat(LONGEST));
        });
        let all = tail.lines(0, usize::MAX);
        assert_eq!(all.len(), KEPT);
        assert_eq!(*newest.borrow(), (KEPT + 21) as u64);
        let last = &all[KEPT - 1];
        assert_eq!((last.level, last.number), (Level::WARN, (KEPT + 21) as u64));
        assert!(last.text.chars().count() == LONGEST + 1 && !last.text.contains('\n'));
        let before = &all[KEPT - 2];
        assert_eq!(before.text, format!("viewer joins count={} peer=abc", KEPT + 19));
        assert_eq!(before.part, "log_tail::tests");
        assert_eq!(tail.lines(last.number - 1, 10), std::slice::from_ref(last));
        assert_eq!(tail.lines(0, 2).first(), Some(before));
        assert!(tail.lines(last.number, 10).is_empty());
    }
}
