//! Files that are whole after a power cut, whatever the file system.
//!
//! In: a path and a text. Out: the file with the new text or still with the old one; where the old one had secrets, blanks over it.
//! Never: half of a file.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
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

/// As [`replace`], and writes blanks over all that the old file had: on FAT its clusters would be free and go on to have it, for
/// everybody who reads the card. The old file is held open meanwhile, which keeps its clusters its own although no name leads to them.
///
/// What other programs left in free clusters, such as an editor's copy, stays; and what a card keeps aside of overwritten blocks; and
/// the old text, if power is cut between the two steps: the other way round that would cost the file.
///
/// Returns whether the old text is gone: `Some` is a sentence why it is not, though the new file is in its place.
///
/// # Errors
/// As [`replace`].
pub fn replace_secret(path: &Path, text: &str, mode: u32) -> Result<Option<String>, Error> {
    let old = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        opened => Some(opened),
    };
    replace(path, text, mode)?;
    let overwrite = |mut old: fs::File| -> std::io::Result<()> {
        let length = usize::try_from(old.metadata()?.len()).map_err(|_| ErrorKind::FileTooLarge)?;
        old.write_all(&vec![b' '; length])?;
        old.sync_all()
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(old.and_then(|old| old.and_then(overwrite).err()).map(|error| {
        format!("What {name} had before could not be overwritten and may still be read on the card: {}.", plain(error))
    }))
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
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {}", plain(error))),
        Ok(metadata) if metadata.len() > LARGEST => return Err(format!("is larger than {} KiB", LARGEST / 1024)),
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {}", plain(error)))?;
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        format!("is not UTF-8, first in line {line}; save it with the encoding UTF-8")
    })
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
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::File { doing: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

const LARGEST: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_secret_is_overwritten_where_it_stood() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("duplex.toml"), folder.path().join("old"));
        let secret = "password = \"a good password\"\n".repeat(500);
        fs::write(&path, &secret).unwrap();
        // Another name of the old file stands for its clusters.
        fs::hard_link(&path, &old).unwrap();
        assert_eq!(replace_secret(&path, "password = \"\"\n", 0o644).unwrap(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "password = \"\"\n");
        assert_eq!(fs::read_to_string(&old).unwrap(), " ".repeat(secret.len()));
        // There was none.
        let other = folder.path().join("other");
        assert_eq!(replace_secret(&other, "text", 0o600).unwrap(), None);
        assert_eq!(fs::read_to_string(other).unwrap(), "text");
    }

    #[test]
    fn what_cannot_be_overwritten_is_told_and_the_new_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("duplex.toml");
        // A link that leads in circles can be replaced and cannot be opened.
        std::os::unix::fs::symlink("duplex.toml", &path).unwrap();
        let sentence = replace_secret(&path, "text", 0o644).unwrap().unwrap();
        assert!(sentence.starts_with("What duplex.toml had before could not be overwritten"), "{sentence}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    }

    #[test]
    fn the_line_that_is_not_utf_8_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("duplex.toml");
        fs::write(&path, b"# \xc3\xa4\n\nhostname = \"T\xfcr\"\n").unwrap();
        let problem = text(&path).unwrap_err();
        assert_eq!(problem, "is not UTF-8, first in line 3; save it with the encoding UTF-8");
        fs::write(&path, b"\xfft").unwrap();
        assert!(text(&path).unwrap_err().contains("line 1;"));
    }
}
