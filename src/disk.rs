//! How much room a file system has.
//!
//! In: a path. Out: bytes, as `df` says (Rust's library cannot ask, and the calls that can are unsafe). Never: a guess:
//! where there is no `df`, nothing is known.

use std::path::Path;
use std::process::{Command, Stdio};

/// Room of the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes in all.
    pub size: u64,
    /// Bytes that may still be written.
    pub free: u64,
}

/// Asks; blocks for some milliseconds.
pub fn room(path: &Path) -> Option<Room> {
    // The appliance has its `df` within busybox.
    [&["df"][..], &["busybox", "df"]].into_iter().find_map(|words| {
        let output = Command::new(words[0])
            .args(&words[1..])
            .args(["-P", "-k"])
            .arg(path)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        parse(&String::from_utf8_lossy(&output.stdout))
    })
}

/// The last line of `df -P -k`: file system, size, used, free, per cent, place.
fn parse(text: &str) -> Option<Room> {
    let line = text.lines().nth(1)?;
    // The name of the file system may have spaces in it, but the per cent sign stands after the numbers.
    let words: Vec<&str> = line.split_whitespace().collect();
    let percent = words.iter().position(|word| word.ends_with('%'))?;
    let kib = |at: usize| words.get(percent.checked_sub(at)?)?.parse::<u64>().ok()?.checked_mul(1024);
    Some(Room { size: kib(3)?, free: kib(1)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_before_the_per_cent_count() {
        let text = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                    some name 1000 400 500 45% /a folder\n";
        assert_eq!(parse(text), Some(Room { size: 1_024_000, free: 512_000 }));
        assert_eq!(parse("Filesystem\n"), None);
        assert_eq!(parse("Filesystem\nnone - - - - /\n"), None);
    }

    #[test]
    fn this_machine_has_room_or_no_df() {
        if let Some(room) = room(Path::new("/")) {
            assert!(room.size > 0 && room.free <= room.size);
        }
        assert_eq!(room(Path::new("/nowhere/at/all")), None);
    }
}
