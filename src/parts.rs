//! What each part of the service takes from the configuration.
//!
//! In: the checked [`Config`]; files with credentials. Out: settings of outgoing and incoming media and of recording, the
//! first status, addresses for people. Never: starts anything; a credential in a message.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, AudioSource, Config, Echo, IceServer, PictureSink, VideoCodec};
use crate::far_end::FarEnd;
use crate::metrics::Metrics;
use crate::outbound::source::{Setup, Wanted};
use crate::recording::layout::Kind;
use crate::recording::shelf::Shelf;
use crate::recording::tap::Tap;
use crate::transport::IceUris;
use crate::{Error, api, certificate, inbound, outbound, recording, steering};

/// Outgoing media's part.
pub fn outbound_settings(config: &Config, ice: IceUris, far_end: FarEnd, metrics: Metrics) -> outbound::Settings {
    let setup = Setup::of(config, far_end);
    if matches!(config.audio, config::AudioSource::Microphone(_)) {
        tracing::info!(configured = ?config.room.echo, in_force = ?setup.room.echo, "the echo of talkers in the room");
    }
    let duck = if setup.room.echo == Echo::Duck { 10f64.powf(-config.duck / 20.0) } else { 1.0 };
    outbound::Settings {
        name: config.name.clone(),
        wanted: Wanted::from_config(&config.video, &config.audio),
        rungs: outbound::rungs::ladder(&setup.format, config.ladder),
        setup: Arc::new(setup),
        overlay: config.overlay,
        volume: steering::device_volume(config),
        duck,
        ice,
        negotiation_timeout: Duration::from_secs(config.negotiation_timeout.into()),
        idle_grace: Duration::from_secs(config.idle_grace.into()),
        tap: Tap::default(),
        metrics,
    }
}

/// Recording's part.
pub fn recording_settings(config: &Config) -> recording::Settings {
    recording::Settings {
        rule: config.record,
        shelf: Shelf {
            folder: config.recordings(),
            max_size: config.record_max_size << 20,
            max_age: max_age(config),
            min_free: config.record_min_free << 20,
        },
        // Browsers play WebM, and that has no H.264.
        kind: if config.video_codec == VideoCodec::Vp8 { Kind::WebM } else { Kind::Matroska },
        bitrate: config.audio_bitrate,
    }
}

fn max_age(config: &Config) -> Option<Duration> {
    (config.record_max_age > 0).then(|| Duration::from_secs(u64::from(config.record_max_age) * 86_400))
}

/// Incoming media's part.
pub fn inbound_settings(
    config: &Config,
    ice: IceUris,
    playback: tokio::sync::watch::Receiver<inbound::Playback>,
    far_end: FarEnd,
    tap: Tap,
) -> inbound::Settings {
    inbound::Settings {
        playback,
        far_end,
        picture: config.picture.clone(),
        overlay_width: (f64::from(config.width) * config.overlay.size) as u32,
        record_max_size: config.record_max_size << 20,
        record_max_age: max_age(config),
        record_min_free: config.record_min_free << 20,
        tap,
        ice,
        jitter: Duration::from_millis(config.jitter_buffer.into()),
        negotiation_timeout: Duration::from_secs(config.negotiation_timeout.into()),
    }
}

/// What pages are told, before anything has happened.
///
/// # Errors
/// A credential cannot be read.
pub fn status(config: &Config) -> Result<api::Status, Error> {
    let mut ice_servers = Vec::new();
    for server in &config.ice_servers {
        ice_servers.push(api::IceServer {
            urls: vec![server.urls.clone()],
            username: server.username.clone(),
            credential: credential(server)?,
        });
    }
    Ok(api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: config.name.clone(),
        access: api::Access { role: None, open: false, needs_setup: false },
        device_id: None,
        ice_servers,
        video: true,
        audio: config.audio != AudioSource::Silence,
        audio_muted: steering::device_volume(config) == 0.0,
        inbound_video: config.picture.iter().any(|sink| *sink != PictureSink::Discard),
        talk_sound: inbound::Playback::of(config).outcome(),
    })
}

fn credential(server: &IceServer) -> Result<Option<String>, Error> {
    let Some(path) = &server.credential_file else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|source| Error::Credential { path: path.clone(), source })?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}

/// STUN and TURN servers as they are written for webrtcbin, and for who sends to viewers: `stun://HOST:PORT`, `turn://USER:CREDENTIAL@HOST:PORT`.
///
/// # Errors
/// A credential cannot be read.
pub fn ice_uris(servers: &[IceServer]) -> Result<IceUris, Error> {
    let mut uris = IceUris::default();
    for server in servers {
        let (scheme, rest) = server.urls.split_once(':').unwrap_or(("stun", &server.urls));
        if server.is_turn() {
            let user = encoded(server.username.as_deref().unwrap_or_default());
            let secret = encoded(&credential(server)?.unwrap_or_default());
            uris.turn.push(format!("{scheme}://{user}:{secret}@{rest}"));
        } else {
            let port = if rest.rsplit(']').next().unwrap_or(rest).contains(':') { "" } else { ":3478" };
            uris.stun = Some(format!("stun://{rest}{port}"));
        }
    }
    Ok(uris)
}

/// Percent-encodes what would end the user part of a URI.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Where the page is, for a person: the addresses that are listened on by the names of this machine; first those that are likely
/// to work from other machines.
pub fn urls(config: &Config, local: &[SocketAddr]) -> Vec<String> {
    let scheme = if config.plain { "http" } else { "https" };
    let mut hosts: Vec<(String, u16)> = Vec::new();
    for address in local {
        if address.ip().is_loopback() {
            hosts.push(("localhost".to_owned(), address.port()));
        } else if address.ip().is_unspecified() {
            let names = certificate::names(config);
            let all = names.iter().map(|name| (bracketed(name), address.port()));
            hosts.extend(all.filter(|(host, _)| is_listened_on(host, address.ip())));
        } else {
            hosts.push((address.ip().to_string(), address.port()));
        }
    }
    let outward = outward();
    hosts.sort_by_key(|(host, _)| reach(host, &config.names, &outward));
    let mut urls: Vec<String> = Vec::new();
    for (host, port) in hosts {
        let url = format!("{scheme}://{host}:{port}/");
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// Whether who listens on all addresses of a family is reached by that host. ([::] is all of IPv4 as well.)
fn is_listened_on(host: &str, all: IpAddr) -> bool {
    !(all.is_ipv4() && host.starts_with('['))
}

/// How likely a host is reached by that from another machine; 0 is the likeliest. A name that nobody has given may be known to
/// this machine alone, and some of its addresses lead to containers only: the one of the default route leads out.
fn reach(host: &str, given: &[String], outward: &[IpAddr]) -> u8 {
    let bare = host.trim_matches(['[', ']']);
    match bare.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => 7,
        Err(_) if host == "localhost" => 6,
        _ if given.iter().any(|name| name == bare) => 0,
        Ok(address) if outward.contains(&address) => 1,
        Err(_) if host.ends_with(".local") => 2,
        Ok(IpAddr::V4(address)) if !address.is_link_local() => 3,
        Err(_) => 4,
        Ok(_) => 5,
    }
}

/// This machine's own ends of its default routes. Nothing is sent for it: the system only chooses the address.
fn outward() -> Vec<IpAddr> {
    let own = |from: &str, to: &str| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    // Addresses for documentation (RFC 5737, RFC 3849).
    [own("0.0.0.0:0", "198.51.100.1:9"), own("[::]:0", "[2001:db8::1]:9")].into_iter().flatten().collect()
}

fn bracketed(name: &duplex_pki::Name) -> String {
    let text = name.to_string();
    if text.contains(':') { format!("[{text}]") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_work_from_elsewhere_come_first() {
        let mut hosts =
            ["localhost", "127.0.0.1", "[::1]", "[fe80::1]", "box", "172.17.0.1", "box.local", "192.0.2.7", "door.lan"];
        hosts.sort_by_key(|host| reach(host, &["door.lan".to_owned()], &[IpAddr::from([192, 0, 2, 7])]));
        let wanted =
            ["door.lan", "192.0.2.7", "box.local", "172.17.0.1", "box", "[fe80::1]", "localhost", "127.0.0.1", "[::1]"];
        assert_eq!(hosts, wanted);
    }

    #[test]
    fn an_address_of_a_family_that_is_not_listened_on_is_not_told() {
        let [four, six] = ["0.0.0.0", "::"].map(|all| all.parse().unwrap());
        assert!(is_listened_on("192.0.2.7", four) && is_listened_on("box", four) && !is_listened_on("[::1]", four));
        assert!(is_listened_on("192.0.2.7", six) && is_listened_on("[::1]", six));
    }

    #[test]
    fn ice_servers_become_gstreamer_uris() {
        let file = std::env::temp_dir().join(format!("duplex-credential-{}", std::process::id()));
        std::fs::write(&file, "p@ss:word\nsecond line").unwrap();
        let servers = [
            IceServer { urls: "stun:stun.example".into(), username: None, credential_file: None },
            IceServer {
                urls: "turn:turn.example:3478?transport=udp".into(),
                username: Some("u".into()),
                credential_file: Some(file.clone()),
            },
        ];
        let uris = ice_uris(&servers).unwrap();
        std::fs::remove_file(file).unwrap();
        assert_eq!(uris.stun.as_deref(), Some("stun://stun.example:3478"));
        assert_eq!(uris.turn, ["turn://u:p%40ss%3Aword@turn.example:3478?transport=udp"]);
    }
}
