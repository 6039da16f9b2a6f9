//! What the service tells its supervisor: that it serves, that it still turns, that it stops.
//!
//! In: the variables of sd_notify(3), `NOTIFY_SOCKET` and `WATCHDOG_USEC`. Out: datagrams to that socket.
//! Never: fails the service: without a supervisor it says nothing.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the supervisor, if there is one.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// From the environment; `env` looks up a variable.
    pub fn new(env: impl Fn(&str) -> Option<String>) -> Self {
        let socket = env("NOTIFY_SOCKET").and_then(|path| {
            let address = match path.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name).ok()?,
                None => SocketAddr::from_pathname(&path).ok()?,
            };
            let socket = UnixDatagram::unbound().ok()?;
            // A supervisor that does not read must not hold up what it supervises.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        let watchdog = env("WATCHDOG_USEC").and_then(|text| text.parse().ok()).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// How often [`Self::alive`] has to be said: three times within the supervisor's patience.
    pub fn beat(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog).map(|patience| patience / 3)
    }

    /// The service serves.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The service still turns.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// The service stops because it was asked to.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, word: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(word.as_bytes(), address)
        {
            tracing::warn!(%error, word, "the supervisor does not listen");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_supervisor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(|name| match name {
            "NOTIFY_SOCKET" => path.to_str().map(str::to_owned),
            "WATCHDOG_USEC" => Some("30000000".into()),
            _ => None,
        });
        assert_eq!(notifier.beat(), Some(Duration::from_secs(10)));
        notifier.ready();
        notifier.alive();
        let mut buffer = [0; 32];
        let length = supervisor.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        let length = supervisor.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1");
    }

    #[test]
    fn without_a_supervisor_nothing_happens() {
        let notifier = Notifier::new(|name| (name == "WATCHDOG_USEC").then(|| "30000000".into()));
        assert_eq!(notifier.beat(), None);
        notifier.ready();
        notifier.stopping();
    }
}
