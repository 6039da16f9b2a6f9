//! Finishes recordings that a killed process or a power cut left behind: index and length.
//!
//! In: a folder with recordings. Out: the same files, seekable and with their length, but those that hold nothing. Never: loses
//! a whole cluster.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::ebml::{self, id};
use super::layout::{self, Cue, HEAD};
use super::packet::Lane;
use super::shelf::Shelf;

/// Mends every recording that was not finished; blocks. To be called before anything is recorded.
pub fn mend_all(shelf: &Shelf) {
    for entry in shelf.readable_entries() {
        match mend(&entry.path) {
            Ok(Done::Finished) => tracing::info!(file = %entry.path.display(), "finished a recording that was cut off"),
            Ok(Done::Removed) => {
                tracing::info!(file = %entry.path.display(), "removed a recording that was cut off before it held anything")
            }
            Ok(Done::Nothing) => {}
            Err(error) => tracing::warn!(file = %entry.path.display(), %error, "cannot finish a recording"),
        }
    }
}

/// What was done about a file.
enum Done {
    Nothing,
    Finished,
    Removed,
}

fn mend(path: &Path) -> io::Result<Done> {
    let modified = std::fs::metadata(path)?.modified()?;
    let file = File::options().read(true).write(true).open(path)?;
    let mut head = vec![0; HEAD];
    let length = file.metadata()?.len();
    if length == 0 {
        // Its name alone had reached the disk.
        return std::fs::remove_file(path).map(|()| Done::Removed);
    }
    if file.read_exact_at(&mut head, 0).is_err() {
        return Ok(Done::Nothing);
    }
    let Some((kind, mut facts, tracks)) = layout::read(&head) else { return Ok(Done::Nothing) };
    if facts.duration.is_some() {
        return Ok(Done::Nothing);
    }
    let found = scan(&file, length)?;
    if found.length == HEAD as u64 {
        if length > found.length + TORN {
            return Err(io::Error::other("its beginning cannot be read"));
        }
        return std::fs::remove_file(path).map(|()| Done::Removed);
    }
    file.set_len(found.length)?;
    let mut length = found.length;
    if !found.cues.is_empty() {
        let index = layout::cues(&found.cues);
        file.write_all_at(&index, length)?;
        facts.cues = Some(length);
        length += index.len() as u64;
    }
    (facts.duration, facts.length, facts.cut_off) = (Some(found.end), Some(length), true);
    file.write_all_at(&layout::head(kind, &tracks, &facts), 0)?;
    // Its age is that of what is in it.
    file.set_modified(modified)?;
    file.sync_all()?;
    Ok(Done::Finished)
}

/// What the whole clusters of a file hold.
#[derive(Debug, Default)]
struct Found {
    /// End of the last whole cluster, bytes.
    length: u64,
    /// End of the last packet, milliseconds.
    end: u64,
    cues: Vec<Cue>,
}

fn scan(file: &File, length: u64) -> io::Result<Found> {
    let mut found = Found { length: HEAD as u64, ..Found::default() };
    let mut talker = Vec::new();
    loop {
        let mut start = [0; 12];
        if found.length + start.len() as u64 > length {
            break;
        }
        file.read_exact_at(&mut start, found.length)?;
        let Some((id::CLUSTER, Some(size), head)) = ebml::read_head(&start) else { break };
        let end = found.length + head as u64 + size;
        if end > length || size > LARGEST {
            break;
        }
        let mut content = vec![0; size as usize];
        file.read_exact_at(&mut content, found.length + head as u64)?;
        let mut time = 0;
        for (id, bytes) in layout::children(&content) {
            match (id, bytes) {
                (id::TIMESTAMP, bytes) => time = bytes.iter().fold(0i64, |value, byte| value << 8 | i64::from(*byte)),
                (id::SIMPLE_BLOCK, [track, high, low, flags, ..]) => {
                    let at = u64::try_from(time + i64::from(i16::from_be_bytes([*high, *low]))).unwrap_or(0);
                    found.end = found.end.max(at + 20);
                    let cue = Cue { time: at, track: track & 0x7F, cluster: found.length };
                    if flags & 0x80 != 0 && cue.track == Lane::Picture.number() {
                        found.cues.push(cue);
                    } else if flags & 0x80 != 0 && cue.track == Lane::TalkerPicture.number() {
                        talker.push(cue);
                    }
                }
                _ => {}
            }
        }
        found.length = end;
    }
    if found.cues.is_empty() {
        found.cues = talker;
    }
    Ok(found)
}

/// What is torn at a file's very beginning may have so many bytes; what has more may hold something.
const TORN: u64 = 1 << 20;
/// No cluster of ours has more bytes.
const LARGEST: u64 = 64 << 20;
