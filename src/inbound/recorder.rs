//! Records a talker alone into files of his own, as they came.
//!
//! In: the talker's Opus and VP8. Out: `TIME_PEER.mkv` in a folder, see [`crate::recording::writer`]. Never: the device's
//! side of the call (see [`crate::recording`] for both).
//!
//! ```text
//! tee (Opus) ─┬─> speaker, overlay ...
//! tee (VP8) ──┴─> tap ═> writer (a thread) ─> file
//! ```

use std::time::Duration;

use gst::prelude::*;

use crate::recording::layout::Kind;
use crate::recording::packet::Lane;
use crate::recording::roll::Roll;
use crate::recording::shelf::Shelf;
use crate::recording::tap::Tap;

/// Starts to record what comes into the tees.
///
/// # Errors
/// A sentence: the folder cannot be used.
pub async fn recorder(sound: &gst::Element, picture: &gst::Element, shelf: Shelf, peer: &str) -> Result<Roll, String> {
    let prepared = shelf.clone();
    let prepare = move || {
        let cannot = |error| format!("cannot make the folder {} for recordings: {error}", prepared.folder.display());
        prepared.prepare().map_err(cannot)
    };
    tokio::task::spawn_blocking(prepare).await.map_err(|error| error.to_string())??;
    let tap = Tap::default();
    listen(&tap, Lane::TalkerSound, sound, Duration::ZERO);
    listen(&tap, Lane::TalkerPicture, picture, Duration::ZERO);
    Ok(Roll::start(&tap, shelf, Kind::Matroska, Some(peer), None))
}

/// Lets a recording listen to what comes into a tee.
pub fn listen(tap: &Tap, lane: Lane, tee: &gst::Element, later: Duration) {
    if let Some(pad) = tee.static_pad("sink") {
        tap.listen(lane, &pad, later);
    }
}
