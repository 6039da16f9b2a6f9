//! Files on disk, written so that a crash or a power cut leaves the old state or the new one.
//!
//! What enters: paths, bytes, permission bits. What leaves: bytes, or the file in its place and on the disk.
//! What it never does: replace an existing file, or follow a half-written one.

use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

/// Permission bits of a file that holds a private key.
pub(crate) const SECRET: u32 = 0o600;
/// Permission bits of a file that anyone may read.
pub(crate) const PUBLIC: u32 = 0o644;
/// Permission bits of a directory that holds private keys.
const PRIVATE_DIRECTORY: u32 = 0o700;
/// No certificate chain or key comes near this, but `/dev/zero` does.
const LARGEST: u64 = 1 << 20;
/// How long to wait for another process that writes in the same store.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Reads a file of at most a mebibyte.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    read_all(file, path)
}

/// Reads a file that must be closed to group and others, judged on the opened file so that it cannot be swapped between.
/// Pipes and devices are exempt: their permission bits say nothing about who sees what they carry.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_file() && mode & 0o077 != 0 {
        return Err(Error::OpenToOthers { path: path.to_owned(), mode });
    }
    read_all(file, path)
}

/// Puts a new file into place, complete and flushed; an existing one is an `AlreadyExists` error and stays as it is.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    // A fixed name, so that the rest of an attempt cut short by a crash is found and removed by the next.
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    let temporary = directory.join(temporary);
    remove_if_there(&temporary)?;
    let written = write_and_sync(&temporary, bytes, mode)
        // A hard link refuses an existing name, which a rename would replace.
        .and_then(|()| fs::hard_link(&temporary, path));
    let removed = remove_if_there(&temporary);
    written.and(removed).and_then(|()| sync_directory(directory))
}

/// Makes a directory for private keys, with its parents, unless it exists.
fn private_directory(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(path).map_err(Error::io("create directory", path))
}

/// Refuses a directory in which other users could replace files; one that does not exist passes.
pub(crate) fn check_directory(path: &Path) -> Result<()> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::io("read", path))?,
    };
    if !metadata.is_dir() {
        return Err(Error::io("use as a directory", path)(io::ErrorKind::NotADirectory.into()));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Error::DirectoryWritable { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Points the symbolic link `link` at `target` in one step, whether it existed or not.
pub(crate) fn swap_link(target: &Path, link: &Path) -> io::Result<()> {
    let temporary = link.with_extension("new");
    remove_if_there(&temporary)?;
    symlink(target, &temporary)?;
    fs::rename(&temporary, link)?;
    sync_directory(link.parent().unwrap_or(Path::new(".")))
}

/// Flushes a directory's entries to the disk.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Holds the store for writing until the returned file is dropped; makes the store's directory if there is none.
pub(crate) fn lock(directory: &Path) -> Result<File> {
    private_directory(directory)?;
    let path = directory.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(SECRET)
        .open(&path)
        .map_err(Error::io("write", &path))?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20))
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Error::Busy { dir: directory.to_owned(), seconds: LOCK_WAIT.as_secs() });
            }
            Err(fs::TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
        }
    }
}

fn read_all(file: File, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::TooLarge { path: path.to_owned(), limit: LARGEST });
    }
    Ok(bytes)
}

fn write_and_sync(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_never_replaces_one_and_leaves_no_rest() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("key");
        write_new(&path, b"first", SECRET).expect("first write");
        let error = write_new(&path, b"second", SECRET).expect_err("second write");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("read"), b"first");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn endless_files_are_refused() {
        assert!(matches!(read(Path::new("/dev/zero")), Err(Error::TooLarge { .. })));
        assert_eq!(read_secret(Path::new("/dev/null")).expect("a device"), b"");
    }

    #[test]
    fn the_lock_excludes() {
        let dir = tempfile::tempdir().expect("temp dir");
        let held = lock(dir.path()).expect("lock");
        let second = File::open(dir.path().join(".lock")).expect("open");
        assert!(matches!(second.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(held);
        lock(dir.path()).expect("lock again");
    }
}
