//! Duplex: a two-way WebRTC audio and video appliance.
//!
//! ```text
//! outbound   source -> mixer -> encoder -> sender ===============> browser (viewer)
//! inbound    browser (talker) ===========> webrtcsrc -> speaker | recorder | overlay
//!                                                           overlay --------^ (into the outbound mixer)
//! they meet  signalling (who is here)      session and desk (who may watch or talk, until when)
//! ```
//!
//! Direction is always seen from the device. Media meets only in [`picture_slot`], [`far_end`], [`bridge`] and
//! [`recording`]; peers meet only in [`signalling::hub`]; people and programs come in through [`http`]; a media server gets
//! the same media by [`publish`]. [`run`] is the only place where the parts are joined.

pub mod api;
pub mod appliance;
pub mod arenas;
pub mod bridge;
pub mod certificate;
pub mod cli_auth;
pub mod cli_hints;
pub mod cli_owner;
pub mod cli_place;
pub mod cli_recordings;
pub mod cli_steering;
pub mod clips;
pub mod config;
pub mod control;
pub mod desk;
pub mod devices;
pub mod disk;
pub mod doctor;
pub mod far_end;
pub mod gate;
pub mod health;
pub mod http;
pub mod inbound;
pub mod log_tail;
pub mod machine;
pub mod media;
pub mod metrics;
pub mod names;
pub mod needs;
pub mod neighbour;
pub mod outbound;
pub mod owner;
mod parts;
pub mod picture_slot;
pub mod pipeline;
pub mod publish;
pub mod recording;
pub mod sdp_check;
pub mod session;
pub mod signaller;
pub mod signalling;
pub mod steering;
pub mod transport;
pub mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::Config;
use far_end::FarEnd;
use http::auth::Auth;
use http::{AllowedHosts, AppState, Trust};
use metrics::Metrics;
use neighbour::Neighbour;
use parts::{ice_uris, inbound_settings, outbound_settings, recording_settings, status, urls};
use tokio::net::TcpListener;

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state folder cannot be used.
    #[error("cannot use the state folder {}: {source}", path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Passwords and sessions cannot be read.
    #[error(transparent)]
    Auth(#[from] http::auth::Error),
    /// There is no usable certificate.
    #[error("no port was opened, because there is no usable certificate: {0}")]
    Certificate(#[from] certificate::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {} `--{key} ADDRESS:PORT` takes another one", not_free(source, neighbour.as_ref()))]
    Listen {
        /// The key that names the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
        /// Who has it, if it is a service of the same user.
        neighbour: Option<Neighbour>,
    },
    /// Of several addresses none can be listened on.
    #[error("this machine has no address of `listen`; `--listen ADDRESS:PORT` takes another one")]
    NoAddress,
    /// Another service has the state folder.
    #[error("{0}; a second one takes a folder and a port of its own: `--state-dir FOLDER --listen 127.0.0.1:PORT`")]
    Running(Neighbour),
    /// GStreamer cannot be used.
    #[error("GStreamer cannot be used: {0}")]
    Gst(String),
    /// Something of GStreamer is not installed.
    #[error("GStreamer's {0}")]
    Needs(#[from] needs::Missing),
    /// Files that are to be shown or heard cannot be: the configuration is wrong.
    #[error(transparent)]
    Unplayable(config::Errors),
    /// A pipeline cannot be built.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// No server could be trusted.
    #[error(transparent)]
    Publish(#[from] publish::RootsError),
    /// The control socket cannot be served.
    #[error(transparent)]
    Control(#[from] control::Error),
    /// A secret named in the configuration cannot be read.
    #[error("cannot read the credential file {}: {source}", path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What a started service tells the person who started it.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Where the page is.
    pub urls: Vec<String>,
    /// The CA's fingerprint, if the certificate is by the service's own CA.
    pub fingerprint: Option<String>,
    /// The CA's certificate file.
    pub ca_file: Option<PathBuf>,
    /// The code with which the owner's password is set; `None`: there is one, or nobody needs one.
    pub setup_code: Option<String>,
    /// Loopback without a password.
    pub open: bool,
    /// Loopback alone.
    pub loopback: bool,
    /// Who talks is to be heard from any speaker, and there is none.
    pub mute: bool,
    /// Where the plain help pages are.
    pub help_url: Option<String>,
}

/// What the program knows before the service starts, for the owner's panel.
#[derive(Debug, Default)]
pub struct Start {
    /// Where each value of the configuration comes from.
    pub settings: Vec<config::Setting>,
    /// The end of the log.
    pub log: log_tail::LogTail,
    /// What made the configuration may leave sentences for the owner here, one a line; they stand among what does not work.
    pub notes: Option<PathBuf>,
}

/// Registers the WebRTC and RTP elements that are linked in.
///
/// # Errors
/// GStreamer does not start.
pub fn init_gstreamer() -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Gst(error.to_string());
    gst::init().map_err(|error| failed(&error))?;
    gstrswebrtc::plugin_register_static().map_err(|error| failed(&error))?;
    gstrsrtp::plugin_register_static().map_err(|error| failed(&error))
}

/// Runs the service until `shutdown` is ready; `ready` is called once it serves, with the way to ask whether it is well.
///
/// Order: what can fail without a trace comes first (files, state, passwords, certificate, ports), then media, then
/// service.
///
/// # Errors
/// Anything that keeps it from starting; nothing is left half-started then.
pub async fn run(
    config: Config,
    start: Start,
    ready: impl FnOnce(&Ready, &health::Check),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let config = Arc::new(config);
    init_gstreamer()?;
    needs::check(&config)?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let ice = ice_uris(&config.ice_servers)?;
    let publishing = publish::Settings::of(&config)?;
    let to_check = outbound_settings(&config, ice.clone(), FarEnd::default(), metrics.clone());
    check_files(&to_check, &start.settings).await.map_err(Error::Unplayable)?;
    state_folder(&config)?;
    if control::refuse_a_second(&config.state_dir).is_err() {
        return Err(Error::Running(Neighbour::in_folder(&config.state_dir).await));
    }
    let in_force = steering::load(&config);
    let mute = is_mute(&in_force);
    let far_end = FarEnd::default();
    let outbound_settings = outbound_settings(&in_force, ice, far_end.clone(), metrics.clone());
    let auth = Arc::new(Auth::open(&config.state_dir)?);
    if !is_open(&config, &auth) {
        auth.keep_setup_code()?;
    }
    let allowed = AllowedHosts::new(certificate::names(&config));
    let keeper = if config.plain { None } else { Some(certificate::Keeper::start(&config)?) };
    let tls = keeper.as_ref().map(|keeper| keeper.tls.clone());
    let trust = keeper.as_ref().map_or_else(Trust::foreign, |keeper| keeper.trust.clone());
    let mut listeners = Vec::new();
    for address in &config.listen {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 still has the other loopback address.
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable && config.listen.len() > 1 => {
                tracing::info!(%address, "this machine does not have that address; not listening on it");
            }
            Err(source) => return Err(refused("listen", *address, source).await),
        }
    }
    let help = match config.help_listen {
        Some(address) => match TcpListener::bind(address).await {
            Ok(listener) => Some(listener),
            Err(source) => return Err(refused("help-listen", address, source).await),
        },
        None => None,
    };
    let local: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let Some(first) = local.first().copied() else { return Err(Error::NoAddress) };

    let limits = signalling::policy::Limits {
        max_viewers: config.max_viewers,
        max_peers: config.max_peers,
        ..signalling::policy::Limits::default()
    };
    let (hub, notices) = signalling::hub::Hub::spawn(limits);
    let slot = picture_slot::PictureSlot::default();
    let ice = outbound_settings.ice.clone();
    let tap = outbound_settings.tap.clone();
    let (outbound, reports) = outbound::Outbound::start(outbound_settings, hub.clone(), slot.clone())?;
    inbound::prepare();
    let playback = tokio::sync::watch::Sender::new(inbound::Playback::of(&in_force));
    let holding = outbound.clone();
    let capture: recording::Capture = Arc::new(move || Box::new(holding.hold(outbound::Purpose::Recording)));
    let (recorder, recorded) = recording::Recorder::start(recording_settings(&config), tap.clone(), capture);
    let (published_reports, publisher) = tokio::sync::mpsc::unbounded_channel();
    let published = tokio::sync::watch::Sender::new(None);
    let desk = desk::Desk::start(
        status(&in_force)?,
        session::TalkLock::new((config.talk_limit > 0).then(|| Duration::from_secs(config.talk_limit.into())), CLAIM),
        desk::Parts {
            outbound: outbound.clone(),
            inbound: inbound_settings(&config, ice, playback.subscribe(), far_end, tap),
            recorder: recorder.clone(),
            hub: hub.clone(),
            slot,
            metrics: metrics.clone(),
        },
        desk::Inputs { notices, outbound: reports, recorder: recorded, publisher },
    );
    let steered = steering::Parts { outbound: outbound.clone(), playback, desk: desk.clone() };
    let steering = steering::Steering::new(config.clone(), in_force, steered);
    let check = owner::health_check(metrics.clone(), desk.clone());
    let addresses = {
        let (config, local) = (config.clone(), local.clone());
        move || urls(&config, &local)
    };
    let panel = owner::panel(
        start,
        metrics.clone(),
        keeper.as_ref(),
        check.clone(),
        published.subscribe(),
        steering.clone(),
        addresses,
    );
    let media = media::Media::new(outbound.clone(), recorder.clone(), config.clips.clone());
    let state =
        AppState::new(config.clone(), auth.clone(), hub.clone(), desk.clone(), media, allowed.clone(), trust.clone())
            .with_panel(panel);
    let parts =
        control::Parts { outbound: outbound.clone(), recorder: recorder.clone(), steering, state: state.clone() };
    let control = control::serve(&config.state_dir, parts)?;

    let stop = tokio::sync::watch::Sender::new(false);
    let stopped = || {
        let mut stop = stop.subscribe();
        async move {
            // Err: the sender is gone, which means the same.
            stop.wait_for(|stop| *stop).await.ok();
        }
    };
    let main = tokio::spawn(http::serve(listeners, tls, http::router(state), stopped()));
    let help_address = help.as_ref().and_then(|listener| listener.local_addr().ok());
    let helper = help.map(|listener| {
        tokio::spawn(http::serve(
            vec![listener],
            None,
            http::help_router(trust, allowed.clone(), first.port()),
            stopped(),
        ))
    });
    let ca = keeper.as_ref().and_then(|keeper| keeper.ca_file.clone());
    let renewal = keeper.map(|keeper| tokio::spawn(keeper.keep(config.clone(), allowed)));

    // Who calls as soon as it says ready must be answered. If media cannot start, the page and the log say so.
    if tokio::time::timeout(Duration::from_secs(10), desk.callable()).await.is_err() {
        tracing::warn!("the device cannot be called yet; still trying");
    }
    let to_publish = publish::Parts { hub, outbound: outbound.clone(), metrics, published, reports: published_reports };
    let publisher = publishing.map(|settings| publish::Publisher::start(settings, to_publish));
    let told = Ready {
        urls: urls(&config, &local),
        fingerprint: ca.as_ref().map(|(_, fingerprint)| fingerprint.clone()),
        ca_file: ca.map(|(file, _)| file),
        setup_code: if is_open(&config, &auth) { None } else { auth.setup_code() },
        open: is_open(&config, &auth),
        loopback: is_loopback(&config),
        mute,
        help_url: help_address.map(|address| format!("http://{address}/trust")),
    };
    ready(&told, &check);
    shutdown.await;

    tracing::info!("stopping");
    if let Some(publisher) = publisher {
        publisher.stop().await;
    }
    if tokio::time::timeout(Duration::from_secs(10), desk.stop()).await.is_err() {
        tracing::error!("the desk does not stop; going on without it");
    }
    if tokio::time::timeout(Duration::from_secs(10), recorder.stop()).await.is_err() {
        tracing::error!("the recorder does not stop; going on without it");
    }
    outbound.stop().await;
    stop.send_replace(true);
    for task in [Some(main), helper].into_iter().flatten() {
        if tokio::time::timeout(Duration::from_secs(5), task).await.is_err() {
            tracing::warn!("connections were still open");
        }
    }
    control.abort();
    std::fs::remove_file(control::socket(&config.state_dir)).ok();
    if let Some(renewal) = renewal {
        renewal.abort();
    }
    Ok(())
}

/// Why an address cannot be listened on, and who has it.
async fn refused(key: &'static str, address: SocketAddr, source: std::io::Error) -> Error {
    let neighbour = match source.kind() {
        std::io::ErrorKind::AddrInUse => Neighbour::on_port(address.port()).await,
        _ => None,
    };
    Error::Listen { key, address, source, neighbour }
}

fn not_free(source: &std::io::Error, neighbour: Option<&Neighbour>) -> String {
    match neighbour {
        Some(neighbour) => format!("{neighbour};"),
        None if source.kind() == std::io::ErrorKind::AddrInUse => format!("{source}; is another service on that port?"),
        None => format!("{source};"),
    }
}

/// A turn that was granted but not taken up by media within this goes to the next.
const CLAIM: Duration = Duration::from_secs(15);

/// Checks of a configuration what only trying shows: that GStreamer has what it needs, and files which are sources can be played.
/// `origins` is where its values stand.
///
/// # Errors
/// GStreamer cannot be used or lacks something, or a file cannot be played.
pub async fn check_sources(config: &Config, origins: &[config::Setting]) -> Result<(), Error> {
    init_gstreamer()?;
    needs::check(config)?;
    publish::Settings::of(config)?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let settings = outbound_settings(config, ice_uris(&config.ice_servers)?, FarEnd::default(), metrics);
    check_files(&settings, origins).await.map_err(Error::Unplayable)
}

/// Plays the files that are sources up to their first data. A device may come later, a file that is no picture never
/// becomes one.
async fn check_files(settings: &outbound::Settings, origins: &[config::Setting]) -> Result<(), config::Errors> {
    let mut problems = Vec::new();
    for wanted in settings.wanted.iter().filter(|wanted| wanted.is_file()) {
        if let Err(error) = outbound::try_out(wanted, &settings.setup).await {
            let reason = error.reason();
            // Of a file for both that alone is of its sound.
            let seen = wanted.has_video() && reason != outbound::source::NO_SOUND;
            let (key, what) = if seen { ("video", "shown") } else { ("audio", "played") };
            let rule = format!("cannot be {what}: {reason}");
            problems.push(config::Problem::found(key, &wanted.label(), rule, origins));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(config::Errors(problems)) }
}

/// Nobody on the network can connect.
fn is_loopback(config: &Config) -> bool {
    config.listen.iter().all(|address| address.ip().is_loopback())
}

/// The talker's sound is for any speaker, and there is none.
fn is_mute(config: &Config) -> bool {
    config.sound == config::SoundSink::Speaker(None) && devices::find(devices::Class::Speaker, None).is_err()
}

/// Loopback only, and no password: everybody on this machine is the owner.
fn is_open(config: &Config, auth: &Auth) -> bool {
    is_loopback(config) && !auth.has_owner()
}

fn state_folder(config: &Config) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let path = &config.state_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| Error::State { path: path.clone(), source })
}
