//! Joins what the owner gets to see: health, the panel's parts, the devices that can be chosen.
//!
//! In: handles of the other parts. Out: what [`crate::http`] answers with. Never: a decision of its own.

use std::sync::Arc;

use tokio::sync::watch;

use crate::api::panel::{ConfiguredKey, DeviceChoice, Devices};
use crate::http::{Panel, TlsCert};
use crate::metrics::Metrics;
use crate::steering::Steering;
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
    tls: Option<TlsCert>,
    health: health::Check,
    published: watch::Receiver<Option<String>>,
    steering: Steering,
) -> Panel {
    let setting = |setting: config::Setting| ConfiguredKey {
        key: setting.key,
        value: setting.value,
        origin: setting.origin,
        configured: None,
        help: setting.help,
        heading: setting.heading,
    };
    Panel {
        log: start.log,
        settings: start.settings.into_iter().map(setting).collect(),
        tls,
        health,
        published,
        steering: Some(steering),
        devices: Arc::new(known_devices),
        ..Panel::bare(metrics)
    }
}

fn known_devices() -> Devices {
    let of = |class| {
        let choice = |device: devices::Device| DeviceChoice { name: device.name, description: device.description };
        devices::list(class).into_iter().map(choice).collect()
    };
    Devices {
        cameras: of(devices::Class::Camera),
        microphones: of(devices::Class::Microphone),
        speakers: of(devices::Class::Speaker),
    }
}
