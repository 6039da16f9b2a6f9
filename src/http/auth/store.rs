//! A TOML file with secrets, shared between processes, which take turns by a lock on its folder.
//!
//! In: a folder and a type. Out: the file's newest content, changes written in one step (temporary file, flush, rename).
//! Never: leaves a half-written file, reads one that others can read, reports content in an error.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;

/// What a file holds. The default is what a missing file means.
pub(super) trait Contents: Serialize + DeserializeOwned + Default + Clone {
    /// Name within the state folder.
    const FILE: &str;
    /// Comment at its top.
    const HEAD: &str;
    /// What follows from removing it.
    const WITHOUT: &str;

    /// Says what is wrong beyond the syntax.
    fn check(&self) -> Result<(), String>;
}

/// The value of `version` in every file. It also tells an empty file, as a crash may leave one, from a valid one.
pub(super) const FORMAT: u32 = 1;

/// Refuses the format of another release.
pub(super) fn check_format(version: u32) -> Result<(), String> {
    if version == FORMAT { Ok(()) } else { Err(format!("version is {version}, this program knows {FORMAT}")) }
}

/// Makes the folder (0700) when missing, and refuses one in which others can replace files.
pub(super) fn prepare(folder: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(Error::io("create the folder", folder))?;
    let mode = fs::metadata(folder).map_err(Error::io("read", folder))?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Error::FolderOpenToOthers { path: folder.to_owned(), mode });
    }
    Ok(())
}

/// One file and what was last read from it.
pub(super) struct Store<T> {
    path: PathBuf,
    cache: Mutex<Cache<T>>,
}

struct Cache<T> {
    seen: Option<Seen>,
    value: Arc<T>,
}

/// What tells one state of a file from another; every rename brings a new inode.
#[derive(PartialEq, Eq)]
struct Seen {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl<T: Contents> Store<T> {
    /// Reads the file in `folder`.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(T::FILE);
        let (value, seen) = read(&path)?;
        Ok(Self { path, cache: Mutex::new(Cache { seen, value: Arc::new(value) }) })
    }

    /// The newest content. If the file was spoiled since it was last read, the content before that, and an error in the
    /// log: a broken file must neither lock the owner out nor let everybody in.
    pub fn get(&self) -> Arc<T> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = fs::metadata(&self.path).map(|metadata| Seen::of(&metadata)).ok();
        if seen != cache.seen {
            match read(&self.path) {
                Ok((value, seen)) => *cache = Cache { seen, value: Arc::new(value) },
                Err(error) => {
                    tracing::error!("going on with what was read before, because {error}");
                    // Not again before the file changes again.
                    cache.seen = seen;
                }
            }
        }
        Arc::clone(&cache.value)
    }

    /// Reads the file, applies `change` and writes it, while other processes and threads wait. An error of `change`
    /// leaves everything as it was.
    pub fn change<E: From<Error>>(&self, change: impl FnOnce(&mut T) -> Result<(), E>) -> Result<(), E> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let _lock = lock(folder)?;
        let (mut value, _) = read::<T>(&self.path)?;
        change(&mut value)?;
        let seen = write(folder, &self.path, &value)?;
        *self.cache.lock().unwrap_or_else(PoisonError::into_inner) = Cache { seen: Some(seen), value: Arc::new(value) };
        Ok(())
    }
}

fn read<T: Contents>(path: &Path) -> Result<(T, Option<Seen>), Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((T::default(), None)),
        other => other.map_err(Error::io("read", path))?,
    };
    // Judged on the opened file, so that it cannot be swapped in between.
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::OpenToOthers { path: path.to_owned(), mode });
    }
    let damaged = |what: String| Error::Damaged { path: path.to_owned(), what, without: T::WITHOUT };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > LARGEST {
        return Err(damaged(format!("it is larger than {LARGEST} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8".to_owned()))?;
    let value: T = toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        damaged(format!("line {line}: {}", without_content(error.message())))
    })?;
    value.check().map_err(damaged)?;
    Ok((value, Some(Seen::of(&metadata))))
}

/// The complaint of a parser, cut before it begins to quote the file; only a name that is missing is no content.
fn without_content(message: &str) -> &str {
    let end = if message.starts_with("missing field") { ['\n'; 2] } else { [':', '`'] };
    message.split(end).next().unwrap_or_default().trim()
}

fn write<T: Contents>(folder: &Path, path: &Path, value: &T) -> Result<Seen, Error> {
    let failed = Error::io("write", path);
    let body = match toml::to_string(value) {
        Ok(body) => body,
        Err(error) => return Err(failed(io::Error::other(error))),
    };
    // A fixed name: the rest of an attempt that was cut short is found and removed by the next one.
    let temporary = folder.join(format!(".{}.new", T::FILE));
    let replace = || -> io::Result<Seen> {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        give_to_owner_of(folder, &file)?;
        file.write_all(T::HEAD.as_bytes())?;
        file.write_all(body.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()?;
        Ok(Seen::of(&fs::metadata(path)?))
    };
    replace().map_err(failed)
}

/// Keeps the files readable for the service when `sudo duplex passwd` works in the folder of the service's own user.
///
/// # Errors
/// It may not be given away.
pub fn give_to_owner_of(folder: &Path, file: &File) -> io::Result<()> {
    let (folder, metadata) = (fs::metadata(folder)?, file.metadata()?);
    if folder.uid() == metadata.uid() {
        return Ok(());
    }
    fchown(file, Some(folder.uid()), Some(folder.gid()))
}

/// Holds the folder for a change until the returned file is dropped.
fn lock(folder: &Path) -> Result<File, Error> {
    // The folder itself: a lock file in it could be a link that another user of the folder put there.
    let path = folder.to_owned();
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy { path: folder.to_owned(), seconds: LOCK_WAIT.as_secs() });
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
        }
    }
}

/// How long to wait for another process; the slowest change hashes a few passwords.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// 200 sessions and tokens stay far below this.
const LARGEST: u64 = 1 << 20;
