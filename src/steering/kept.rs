//! The changes that outlast a restart: a file in the state folder, beside the owner's configuration and never in it.
//!
//! In: the configuration, the file's text. Out: the configuration with the changes over it; the file written anew.
//! Never: keeps the service from starting: what is damaged or no longer possible is told and left out.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::config::Config;

/// Name of the file in the state folder.
pub const FILE: &str = "changes.toml";
/// Keys that may stand in it.
const KEYS: &[&str] = &["video", "audio", "sound", "audio-volume", "audio-mute", "sound-volume", "sound-mute"];
/// No such file comes near this size, in bytes.
const LARGEST: u64 = 64 * 1024;
const HEAD: &str =
    "# What was changed while Duplex ran. It is laid over the configuration at each start; written by the service.\n\n";

/// The configuration with the changes of earlier runs over it.
pub fn load(configured: &Config) -> Config {
    let path = configured.state_dir.join(FILE);
    let mut in_force = configured.clone();
    let table = match read(&path) {
        Ok(table) => table,
        Err(reason) => {
            tracing::warn!(file = %path.display(), reason, "changes of earlier runs are not in force");
            return in_force;
        }
    };
    let mut kept = Vec::new();
    // One by one: a clip that is gone must not undo a mute.
    for (key, value) in table {
        let words = format!("{key} = {value}");
        let one: toml::Table = [(key.clone(), value)].into_iter().collect();
        if !KEYS.contains(&key.as_str()) {
            tracing::warn!(file = %path.display(), key, "not a key that can be changed while running; left out");
            continue;
        }
        match in_force.with(&one, &path) {
            Ok(next) => {
                in_force = next;
                kept.push(words);
            }
            Err(errors) => tracing::warn!(%errors, "a change of an earlier run is not in force"),
        }
    }
    // Who has just typed another source would wonder.
    if !kept.is_empty() {
        tracing::warn!(
            kept = kept.join(", "),
            "what was changed while Duplex ran holds over flags and configuration; setting what these say undoes it (`duplex source show`)"
        );
    }
    in_force
}

fn read(path: &Path) -> Result<toml::Table, String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(toml::Table::new()),
        Err(error) => return Err(error.to_string()),
        Ok(metadata) if metadata.len() > LARGEST => return Err(format!("it is larger than {LARGEST} bytes")),
        Ok(_) => {}
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.parse().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// Replaces the file: afterwards it is the new one or the old one, whole.
pub(super) fn write(path: &Path, changes: &toml::Table) -> io::Result<()> {
    let temporary = path.with_extension("toml.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(format!("{HEAD}{changes}").as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{self, Flags, VideoSource};

    fn configured(folder: &Path) -> Config {
        let flags = Flags::default().with("state-dir", folder.to_string_lossy());
        config::load(&flags, |_| None).unwrap()
    }

    #[test]
    fn what_is_written_is_in_force_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let config = configured(folder.path());
        assert_eq!(load(&config), config);
        let table: toml::Table = "video = \"camera:auto\"\naudio-volume = 0.5\nsound-mute = true".parse().unwrap();
        let path = folder.path().join(FILE);
        write(&path, &table).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let next = load(&config);
        assert_eq!((next.video, next.audio_volume, next.sound_mute), (VideoSource::Camera(None), 0.5, true));
        write(&path, &toml::Table::new()).unwrap();
        assert_eq!(load(&config), config);
    }

    #[test]
    fn what_is_damaged_is_left_out_and_the_rest_holds() {
        let folder = tempfile::tempdir().unwrap();
        let config = configured(folder.path());
        let path = folder.path().join(FILE);
        for damaged in ["video = \"test", "\0\0\0", "[[", &"x".repeat(100_000)] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(load(&config), config, "{damaged:.20}");
        }
        fs::write(
            &path,
            "video = \"file:/nowhere.mp4\"\nsound-volume = 9\nlisten = [\"0.0.0.0:1\"]\naudio-mute = true\n",
        )
        .unwrap();
        let next = load(&config);
        assert_eq!(next, Config { audio_mute: true, ..config });
    }
}
