//! The folder with recordings: their names, how many are kept, which there are.
//!
//! In: a folder and limits. Out: names, lists, open files. Never: a path out of somebody's request (a name is looked up
//! among those that are there); a file that this service has not named itself.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{layout, talkers};

/// A folder and what is kept in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelf {
    /// Made when it is missing.
    pub folder: PathBuf,
    /// Bytes that all recordings may have.
    pub max_size: u64,
    /// Oldest recording kept; `None`: any age.
    pub max_age: Option<Duration>,
    /// Bytes that must stay free on the file system.
    pub min_free: u64,
}

/// One recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// File name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// Who talked when the recording began, in short; [`NOBODY`]: nobody.
    pub peer: String,
}

impl Entry {
    /// What its head says.
    pub fn facts(&self) -> Option<Facts> {
        let mut head = vec![0; layout::HEAD];
        File::open(&self.path).and_then(|mut file| file.read_exact(&mut head)).ok()?;
        let (_, facts, _) = layout::read(&head)?;
        let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(facts.began).ok()?);
        let length = facts.duration.map(Duration::from_millis);
        Some(Facts { began, length, cut_off: facts.cut_off, talkers: facts.talkers })
    }
}

/// What a recording says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// When it began.
    pub began: SystemTime,
    /// Its length; `None` while it is being written.
    pub length: Option<Duration>,
    /// A killed service or a power cut ended it; it was finished at the next start.
    pub cut_off: bool,
    /// All who talked in it, in short; `None`: it does not tell.
    pub talkers: Option<Vec<String>>,
}

/// What stands in a file's name for a peer where nobody talked when the recording began.
pub const NOBODY: &str = "device";

impl Shelf {
    /// Makes the folder, for the service's own user alone: faces and voices are in it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn prepare(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// Makes a new file for a recording that begins now.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self, peer: &str, extension: &str, now: SystemTime) -> io::Result<(PathBuf, File)> {
        let path = free_path(&self.folder, peer, extension, now);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        // The name, too, must survive a power cut.
        File::open(&self.folder)?.sync_all()?;
        Ok((path, file))
    }

    /// All recordings, the oldest first; none where there is no folder yet. One that a damaged disk does not tell about is left out.
    ///
    /// # Errors
    /// The folder cannot be read, or nothing that is in it.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let (mut found, mut untold) = (Vec::new(), None);
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some(peer) = peer_of(&name).map(str::to_owned) else { continue };
            // Of the entry itself: a link is none of ours.
            match entry.metadata().and_then(|meta| Ok((meta.modified()?, meta))) {
                Ok((modified, meta)) if meta.is_file() => {
                    found.push(Entry { name, path: entry.path(), size: meta.len(), modified, peer });
                }
                Ok(_) => {}
                // Deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(file = %entry.path().display(), %error, "a recording cannot be looked at");
                    untold = Some(error);
                }
            }
        }
        if let Some(error) = untold.filter(|_| found.is_empty()) {
            return Err(error);
        }
        found.sort_by(|a: &Entry, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The same for who can do nothing about a folder that cannot be read: the log has it.
    pub fn readable_entries(&self) -> Vec<Entry> {
        self.entries().unwrap_or_else(|error| {
            tracing::warn!(folder = %self.folder.display(), %error, "cannot list recordings");
            Vec::new()
        })
    }

    /// The recording of that name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn find(&self, name: &str) -> io::Result<Option<Entry>> {
        Ok(self.entries()?.into_iter().find(|entry| entry.name == name))
    }

    /// Removes the oldest recordings beyond size and age, never one of `open`.
    pub fn tidy(&self, open: &[PathBuf], now: SystemTime) {
        let (open, closed): (Vec<Entry>, Vec<Entry>) =
            self.readable_entries().into_iter().partition(|entry| open.contains(&entry.path));
        let space = self.max_size.saturating_sub(open.iter().map(|entry| entry.size).sum());
        for path in surplus(closed, space, self.max_age, now) {
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!(file = %path.display(), "removed an old recording"),
                Err(error) => tracing::warn!(file = %path.display(), %error, "cannot remove an old recording"),
            }
        }
    }

    /// Says what is wrong when less than the least space is free.
    pub fn check_room(&self) -> Result<(), String> {
        const MIB: u64 = 1 << 20;
        if self.min_free == 0 {
            return Ok(());
        }
        match crate::disk::room(&self.folder) {
            Some(room) if room.free < self.min_free => Err(format!(
                "only {} MiB are free in {}, and record-min-free keeps {} MiB",
                room.free / MIB,
                self.folder.display(),
                self.min_free / MIB
            )),
            _ => Ok(()),
        }
    }
}

/// `2026-11-22T09-33-07Z_PEER.webm`, with a number when that is taken.
fn free_path(folder: &Path, peer: &str, extension: &str, now: SystemTime) -> PathBuf {
    let stamp = time::OffsetDateTime::from(now);
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]-[minute]-[second]Z");
    let stamp = stamp.format(format).unwrap_or_else(|_| "undated".to_owned());
    let base = format!("{stamp}_{}", talkers::short(peer));
    (1..)
        .map(|n| if n == 1 { format!("{base}.{extension}") } else { format!("{base}-{n}.{extension}") })
        .map(|name| folder.join(name))
        .find(|path| !path.exists())
        .unwrap_or_else(|| folder.join("recording"))
}

/// The peer in a file name of the form `2026-11-22T09-33-07Z_PEER.webm`; `None` for any other name.
fn peer_of(name: &str) -> Option<&str> {
    let (stamp, rest) = name.split_once("Z_")?;
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (base, extension) = rest.split_once('.')?;
    let is_plain = base.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let ours = shape == "0000-00-00T00-00-00" && ["webm", "mkv"].contains(&extension) && is_plain;
    ours.then(|| base.split('-').next().unwrap_or(base))
}

/// Which of them are too old or, from the oldest on, too much.
fn surplus(mut files: Vec<Entry>, max_size: u64, max_age: Option<Duration>, now: SystemTime) -> Vec<PathBuf> {
    files.sort_by_key(|entry| entry.modified);
    let mut total: u64 = files.iter().map(|entry| entry.size).sum();
    let mut removed = Vec::new();
    for entry in files {
        let age = now.duration_since(entry.modified).unwrap_or_default();
        if total > max_size || max_age.is_some_and(|limit| age > limit) {
            total -= entry.size;
            removed.push(entry.path);
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (Vec<Entry>, SystemTime) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let file = |name: &str, size, age| Entry {
            name: name.into(),
            path: name.into(),
            size,
            modified: now - Duration::from_secs(age),
            peer: String::new(),
        };
        (vec![file("young", 40, 10), file("old", 30, 5000), file("middle", 30, 100)], now)
    }

    fn shelf(folder: &Path) -> Shelf {
        Shelf { folder: folder.to_owned(), max_size: 10, max_age: None, min_free: 0 }
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
        for own in ["2026-11-22T09-33-07Z_766f68f7.mkv", "2026-11-22T09-33-07Z_766f68f7-2.webm"] {
            assert_eq!(peer_of(own), Some("766f68f7"), "{own}");
        }
        for other in [
            "holiday.mkv",
            "2026-11-22.mkv",
            "2026-11-22T09-33-07Z_766f68f7.mp4",
            "Z_.mkv",
            "2026-11-22T09-33-07Z_../../x.mkv",
            "2026-11-22T09-33-07Z_a/b.mkv",
            "2026-11-22T09-33-07Z_a.mkv.webm",
        ] {
            assert_eq!(peer_of(other), None, "{other}");
        }
    }

    #[test]
    fn names_carry_time_and_peer_and_are_never_taken_twice() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH;
        let (first, _) = shelf(folder.path()).create("ab../cd-ef012345", "mkv", now).unwrap();
        assert_eq!(first.file_name().unwrap(), "1970-01-01T00-00-00Z_abcdef01.mkv");
        let (second, _) = shelf(folder.path()).create("ab../cd-ef012345", "mkv", now).unwrap();
        assert_eq!(second.file_name().unwrap(), "1970-01-01T00-00-00Z_abcdef01-2.mkv");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&second).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_what_is_there_is_found_and_no_link_and_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let name = "2026-11-22T09-33-07Z_a.webm";
        fs::write(folder.path().join("secret"), "x").unwrap();
        fs::write(folder.path().join(name), "x").unwrap();
        let link = "2026-11-22T09-33-08Z_a.webm";
        std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join(link)).unwrap();
        let shelf = shelf(folder.path());
        assert_eq!(shelf.entries().unwrap().iter().map(|entry| &*entry.name).collect::<Vec<_>>(), [name]);
        assert!(shelf.find(name).unwrap().is_some());
        for other in [link, "secret", "../secret", "", ".", "/etc/passwd", &format!("./{name}"), &format!("{name}\0")] {
            assert!(shelf.find(other).unwrap().is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_folder_that_is_missing_has_none_and_one_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(shelf(&folder.path().join("none")).entries().unwrap(), []);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(shelf(&file).entries().is_err());
    }

    #[test]
    fn an_open_recording_stays_and_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = |n: u8| folder.path().join(format!("2026-11-22T09-33-0{n}Z_a.webm"));
        for n in 1..=3 {
            fs::write(path(n), "12345").unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(n) * 1000);
            File::options().append(true).open(path(n)).unwrap().set_modified(time).unwrap();
        }
        shelf(folder.path()).tidy(&[path(1)], SystemTime::now());
        assert!(path(1).exists() && !path(2).exists() && path(3).exists());
    }
}
