//! The certificate the listeners show: the owner's own, or one by the service's CA, kept fresh.
//!
//! In: the configuration, the machine's names and addresses. Out: a [`TlsCert`] and the [`Trust`] page's CA; new
//! certificates while the service runs. Never: a listener opened without a valid
//! certificate. (One that expires while the service runs stays in use, and an error says so each minute.)

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use duplex_pki::{Identity, Name, Store};

use crate::config::Config;
use crate::http::{AllowedHosts, TlsCert, Trust};

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The PKI says no.
    #[error(transparent)]
    Pki(#[from] duplex_pki::Error),
    /// TLS says no.
    #[error(transparent)]
    Tls(#[from] crate::http::tls::TlsError),
}

/// Looks after the certificate.
#[derive(Debug)]
pub struct Keeper {
    /// For the listeners.
    pub tls: TlsCert,
    /// For the trust page.
    pub trust: Trust,
    /// The CA's certificate file and its fingerprint, if it is our own.
    pub ca_file: Option<(PathBuf, String)>,
    store: Option<Store>,
}

/// How often names and validity are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// How often the names alone are looked at: an appliance's first address comes when it already serves, and the person who was told that
/// address is not to wait for a certificate that has it.
const LOOK_AT_NAMES: Duration = Duration::from_secs(3);

impl Keeper {
    /// Loads or makes the certificate.
    ///
    /// # Errors
    /// It is unreadable, expired, does not fit its key, or cannot be made.
    pub fn start(config: &Config) -> Result<Self, Error> {
        if let (Some(cert), Some(key)) = (&config.cert, &config.key) {
            let identity = Identity::load(cert, key, SystemTime::now())?;
            return Ok(Self { tls: TlsCert::new(identity)?, trust: Trust::foreign(), ca_file: None, store: None });
        }
        let store = Store::open(config.state_dir.join("pki"))?;
        let ensured = store.ensure_server(&names(config), SystemTime::now())?;
        tracing::info!("{ensured}");
        let ca_file = Some((store.ca_path(), ensured.ca.fingerprint_sha256()));
        Ok(Self { tls: TlsCert::new(ensured.identity)?, trust: Trust::own(ensured.ca), ca_file, store: Some(store) })
    }

    /// Follows changes of the machine's names, the end of validity, and files the owner replaces. Runs until aborted.
    pub async fn keep(self, config: Arc<Config>, allowed: AllowedHosts) {
        let mut shown: Option<String> = None;
        let mut known: Vec<Name> = Vec::new();
        let mut looked = Instant::now();
        loop {
            tokio::time::sleep(LOOK_AT_NAMES).await;
            let names = names(&config);
            if names == known && looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            allowed.replace(names.clone());
            known.clone_from(&names);
            let now = SystemTime::now();
            let identity = match (&self.store, &config.cert, &config.key) {
                (Some(store), _, _) => store.ensure_server(&names, now).map(|ensured| {
                    if ensured.changed() {
                        tracing::info!("{ensured}");
                        self.trust.replace(ensured.ca);
                    }
                    ensured.identity
                }),
                (None, Some(cert), Some(key)) => Identity::load(cert, key, now),
                _ => return,
            };
            match identity {
                Ok(identity) => {
                    let fingerprint = identity.fingerprint_sha256();
                    if shown.as_ref() != Some(&fingerprint) {
                        match self.tls.swap(identity) {
                            Ok(()) => shown = Some(fingerprint),
                            Err(error) => {
                                tracing::error!(%error, "the new certificate cannot be used; the old one stays")
                            }
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "the certificate needs attention; the one in use stays"),
            }
        }
    }
}

/// Every name and address under which the device is reached: for the certificate and for the check of `Host`.
///
/// IPv6 addresses other than loopback change with privacy extensions, and each change would mean a new certificate:
/// they are left out unless `names` or `listen` has them.
pub fn names(config: &Config) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::new();
    let mut add = |name: Option<Name>| {
        if let Some(name) = name.filter(|name| !names.contains(name)) {
            names.push(name);
        }
    };
    for name in &config.names {
        add(Name::from_str(name).ok());
    }
    if let Some(host) = host_name() {
        if !host.contains('.') {
            add(Name::from_str(&format!("{host}.local")).ok());
        }
        add(Name::from_str(&host).ok());
    }
    add(Name::from_str("localhost").ok());
    for address in config.listen.iter().map(|address| address.ip()).filter(|ip| !ip.is_unspecified()) {
        add(Some(Name::from(address)));
    }
    if config.listen.iter().any(|address| address.ip().is_unspecified()) {
        for ip in own_addresses() {
            add(Some(Name::from(ip)));
        }
    }
    for ip in [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])] {
        add(Some(Name::from(ip)));
    }
    names
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim().to_ascii_lowercase();
    (!name.is_empty() && name != "localhost" && name != "(none)").then_some(name)
}

fn own_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list this machine's addresses");
        Vec::new()
    });
    let mut addresses: Vec<IpAddr> =
        interfaces.into_iter().map(|interface| interface.ip()).filter(|ip| ip.is_ipv4() && !ip.is_loopback()).collect();
    addresses.sort();
    addresses
}
