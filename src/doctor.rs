//! `duplex doctor`: everything the service needs, looked at one by one.
//!
//! In: the configuration. Out: a list of findings, each failure with what to do. Never: changes anything.

use std::fmt;
use std::net::TcpListener;
use std::path::Path;

use crate::config::{AudioSource, Config, SoundSink, VideoSource};
use crate::devices::{self, Class, sensors};
use crate::needs;
use crate::pipeline;

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
        write!(f, "{mark} {}: {}", self.what, self.detail)
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
    for (class, name, wanted) in wanted_devices(config) {
        let listed = devices::list(class).into_iter().map(|device| device.name).collect::<Vec<_>>().join(", ");
        match (devices::find(class, name.as_deref()), wanted) {
            (Ok(device), _) if device.name == listed || listed.is_empty() => {
                find(class.word(), Verdict::Good, device.name);
            }
            (Ok(device), _) => find(class.word(), Verdict::Good, format!("{}; seen: {listed}", device.name)),
            (Err(error), true) => find(
                class.word(),
                Verdict::Warning,
                format!(
                    "{error}; the service starts without it and keeps trying. Seen: {}",
                    if listed.is_empty() { "none" } else { &listed }
                ),
            ),
            (Err(_), false) => find(class.word(), Verdict::Good, "none, and none is configured".into()),
        }
    }
    board_cameras(Path::new("/"), matches!(config.video, VideoSource::Camera(_)), &mut find);
    for address in config.listen.iter().chain(&config.help_listen) {
        match TcpListener::bind(address) {
            Ok(_) => find(&format!("port {address}"), Verdict::Good, "free".into()),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                find(&format!("port {address}"), Verdict::Bad, "in use: another service, or a running duplex".into());
            }
            Err(error) => find(&format!("port {address}"), Verdict::Warning, error.to_string()),
        }
    }
    certificate(config, &mut find);
    match std::fs::metadata(&config.state_dir) {
        Ok(_) => find("state folder", Verdict::Good, config.state_dir.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            find("state folder", Verdict::Good, format!("{} will be made", config.state_dir.display()));
        }
        Err(error) => find("state folder", Verdict::Bad, format!("{}: {error}", config.state_dir.display())),
    }
    match time::OffsetDateTime::now_utc().year() {
        2025.. => find("clock", Verdict::Good, "plausible".into()),
        year => find("clock", Verdict::Bad, format!("says {year}: certificates will not be valid; set the time")),
    }
    findings
}

/// Says of each camera made for the board whether this kernel can drive it.
fn board_cameras(root: &Path, wanted: bool, find: &mut impl FnMut(&str, Verdict, String)) {
    let sensors = sensors::list(root);
    for sensor in &sensors {
        if sensor.driven {
            find("board's camera", Verdict::Good, format!("{} has its driver", sensor.name));
        } else {
            let verdict = if wanted { Verdict::Warning } else { Verdict::Good };
            find("board's camera", verdict, format!("{} is connected, but {NO_DRIVER}", sensor.name));
        }
    }
    if sensors.is_empty() && wanted && sensors::is_raspberry_pi(root) {
        let told = "the firmware has told the kernel of none. Debian's kernel has drivers for none of the Raspberry Pi's own \
            cameras (Camera Module 3, imx708, included): a USB camera works, or a kernel that has them (nix/rootfs/kernel.toml)";
        find("board's camera", Verdict::Good, told.into());
    }
}

/// What to do about a sensor that nothing drives.
const NO_DRIVER: &str = "this kernel has no driver for it: it cannot be used. A USB camera works; or build the image with a kernel \
    that has the driver (nix/rootfs/kernel.toml)";

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
