//! Sound files that talkers may play: those of one folder, by name.
//!
//! In: a folder. Out: names, and the path of a name. Never: a path out of somebody's request.

use std::path::{Path, PathBuf};

/// Most names that are listed.
const MOST: usize = 200;

/// Names of the files in the folder, sorted: no hidden ones, no links, no folders within.
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
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && !name.chars().any(char::is_control))
        .collect();
    names.sort();
    names.truncate(MOST);
    names
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
        for name in ["gong.wav", "a b.ogg", ".hidden"] {
            std::fs::write(path(name), "x").unwrap();
        }
        std::fs::create_dir(path("more")).unwrap();
        std::fs::write(path("more/deep.wav"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path("link.wav")).unwrap();
        assert_eq!(names(folder.path()), ["a b.ogg", "gong.wav"]);
        assert_eq!(find(folder.path(), "gong.wav"), Some(path("gong.wav")));
        for other in ["", ".", "..", "link.wav", "more/deep.wav", ".hidden", "./gong.wav", "../gong.wav", "/etc/passwd"]
        {
            assert_eq!(find(folder.path(), other), None, "{other}");
        }
        assert!(names(&path("nowhere")).is_empty());
    }
}
