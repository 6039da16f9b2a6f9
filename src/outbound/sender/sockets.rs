//! The sockets of all sessions: one for UDP and one for TCP on each address of this machine.
//!
//! In: the machine's addresses, datagrams to send. Out: datagrams that came, with both their ends. Never: a wait for a network that takes nothing.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use str0m::net::Protocol;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::tcp::Connections;

/// A datagram that came, or a packet on a connection.
#[derive(Debug)]
pub struct Datagram {
    /// By what it came.
    pub protocol: Protocol,
    /// Our end.
    pub to: SocketAddr,
    /// Theirs.
    pub from: SocketAddr,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The largest datagram that a path carries here; what is longer is none of WebRTC's.
pub const LONGEST: usize = 2000;
/// Datagrams that may wait to be looked at; more are dropped, as a network would.
const WAITING: usize = 2048;
/// After an error a socket rests for so long.
const RETRY: Duration = Duration::from_millis(20);
/// Bytes that may wait in the system for a network: a key frame for some tens of viewers. It gives less where its own limit is lower.
const BUFFER: usize = 4 << 20;
/// An address that is gone is waited for so long.
const GONE: Duration = Duration::from_secs(600);

/// The sockets that are open.
#[derive(Debug)]
pub struct Sockets {
    /// By our end for UDP.
    open: HashMap<SocketAddr, Open>,
    /// Addresses that could not be used, and were told of.
    refused: HashSet<IpAddr>,
    connections: Connections,
    came: mpsc::Sender<Datagram>,
}

#[derive(Debug)]
struct Open {
    /// Apart from what the runtime reads: it is asked at once, whatever the runtime knows of it.
    out: std::net::UdpSocket,
    /// Our end for TCP, if there is one.
    tcp: Option<SocketAddr>,
    /// Since when the machine has not had its address.
    gone: Option<Instant>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// An end of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// Where it is reached.
    pub address: SocketAddr,
    /// Whether by TCP.
    pub tcp: bool,
}

impl Sockets {
    /// None yet. Must be used within a `LocalSet`.
    pub fn new() -> (Self, mpsc::Receiver<Datagram>) {
        let (came, datagrams) = mpsc::channel(WAITING);
        (Self { open: HashMap::new(), refused: HashSet::new(), connections: Connections::default(), came }, datagrams)
    }

    /// Opens a socket on each address of the machine that has none; closes those on addresses that are gone, unless they are `in_use`: for a while a network
    /// may come back. Returns our ends: those of networks, and loopback's only where there is no other.
    pub fn refresh(&mut self, in_use: bool) -> Vec<End> {
        let addresses = addresses();
        let now = Instant::now();
        self.open.retain(|end, open| {
            open.gone = (!addresses.contains(&end.ip())).then(|| open.gone.unwrap_or(now));
            open.gone.is_none_or(|since| in_use && now.duration_since(since) < GONE)
        });
        for address in addresses {
            if self.open.keys().any(|end| end.ip() == address) {
                continue;
            }
            match self.bind(address) {
                Ok(()) => {
                    self.refused.remove(&address);
                }
                Err(error) if self.refused.insert(address) => {
                    tracing::warn!(%address, %error, "no media goes by way of this address");
                }
                Err(_) => {}
            }
        }
        let there = || self.open.iter().filter(|(_, open)| open.gone.is_none());
        let udp = there().map(|(address, _)| End { address: *address, tcp: false });
        let tcp = there().filter_map(|(_, open)| open.tcp.map(|address| End { address, tcp: true }));
        let mut ends: Vec<End> = udp.chain(tcp).collect();
        ends.sort();
        ends
    }

    /// Whether an address of a peer's may be checked: not a whole network, nor this machine's own services.
    pub fn may_reach(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        let loops = self.open.keys().any(|end| end.ip().is_loopback());
        address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast && (!ip.is_loopback() || loops)
    }

    /// A session has taken what came on a connection.
    pub fn knows(&self, datagram: &Datagram) {
        if datagram.protocol == Protocol::Tcp {
            self.connections.knows(datagram.to, datagram.from);
        }
    }

    /// Sends; what the network does not take is lost, as on the way.
    pub fn send(&self, protocol: Protocol, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if protocol == Protocol::Tcp {
            return self.connections.send(from, to, bytes);
        }
        let Some(open) = self.open.get(&from) else { return };
        match open.out.send_to(bytes, to) {
            // It is asked for again.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                tracing::trace!(%from, "the network takes nothing: a datagram is lost")
            }
            Err(error) => tracing::trace!(%from, %to, %error, "a datagram is not sent"),
            Ok(_) => {}
        }
    }

    fn bind(&mut self, address: IpAddr) -> std::io::Result<()> {
        let socket = std::net::UdpSocket::bind((address, 0))?;
        socket.set_nonblocking(true)?;
        if let Err(error) = socket2::SockRef::from(&socket).set_send_buffer_size(BUFFER) {
            tracing::debug!(%address, %error, "a burst may not find room");
        }
        let (out, end) = (socket.try_clone()?, socket.local_addr()?);
        let socket = UdpSocket::from_std(socket)?;
        let mut tasks = vec![tokio::task::spawn_local(read(socket, end, self.came.clone()))];
        let tcp = match self.connections.listen(address, self.came.clone()) {
            Ok((end, task)) => {
                tasks.push(task);
                Some(end)
            }
            Err(error) => {
                tracing::warn!(%address, %error, "who may not use UDP cannot call by way of this address");
                None
            }
        };
        self.open.insert(end, Open { out, tcp, gone: None, tasks });
        Ok(())
    }
}

async fn read(socket: UdpSocket, to: SocketAddr, came: mpsc::Sender<Datagram>) {
    let mut buffer = [0; LONGEST];
    loop {
        match socket.recv_from(&mut buffer).await {
            // Full: dropped. Closed: whoever looked at them is about to end this as well.
            Ok((length, from)) => {
                let bytes = buffer[..length].to_vec();
                drop(came.try_send(Datagram { protocol: Protocol::Udp, to, from, bytes }));
            }
            // Somebody's port is closed (ECONNREFUSED), say: nothing of ours.
            Err(error) => {
                tracing::trace!(%to, %error, "nothing received");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Addresses of this machine's networks; loopback's where there are no others.
fn addresses() -> Vec<IpAddr> {
    let found = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the addresses of this machine are not told");
        Vec::new()
    });
    choose(found.iter().map(|interface| (interface.name.as_str(), interface.ip())).collect())
}

/// Those that are used of a machine's, each with its interface's name.
fn choose(mut all: Vec<(&str, IpAddr)>) -> Vec<IpAddr> {
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => true,
        // Link-local ones need a zone, which a candidate cannot tell.
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    all.retain(|(_, ip)| usable(ip));
    if all.iter().any(|(_, ip)| !ip.is_loopback()) {
        all.retain(|(_, ip)| !ip.is_loopback());
    }
    all.sort_by_key(|(name, ip)| (VIRTUAL.iter().any(|virtually| name.starts_with(virtually)), *ip));
    all.dedup_by_key(|(_, ip)| *ip);
    if all.len() > MOST {
        tracing::debug!(addresses = all.len(), used = MOST, "this machine has more addresses than are offered");
    }
    let mut chosen: Vec<IpAddr> = all.into_iter().take(MOST).map(|(_, ip)| ip).collect();
    chosen.sort();
    chosen
}

/// Addresses that are used: each is a pair with each of a viewer's to be checked. Those of a machine's own bridges come last.
const MOST: usize = 16;
const VIRTUAL: [&str; 6] = ["docker", "br-", "veth", "virbr", "vmnet", "lxc"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_machines_own_bridges_come_last_and_loopback_only_alone() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let bridges: Vec<(String, IpAddr)> =
            (17..40).map(|number| (format!("br-{number}"), ip(&format!("172.{number}.0.1")))).collect();
        let mut all: Vec<(&str, IpAddr)> = bridges.iter().map(|(name, ip)| (name.as_str(), *ip)).collect();
        all.extend([
            ("eth0", ip("192.168.1.5")),
            ("eth0", ip("2001:db8::5")),
            ("lo", ip("127.0.0.1")),
            ("eth0", ip("fe80::1")),
        ]);
        let chosen = choose(all);
        assert!(chosen.len() == MOST && chosen.contains(&ip("192.168.1.5")) && chosen.contains(&ip("2001:db8::5")));
        assert!(!chosen.contains(&ip("127.0.0.1")) && !chosen.contains(&ip("fe80::1")));
        assert_eq!(choose(vec![("lo", ip("127.0.0.1"))]), [ip("127.0.0.1")]);
    }

    #[test]
    fn a_peer_cannot_have_whole_networks_or_this_machine_checked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (sockets, _) = Sockets::new();
            let may = |text: &str| sockets.may_reach(text.parse().unwrap());
            assert!(may("192.168.1.5:5000") && may("[2001:db8::5]:5000") && may("169.254.3.4:5000"));
            for refused in [
                "224.0.0.251:5353",
                "255.255.255.255:9",
                "0.0.0.0:9",
                "[ff02::fb]:5353",
                "192.168.1.5:0",
                "127.0.0.1:22",
                "[::1]:22",
                "[::ffff:127.0.0.1]:22",
            ] {
                assert!(!may(refused), "{refused}");
            }
        });
    }

    #[test]
    fn what_is_sent_to_an_end_comes_with_both_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (mut sockets, mut came) = Sockets::new();
            let ends = sockets.refresh(false);
            assert!(!ends.is_empty() && sockets.refresh(true) == ends, "{ends:?}");
            let end = ends.iter().find(|end| !end.tcp).unwrap().address;
            sockets.send(Protocol::Udp, end, end, b"hello");
            let datagram = tokio::time::timeout(Duration::from_secs(10), came.recv()).await.unwrap().unwrap();
            assert_eq!((datagram.from, datagram.to, datagram.bytes.as_slice()), (end, end, &b"hello"[..]));
            // Not one of ours: nothing happens.
            sockets.send(Protocol::Udp, "192.0.2.1:9".parse().unwrap(), end, b"lost");
        });
    }
}
