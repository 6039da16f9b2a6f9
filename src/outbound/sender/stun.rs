//! Asks a STUN server by which address the world sees a socket, for devices behind NAT.
//!
//! In: the configuration's server, our sockets' ends. Out: requests; the address an answer tells. Never: a server that nobody
//! configured; an answer from another one, or to a request that was not made.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use str0m::Candidate;

/// A request's id.
type Id = [u8; 12];
/// What each message has after type and length (RFC 8489, 5).
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const REQUEST: [u8; 2] = [0x00, 0x01];
const SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// Requests that await an answer.
#[derive(Debug, Default)]
pub struct Stun {
    server: Option<String>,
    /// What its name leads to.
    resolved: Rc<RefCell<Vec<SocketAddr>>>,
    /// By the request's id.
    asked: HashMap<Id, Asked>,
    /// What was answered last, for each end of ours.
    known: HashMap<SocketAddr, Candidate>,
}

/// A request that awaits an answer.
#[derive(Debug, Clone)]
struct Asked {
    end: SocketAddr,
    server: SocketAddr,
    /// When it is sent again.
    again: Instant,
    /// How long is waited then.
    wait: Duration,
}

/// A request, and the way it takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Ours.
    pub end: SocketAddr,
    /// The server's.
    pub server: SocketAddr,
    /// The datagram.
    pub bytes: Vec<u8>,
}

/// A request is repeated after the first, and no more once it would be waited for longer than the second (RFC 8489, 6.2.1, in fewer steps: who
/// calls waits).
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// Requests remembered: of sessions that come one after the other while a server is silent.
const MOST: usize = 64;

impl Stun {
    /// `uri`: `stun://HOST:PORT`.
    pub fn new(uri: Option<&str>) -> Self {
        let server = uri.map(|uri| uri.trim_start_matches("stun://").trim_start_matches("stun:").to_owned());
        Self { server, ..Self::default() }
    }

    /// Looks the server up now and again, for those who ask. Must be called within a `LocalSet`, and ends with it.
    pub fn watch(&self) {
        let Some(server) = self.server.clone() else { return };
        let resolved = self.resolved.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(if look_up(&server, &resolved).await { FOUND } else { MISSED }).await;
            }
        });
    }

    /// What to send from this end, and where to.
    pub fn ask(&mut self, end: SocketAddr, now: Instant) -> Option<Request> {
        let server = self.resolved.borrow().iter().copied().find(|server| server.is_ipv4() == end.is_ipv4())?;
        let mut id = Id::default();
        getrandom::fill(&mut id).ok()?;
        if self.asked.len() >= MOST {
            self.asked.clear();
        }
        self.asked.insert(id, Asked { end, server, again: now + WAIT.0, wait: WAIT.0 });
        Some(request(id, end, server))
    }

    /// What a server told of this end, lately.
    pub fn known(&self, end: SocketAddr) -> Option<&Candidate> {
        self.known.get(&end)
    }

    /// When requests are sent again; `None`: all are answered, or given up.
    pub fn next(&self) -> Option<Instant> {
        self.asked.values().map(|asked| asked.again).min()
    }

    /// What to send again by now.
    pub fn again(&mut self, now: Instant) -> Vec<Request> {
        self.asked.retain(|_, asked| asked.again > now || asked.wait < WAIT.1);
        let mut again = Vec::new();
        for (id, asked) in self.asked.iter_mut().filter(|(_, asked)| asked.again <= now) {
            asked.wait *= 2;
            asked.again = now + asked.wait;
            again.push(request(*id, asked.end, asked.server));
        }
        again
    }

    /// Whether a datagram is an answer of the server; the candidate it gives, if it gives one.
    pub fn take(&mut self, from: SocketAddr, bytes: &[u8]) -> Option<Option<Candidate>> {
        if !self.resolved.borrow().contains(&from) {
            return None;
        }
        let (id, mapped) = answer(bytes)?;
        let end = self.asked.remove(&id)?.end;
        let mapped = mapped.filter(|mapped| *mapped != end);
        let candidate = mapped.and_then(|mapped| Candidate::server_reflexive(mapped, end, "udp").ok());
        self.known.extend(candidate.clone().map(|candidate| (end, candidate)));
        Some(candidate)
    }
}

/// For whom a check of ICE is: the name before the colon (RFC 8445, 7.2.2). `None`: it is no request, or names nobody.
pub fn addressee(bytes: &[u8]) -> Option<&str> {
    const USERNAME: u16 = 0x0006;
    if bytes.get(..2)? != REQUEST {
        return None;
    }
    let name = std::str::from_utf8(attribute(bytes, USERNAME)?).ok()?;
    Some(name.split_once(':')?.0)
}

/// The last attribute of a kind in a message.
fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    let (_, mut rest) = bytes.split_at_checked(20)?;
    let mut found = None;
    while let Some((head, after)) = rest.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = after.get(..length)?;
        if u16::from_be_bytes([head[0], head[1]]) == kind {
            found = Some(value);
        }
        // Attributes are filled up to four bytes.
        rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn request(id: Id, end: SocketAddr, server: SocketAddr) -> Request {
    Request { end, server, bytes: [&REQUEST[..], &[0, 0], &COOKIE, &id].concat() }
}

/// The id and the address of a successful answer. (The library reads those of ICE alone, which are signed.)
fn answer(bytes: &[u8]) -> Option<(Id, Option<SocketAddr>)> {
    let (head, _) = bytes.split_at_checked(20)?;
    if head[..2] != SUCCESS || head[4..8] != COOKIE {
        return None;
    }
    let id = Id::try_from(&head[8..]).ok()?;
    Some((id, attribute(bytes, XOR_MAPPED_ADDRESS).and_then(|value| address(value, id))))
}

/// RFC 8489, 14.2.
fn address(value: &[u8], id: Id) -> Option<SocketAddr> {
    let mask = [&COOKIE[..], &id].concat();
    let port = u16::from_be_bytes([value.get(2)? ^ COOKIE[0], value.get(3)? ^ COOKIE[1]]);
    let plain: Vec<u8> = value.get(4..)?.iter().zip(&mask).map(|(byte, mask)| byte ^ mask).collect();
    let ip: IpAddr = match value.get(1)? {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(plain).ok()?).into(),
        2 => Ipv6Addr::from(<[u8; 16]>::try_from(plain).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

async fn look_up(server: &str, resolved: &RefCell<Vec<SocketAddr>>) -> bool {
    match tokio::net::lookup_host(server).await {
        Ok(found) => resolved.replace(found.collect()),
        Err(error) => {
            tracing::warn!(server, %error, "the STUN server is not found");
            return false;
        }
    };
    true
}

/// How often a server's name is looked up: one that was found, one that was not.
const FOUND: Duration = Duration::from_secs(600);
const MISSED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn end() -> SocketAddr {
        "192.168.1.5:5000".parse().unwrap()
    }

    #[tokio::test]
    async fn nobody_is_asked_unless_configured() {
        let mut stun = Stun::new(None);
        stun.watch();
        assert!(stun.ask(end(), Instant::now()).is_none() && stun.next().is_none());
    }

    #[test]
    fn a_check_names_its_addressee() {
        let check = |kind: [u8; 2], name: &[u8]| {
            let filled = [name, &vec![0; name.len().next_multiple_of(4) - name.len()]].concat();
            [&kind[..], &[0, 30], &COOKIE, &[1; 12], &[0, 0x24, 0, 4, 1, 2, 3, 4, 0, 6, 0, name.len() as u8], &filled]
                .concat()
        };
        assert_eq!(addressee(&check(REQUEST, b"ours:theirs")), Some("ours"));
        assert_eq!(addressee(&check(SUCCESS, b"ours:theirs")), None);
        assert_eq!(addressee(&check(REQUEST, b"nobody")), None);
        let whole = check(REQUEST, b"ours:theirs");
        assert!((0..whole.len() - 1).all(|length| addressee(&whole[..length]).is_none()));
    }

    #[tokio::test]
    async fn who_does_not_answer_is_asked_again_but_not_forever() {
        let (mut stun, begun) = (Stun::new(Some("stun://127.0.0.1:3478")), Instant::now());
        assert!(look_up("127.0.0.1:3478", &stun.resolved).await);
        let request = stun.ask(end(), begun).unwrap();
        let mut times = Vec::new();
        while let Some(next) = stun.next() {
            let again = stun.again(next);
            assert!(again.iter().all(|again| *again == request));
            times.extend(again.iter().map(|_| next.duration_since(begun).as_millis()));
        }
        assert_eq!(times, [500, 1500]);
    }

    #[tokio::test]
    async fn an_answer_tells_the_address_once_and_only_if_it_was_asked_for() {
        let mut stun = Stun::new(Some("stun://127.0.0.1:3478"));
        assert!(look_up("127.0.0.1:3478", &stun.resolved).await);
        let Request { server, bytes: request, .. } = stun.ask(end(), Instant::now()).unwrap();
        assert_eq!(server, "127.0.0.1:3478".parse().unwrap());
        assert_eq!((&request[..8], request.len()), (&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], 20));
        // 203.0.113.9:41000 as RFC 8489 hides it, behind an attribute that is not asked for.
        let answer = |id: &[u8]| {
            let software = [0x80, 0x22, 0, 3, b'a', b'b', b'c', 0];
            let mapped = [0, 0x20, 0, 8, 0, 1, 0xa0 ^ 0x21, 0x28 ^ 0x12, 203 ^ 0x21, 0x12, 113 ^ 0xa4, 9 ^ 0x42];
            [&[1, 1, 0, 20], &COOKIE, id, &software, &mapped].concat()
        };
        let right = answer(&request[8..]);
        assert!(stun.take("127.0.0.1:9".parse().unwrap(), &right).is_none(), "not from the server");
        assert!(stun.take(server, &answer(&[7; 12])).is_none(), "not asked");
        assert!((0..right.len()).all(|length| stun.take(server, &right[..length]).is_none_or(|found| found.is_none())));
        let Request { server, bytes: request, .. } = stun.ask(end(), Instant::now()).unwrap();
        let right = answer(&request[8..]);
        let candidate = stun.take(server, &right).unwrap().unwrap();
        assert_eq!(candidate.addr(), "203.0.113.9:41000".parse().unwrap());
        assert_eq!(stun.known(end()), Some(&candidate));
        assert!(stun.take(server, &right).is_none(), "a second time");
    }
}
