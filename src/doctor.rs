//! `duplex doctor`: everything the service needs, looked at one by one.
//!
//! In: the configuration and where its values stand. Out: a list of findings, each failure with what to do, and what they
//! come to. Never: changes anything; the files with which it tries whether folders can be written are gone at once.

use std::fmt;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use duplex_pki::{Action, Error, Identity, Reason, Store};

use crate::config::{AudioSource, Config, Setting, SoundSink, VideoSource};
use crate::devices::{self, Class, Device, board, camera_settings};
use crate::far_end::FarEnd;
use crate::metrics::Metrics;
use crate::recording::shelf::Shelf;
use crate::transport::IceUris;
use crate::{certificate, control, needs, parts, pipeline, publish, words};

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

impl Finding {
    /// What keeps the service from starting.
    pub fn bad(what: &str, error: impl fmt::Display) -> Self {
        Self { verdict: Verdict::Bad, what: what.to_owned(), detail: error.to_string() }
    }
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

/// Looks at everything this configuration needs; `origins` is where its values stand.
pub async fn examine(config: &Config, origins: &[Setting]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find =
        |what: &str, verdict, detail: String| findings.push(Finding { verdict, what: what.to_owned(), detail });
    let mut complete = true;
    for factory in needs::elements(config) {
        match pipeline::make(factory) {
            Ok(_) => find(&format!("element {factory}"), Verdict::Good, "there".into()),
            Err(error) => {
                complete = false;
                find(&format!("element {factory}"), Verdict::Bad, error.to_string());
            }
        }
    }
    let mut absent = Vec::new();
    let mut camera = None;
    for (class, name, wanted) in wanted_devices(config) {
        let listed = devices::list(class).devices.into_iter().map(|device| device.name).collect::<Vec<_>>().join(", ");
        let found = devices::find(class, name.as_deref());
        if let (Class::Camera, Ok(device), true) = (class, &found, wanted) {
            camera = Some(device.clone());
        }
        match (found, wanted) {
            (Ok(device), wanted) => match devices::remark(class, name.as_deref()).filter(|_| wanted) {
                Some(remark) => find(class.word(), Verdict::Warning, remark),
                None if device.name == listed || listed.is_empty() => find(class.word(), Verdict::Good, device.name),
                None => find(class.word(), Verdict::Good, format!("{}; seen: {listed}", device.name)),
            },
            (Err(error @ devices::Error::Busy(_)), wanted) => {
                let verdict = if wanted { Verdict::Warning } else { Verdict::Good };
                let detail = if listed.is_empty() { error.to_string() } else { format!("{error}; seen: {listed}") };
                find(class.word(), verdict, detail);
            }
            (Err(error), true) => {
                absent.push(class);
                find(class.word(), Verdict::Warning, without(class, &error, &listed));
            }
            (Err(_), false) => find(class.word(), Verdict::Good, "none, and none is configured".into()),
        }
    }
    if let Some(device) = camera {
        camera_settings(&device, config, &mut find);
    }
    let wanted = matches!(config.video, VideoSource::Camera(_));
    board_cameras(Path::new("/"), wanted, absent.contains(&Class::Camera), &mut find);
    tried(config, origins, complete, &mut find).await;
    ports(config, &mut find).await;
    certificate(config, SystemTime::now(), &mut find);
    let (verdict, detail) = folder(&config.state_dir, "state-dir");
    find("state folder", verdict, detail);
    let (verdict, detail) = recordings(&parts::recording_settings(config).shelf);
    find("recordings", verdict, detail);
    match time::OffsetDateTime::now_utc().year() {
        2025.. => find("clock", Verdict::Good, "plausible".into()),
        year => find("clock", Verdict::Bad, format!("says {year}: certificates will not be valid; set the time")),
    }
    findings
}

/// What becomes of the service without a device, and what to do.
fn without(class: Class, error: &devices::Error, listed: &str) -> String {
    let other = match class {
        Class::Camera => "--video test",
        Class::Microphone => "--audio silence",
        Class::Speaker => "--sound discard",
    };
    let seen = if listed.is_empty() { "none" } else { listed };
    let remedy = if matches!(error, devices::Error::NoCamera { .. }) { "name another" } else { "connect it" };
    format!(
        "{error}; the service starts without it and keeps trying: {remedy}, or do without it by `{other}`. Seen: {seen}"
    )
}

/// What is known only once it is tried, and what keeps the service from starting then: files, authorities, credentials. Files are
/// left alone while GStreamer is not complete.
async fn tried(config: &Config, origins: &[Setting], complete: bool, find: &mut impl FnMut(&str, Verdict, String)) {
    match publish::Settings::of(config) {
        Ok(None) => {}
        Ok(Some(_)) => {
            find("publishing", Verdict::Good, "configured; the running service tells whether it works".into())
        }
        Err(error) => find("publishing", Verdict::Bad, error.to_string()),
    }
    let ice = parts::ice_uris(&config.ice_servers).unwrap_or_else(|error| {
        find("ICE servers", Verdict::Bad, error.to_string());
        IceUris::default()
    });
    if !complete {
        return;
    }
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let settings = parts::outbound_settings(config, ice, FarEnd::default(), metrics);
    match crate::check_files(&settings, origins).await {
        Ok(()) => {
            for file in settings.wanted.iter().filter(|wanted| wanted.is_file()) {
                find("source", Verdict::Good, format!("{} can be played", file.label()));
            }
        }
        Err(errors) => errors.0.iter().for_each(|problem| find("source", Verdict::Bad, problem.to_string())),
    }
}

/// Listens where the service would, in its way: on all addresses together.
async fn ports(config: &Config, find: &mut impl FnMut(&str, Verdict, String)) {
    let several = config.listen.len() > 1;
    let main = config.listen.iter().map(|address| ("listen", *address));
    let mut held = Vec::new();
    let mut elsewhere = 0;
    for (key, address) in main.chain(config.help_listen.map(|address| ("help-listen", address))) {
        let what = format!("port {address}");
        match TcpListener::bind(address) {
            Ok(listener) => {
                held.push(listener);
                find(&what, Verdict::Good, "free".into());
            }
            Err(error)
                if error.kind() == ErrorKind::AddrInUse && control::refuse_a_second(&config.state_dir).is_err() =>
            {
                find(&what, Verdict::Good, "in use, by the running service it seems".into());
            }
            // One of several that this machine does not have is left out.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable && several && key == "listen" => {
                elsewhere += 1;
                find(&what, Verdict::Warning, format!("{error}; not listening on it"));
            }
            Err(error) => find(&what, Verdict::Bad, crate::refused(key, address, error).await.to_string()),
        }
    }
    if several && elsewhere == config.listen.len() {
        find("ports", Verdict::Bad, crate::Error::NoAddress.to_string());
    }
}

/// Tries whether the folder can be written, or made where there is none yet.
fn folder(folder: &Path, flag: &str) -> (Verdict, String) {
    let (absolute, there) = there(folder);
    let probe = there.join(format!(".duplex-doctor-{}", std::process::id()));
    let tried = std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe));
    let shown = folder.display();
    match tried {
        Ok(()) if there == absolute => (Verdict::Good, shown.to_string()),
        Ok(()) => (Verdict::Good, format!("{shown} will be made")),
        Err(error) => {
            let remedy = match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    format!("let this user write there, or name another folder with --{flag}")
                }
                _ => format!("mend that, or name another folder with --{flag}"),
            };
            (Verdict::Bad, format!("{shown}: {} cannot be written: {error}; {remedy}", there.display()))
        }
    }
}

/// A folder's absolute path, and of one that is to be made the one above it that is there already.
fn there(folder: &Path) -> (PathBuf, PathBuf) {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(&absolute).to_owned();
    (absolute, there)
}

/// Tries whether calls can be recorded. The service starts all the same.
fn recordings(shelf: &Shelf) -> (Verdict, String) {
    let tried = folder(&shelf.folder, "record-dir");
    let (_, there) = there(&shelf.folder);
    let refused = match tried {
        (Verdict::Good, _) => Shelf { folder: there, ..shelf.clone() }.check_room().err(),
        (_, ref detail) => Some(detail.clone()),
    };
    refused.map_or(tried, |why| (Verdict::Warning, format!("calls cannot be recorded: {why}")))
}

/// Says what of a camera's settings the one that is there does not take.
fn camera_settings(device: &Device, config: &Config, find: &mut impl FnMut(&str, Verdict, String)) {
    let what = "camera's settings";
    match camera_settings::remark(device, &config.camera) {
        Ok(None) => {}
        Ok(Some(text)) => find(what, Verdict::Warning, format!("{text} (see `duplex devices --controls`)")),
        Err(error) => find(
            what,
            Verdict::Warning,
            format!("{} does not tell its controls: {}", device.name, crate::words::plain(&error)),
        ),
    }
}

/// Says of the cameras made for the board what is known of them and of the kernel.
fn board_cameras(root: &Path, wanted: bool, absent: bool, find: &mut impl FnMut(&str, Verdict, String)) {
    for (about, text) in board::remarks(root) {
        let verdict = if wanted && about.explains(absent) { Verdict::Warning } else { Verdict::Good };
        find("board's cameras", verdict, text);
    }
}

fn certificate(config: &Config, now: SystemTime, find: &mut impl FnMut(&str, Verdict, String)) {
    let (verdict, detail) = match (&config.cert, &config.key) {
        _ if config.plain => (Verdict::Good, "not needed: plain is set, loopback only".into()),
        (Some(cert), Some(key)) => match Identity::load(cert, key, now) {
            Ok(identity) => (Verdict::Good, valid(&identity)),
            Err(error) => (Verdict::Bad, error.to_string()),
        },
        _ => own_certificate(config, now).unwrap_or_else(|error| (Verdict::Bad, error.to_string())),
    };
    find("certificate", verdict, detail);
}

/// What the service will do about a certificate of its own authority.
fn own_certificate(config: &Config, now: SystemTime) -> duplex_pki::Result<(Verdict, String)> {
    let store = Store::open(config.state_dir.join("pki"))?;
    let (action, in_use) = store.foresee(&certificate::names(config), now)?;
    let valid = in_use.as_ref().map(valid).unwrap_or_default();
    Ok(match action {
        Action::Kept => (Verdict::Good, valid),
        Action::CaMade(_) => (Verdict::Good, "none yet: the service makes a CA and a certificate at start".into()),
        Action::Issued(Reason::None) => (Verdict::Good, "none yet: the service issues one at start".into()),
        Action::Issued(Reason::Unusable(Error::Expired { not_after, .. })) => {
            (Verdict::Warning, format!("expired on {not_after}; the service issues a new one at start"))
        }
        Action::Issued(reason @ (Reason::Unusable(_) | Reason::OtherCa)) => {
            (Verdict::Warning, format!("the service issues a new one at start, because {reason}"))
        }
        Action::Issued(reason) => {
            (Verdict::Good, format!("{valid}; the service issues a new one at start, because {reason}"))
        }
        Action::KeptDespite { reason, error } => {
            (Verdict::Warning, format!("{valid}; it cannot be renewed: {error}. A new one is due because {reason}"))
        }
    })
}

fn valid(identity: &Identity) -> String {
    let names = identity.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("valid until {}, for {names}", duplex_pki::readable(identity.not_after))
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
    use std::time::Duration;

    use super::*;
    use crate::config::{self, Flags};

    const DAY: Duration = Duration::from_secs(86_400);

    fn configured(folder: &Path, flags: &[(&str, &str)]) -> Config {
        let state = Flags::default().with("state-dir", folder.display().to_string());
        let flags = flags.iter().fold(state, |flags, (key, value)| flags.with(key, *value));
        config::load(&flags, |_| None).unwrap()
    }

    #[tokio::test]
    async fn a_port_that_is_not_free_is_told_with_the_flag_that_takes_another() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let busy = taken.local_addr().unwrap().to_string();
        let found = async |flags: &[(&str, &str)]| {
            let mut found = Vec::new();
            ports(&configured(folder.path(), flags), &mut |_: &str, verdict, detail| found.push((verdict, detail)))
                .await;
            found
        };
        // Documentation's addresses (RFC 5737) are nobody's.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let [here, there, beside] = ["127.0.0.1", "203.0.113.1", "203.0.113.2"].map(|ip| format!("{ip}:{port}"));
        let (listen, help) =
            ("`--listen ADDRESS:PORT` takes another one", "`--help-listen ADDRESS:PORT` takes another one");
        for (flags, remedy) in [
            (vec![("listen", &busy)], listen),
            (vec![("listen", &here), ("help-listen", &busy)], help),
            (vec![("listen", &there)], listen),
            (vec![("listen", &here), ("help-listen", &there)], help),
            (vec![("listen", &format!("{there},{beside}"))], listen),
        ] {
            let flags: Vec<_> = flags.into_iter().map(|(key, value)| (key, value.as_str())).collect();
            let found = found(&flags).await;
            let (verdict, detail) = found.last().unwrap();
            assert!(*verdict == Verdict::Bad && detail.ends_with(remedy), "{flags:?}: {found:?}");
        }
        let found = found(&[("listen", &format!("{here},{there}"))]).await;
        assert_eq!(found.iter().map(|(verdict, _)| *verdict).collect::<Vec<_>>(), [Verdict::Good, Verdict::Warning]);
    }

    #[test]
    fn an_absent_device_is_told_with_a_step_to_take() {
        for (class, flag) in [
            (Class::Camera, "--video test"),
            (Class::Microphone, "--audio silence"),
            (Class::Speaker, "--sound discard"),
        ] {
            let detail = without(class, &devices::Error::None { class }, "");
            let word = class.word();
            assert!(detail.starts_with(&format!("no {word} is connected; ")), "{detail}");
            assert!(
                detail.contains("connect it, or ") && detail.contains(flag) && detail.ends_with("Seen: none"),
                "{detail}"
            );
        }
    }

    #[test]
    fn the_own_certificate_is_what_the_service_will_make_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = configured(folder.path(), &[]);
        let now = SystemTime::now();
        let look = |now| {
            let mut found = Vec::new();
            certificate(&config, now, &mut |_: &str, verdict, detail| found.push((verdict, detail)));
            found.remove(0)
        };
        let says = |now, verdict, words: &str| {
            let found = look(now);
            assert!(found.0 == verdict && found.1.contains(words), "{words}: {found:?}");
        };
        says(now, Verdict::Good, "none yet: the service makes a CA");
        assert!(!folder.path().join("pki").exists());
        let store = Store::open(folder.path().join("pki")).unwrap();
        store.ensure_server(&certificate::names(&config), now).unwrap();
        says(now, Verdict::Good, "valid until ");
        says(now + 390 * DAY, Verdict::Good, "issues a new one at start, because less than a third");
        says(now + 500 * DAY, Verdict::Warning, "; the service issues a new one at start");
        assert!(look(now + 500 * DAY).1.starts_with("expired on "));
        says(now + 3700 * DAY, Verdict::Bad, "certificate authority");
        std::fs::remove_file(store.dir().join("ca-key.pem")).unwrap();
        says(now, Verdict::Good, "valid until ");
        says(now + 390 * DAY, Verdict::Warning, "it cannot be renewed: ");
        says(now + 500 * DAY, Verdict::Bad, "ca-key.pem is missing");
    }

    #[tokio::test]
    async fn what_the_service_refuses_only_when_it_tries_is_found() {
        crate::init_gstreamer().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("words.txt");
        std::fs::write(&text, "words and more words\n".repeat(20)).unwrap();
        let (text, video) = (text.display().to_string(), format!("file:{}", text.display()));
        for (flags, what, words) in [
            (vec![("video", video.as_str())], "source", "cannot be shown: it is a text file"),
            (
                vec![("publish-url", "https://sfu.example.org/whip"), ("publish-ca", &text)],
                "publishing",
                "must be a file with certificates in PEM",
            ),
        ] {
            let config = configured(folder.path(), &flags);
            let mut found = Vec::new();
            tried(&config, &[], true, &mut |what: &str, verdict, detail| {
                found.push((what.to_owned(), verdict, detail))
            })
            .await;
            let refused = crate::check_sources(&config, &[]).await.unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
            assert_eq!(found, [(what.to_owned(), Verdict::Bad, refused)]);
        }
        let mut found = Vec::new();
        tried(&configured(folder.path(), &[]), &[], true, &mut |_: &str, verdict, _| found.push(verdict)).await;
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_folder_is_tried() {
        let folder_of = |path: &Path| folder(path, "state-dir");
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        assert_eq!(folder_of(&folder), (Verdict::Good, format!("{} will be made", folder.display())));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(folder_of(&folder), (Verdict::Good, folder.display().to_string()));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing is left behind");
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        for wrong in [file.clone(), file.join("below")] {
            let (verdict, detail) = folder_of(&wrong);
            assert!(verdict == Verdict::Bad && detail.contains("--state-dir"), "{detail}");
        }
    }

    #[test]
    fn what_keeps_calls_from_being_recorded_is_told() {
        let root = tempfile::tempdir().unwrap();
        let shelf =
            |folder: &str, min_free| Shelf { folder: root.path().join(folder), max_size: 1, max_age: None, min_free };
        assert_eq!(recordings(&shelf("a/b", 0)).0, Verdict::Good);
        std::fs::write(root.path().join("file"), "").unwrap();
        let (verdict, detail) = recordings(&shelf("file", 0));
        assert!(verdict == Verdict::Warning && detail.contains("--record-dir"), "{detail}");
        if crate::disk::room(root.path()).is_some() {
            let (verdict, detail) = recordings(&shelf("a/b", u64::MAX));
            assert!(verdict == Verdict::Warning && detail.contains("record-min-free"), "{detail}");
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
