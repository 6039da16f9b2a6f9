//! What the owner's routes are made of, and those of them that only show something: device, certificate, configuration.
//!
//! In: requests of the owner. Out: JSON. Never: an answer to anybody else; a secret; a device opened.

use super::access::Caller;
use super::denied::Denied;
use super::tls::Shown;
use super::{AppState, TlsCert};
use crate::api::Access;
use crate::api::panel::{
    Authority, Certificate, Configuration, ConfiguredKey, DeviceHealth, Devices, Disk, Memory, RunningRecording,
    Temperature, Throttling,
};
use crate::health::{Check, Verdict};
use crate::log_tail::LogTail;
use crate::machine::{self, Machine};
use crate::metrics::Metrics;
use crate::steering::Steering;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tracing::error;

/// What only the owner gets to see, or programs that watch over the service.
pub struct Panel {
    /// Counters.
    pub metrics: Metrics,
    /// The end of the log.
    pub log: LogTail,
    /// The configuration with the origin of each value.
    pub settings: Vec<ConfiguredKey>,
    /// The certificate the listeners show; `None`: they speak plain HTTP.
    pub tls: Option<TlsCert>,
    /// Whether the service does what it is there for.
    pub health: Check,
    /// The media server that gets picture and sound at this moment.
    pub published: watch::Receiver<Option<String>>,
    /// Sources, speaker and volumes; `None` only where there is no media.
    pub steering: Option<Steering>,
    /// Lists the devices that are there; blocks.
    pub devices: Arc<dyn Fn() -> Devices + Send + Sync>,
    /// What the owner has to know of the certificate and of the settings, a sentence each; reads a file.
    pub notes: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Where the page is, as people are told; asks for the machine's addresses.
    pub addresses: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Where the kernel's files are: `/`, but for tests.
    pub root: PathBuf,
}

impl Panel {
    /// Counters and nothing else to show.
    pub fn bare(metrics: Metrics) -> Self {
        Self {
            metrics,
            log: LogTail::new(),
            settings: Vec::new(),
            tls: None,
            health: Arc::new(|| Box::pin(async { Verdict::default() })),
            published: watch::channel(None).1,
            steering: None,
            devices: Arc::new(Devices::default),
            notes: Arc::new(Vec::new),
            addresses: Arc::new(Vec::new),
            root: PathBuf::from("/"),
        }
    }
}

/// The routes under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/device", get(device))
        .route("/devices", get(devices))
        .route("/certificate", get(certificate))
        .route("/configuration", get(configuration))
}

/// How the device is: heat, load, memory, disks, clock.
#[utoipa::path(get, path = "/api/v1/device", tag = "owner", responses((status = 200, body = DeviceHealth)))]
pub(super) async fn device(State(state): State<AppState>, caller: Caller) -> Result<Json<DeviceHealth>, Denied> {
    caller.must_own()?;
    look(&state, caller.access).await.map(Json)
}

/// Looks at the device and asks how the service is.
pub(super) async fn look(state: &AppState, access: Access) -> Result<DeviceHealth, Denied> {
    let panel = state.panel.clone();
    let folders = vec![("state", state.config.state_dir.clone()), ("recordings", state.config.recordings())];
    let look = move || (machine::look(&panel.root, &folders), (panel.notes)(), (panel.addresses)());
    let look = tokio::task::spawn_blocking(look);
    let verdict = (state.panel.health)().await;
    let (machine, notes, addresses) = look.await.map_err(|error| {
        error!(%error, "the device could not be looked at");
        Denied::failed()
    })?;
    let version = state.desk.status(access).version;
    let faults = state.desk.faults().into_iter().chain(notes).collect();
    let published_to = state.panel.published.borrow().clone();
    // A talker's own recording may have begun before the call's, whose file is named.
    let of_call = state.media.recorded_to().map(|(file, since)| (since, Some(file)));
    let recording = of_call.or_else(|| Some((state.desk.recorded_since()?, None)));
    let recording = recording.map(|(since, file)| RunningRecording { since: unix(since), file });
    let health = shown(machine, &verdict, version, &state.panel.metrics);
    Ok(DeviceHealth { faults, published_to, recording, addresses, ..health })
}

/// Cameras, microphones and speakers that are there.
#[utoipa::path(get, path = "/api/v1/devices", tag = "owner", responses((status = 200, body = Devices)))]
pub(super) async fn devices(State(state): State<AppState>, caller: Caller) -> Result<Json<Devices>, Denied> {
    caller.must_own()?;
    let list = state.panel.devices.clone();
    tokio::task::spawn_blocking(move || list()).await.map(Json).map_err(|error| {
        error!(%error, "the devices could not be listed");
        Denied::failed()
    })
}

/// The certificate the device shows; none where it speaks plain HTTP.
#[utoipa::path(get, path = "/api/v1/certificate", tag = "owner", responses((status = 200, body = Option<Certificate>)))]
pub(super) async fn certificate(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Option<Certificate>>, Denied> {
    caller.must_own()?;
    let authority = state.trust.authority().map(|ca| Authority {
        name: ca.common_name().to_owned(),
        fingerprint: ca.fingerprint_sha256(),
        not_after: unix(ca.not_after()),
    });
    Ok(Json(state.panel.tls.as_ref().map(TlsCert::shown).map(|shown| {
        let Shown { names, not_before, not_after, fingerprint } = shown;
        Certificate { names, not_before: unix(not_before), not_after: unix(not_after), fingerprint, authority }
    })))
}

/// Every key of the configuration with the value in force and where that stands.
#[utoipa::path(get, path = "/api/v1/configuration", tag = "owner", responses((status = 200, body = Configuration)))]
pub(super) async fn configuration(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Configuration>, Denied> {
    caller.must_own()?;
    let mut keys = state.panel.settings.clone();
    if let Some(steering) = &state.panel.steering {
        let file = steering.file().display().to_string();
        for (name, value) in steering.present().changed() {
            if let Some(key) = keys.iter_mut().find(|key| key.key == name) {
                key.configured = Some(std::mem::replace(&mut key.value, value));
                key.origin.clone_from(&file);
            }
        }
    }
    Ok(Json(Configuration { keys }))
}

fn shown(machine: Machine, verdict: &Verdict, version: String, metrics: &Metrics) -> DeviceHealth {
    let temperature = |found: machine::Temperature| Temperature { sensor: found.sensor, celsius: found.celsius };
    let disk = |found: machine::Disk| Disk {
        purpose: found.purpose.to_owned(),
        folder: found.folder.display().to_string(),
        total: found.total,
        available: found.available,
    };
    DeviceHealth {
        problems: verdict.problems.iter().map(|sentence| (*sentence).to_owned()).collect(),
        faults: Vec::new(),
        published_to: None,
        recording: None,
        addresses: Vec::new(),
        version,
        service_uptime: metrics.uptime().as_secs(),
        uptime: machine.uptime.map(|uptime| uptime.as_secs()),
        model: machine.model,
        kernel: machine.kernel,
        temperatures: machine.temperatures.into_iter().map(temperature).collect(),
        throttling: machine.throttling.map(|found| Throttling {
            now: found.now,
            before: found.before,
            low_voltage: found.low_voltage,
        }),
        load: machine.load.map(|load| load.to_vec()),
        processors: u32::try_from(machine.processors).unwrap_or(u32::MAX),
        memory: machine.memory.map(|found| Memory {
            total: found.total,
            available: found.available,
            service: found.service,
        }),
        disks: machine.disks.into_iter().map(disk).collect(),
        clock_synchronised: machine.clock_synchronised,
        time: u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis())
            .unwrap_or(u64::MAX),
    }
}

/// Seconds since 1970.
pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
