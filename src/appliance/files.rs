//! Files that are whole after a power cut, whatever the file system.
//!
//! In: a path and a text. Out: the file with the new text or still with the old one. Never: half of a file.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Error;
use crate::words::plain;

/// Replaces a file, and its folder if that is missing.
///
/// # Errors
/// It cannot be written; the old one is still there then.
pub fn replace(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let failed = |source| Error::File { doing: "write", path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(failed)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let temporary = folder.join(format!("{name}.new"));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(failed)
}

/// As [`replace`], but leaves a file alone that has this text already: cards wear out.
///
/// # Errors
/// As [`replace`].
pub fn update(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    if read(path).as_deref() == Some(text) { Ok(()) } else { replace(path, text, mode) }
}

/// The text of a file up to a size that no file here reaches; `None` if it is missing, larger, or not UTF-8.
pub fn read(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.len() <= LARGEST).then(|| fs::read_to_string(path).ok()).flatten()
}

/// The text of a file that a person wrote; `None` if there is none.
///
/// # Errors
/// What keeps it from being read, for that person.
pub fn text(path: &Path) -> Result<Option<String>, String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {}", plain(error))),
        Ok(metadata) if metadata.len() > LARGEST => return Err(format!("is larger than {} KiB", LARGEST / 1024)),
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {}", plain(error)))?;
    String::from_utf8(bytes).map(Some).map_err(|_| "is not UTF-8; save it with the encoding UTF-8".to_owned())
}

/// Whether the card's first partition is there: a folder without it is where it would be.
pub fn is_card(folder: &Path) -> bool {
    folder.join("status").is_dir() || folder.join("autoboot.txt").is_file()
}

/// Removes a file or link that may be missing.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { doing: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

const LARGEST: u64 = 256 * 1024;
