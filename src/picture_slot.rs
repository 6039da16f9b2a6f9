//! The one place where inbound and outbound media meet: the talker's latest picture.
//!
//! In: a picture in BGRA, replaced at each frame. Out: the latest one, while it is fresh.
//! Never: a queue, a wait, or a picture older than [`FRESH`] (a camera switched off leaves no ghost).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a picture is shown when none follows.
pub const FRESH: Duration = Duration::from_millis(1500);

/// One picture.
#[derive(Debug, Clone)]
pub struct Picture {
    /// BGRA pixels with video meta.
    pub buffer: gst::Buffer,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// Shared by the inbound overlay, which fills it, and the outbound mixer, which draws it.
#[derive(Debug, Clone, Default)]
pub struct PictureSlot(Arc<Mutex<Option<(Picture, Instant)>>>);

impl PictureSlot {
    /// Replaces the picture.
    pub fn put(&self, picture: Picture) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((picture, Instant::now()));
    }

    /// Takes the picture away.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The picture, if it is fresh.
    pub fn latest(&self) -> Option<Picture> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().filter(|(_, at)| at.elapsed() < FRESH).map(|(picture, _)| picture.clone())
    }
}
