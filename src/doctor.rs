//! `duplex doctor`: everything the service needs, looked at one by one.
//!
//! In: the configuration. Out: a list of findings, each failure with what to do, and what they come to. Never: changes anything;
//! the file with which it tries whether the state folder can be written is gone at once.

use std::fmt;
use std::net::TcpListener;
use std::path::Path;

use crate::config::{AudioSource, Config, SoundSink, VideoSource};
use crate::devices::{self, Class, board};
use crate::pipeline;
use crate::{control, needs, words};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Fine.
    Good,
    /// The service starts, but something will be missing.
    Warning,
    /// The service will not start.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub verdict: Verdict,
    /// What was looked at.
    pub what: String,
    /// What was found, and what to do.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Good => "  ok ",
            Verdict::Warning => "warn ",
            Verdict::Bad => "FAIL ",
        };
        write!(f, "{mark} {}: {}", self.what, words::plain(&self.detail))
    }
}

/// What the findings come to, in a line.
pub fn summary(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let things = |count| if count == 1 { "1 thing".to_owned() } else { format!("{count} things") };
    match (count(Verdict::Bad), count(Verdict::Warning)) {
        (0, 0) => "all is well".to_owned(),
        (0, warnings) => format!("the service starts; {} to look at", things(warnings)),
        (bad, 0) => format!("{} to mend", things(bad)),
        (bad, warnings) => format!("{} to mend, {} to look at", things(bad), things(warnings)),
    }
}

/// Looks at everything this configuration needs.
pub fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find =
        |what: &str, verdict, detail: String| findings.push(Finding { verdict, what: what.to_owned(), detail });
    for factory in needs::elements(config) {
        match pipeline::make(factory) {
            Ok(_) => find(&format!("element {factory}"), Verdict::Good, "there".into()),
            Err(error) => find(&format!("element {factory}"), Verdict::Bad, error.to_string()),
        }
    }
    let mut absent = Vec::new();
    for (class, name, wanted) in wanted_devices(config) {
        let listed = devices::list(class).devices.into_iter().map(|device| device.name).collect::<Vec<_>>().join(", ");
        match (devices::find(class, name.as_deref()), wanted) {
            (Ok(device), _) if device.name == listed || listed.is_empty() => {
                find(class.word(), Verdict::Good, device.name);
            }
            (Ok(device), _) => find(class.word(), Verdict::Good, format!("{}; seen: {listed}", device.name)),
            (Err(error @ devices::Error::Busy(_)), wanted) => {
                let verdict = if wanted { Verdict::Warning } else { Verdict::Good };
                let detail = if listed.is_empty() { error.to_string() } else { format!("{error}; seen: {listed}") };
                find(class.word(), verdict, detail);
            }
            (Err(error), true) => {
                absent.push(class);
                let seen = if listed.is_empty() { "none" } else { &listed };
                let detail = format!("{error}; the service starts without it and keeps trying. Seen: {seen}");
                find(class.word(), Verdict::Warning, detail);
            }
            (Err(_), false) => find(class.word(), Verdict::Good, "none, and none is configured".into()),
        }
    }
    let wanted = matches!(config.video, VideoSource::Camera(_));
    board_cameras(Path::new("/"), wanted, absent.contains(&Class::Camera), &mut find);
    for address in config.listen.iter().chain(&config.help_listen) {
        match TcpListener::bind(address) {
            Ok(_) => find(&format!("port {address}"), Verdict::Good, "free".into()),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                match control::refuse_a_second(&config.state_dir) {
                    Err(_) => find(
                        &format!("port {address}"),
                        Verdict::Good,
                        "in use, by the running service it seems".into(),
                    ),
                    Ok(()) => find(&format!("port {address}"), Verdict::Bad, "in use by another program".into()),
                }
            }
            // One of several that this machine does not have is left out.
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable && config.listen.len() > 1 => {
                find(&format!("port {address}"), Verdict::Warning, format!("{error}; not listening on it"));
            }
            Err(error) => find(&format!("port {address}"), Verdict::Bad, error.to_string()),
        }
    }
    certificate(config, &mut find);
    let (verdict, detail) = state_folder(&config.state_dir);
    find("state folder", verdict, detail);
    match time::OffsetDateTime::now_utc().year() {
        2025.. => find("clock", Verdict::Good, "plausible".into()),
        year => find("clock", Verdict::Bad, format!("says {year}: certificates will not be valid; set the time")),
    }
    findings
}

/// Tries whether the folder can be written, or made where there is none yet.
fn state_folder(folder: &Path) -> (Verdict, String) {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    // Of a folder that is to be made, the one that is there already.
    let there = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(&absolute);
    let probe = there.join(format!(".duplex-doctor-{}", std::process::id()));
    let tried = std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe));
    let shown = folder.display();
    match tried {
        Ok(()) if there == absolute => (Verdict::Good, shown.to_string()),
        Ok(()) => (Verdict::Good, format!("{shown} will be made")),
        Err(error) => {
            let remedy = match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "let this user write there, or name another folder with --state-dir"
                }
                _ => "mend that, or name another folder with --state-dir",
            };
            (Verdict::Bad, format!("{shown}: {} cannot be written: {error}; {remedy}", there.display()))
        }
    }
}

/// Says of the cameras made for the board what is known of them and of the kernel.
fn board_cameras(root: &Path, wanted: bool, absent: bool, find: &mut impl FnMut(&str, Verdict, String)) {
    for (about, text) in board::remarks(root) {
        let verdict = if wanted && about.explains(absent) { Verdict::Warning } else { Verdict::Good };
        find("board's cameras", verdict, text);
    }
}

fn certificate(config: &Config, find: &mut impl FnMut(&str, Verdict, String)) {
    let now = std::time::SystemTime::now();
    if config.plain {
        return find("certificate", Verdict::Good, "not needed: plain is set, loopback only".into());
    }
    let loaded = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => duplex_pki::Identity::load(cert, key, now),
        _ => {
            let none = "none yet: the service makes a CA and a certificate at start";
            match duplex_pki::Store::open(config.state_dir.join("pki")) {
                Ok(store) if !store.certificate_path().exists() => {
                    return find("certificate", Verdict::Good, none.into());
                }
                Ok(store) => store.identity(now),
                Err(error) => Err(error),
            }
        }
    };
    match loaded {
        Ok(identity) => {
            let names = identity.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            find("certificate", Verdict::Good, format!("valid, for {names}"));
        }
        Err(error) => find("certificate", Verdict::Bad, error.to_string()),
    }
}

/// Class, configured name, and whether one is wanted at all.
fn wanted_devices(config: &Config) -> Vec<(Class, Option<String>, bool)> {
    let camera = match &config.video {
        VideoSource::Camera(name) => (name.clone(), true),
        _ => (None, false),
    };
    let microphone = match &config.audio {
        AudioSource::Microphone(name) => (name.clone(), true),
        _ => (None, false),
    };
    let speaker = match &config.sound {
        SoundSink::Speaker(name) => (name.clone(), true),
        _ => (None, false),
    };
    [(Class::Camera, camera), (Class::Microphone, microphone), (Class::Speaker, speaker)]
        .into_iter()
        .map(|(class, (name, wanted))| (class, name, wanted))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_is_tried() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        assert_eq!(state_folder(&folder), (Verdict::Good, format!("{} will be made", folder.display())));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(state_folder(&folder), (Verdict::Good, folder.display().to_string()));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing is left behind");
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        for wrong in [file.clone(), file.join("below")] {
            let (verdict, detail) = state_folder(&wrong);
            assert!(verdict == Verdict::Bad && detail.contains("--state-dir"), "{detail}");
        }
    }

    #[test]
    fn the_summary_counts() {
        let with = |verdicts: &[Verdict]| {
            let one = |verdict: &Verdict| Finding { verdict: *verdict, what: String::new(), detail: String::new() };
            summary(&verdicts.iter().map(one).collect::<Vec<_>>())
        };
        let (good, warning, bad) = (Verdict::Good, Verdict::Warning, Verdict::Bad);
        assert_eq!(with(&[good, good]), "all is well");
        assert_eq!(with(&[good, warning]), "the service starts; 1 thing to look at");
        assert_eq!(with(&[bad, good, bad]), "2 things to mend");
        assert_eq!(with(&[bad, warning]), "1 thing to mend, 1 thing to look at");
    }

    #[test]
    fn a_board_s_camera_is_a_warning_only_where_it_explains_something() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("proc/device-tree");
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("model"), b"Raspberry Pi 5 Model B Rev 1.0\0").unwrap();
        let verdict = |wanted, absent| {
            let mut found = Vec::new();
            board_cameras(root.path(), wanted, absent, &mut |_: &str, verdict, _| found.push(verdict));
            found
        };
        assert_eq!(verdict(true, true), [Verdict::Warning]);
        assert_eq!((verdict(true, false), verdict(false, true)), (vec![Verdict::Good], vec![Verdict::Good]));
    }
}
