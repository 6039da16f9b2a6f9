//! Joins what the owner gets to see: health, the panel's parts, the devices that can be chosen.
//!
//! In: handles of the other parts, and what made the configuration has to tell. Out: what [`crate::http`] answers with. Never: a decision of its own.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::api::panel::{ConfiguredKey, DeviceChoice, Devices};
use crate::certificate::Keeper;
use crate::http::Panel;
use crate::metrics::Metrics;
use crate::steering::Steering;
use crate::words::plain;
use crate::{Start, config, desk, devices, health};

/// Looks at the desk and at the encoder.
pub fn health_check(metrics: Metrics, desk: desk::Desk) -> health::Check {
    Arc::new(move || {
        let (metrics, desk) = (metrics.clone(), desk.clone());
        Box::pin(async move {
            let answers = tokio::time::timeout(health::PATIENCE, desk.answers()).await.unwrap_or(false);
            let signs = health::Signs { desk: answers, registered: desk.is_callable(), pulse: metrics.pulse() };
            health::judge(&signs)
        })
    })
}

/// What the owner's routes are made of.
pub fn panel(
    start: Start,
    metrics: Metrics,
    keeper: Option<&Keeper>,
    health: health::Check,
    published: watch::Receiver<Option<String>>,
    steering: Steering,
    addresses: impl Fn() -> Vec<String> + Send + Sync + 'static,
) -> Panel {
    let setting = |setting: config::Setting| ConfiguredKey {
        key: setting.key,
        value: setting.value,
        origin: setting.origin,
        configured: None,
        help: setting.help,
        heading: setting.heading,
    };
    let trouble = keeper.map(Keeper::trouble);
    let of_certificate = move || trouble.as_ref().and_then(|trouble| trouble.borrow().clone());
    Panel {
        log: start.log,
        settings: start.settings.into_iter().map(setting).collect(),
        tls: keeper.map(|keeper| keeper.tls.clone()),
        health,
        published,
        steering: Some(steering),
        devices: Arc::new(known_devices),
        addresses: Arc::new(addresses),
        notes: Arc::new(move || {
            of_certificate().into_iter().chain(start.notes.as_deref().map(notes).unwrap_or_default()).collect()
        }),
        ..Panel::bare(metrics)
    }
}

/// The sentences in a file that may be missing.
fn notes(path: &Path) -> Vec<String> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(MOST_NOTES).read_to_end(&mut text)) {
        Ok(_) => String::from_utf8_lossy(&text).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => vec![format!("{} cannot be read: {}", path.display(), plain(error))],
    }
}

/// Bytes.
const MOST_NOTES: u64 = 64 * 1024;

fn known_devices() -> Devices {
    let choice = |device: devices::Device| DeviceChoice { name: device.name, description: device.description };
    let of = |listed: devices::Listed| listed.devices.into_iter().map(choice).collect();
    let cameras = devices::list(devices::Class::Camera);
    Devices {
        incomplete: cameras.busy.is_some(),
        cameras: of(cameras),
        microphones: of(devices::list(devices::Class::Microphone)),
        speakers: of(devices::list(devices::Class::Speaker)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_a_sentence_a_line_and_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.notes");
        assert!(notes(&path).is_empty());
        std::fs::write(&path, "One.\n\nTwo.\n").unwrap();
        assert_eq!(notes(&path), ["One.", "Two."]);
        assert!(notes(folder.path())[0].contains(" cannot be read: "), "a folder");
    }
}
