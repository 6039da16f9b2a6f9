//! What can be asked of the device's media besides a call: a snapshot, an announcement, recordings.
//!
//! In: asks of the API. Out: pictures, files, sentences. Never: a path out of somebody's request; decides who may ask.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::api::{Recording, RecordingEntry};
use crate::clips;
use crate::desk::{recording_state, rfc3339};
use crate::outbound::{Outbound, Snapshots, Sound};
use crate::recording::Recorder;
use crate::recording::shelf::{Entry, NOBODY, Shelf};

/// Least time between two announcements.
const SPACING: Duration = Duration::from_secs(1);

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing of that name.
    #[error("there is nothing of that name")]
    Unknown,
    /// Too soon after the last one.
    #[error("something was announced just now; try again in a second")]
    TooSoon,
    /// It is being written.
    #[error("it is being recorded; stop the recording first")]
    Busy,
    /// Another reason, as a sentence.
    #[error("{0}")]
    Failed(String),
}

/// Pixels: what the page shows until the call's first picture. Some 15 kB, so that a narrow link has room for the call that begins.
const STILL_WIDTH: u32 = 480;

/// Handle of all of it.
#[derive(Debug, Clone)]
pub struct Media {
    outbound: Outbound,
    snapshots: Snapshots,
    stills: Snapshots,
    recorder: Recorder,
    clips: Option<PathBuf>,
    announced: Arc<Mutex<Option<Instant>>>,
}

impl Media {
    /// Joins the parts; `clips` is the folder with sound files.
    pub fn new(outbound: Outbound, recorder: Recorder, clips: Option<PathBuf>) -> Self {
        let [snapshots, stills] = [None, Some(STILL_WIDTH)].map(|width| Snapshots::new(outbound.clone(), width));
        Self { outbound, snapshots, stills, recorder, clips, announced: Arc::default() }
    }

    /// A JPEG of what viewers see, whole or at most [`STILL_WIDTH`] wide.
    ///
    /// # Errors
    /// A sentence.
    pub async fn snapshot(&self, small: bool) -> Result<Arc<[u8]>, String> {
        if small { self.stills.take().await } else { self.snapshots.take().await }
    }

    /// Speaks a text to those who watch.
    ///
    /// # Errors
    /// The text is none, it is too soon, nobody watches, or it cannot be spoken.
    pub async fn say(&self, text: &str) -> Result<(), Refusal> {
        check_text(text).map_err(Refusal::Failed)?;
        self.announce(Sound::Speech(text.to_owned())).await
    }

    /// Names of the sound files; blocks.
    pub fn clips(&self) -> Vec<String> {
        self.clips.as_deref().map(clips::names).unwrap_or_default()
    }

    /// Plays the sound file of that name to those who watch.
    ///
    /// # Errors
    /// There is none, it is too soon, nobody watches, or it cannot be played.
    pub async fn play(&self, name: &str) -> Result<(), Refusal> {
        let path = self.clips.as_deref().and_then(|folder: &Path| clips::find(folder, name));
        self.announce(Sound::File(path.ok_or(Refusal::Unknown)?)).await
    }

    /// Ends whatever is being said or played.
    pub async fn end_announcements(&self) {
        self.outbound.end_announcements().await;
    }

    async fn announce(&self, sound: Sound) -> Result<(), Refusal> {
        {
            let mut last = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|at| at.elapsed() < SPACING) {
                return Err(Refusal::TooSoon);
            }
            *last = Some(Instant::now());
        }
        self.outbound.announce(sound).await.map_err(|error| Refusal::Failed(error.to_string()))
    }

    /// Starts or stops to record.
    ///
    /// # Errors
    /// A sentence.
    pub async fn record(&self, on: bool) -> Result<(), String> {
        self.recorder.record(on).await
    }

    /// Whether the call is recorded.
    pub fn recording(&self) -> Recording {
        recording_state(self.recorder.began())
    }

    /// Name of the call's recording that is being written, and when recording began.
    pub fn recorded_to(&self) -> Option<(String, SystemTime)> {
        Some((self.recorder.open_file()?, self.recorder.began()?.at))
    }

    /// All recordings, the newest first; blocks.
    ///
    /// # Errors
    /// Their folder cannot be read.
    pub fn recordings(&self) -> Result<Vec<RecordingEntry>, Refusal> {
        let open = self.recorder.open_file();
        let mut list: Vec<RecordingEntry> = all_kept(self.recorder.shelf())?
            .into_iter()
            .map(|entry| {
                let recording = open.as_deref() == Some(&*entry.name);
                let facts = entry.facts();
                let began = facts.as_ref().map(|facts| facts.began);
                let so_far = || SystemTime::now().duration_since(began?).ok();
                let length = facts.as_ref().and_then(|facts| facts.length);
                let length = length.or_else(|| if recording { so_far() } else { None });
                let cut_off = facts.as_ref().is_some_and(|facts| facts.cut_off);
                // Where the file does not tell, its name tells of the first.
                let first = Some(entry.peer).filter(|peer| peer != NOBODY);
                let talkers = facts.and_then(|facts| facts.talkers).unwrap_or_else(|| first.into_iter().collect());
                RecordingEntry {
                    began: began.and_then(rfc3339),
                    cut_off,
                    seconds: length.map(|length| length.as_secs_f64()),
                    bytes: entry.size,
                    talkers,
                    name: entry.name,
                    recording,
                }
            })
            .collect();
        list.reverse();
        Ok(list)
    }

    /// Absolute path of the recording of that name; blocks.
    ///
    /// # Errors
    /// There is none, or the folder cannot be read.
    pub fn locate(&self, name: &str) -> Result<PathBuf, Refusal> {
        let entry = kept(self.recorder.shelf(), name)?;
        std::path::absolute(entry.path).map_err(|error| Refusal::Failed(format!("it cannot be found: {error}")))
    }

    /// Opens the recording of that name; blocks.
    ///
    /// # Errors
    /// There is none, or it or the folder cannot be read.
    pub fn open(&self, name: &str) -> Result<File, Refusal> {
        let entry = kept(self.recorder.shelf(), name)?;
        File::open(&entry.path).map_err(|error| Refusal::Failed(format!("it cannot be read: {error}")))
    }

    /// Deletes the recording of that name; blocks.
    ///
    /// # Errors
    /// There is none, it is being written, it cannot be deleted, or the folder cannot be read.
    pub fn remove(&self, name: &str) -> Result<(), Refusal> {
        let entry = kept(self.recorder.shelf(), name)?;
        if self.recorder.open_file().as_deref() == Some(name) {
            return Err(Refusal::Busy);
        }
        std::fs::remove_file(&entry.path).map_err(|error| Refusal::Failed(format!("it cannot be deleted: {error}")))?;
        tracing::info!(name, "a recording was deleted");
        Ok(())
    }
}

/// The recordings on a shelf, the oldest first; blocks.
///
/// # Errors
/// Its folder cannot be read.
pub fn all_kept(shelf: &Shelf) -> Result<Vec<Entry>, Refusal> {
    shelf.entries().map_err(|error| unreadable(shelf, &error))
}

/// The recording of that name on a shelf; blocks.
///
/// # Errors
/// There is none, or the folder cannot be read.
pub fn kept(shelf: &Shelf, name: &str) -> Result<Entry, Refusal> {
    shelf.find(name).map_err(|error| unreadable(shelf, &error))?.ok_or(Refusal::Unknown)
}

fn unreadable(shelf: &Shelf, error: &std::io::Error) -> Refusal {
    Refusal::Failed(format!("the folder of recordings {} cannot be read: {error}", shelf.folder.display()))
}

/// Refuses what is no text to speak.
///
/// # Errors
/// A sentence with the rule.
pub fn check_text(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    match () {
        () if text.trim().is_empty() => Err("there is nothing to say in this text".to_owned()),
        () if length > 1000 => Err(format!("a text to say has at most 1000 characters, this one has {length}")),
        () if text.contains('\0') => Err("a text to say has no NUL in it".to_owned()),
        () => Ok(()),
    }
}
