//! Records a talker into Matroska files that play even when the process was killed while writing.
//!
//! In: Opus and VP8 as they came, no re-encoding. Out: `TIME_PEER.mkv` in a folder whose total size and
//! age are kept. Never: a call that suffers: files are written by a pipeline of their own.
//!
//! A file has the tracks that flow when it begins; when the camera is switched on or off a new file
//! begins, since a muxer waits for every track it was given. So does one when a file has its share of the space.
//!
//! ```text
//! tee (Opus) ─> queue ─> appsink ═> appsrc ─┐
//!                                           ├─> matroskamux ─> filesink
//! tee (VP8) ──> queue ─> appsink ═> appsrc ─┘
//! ```

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use gst::prelude::*;

use super::webrtc_src::branch;
use crate::pipeline::{Error, Event, Pipeline, make};

/// Where recordings go and how much is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder, made when missing.
    pub folder: PathBuf,
    /// Bytes in all.
    pub max_size: u64,
    /// Oldest recording kept; `None`: any age.
    pub max_age: Option<Duration>,
}

/// A track counts as flowing while its last buffer is younger than this.
const FLOWING: Duration = Duration::from_millis(1500);
/// How often the tracks are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often the size of the open file is.
const CHECK: Duration = Duration::from_secs(1);
/// How often the whole folder is, besides at each new file.
const TIDY: Duration = Duration::from_secs(60);
/// A recording goes on in a new file at this share of the space for all, so that the oldest part of a long talk can go.
const PARTS: u64 = 4;

/// One track on its way from the talk to a file.
#[derive(Debug)]
struct Track {
    outlet: gst_app::AppSink,
    last: Arc<AtomicU64>,
    target: Arc<Mutex<Option<gst_app::AppSrc>>>,
    waits_for_key: Arc<AtomicBool>,
}

/// The branches of a talk that end in files; [`Recorder::run`] writes them.
#[derive(Debug)]
pub struct Recorder {
    sound: Track,
    picture: Track,
    settings: Settings,
    peer: String,
    began: Instant,
}

impl Recorder {
    /// Adds the branches to a talk's pipeline.
    pub fn add_to(
        pipeline: &Pipeline,
        sound: &gst::Element,
        picture: &gst::Element,
        settings: Settings,
        peer: &str,
    ) -> Result<Self, Error> {
        make("matroskamux")?;
        // Faces and voices: for the service's own user alone.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&settings.folder).map_err(|error| {
            Error::Input(format!("cannot make the folder {} for recordings: {error}", settings.folder.display()))
        })?;
        let began = Instant::now();
        let sound = Track::add_to(pipeline, sound, "audio/x-opus", began)?;
        let picture = Track::add_to(pipeline, picture, "video/x-vp8", began)?;
        Ok(Self { sound, picture, settings, peer: peer.to_owned(), began })
    }

    /// Writes files until `stop` says so, then closes the last one. The error is a sentence; the call goes on.
    pub async fn run(self, mut stop: tokio::sync::watch::Receiver<bool>) -> Result<(), Error> {
        let mut current: Option<Recording> = None;
        let mut closing = tokio::task::JoinSet::new();
        let (mut looked, mut tidied) = (Instant::now(), Instant::now());
        keep(&self.settings, None, SystemTime::now());
        loop {
            let stopping = tokio::select! {
                changed = stop.changed() => changed.is_err() || *stop.borrow(),
                () = tokio::time::sleep(LOOK) => false,
            };
            let tracks = (self.sound.flows(self.began), self.picture.flows(self.began));
            if current.as_ref().is_some_and(|current| stopping || current.tracks != tracks)
                && let Some(done) = current.take()
            {
                self.sound.point_at(None);
                self.picture.point_at(None);
                done.close().await;
            }
            if stopping {
                while closing.join_next().await.is_some() {}
                return Ok(());
            }
            let open = current.as_ref().map(|current| current.path.clone());
            let is_full = looked.elapsed() > CHECK && {
                looked = Instant::now();
                open.as_deref().map_or(0, size_of) > self.settings.max_size / PARTS
            };
            if (current.is_none() || is_full) && (tracks.0 || tracks.1) {
                // The tracks move over to the new file before the old one is closed.
                let next = self.begin(tracks).await?;
                if let Some(full) = current.replace(next) {
                    closing.spawn(full.close());
                }
            }
            if is_full || tidied.elapsed() > TIDY {
                tidied = Instant::now();
                let (settings, open) = (self.settings.clone(), current.as_ref().map(|current| current.path.clone()));
                tokio::task::spawn_blocking(move || keep(&settings, open.as_deref(), SystemTime::now()));
            }
            if let Some(failure) = current.as_mut().and_then(Recording::failure) {
                return Err(Error::Input(format!("recording stopped: {failure}")));
            }
            if self.picture.waits_for_key.load(Ordering::Relaxed) {
                self.picture.ask_for_key_frame();
            }
        }
    }

    async fn begin(&self, tracks: (bool, bool)) -> Result<Recording, Error> {
        let path = free_path(&self.settings.folder, &self.peer, SystemTime::now());
        let made = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|error| Error::Input(format!("cannot make {}: {error}", path.display())))?;
        let mut pipeline = Pipeline::on_common_time("recording");
        let mux = make("matroskamux")?;
        mux.set_property("writing-app", "Duplex");
        // Short clusters: what a killed process loses is at most the open one.
        mux.set_property("max-cluster-duration", gst::ClockTime::from_mseconds(500).nseconds() as i64);
        let file = make("filesink")?;
        file.set_property("location", &path);
        file.set_property("async", false);
        file.set_property("sync", false);
        file.set_property_from_str("buffer-mode", "unbuffered");
        pipeline.add_chain("recording", &[&mux, &file])?;
        let mut sources = Vec::new();
        for (flows, track, pad) in [(tracks.0, &self.sound, "audio_%u"), (tracks.1, &self.picture, "video_%u")] {
            if flows {
                sources.push((track, source_into(&pipeline, &mux, pad)?));
            }
        }
        pipeline.play().await?;
        for (track, source) in sources {
            track.point_at(Some(source));
        }
        if tracks.1 {
            self.picture.ask_for_key_frame();
        }
        tracing::info!(file = %path.display(), picture = tracks.1, sound = tracks.0, "recording");
        Ok(Recording { pipeline, tracks, path })
    }
}

impl Track {
    fn add_to(pipeline: &Pipeline, tee: &gst::Element, caps: &str, began: Instant) -> Result<Self, Error> {
        let outlet =
            gst_app::AppSink::builder().caps(&gst::Caps::new_empty_simple(caps)).sync(false).async_(false).build();
        let last = Arc::new(AtomicU64::new(0));
        let target: Arc<Mutex<Option<gst_app::AppSrc>>> = Arc::default();
        let (stamp, aim) = (last.clone(), target.clone());
        let waits_for_key = Arc::new(AtomicBool::new(false));
        let waiting = waits_for_key.clone();
        outlet.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    stamp.store(1 + began.elapsed().as_millis() as u64, Ordering::Relaxed);
                    let target = aim.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let delta =
                        sample.buffer().is_some_and(|buffer| buffer.flags().contains(gst::BufferFlags::DELTA_UNIT));
                    match target {
                        // The first frame of a file must be a key frame.
                        Some(target) if target.caps().is_some() || !delta => {
                            hand_on(&sample, sink, &target);
                            waiting.store(false, Ordering::Relaxed);
                        }
                        Some(_) => waiting.store(true, Ordering::Relaxed),
                        None => {}
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        branch(pipeline, tee, "recorder", &[outlet.upcast_ref()])?;
        Ok(Self { outlet, last, target, waits_for_key })
    }

    fn flows(&self, began: Instant) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last > 0 && (began.elapsed().as_millis() as u64 + 1).saturating_sub(last) < FLOWING.as_millis() as u64
    }

    fn point_at(&self, target: Option<gst_app::AppSrc>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    fn ask_for_key_frame(&self) {
        if let Some(pad) = self.outlet.static_pad("sink") {
            pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
    }
}

/// Hands a buffer to the file's source. The first caps stay: a browser changes its picture's size
/// with the link, VP8 carries that itself, and the muxer would refuse new caps.
fn hand_on(sample: &gst::Sample, from: &gst_app::AppSink, to: &gst_app::AppSrc) {
    if to.caps().is_none() {
        to.set_caps(sample.caps().map(|caps| caps.to_owned()).as_ref());
    }
    if let Some(buffer) = crate::bridge::restamped(sample, from, to) {
        // Refused only while the file is being closed.
        to.push_buffer(buffer).ok();
    }
}

fn source_into(pipeline: &Pipeline, mux: &gst::Element, pad: &str) -> Result<gst_app::AppSrc, Error> {
    let source = gst_app::AppSrc::builder()
        .format(gst::Format::Time)
        .is_live(true)
        .max_bytes(8 << 20)
        .leaky_type(gst_app::AppLeakyType::Downstream)
        .build();
    let link = |source| Error::Link { stage: "recording", source };
    pipeline.inner().add(&source).map_err(link)?;
    source.link_pads(Some("src"), mux, Some(pad)).map_err(link)?;
    Ok(source)
}

/// One file being written.
struct Recording {
    pipeline: Pipeline,
    path: PathBuf,
    tracks: (bool, bool),
}

impl Recording {
    fn failure(&mut self) -> Option<String> {
        while let Some(event) = self.pipeline.poll() {
            if let Event::Error { message, .. } = event {
                return Some(message);
            }
        }
        None
    }

    /// Writes duration and index, then closes.
    async fn close(mut self) {
        self.pipeline.inner().send_event(gst::event::Eos::new());
        let finished = async {
            while let Some(event) = self.pipeline.next().await {
                if matches!(event, Event::Eos | Event::Error { .. }) {
                    return;
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(3), finished).await.is_err() {
            tracing::warn!("a recording was closed without its index; it plays, seeking is slow");
        }
        self.pipeline.stop().await;
    }
}

/// `2026-11-22T09-33-07Z_PEER.mkv`, with a number when that is taken.
fn free_path(folder: &Path, peer: &str, now: SystemTime) -> PathBuf {
    let stamp = time::OffsetDateTime::from(now);
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]-[minute]-[second]Z");
    let stamp = stamp.format(format).unwrap_or_else(|_| "undated".to_owned());
    let peer: String = peer.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let base = format!("{stamp}_{peer}");
    (1..)
        .map(|n| if n == 1 { folder.join(format!("{base}.mkv")) } else { folder.join(format!("{base}-{n}.mkv")) })
        .find(|path| !path.exists())
        .unwrap_or_else(|| folder.join("recording.mkv"))
}

/// Removes the oldest recordings beyond size and age: only files with names as this module gives them, and never the
/// one that is being written.
fn keep(settings: &Settings, open: Option<&Path>, now: SystemTime) {
    let entries = match std::fs::read_dir(&settings.folder) {
        Ok(entries) => entries,
        Err(error) => return tracing::warn!(folder = %settings.folder.display(), %error, "cannot list recordings"),
    };
    let files = entries
        .filter_map(Result::ok)
        .filter(|entry| Some(entry.path().as_path()) != open && entry.file_name().to_str().is_some_and(is_ours))
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some((entry.path(), meta.len(), meta.modified().ok()?))
        })
        .collect();
    let space = settings.max_size.saturating_sub(open.map_or(0, size_of));
    for path in surplus(files, space, settings.max_age, now) {
        match std::fs::remove_file(&path) {
            Ok(()) => tracing::info!(file = %path.display(), "removed an old recording"),
            Err(error) => tracing::warn!(file = %path.display(), %error, "cannot remove an old recording"),
        }
    }
}

/// Bytes of a file; 0 if it is not there (yet).
fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Whether a file name has the form `2026-11-22T09-33-07Z_PEER.mkv`.
fn is_ours(name: &str) -> bool {
    let Some((stamp, rest)) = name.split_once("Z_") else { return false };
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00-00-00" && rest.ends_with(".mkv")
}

/// Which of `(path, bytes, modified)` are too old or, from the oldest on, too much.
fn surplus(
    mut files: Vec<(PathBuf, u64, SystemTime)>,
    max_size: u64,
    max_age: Option<Duration>,
    now: SystemTime,
) -> Vec<PathBuf> {
    files.sort_by_key(|(_, _, modified)| *modified);
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    let mut removed = Vec::new();
    for (path, size, modified) in files {
        let age = now.duration_since(modified).unwrap_or_default();
        if total > max_size || max_age.is_some_and(|limit| age > limit) {
            total -= size;
            removed.push(path);
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (Vec<(PathBuf, u64, SystemTime)>, SystemTime) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let file = |name: &str, size, age| (PathBuf::from(name), size, now - Duration::from_secs(age));
        (vec![file("young", 40, 10), file("old", 30, 5000), file("middle", 30, 100)], now)
    }

    #[test]
    fn the_oldest_go_first_when_there_is_too_much() {
        let (files, now) = files();
        assert_eq!(surplus(files.clone(), 100, None, now), Vec::<PathBuf>::new());
        assert_eq!(surplus(files.clone(), 99, None, now), [PathBuf::from("old")]);
        assert_eq!(surplus(files, 40, None, now), [PathBuf::from("old"), PathBuf::from("middle")]);
    }

    #[test]
    fn age_alone_is_a_reason() {
        let (files, now) = files();
        assert_eq!(
            surplus(files, 1000, Some(Duration::from_secs(60)), now),
            [PathBuf::from("old"), PathBuf::from("middle")]
        );
    }

    #[test]
    fn only_own_names_count() {
        assert!(is_ours("2026-11-22T09-33-07Z_766f68f7.mkv") && is_ours("2026-11-22T09-33-07Z_766f68f7-2.mkv"));
        for other in ["holiday.mkv", "2026-11-22.mkv", "2026-11-22T09-33-07Z_766f68f7.mp4", "Z_.mkv"] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn names_carry_time_and_peer_and_are_never_taken_twice() {
        let folder = std::env::temp_dir().join(format!("duplex-names-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let now = SystemTime::UNIX_EPOCH;
        let first = free_path(&folder, "ab../cd-ef012345", now);
        assert_eq!(first.file_name().unwrap(), "1970-01-01T00-00-00Z_abcdef01.mkv");
        std::fs::write(&first, "").unwrap();
        let second = free_path(&folder, "ab../cd-ef012345", now);
        assert_eq!(second.file_name().unwrap(), "1970-01-01T00-00-00Z_abcdef01-2.mkv");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
