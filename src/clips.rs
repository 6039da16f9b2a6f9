//! Sound files that talkers may play: those of one folder, by name.
//!
//! In: a folder. Out: names, and the path of a name. Never: a path out of somebody's request; a file that is empty, or not
//! called after a kind of sound or film.

use std::path::{Path, PathBuf};

/// Most names that are listed.
const MOST: usize = 200;

/// What the names of sound files, and of films with sound, end in.
const KINDS: [&str; 17] = [
    "aac", "aif", "aiff", "amr", "flac", "m4a", "m4v", "mka", "mkv", "mov", "mp3", "mp4", "oga", "ogg", "opus", "wav",
    "webm",
];

/// Names of the files in the folder, sorted: no hidden ones, no links, no folders within, no empty or other files.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "cannot list clips");
            return Vec::new();
        }
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        // Of the entry itself: a link is none.
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && !name.chars().any(char::is_control) && is_media(name))
        .collect();
    names.sort();
    names.truncate(MOST);
    names
}

fn is_media(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| KINDS.contains(&&*ending))
}

/// The file of that name.
pub fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    names(folder).into_iter().find(|listed| listed == name).map(|listed| folder.join(listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_of_the_folder_are_clips() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["gong.WAV", "a b.ogg", ".hidden.wav", "notes.txt", "README"] {
            std::fs::write(path(name), "x").unwrap();
        }
        std::fs::write(path("empty.wav"), "").unwrap();
        std::fs::create_dir(path("more")).unwrap();
        std::fs::write(path("more/deep.wav"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path("link.wav")).unwrap();
        assert_eq!(names(folder.path()), ["a b.ogg", "gong.WAV"]);
        assert_eq!(find(folder.path(), "gong.WAV"), Some(path("gong.WAV")));
        for other in [
            "",
            ".",
            "..",
            "link.wav",
            "more/deep.wav",
            ".hidden.wav",
            "notes.txt",
            "empty.wav",
            "./gong.WAV",
            "../gong.WAV",
            "/etc/passwd",
        ] {
            assert_eq!(find(folder.path(), other), None, "{other}");
        }
        assert!(names(&path("nowhere")).is_empty());
    }
}
