//! What the API needs of the device's media, so that the API can be tested without media.
//!
//! In: asks for pictures, announcements, recordings. Out: what was asked for, or a sentence. Never: decides anything.

use crate::api::{Recording, RecordingEntry};
use crate::media::{Media, Refusal};
use futures::future::BoxFuture;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// The media as the API sees them; the caller has checked who asks.
pub trait MediaDesk: Send + Sync + 'static {
    /// A JPEG of what viewers see, whole or small.
    fn snapshot(&self, small: bool) -> BoxFuture<'_, Result<Arc<[u8]>, String>>;
    /// Speaks a text.
    fn say<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<(), Refusal>>;
    /// Names of sound files; blocks.
    fn clips(&self) -> Vec<String>;
    /// Plays a sound file.
    fn play<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Refusal>>;
    /// Ends whatever is being said or played.
    fn end_announcements(&self) -> BoxFuture<'_, ()>;
    /// Starts or stops to record.
    fn record(&self, on: bool) -> BoxFuture<'_, Result<(), String>>;
    /// Whether the call is recorded.
    fn recording(&self) -> Recording;
    /// Name of the call's recording that is being written, and when recording began.
    fn recorded_to(&self) -> Option<(String, SystemTime)>;
    /// All recordings; blocks.
    fn recordings(&self) -> Result<Vec<RecordingEntry>, Refusal>;
    /// Path of a recording; blocks.
    fn locate(&self, name: &str) -> Result<PathBuf, Refusal>;
    /// Opens a recording; blocks.
    fn open(&self, name: &str) -> Result<File, Refusal>;
    /// Deletes a recording; blocks.
    fn remove(&self, name: &str) -> Result<(), Refusal>;
}

impl MediaDesk for Media {
    fn snapshot(&self, small: bool) -> BoxFuture<'_, Result<Arc<[u8]>, String>> {
        Box::pin(Media::snapshot(self, small))
    }

    fn say<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(Media::say(self, text))
    }

    fn clips(&self) -> Vec<String> {
        Media::clips(self)
    }

    fn play<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(Media::play(self, name))
    }

    fn end_announcements(&self) -> BoxFuture<'_, ()> {
        Box::pin(Media::end_announcements(self))
    }

    fn record(&self, on: bool) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(Media::record(self, on))
    }

    fn recording(&self) -> Recording {
        Media::recording(self)
    }

    fn recorded_to(&self) -> Option<(String, SystemTime)> {
        Media::recorded_to(self)
    }

    fn recordings(&self) -> Result<Vec<RecordingEntry>, Refusal> {
        Media::recordings(self)
    }

    fn locate(&self, name: &str) -> Result<PathBuf, Refusal> {
        Media::locate(self, name)
    }

    fn open(&self, name: &str) -> Result<File, Refusal> {
        Media::open(self, name)
    }

    fn remove(&self, name: &str) -> Result<(), Refusal> {
        Media::remove(self, name)
    }
}
