//! Writes packets into Matroska files that play even when the process was killed while writing.
//!
//! In: packets of all lanes, in any order within [`SETTLE`]. Out: files of whole clusters, [`Note`]s. Never: a cluster
//! longer than a quarter of a second, but for packets that come late; one that is not on the disk before the next, but where
//! the disk is slow: there it gets at once what has come meanwhile; a file without a decodable beginning; a head with a
//! length that the disk does not have.
//!
//! GStreamer's own muxer is not used: it waits for every track it was given, so that a talker who leaves would stop the
//! device's picture, and it takes no track later. Here a track is in the head from its first packet on, the head is
//! written anew over itself, and a lane that is silent simply has no blocks: a gap, during which players show the last
//! picture. A recording goes on in a new file, without a gap, when one has its share of the space.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::h264;
use super::layout::{self, Cue, Facts, HEAD, Kind, OPUS_DELAY, Track};
use super::packet::{Lane, Packet};
use super::shelf::Shelf;
use super::talkers::{self, Talkers};

/// Length of a cluster, which is what a killed process or a power cut loses at most, with [`SETTLE`] and the time that the
/// disk takes. Each is a commit of the file system: shorter ones wear a card more.
pub const CLUSTER: Duration = Duration::from_millis(250);
/// How long a cluster waits for what is late: mixed sound comes last, [`super::mix::LATENCY`] and an encode after its time.
pub const SETTLE: Duration = Duration::from_millis(300);
/// A recording goes on in a new file at this share of the space for all, so that its oldest part can go.
const PARTS: u64 = 4;
/// How often time is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How often free space is asked for.
const ROOM: Duration = Duration::from_secs(5);
/// How often old recordings are removed.
const TIDY: Duration = Duration::from_secs(60);
/// How often a key frame is made for seeking, or asked for again.
const SEEK: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Longest wait for a key frame with which the next file can begin.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the writer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A file was begun.
    Began(PathBuf),
    /// Nothing is written any more, and why; the file plays up to there.
    Failed(String),
}

/// What the writer is told once.
pub struct Job {
    /// Where files go.
    pub shelf: Shelf,
    /// What files are like.
    pub kind: Kind,
    /// Who talks when it begins; stands in the name.
    pub peer: String,
    /// Who talks from then on.
    pub talkers: Talkers,
    /// The process's common clock.
    pub now: Box<dyn Fn() -> Duration + Send>,
    /// Nothing of after that time is written; the furthest there is while nobody has stopped it.
    pub end: Box<dyn Fn() -> Duration + Send>,
    /// Asks for a key frame.
    pub ask_for_key_frame: Box<dyn Fn(Lane) + Send>,
    /// Takes notes.
    pub note: Box<dyn Fn(Note) + Send>,
}

/// Writes until every sender of packets is gone; blocks.
pub fn write(job: Job, packets: &Receiver<Packet>) {
    let mut writer = Writer { job, pending: Vec::new(), file: None, asked: Instant::now(), roomy: None, tidied: None };
    let result = loop {
        match packets.recv_timeout(TICK) {
            Ok(packet) => writer.pending.push(packet),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                // What is placed later than it comes may be of after the end.
                let end = (writer.job.end)();
                writer.pending.retain(|packet| packet.time <= end);
                break writer.write_until(None);
            }
        }
        // Many when the disk was slow: all, for what is left would come after its time.
        writer.pending.extend(packets.try_iter());
        if let Err(error) = writer.turn() {
            break Err(error);
        }
    };
    let finished = writer.file.take().map_or(Ok(()), Part::finish);
    if let Err(error) = result {
        (writer.job.note)(Note::Failed(error));
    } else if let Err(error) = finished {
        (writer.job.note)(Note::Failed(format!("the index could not be written: {error}")));
    }
}

struct Writer {
    job: Job,
    pending: Vec<Packet>,
    file: Option<Part>,
    asked: Instant,
    roomy: Option<Instant>,
    tidied: Option<Instant>,
}

/// One file.
struct Part {
    path: PathBuf,
    file: File,
    kind: Kind,
    facts: Facts,
    tracks: Vec<Track>,
    /// What is in the head has changed.
    head_is_old: bool,
    zero: Duration,
    /// Start of the next cluster.
    next: Duration,
    /// Bytes written.
    length: u64,
    /// End of the last packet, milliseconds.
    end: u64,
    cues: Vec<Cue>,
    /// When it had its share of the space.
    full_since: Option<Duration>,
}

/// How far a file is.
#[derive(Debug, Clone, Copy)]
struct Mark {
    length: u64,
    end: u64,
    tracks: usize,
}

impl Writer {
    /// What time asks for.
    fn turn(&mut self) -> Result<(), String> {
        self.look_after_the_disk()?;
        let now = (self.job.now)();
        let Some(first) = self.pending.iter().map(|packet| packet.time).min() else { return Ok(()) };
        if self.file.is_none() {
            self.begin(first)?;
        }
        while let Some(file) = &self.file {
            let boundary = self.boundary(file);
            let due = now.saturating_sub(file.next + SETTLE).as_millis() / CLUSTER.as_millis();
            // More than one where the disk was slow.
            let due = file.next + CLUSTER * u32::try_from(due).unwrap_or(u32::MAX).max(1);
            let until = boundary.map_or(due, |at| at.clamp(file.next, due));
            if now < until + SETTLE {
                break;
            }
            self.write_until(Some(until))?;
            if boundary.is_some_and(|at| at <= until) {
                self.go_on_in_a_new_file(until)?;
            }
        }
        Ok(())
    }

    /// Where this file is to end, once it has its share of the space: before a key frame, so that nothing is missing.
    fn boundary(&self, file: &Part) -> Option<Duration> {
        let (leader, since) = (file.leader(), file.full_since?);
        // Without a key frame for too long (the picture stopped) it goes on without.
        if leader.is_none() || file.next > since + PATIENCE {
            return Some(file.next + CLUSTER);
        }
        let keys = self.pending.iter().filter(|packet| Some(packet.lane) == leader && packet.key);
        keys.map(|packet| packet.time).filter(|time| *time > file.next).min()
    }

    fn look_after_the_disk(&mut self) -> Result<(), String> {
        if self.roomy.is_none_or(|at| at.elapsed() > ROOM) {
            self.roomy = Some(Instant::now());
            self.job.shelf.check_room()?;
        }
        if self.tidied.is_none_or(|at| at.elapsed() > TIDY) {
            self.tidied = Some(Instant::now());
            let open: Vec<PathBuf> = self.file.iter().map(|file| file.path.clone()).collect();
            self.job.shelf.tidy(&open, SystemTime::now());
        }
        Ok(())
    }

    fn begin(&mut self, zero: Duration) -> Result<(), String> {
        let extension = if self.job.kind == Kind::WebM { "webm" } else { "mkv" };
        let folder = self.job.shelf.folder.clone();
        let cannot = move |error: io::Error| format!("cannot make a file in {}: {error}", folder.display());
        let made = SystemTime::now() - (self.job.now)().saturating_sub(zero);
        let (path, file) = self.job.shelf.create(&self.job.peer, extension, made).map_err(cannot)?;
        let began = made.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
        let (kind, facts) =
            (self.job.kind, Facts { began, talkers: Some(self.job.talkers.begin()), ..Facts::default() });
        let part = Part {
            path: path.clone(),
            file,
            kind,
            facts,
            tracks: Vec::new(),
            head_is_old: false,
            zero,
            next: zero,
            length: HEAD as u64,
            end: 0,
            cues: Vec::new(),
            full_since: None,
        };
        part.write_head().map_err(|error| full(&path, &error))?;
        self.file = Some(part);
        // What follows shows nothing before its first key frame.
        Lane::ALL.into_iter().filter(|lane| lane.is_picture()).for_each(|lane| (self.job.ask_for_key_frame)(lane));
        self.asked = Instant::now();
        (self.job.note)(Note::Began(path));
        Ok(())
    }

    /// Writes what lies before a time, everything without one, and waits until the disk has it.
    fn write_until(&mut self, until: Option<Duration>) -> Result<(), String> {
        self.pending.sort_by_key(|packet| packet.time);
        let until = until.unwrap_or(Duration::MAX);
        let count = self.pending.partition_point(|packet| packet.time < until);
        let due: Vec<Packet> = self.pending.drain(..count).collect();
        let Some(file) = &mut self.file else { return Ok(()) };
        let known = file.facts.talkers.get_or_insert_default();
        file.head_is_old |= talkers::add(known, self.job.talkers.come());
        let mut wanted = Vec::new();
        let mut rest = due.as_slice();
        let whole = file.mark();
        while let Some(first) = rest.first() {
            // After a gap a cluster begins with its first packet: times within it are short numbers.
            file.next = file.next.max(first.time);
            let end = (file.next + CLUSTER).min(until);
            let length = rest.partition_point(|packet| packet.time < end).max(1);
            let (now, later) = rest.split_at(length);
            file.cluster(now, &mut wanted).map_err(|error| full(&file.path, &error))?;
            file.next = end;
            rest = later;
        }
        file.sync(whole).map_err(|error| full(&file.path, &error))?;
        if until != Duration::MAX {
            file.next = until;
        }
        let is_full = file.length >= self.job.shelf.max_size / PARTS;
        if is_full && file.full_since.is_none() {
            file.full_since = Some(file.next);
        }
        let seek_due = file.cues.last().is_none_or(|cue| file.end > cue.time + SEEK.as_millis() as u64);
        if is_full || seek_due {
            wanted.extend(file.leader());
        }
        if !wanted.is_empty() && self.asked.elapsed() > ASK_AGAIN {
            self.asked = Instant::now();
            wanted.dedup();
            wanted.into_iter().for_each(|lane| (self.job.ask_for_key_frame)(lane));
        }
        Ok(())
    }

    fn go_on_in_a_new_file(&mut self, zero: Duration) -> Result<(), String> {
        if let Some(done) = self.file.take() {
            let path = done.path.clone();
            done.finish().map_err(|error| full(&path, &error))?;
        }
        // With the old one closed there may be too much.
        self.tidied = None;
        self.begin(zero)
    }
}

impl Part {
    /// The picture that seeking and new files go by.
    fn leader(&self) -> Option<Lane> {
        [Lane::Picture, Lane::TalkerPicture].into_iter().find(|lane| self.tracks.iter().any(|t| t.lane == *lane))
    }

    /// Writes one cluster. Lanes whose pictures must wait for a key frame go into `wanted`.
    fn cluster(&mut self, packets: &[Packet], wanted: &mut Vec<Lane>) -> io::Result<()> {
        let start = self.next.saturating_sub(self.zero).as_millis() as u64;
        let whole = self.mark();
        let mut blocks: Vec<(u8, u64, bool, Vec<u8>)> = Vec::new();
        for packet in packets {
            let Some(time) = packet.time.checked_sub(self.zero) else { continue };
            let mut frame = packet.data.to_vec();
            if !self.tracks.iter().any(|track| track.lane == packet.lane) {
                match packet.key.then(|| layout::track_of(packet, &frame)).flatten() {
                    Some(track) => {
                        self.tracks.push(track);
                        self.head_is_old = true;
                    }
                    None => {
                        wanted.push(packet.lane);
                        continue;
                    }
                }
            }
            if self.tracks.iter().any(|track| track.lane == packet.lane && track.codec == "V_MPEG4/ISO/AVC") {
                frame = h264::with_lengths(&frame);
            }
            let delay = if packet.lane.is_picture() { 0 } else { OPUS_DELAY };
            let time = (time.as_nanos() as u64 + delay + 500_000) / 1_000_000;
            self.end = self.end.max(time + 20);
            if packet.key && Some(packet.lane) == self.leader() {
                self.cues.push(Cue { time, track: packet.lane.number(), cluster: self.length });
            }
            blocks.push((packet.lane.number(), time, packet.key, frame));
        }
        if blocks.is_empty() {
            return Ok(());
        }
        // Before the first block of a track: its description.
        if std::mem::take(&mut self.head_is_old) {
            self.write_head().inspect_err(|_| self.cut(whole))?;
        }
        let blocks: Vec<(u8, u64, bool, &[u8])> =
            blocks.iter().map(|(track, time, key, frame)| (*track, *time, *key, frame.as_slice())).collect();
        self.append(&layout::cluster(start, &blocks)).inspect_err(|_| self.cut(whole))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn mark(&self) -> Mark {
        Mark { length: self.length, end: self.end, tracks: self.tracks.len() }
    }

    /// Waits until the disk has what was written since then.
    fn sync(&mut self, whole: Mark) -> io::Result<()> {
        if self.length == whole.length {
            return Ok(());
        }
        let synced = self.file.sync_data();
        if synced.is_err() {
            self.cut(whole);
        }
        synced
    }

    /// Takes off what is torn, down to what it was then.
    fn cut(&mut self, whole: Mark) {
        if let Err(error) = self.file.set_len(whole.length) {
            tracing::warn!(file = %self.path.display(), %error, "the end of a recording is torn");
        }
        (self.length, self.end) = (whole.length, whole.end);
        self.tracks.truncate(whole.tracks);
        self.cues.retain(|cue| cue.cluster < whole.length);
    }

    fn write_head(&self) -> io::Result<()> {
        let mut tracks = self.tracks.clone();
        tracks.sort_by_key(|track| track.lane.number());
        self.file.write_all_at(&layout::head(self.kind, &layout::tracks(&tracks), &self.facts), 0)
    }

    /// Writes index and length.
    fn finish(mut self) -> io::Result<()> {
        if self.length == HEAD as u64 {
            // Nothing ever came, or nothing of it could be written.
            return std::fs::remove_file(&self.path);
        }
        let whole = self.mark();
        if !self.cues.is_empty() {
            match self.append(&layout::cues(&self.cues)) {
                Ok(()) => self.facts.cues = Some(whole.length),
                // It plays without an index.
                Err(_) => self.cut(whole),
            }
        }
        // First: a head that tells its length no later start looks at again.
        self.file.sync_data()?;
        self.facts.duration = Some(self.end);
        self.facts.length = Some(self.length);
        self.write_head()?;
        self.file.sync_all()
    }
}

fn full(path: &std::path::Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("the disk is full ({})", path.display()),
        _ => format!("cannot write {}: {error}", path.display()),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
