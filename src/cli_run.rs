//! `duplex run`: the service from its start to its end, its log on stderr, and what a terminal is told.
//!
//! In: flags, signals, the service manager's variables. Out: a running service, lines on stdout once it is ready, what the service
//! manager wants to know. Never: media or logic.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use duplex::cli_place::Wrong;
use duplex::config::{Config, Flags, LogFormat};
use duplex::log_tail::LogTail;
use duplex::{appliance, health};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::{explain, print};

/// Serves until it is told to stop.
///
/// # Errors
/// A sentence: what keeps it from starting, or made it end.
pub fn run(flags: &Flags) -> anyhow::Result<()> {
    let (config, settings) = explain(flags)?;
    let places = appliance::Places::under(Path::new("/"));
    let notes = appliance::origins::notes(&places, flags.config.as_deref());
    let settings = appliance::origins::named(&places, flags.config.as_deref(), settings);
    let start = duplex::Start { settings, log: log_to_stderr(&config)?, notes };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    let notifier = Arc::new(appliance::notify::Notifier::new(|name| std::env::var(name).ok()));
    let well: Arc<OnceLock<health::Check>> = Arc::default();
    let result = runtime.block_on(async {
        if let Some(beat) = notifier.beat() {
            tokio::spawn(keep_alive(notifier.clone(), beat, well.clone()));
        }
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        // The terminal was closed: as Ctrl-C, so that a recording gets its end. Not under nohup.
        let hang_up = match is_ignored(HANG_UP) {
            true => None,
            false => Some(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(HANG_UP))?),
        };
        let shutdown = async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
                () = hung_up(hang_up) => {}
            }
        };
        let ready = |ready: &duplex::Ready, check: &health::Check| {
            well.get_or_init(|| check.clone());
            announce(ready);
            notifier.ready();
        };
        let stopping = {
            let notifier = notifier.clone();
            async move {
                shutdown.await;
                notifier.stopping();
            }
        };
        duplex::run(config, start, ready, stopping).await?;
        anyhow::Ok(())
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

/// SIGHUP.
const HANG_UP: i32 = 1;

/// Whether who started the program had it ignore a signal.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

async fn hung_up(signal: Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(mut signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Tells the supervisor that the service is alive, for as long as it does what it is there for: a service that hangs is
/// then started again.
async fn keep_alive(notifier: Arc<appliance::notify::Notifier>, beat: Duration, well: Arc<OnceLock<health::Check>>) {
    loop {
        match well.get() {
            // Still starting; systemd has a limit of its own for that.
            None => notifier.alive(),
            Some(check) => {
                let verdict = check().await;
                if verdict.is_good() {
                    notifier.alive();
                } else {
                    tracing::error!(
                        problems = verdict.problems.join(" "),
                        "not telling the supervisor that all is well"
                    );
                }
            }
        }
        tokio::time::sleep(beat).await;
    }
}

/// Tells the person at the terminal where to go.
fn announce(ready: &duplex::Ready) {
    let mut text = String::new();
    if let (Some(fingerprint), Some(file)) = (&ready.fingerprint, &ready.ca_file) {
        text += "\nThe page is secured by this device's own authority; a browser warns until it trusts it.\n";
        text += &format!("  authority    {}\n  fingerprint  {fingerprint}\n", file.display());
        text += "  how to trust it: open /trust on the device's page, or read pki/README.md\n";
    }
    if let Some(help) = &ready.help_url {
        text += &format!("  over plain HTTP: {help}\n");
    }
    if ready.open {
        text += "No password is set: everybody on this computer is the owner. Only this computer can connect. (`duplex passwd` sets a password.)\n";
    } else if ready.loopback {
        text += "Only this computer can connect. (`--listen 0.0.0.0:8443` lets others on the network do so.)\n";
    }
    if ready.mute {
        text += "No speaker is connected: who talks is not heard.";
        text += if ready.loopback { " (`--sound file:heard.wav` writes what he says into a file.)\n" } else { "\n" };
    }
    if let Some(code) = &ready.setup_code {
        text += &format!("No owner password is set yet. Open the page and enter this setup code: {code}\n");
    }
    for url in &ready.urls {
        text += &format!("ready {url}\n");
    }
    if let Err(error) = print(&text) {
        tracing::warn!(%error, "cannot print to the terminal");
    }
}

/// What is logged.
///
/// # Errors
/// The configured filter is none.
pub fn log_filter(config: &Config) -> anyhow::Result<tracing_subscriber::EnvFilter> {
    // The protocol library logs every message at debug and every peer at info, which the hub does as well.
    let wanted = format!("gst_plugin_webrtc_signalling=error,{}", config.log);
    tracing_subscriber::EnvFilter::try_new(wanted).map_err(|_| {
        Wrong(format!("log = {:?}: must be a filter such as info or info,duplex=debug", config.log)).into()
    })
}

/// The log on stderr, and its end in memory.
fn log_to_stderr(config: &Config) -> anyhow::Result<LogTail> {
    let filter = log_filter(config)?;
    let json = match config.log_format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let tail = LogTail::new();
    let log = tracing_subscriber::registry().with(filter).with(tail.clone());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if json {
        log.with(lines.json().flatten_event(true)).init();
    } else {
        log.with(lines.with_target(false).with_ansi(std::io::stderr().is_terminal())).init();
    }
    Ok(tail)
}
