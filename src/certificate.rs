//! The certificate the listeners show: the owner's own, or one by the service's CA, kept fresh.
//!
//! In: the configuration, the machine's names and addresses. Out: a [`TlsCert`] and the [`Trust`] page's CA; new
//! certificates while the service runs, or a sentence on why there is none. Never: a listener opened without a valid
//! certificate (one that expires while the service runs stays in use); a renewal that fails in silence.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use duplex_pki::{Action, Identity, Name, Store};
use tokio::sync::watch;

use crate::config::Config;
use crate::http::{AllowedHosts, TlsCert, Trust};
use crate::words::plain;

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
    trouble: Trouble,
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
            let (tls, trust) = (TlsCert::new(identity)?, Trust::foreign());
            return Ok(Self { tls, trust, ca_file: None, store: None, trouble: Trouble::new() });
        }
        let store = Store::open(config.state_dir.join("pki"))?;
        let now = SystemTime::now();
        let ensured = store.ensure_server(&names(config), now)?;
        let wrong = not_renewed(&ensured.action);
        if wrong.is_none() {
            tracing::info!("{ensured}");
        }
        let ca_file = Some((store.ca_path(), ensured.ca.fingerprint_sha256()));
        let (tls, trust) = (TlsCert::new(ensured.identity)?, Trust::own(ensured.ca));
        let mut keeper = Self { tls, trust, ca_file, store: Some(store), trouble: Trouble::new() };
        keeper.told(wrong, now);
        Ok(keeper)
    }

    /// What is wrong with the certificate, for the owner; `None`: nothing.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.told.subscribe()
    }

    /// Follows changes of the machine's names, the end of validity, and files the owner replaces. Runs until aborted.
    pub async fn keep(self, config: Arc<Config>, allowed: AllowedHosts) {
        self.keep_at(LOOK_AT_NAMES, LOOK, &config, &allowed).await;
    }

    async fn keep_at(mut self, names_every: Duration, every: Duration, config: &Config, allowed: &AllowedHosts) {
        let mut known: Vec<Name> = Vec::new();
        let mut looked = Instant::now();
        loop {
            tokio::time::sleep(names_every).await;
            let names = names(config);
            if names == known && looked.elapsed() < every {
                continue;
            }
            looked = Instant::now();
            allowed.replace(names.clone());
            known.clone_from(&names);
            let now = SystemTime::now();
            let wrong = self.look(config, &names, now).err();
            self.told(wrong, now);
        }
    }

    /// Looks once, and shows another certificate from then on if there is one.
    ///
    /// # Errors
    /// What is wrong, one or more sentences without the last full stop.
    fn look(&self, config: &Config, names: &[Name], now: SystemTime) -> Result<(), String> {
        let attention =
            |error: duplex_pki::Error| format!("The certificate needs attention: {}", plain(error.lasting()));
        let (identity, wrong) = match (&self.store, &config.cert, &config.key) {
            (Some(store), _, _) => {
                let ensured = store.ensure_server(names, now).map_err(attention)?;
                let wrong = not_renewed(&ensured.action);
                if ensured.changed() {
                    tracing::info!("{ensured}");
                    self.trust.replace(ensured.ca);
                }
                (ensured.identity, wrong)
            }
            (None, Some(cert), Some(key)) => (Identity::load(cert, key, now).map_err(attention)?, None),
            _ => return Ok(()),
        };
        if identity.fingerprint_sha256() != self.tls.shown().fingerprint {
            self.tls.swap(identity).map_err(|error| format!("The new certificate is not taken: {error}"))?;
        }
        wrong.map_or(Ok(()), Err)
    }

    fn told(&mut self, wrong: Option<String>, now: SystemTime) {
        let held = held(self.tls.shown().not_after, now);
        self.trouble.is(wrong.map(|wrong| format!("{wrong}. {held}")));
    }
}

/// What the owner has to know of a certificate that was due and is not there.
fn not_renewed(action: &Action) -> Option<String> {
    let Action::KeptDespite { reason, error } = action else { return None };
    let error = plain(error.lasting());
    Some(format!("The certificate cannot be renewed: {error}. A new one is due because {reason}"))
}

/// How long the certificate in use still serves.
fn held(not_after: SystemTime, now: SystemTime) -> String {
    let until = duplex_pki::readable(not_after);
    match not_after.duration_since(now).map(|left| left.as_secs() / DAY.as_secs()) {
        Err(_) => format!("The one in use expired on {until}, so browsers refuse it."),
        Ok(0) => format!("The one in use holds until {until}, less than a day more."),
        Ok(1) => format!("The one in use holds until {until}, 1 day more."),
        Ok(days) => format!("The one in use holds until {until}, {days} days more."),
    }
}

/// What is wrong now: for the owner always, for the log now and then.
#[derive(Debug)]
struct Trouble {
    told: watch::Sender<Option<String>>,
    /// What the log has of the last day.
    logged: HashMap<String, Instant>,
}

impl Trouble {
    fn new() -> Self {
        Self { told: watch::Sender::new(None), logged: HashMap::new() }
    }

    fn is(&mut self, sentence: Option<String>) {
        match &sentence {
            Some(sentence) if self.is_news(sentence, Instant::now()) => tracing::warn!("{sentence}"),
            None if self.told.borrow().is_some() => tracing::info!("the certificate is in order again"),
            _ => {}
        }
        self.told.send_replace(sentence);
    }

    /// Whether the log has not had the sentence for a day; it has it then.
    fn is_news(&mut self, sentence: &str, now: Instant) -> bool {
        self.logged.retain(|_, at| now.duration_since(*at) < DAY);
        let news = !self.logged.contains_key(sentence);
        if news {
            self.logged.insert(sentence.to_owned(), now);
        }
        news
    }
}

const DAY: Duration = Duration::from_secs(86_400);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::fs;

    fn configured(folder: &std::path::Path) -> Config {
        let flags = config::Flags::default().with("state-dir", folder.display().to_string());
        config::load(&flags, |_| None).unwrap()
    }

    /// Waits until a channel has a value like this.
    async fn seen<T: Clone>(mut watched: watch::Receiver<T>, like: impl FnMut(&T) -> bool) -> T {
        let seen = tokio::time::timeout(Duration::from_secs(20), watched.wait_for(like)).await;
        seen.expect("in time").expect("the keeper lives").clone()
    }

    #[tokio::test]
    async fn a_renewal_that_fails_is_told_and_one_that_works_is_shown_without_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let config = configured(folder.path());
        let keeper = Keeper::start(&config).unwrap();
        let (tls, trouble) = (keeper.tls.clone(), keeper.trouble());
        let store = keeper.store.clone().unwrap();
        let first = tls.shown().fingerprint;
        let wait = Duration::from_millis(20);
        let keeping = tokio::spawn(async move {
            let allowed = AllowedHosts::new(names(&config));
            keeper.keep_at(wait, 2 * wait, &config, &allowed).await;
        });

        // One with three hours left of a day: less than a third. The key that would renew it is away meanwhile.
        let (key, away) = (store.dir().join("ca-key.pem"), folder.path().join("away.pem"));
        let then = SystemTime::now() - Duration::from_secs(20 * 3600);
        let ageing = store.issue(&names(&configured(folder.path())), 1, then).unwrap().fingerprint_sha256();
        fs::rename(&key, &away).unwrap();
        let said = seen(trouble.clone(), Option::is_some).await.unwrap();
        assert!(
            said.starts_with("The certificate cannot be renewed: ") && said.contains("ca-key.pem is missing"),
            "{said}"
        );
        assert!(said.contains("less than a third of its life was left"), "{said}");
        assert!(said.ends_with(" UTC, less than a day more."), "{said}");
        assert!(tls.shown().fingerprint == ageing && ageing != first);

        fs::rename(&away, &key).unwrap();
        seen(trouble, Option::is_none).await;
        let shown = tls.shown();
        assert!(shown.fingerprint != ageing && shown.not_after > SystemTime::now() + 300 * DAY);
        keeping.abort();
    }

    #[test]
    fn one_that_cannot_be_renewed_is_told_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let config = configured(folder.path());
        let store = Keeper::start(&config).unwrap().store.unwrap();
        store.issue(&["door.lan".parse().unwrap()], 397, SystemTime::now()).unwrap();
        fs::remove_file(store.dir().join("ca-key.pem")).unwrap();
        let said = Keeper::start(&config).unwrap().trouble().borrow().clone().unwrap();
        assert!(said.contains("door.lan went away") && said.ends_with(" UTC, 396 days more."), "{said}");
    }

    #[test]
    fn how_long_it_holds_is_told_in_days() {
        let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let told = |end| held(end, now);
        assert_eq!(told(now - DAY), "The one in use expired on 2024-10-03 00:00 UTC, so browsers refuse it.");
        for (left, words) in [(DAY / 2, "less than a day"), (DAY, "1 day"), (40 * DAY, "40 days")] {
            assert!(told(now + left).ends_with(&format!(" UTC, {words} more.")), "{}", told(now + left));
        }
    }

    #[test]
    fn the_log_has_each_sentence_once_a_day() {
        let mut trouble = Trouble::new();
        let now = Instant::now();
        assert!(trouble.is_news("A", now) && !trouble.is_news("A", now));
        assert!(trouble.is_news("B", now + DAY / 2));
        assert!(!trouble.is_news("A", now + DAY / 2));
        assert!(trouble.is_news("A", now + DAY) && !trouble.is_news("B", now + DAY));
    }
}
