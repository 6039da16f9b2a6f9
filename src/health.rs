//! Whether the service does what it is there for.
//!
//! In: signs of life of the desk, of signalling and of the encoder. Out: a [`Verdict`] with a sentence for each thing
//! that is wrong. Never: the clock (times come in); who watches, or anything else that is somebody's business: the
//! verdict may be read by everybody.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::metrics::Pulse;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signs {
    /// The desk's task answered within [`PATIENCE`].
    pub desk: bool,
    /// The device is registered with signalling: it can be called.
    pub registered: bool,
    /// The outgoing picture.
    pub pulse: Pulse,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What is wrong, a sentence each; empty: nothing.
    pub problems: Vec<&'static str>,
}

impl Verdict {
    /// Nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Looks anew at each call.
pub type Check = Arc<dyn Fn() -> BoxFuture<'static, Verdict> + Send + Sync>;

/// While somebody watches, a picture leaves the encoder at least this often. A source may take ten seconds to open
/// before a card stands in for it.
pub const STALL: Duration = Duration::from_secs(15);
/// The desk answers within this.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Judges the signs.
pub fn judge(signs: &Signs) -> Verdict {
    let mut problems = Vec::new();
    if !signs.desk {
        problems.push("The desk does not answer.");
    }
    if !signs.registered {
        problems.push("The device is not registered with its signalling and cannot be called.");
    }
    let Pulse { viewers, watched, frame_age } = signs.pulse;
    // The last picture may be of an earlier viewer: the present one has waited since he came.
    let waited = frame_age.map_or(watched, |age| age.min(watched));
    if viewers > 0 && waited > STALL {
        problems.push("The encoder gives no pictures.");
    }
    Verdict { problems }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(viewers: usize, watched: u64, frame_age: Option<u64>) -> Signs {
        let pulse =
            Pulse { viewers, watched: Duration::from_secs(watched), frame_age: frame_age.map(Duration::from_secs) };
        Signs { desk: true, registered: true, pulse }
    }

    #[test]
    fn pictures_count_only_while_somebody_watches() {
        let stall = STALL.as_secs();
        for (viewers, watched, frame_age, good) in [
            (0, 0, None, true),
            (0, 0, Some(86_400), true),
            (1, 3600, Some(0), true),
            (1, 3600, Some(stall + 1), false),
            // Just come: the last picture was an earlier viewer's.
            (1, 2, Some(86_400), true),
            (1, stall + 1, Some(86_400), false),
            (1, stall + 1, None, false),
            (2, stall, None, true),
        ] {
            let verdict = judge(&signs(viewers, watched, frame_age));
            assert_eq!(verdict.is_good(), good, "{viewers} {watched} {frame_age:?}: {verdict:?}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said() {
        let verdict = judge(&Signs { desk: false, registered: false, ..signs(1, 60, None) });
        assert_eq!(verdict.problems.len(), 3);
        assert!(verdict.problems.iter().all(|sentence| sentence.ends_with('.')));
        assert!(judge(&signs(0, 0, None)).is_good());
    }
}
