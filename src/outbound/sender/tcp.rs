//! ICE over TCP (RFC 6544), for viewers whose network lets no UDP through: they open a connection to an address of ours.
//!
//! In: connections, packets to send on them. Out: packets that came, with both their ends. Never: a connection of our own; more of them
//! than [`MOST`], or one that says nothing for [`SILENT`]; a wait for one that takes nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use str0m::net::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use super::sockets::{Datagram, LONGEST};

/// Connections at a time, and those of one network to one end of ours: a browser opens one to each end, and several viewers may come from behind
/// one address.
const MOST: (usize, usize) = (256, 16);
/// A connection on which nothing came for so long is closed; ICE's checks come more often.
const SILENT: Duration = Duration::from_secs(60);
/// One of which no session has taken anything is closed then.
const FIRST: Duration = Duration::from_secs(10);
/// Packets that wait for the network here: a large key frame's. More are lost, as a datagram would be.
const WAITING: usize = 256;
/// Bytes that wait in the system: a quarter of a second of the best picture. What waits longer is seen late.
const BUFFER: usize = 128 << 10;
/// A listener rests for so long after an error.
const REST: Duration = Duration::from_millis(200);

/// The connections that are open.
#[derive(Debug, Clone, Default)]
pub struct Connections(Rc<RefCell<WaysOut>>);

/// By our end and theirs.
type WaysOut = HashMap<(SocketAddr, SocketAddr), WayOut>;

#[derive(Debug)]
struct WayOut {
    packets: mpsc::Sender<Vec<u8>>,
    /// Whether a session has taken what came on it.
    known: bool,
}

impl Connections {
    /// Sends on the connection between these ends; without one, or when it takes nothing, the packet is lost.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        let sent = self.0.borrow().get(&(from, to)).map(|out| out.packets.try_send(framed(packet)));
        if let Some(Err(error)) = sent {
            tracing::trace!(%from, %to, %error, "a packet is lost");
        }
    }

    /// A session has taken what came on the connection between these ends.
    pub fn knows(&self, to: SocketAddr, from: SocketAddr) {
        if let Some(out) = self.0.borrow_mut().get_mut(&(to, from)) {
            out.known = true;
        }
    }

    fn is_known(&self, to: SocketAddr, from: SocketAddr) -> bool {
        self.0.borrow().get(&(to, from)).is_some_and(|out| out.known)
    }

    /// Listens on an address. Returns our end and the task that listens, with which its connections end.
    ///
    /// # Errors
    /// No port is to be had.
    pub fn listen(
        &self,
        address: IpAddr,
        came: mpsc::Sender<Datagram>,
    ) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
        let listener = std::net::TcpListener::bind((address, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let end = listener.local_addr()?;
        Ok((end, tokio::task::spawn_local(accept(listener, end, self.clone(), came))))
    }
}

/// RFC 4571: each packet has its length before it, in two bytes.
fn framed(packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len()).unwrap_or_default();
    [&length.to_be_bytes(), packet].concat()
}

/// Ends what it holds when it is dropped.
struct Ends(Vec<AbortHandle>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, all: Connections, came: mpsc::Sender<Datagram>) {
    let mut open = Ends(Vec::new());
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%to, %error, "no connection taken");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        open.0.retain(|task| !task.is_finished());
        let alike =
            |(ours, other): &&(SocketAddr, SocketAddr)| *ours == to && network(other.ip()) == network(from.ip());
        let of_one = all.0.borrow().keys().filter(alike).count();
        if all.0.borrow().len() >= MOST.0 || of_one >= MOST.1 {
            tracing::debug!(%from, "as many connections as there may be are open");
            continue;
        }
        let (out, packets) = mpsc::channel(WAITING);
        all.0.borrow_mut().insert((to, from), WayOut { packets: out, known: false });
        let gone = Gone(all.clone(), (to, from));
        let task = tokio::task::spawn_local(serve(stream, came.clone(), packets, gone));
        open.0.push(task.abort_handle());
    }
}

/// What is counted as one: a machine has all of its /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        ip => ip,
    }
}

async fn serve(stream: TcpStream, came: mpsc::Sender<Datagram>, packets: mpsc::Receiver<Vec<u8>>, gone: Gone) {
    let set = stream.set_nodelay(true).and_then(|()| socket2::SockRef::from(&stream).set_send_buffer_size(BUFFER));
    if let Err(error) = set {
        tracing::debug!(%error, "packets may wait for each other");
    }
    let (reading, writing) = stream.into_split();
    tokio::select! {
        () = read(reading, &gone, came) => {}
        () = write(writing, packets) => {}
    }
}

/// Takes a connection out, however it ends.
struct Gone(Connections, (SocketAddr, SocketAddr));

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.0.borrow_mut().remove(&self.1);
    }
}

async fn read(stream: OwnedReadHalf, Gone(all, (to, from)): &Gone, came: mpsc::Sender<Datagram>) {
    let (mut stream, begun, to, from) = (BufReader::new(stream), Instant::now(), *to, *from);
    loop {
        let heard = Instant::now();
        let packet = async {
            let length = usize::from(stream.read_u16().await?);
            if length == 0 || length > LONGEST {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            let mut bytes = vec![0; length];
            stream.read_exact(&mut bytes).await.map(|_| bytes)
        };
        let over = async {
            loop {
                let at = over_at(begun, heard, all.is_known(to, from));
                if at <= Instant::now() {
                    break;
                }
                tokio::time::sleep_until(at).await;
            }
        };
        let bytes = tokio::select! {
            read = packet => match read {
                Ok(bytes) => bytes,
                Err(_) => return,
            },
            () = over => return,
        };
        // Full: dropped, as a network would.
        drop(came.try_send(Datagram { protocol: Protocol::Tcp, to, from, bytes }));
    }
}

/// When a connection is closed, unless something more comes on it.
fn over_at(begun: Instant, heard: Instant, known: bool) -> Instant {
    if known { heard + SILENT } else { begun + FIRST }
}

async fn write(mut stream: OwnedWriteHalf, mut packets: mpsc::Receiver<Vec<u8>>) {
    while let Some(packet) = packets.recv().await {
        if stream.write_all(&packet).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn one_network_has_its_share_and_a_whole_prefix_is_one() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(ip("2001:db8:1:2::5")), network(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(network(ip("2001:db8:1:2::5")), network(ip("2001:db8:1:3::5")));
        assert_eq!(network(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn what_no_session_takes_is_closed_soon() {
        let begun = Instant::now();
        let heard = begun + FIRST - Duration::from_secs(1);
        assert_eq!(over_at(begun, heard, false), begun + FIRST);
        assert_eq!(over_at(begun, heard, true), heard + SILENT);
    }

    #[test]
    fn packets_come_and_go_whole_and_a_broken_frame_ends_the_connection() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (came, mut packets) = mpsc::channel(4);
            let all = Connections::default();
            let (end, _listens) = all.listen([127, 0, 0, 1].into(), came).unwrap();
            let mut theirs = TcpStream::connect(end).await.unwrap();
            let from = theirs.local_addr().unwrap();
            theirs.write_all(&framed(b"one")).await.unwrap();
            theirs.write_all(&framed(b"two")).await.unwrap();
            for expected in [&b"one"[..], b"two"] {
                let packet = tokio::time::timeout(PATIENCE, packets.recv()).await.unwrap().unwrap();
                assert_eq!((packet.to, packet.from, packet.bytes.as_slice()), (end, from, expected));
            }
            all.send(end, from, b"three");
            let mut read = [0; 7];
            tokio::time::timeout(PATIENCE, theirs.read_exact(&mut read)).await.unwrap().unwrap();
            assert_eq!(&read, b"\0\x05three");
            theirs.write_all(&[0xff, 0xff]).await.unwrap();
            assert_eq!(tokio::time::timeout(PATIENCE, theirs.read(&mut read)).await.unwrap().unwrap_or(0), 0);
            assert!(all.0.borrow().is_empty());
        });
    }
}
