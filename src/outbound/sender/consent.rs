//! Who wants what is sent to him: he has answered a check of ours, from where it went to (RFC 7675).
//!
//! In: datagrams as they come and go. Out: whether an address has answered, and still asks. Never: a word for it from anybody else. Who makes the offer
//! chooses the addresses, and could name one that is not his.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A binding request's and its answer's first bytes, and where its transaction's id stands (RFC 8489, 5).
const REQUEST: [u8; 2] = [0, 1];
const ANSWER: [u8; 2] = [1, 1];
const ID: std::ops::Range<usize> = 8..20;
/// Requests that may be under way, and addresses that may have answered.
const MOST: usize = 256;
/// Consent holds for so long (RFC 7675, 5.1).
const HOLDS: Duration = Duration::from_secs(30);

/// An address without the number of the interface: the same link-local one comes with it and without.
type Place = (IpAddr, u16);

fn place(address: SocketAddr) -> Place {
    (address.ip(), address.port())
}

/// One peer's.
#[derive(Debug, Default)]
pub struct Consent {
    asked: VecDeque<([u8; 12], Place)>,
    answered: HashMap<Place, Instant>,
}

impl Consent {
    /// A datagram leaves for this address.
    pub fn goes(&mut self, to: SocketAddr, bytes: &[u8]) {
        let Some(id) = id(bytes, REQUEST) else { return };
        if self.asked.len() >= MOST {
            self.asked.pop_front();
        }
        self.asked.push_back((id, place(to)));
    }

    /// A datagram has come from this address.
    pub fn came(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let from = place(from);
        if bytes.starts_with(&REQUEST) {
            // Some browsers ask on without answering each time: once they have answered, that will do.
            self.answered.entry(from).and_modify(|at| *at = now);
            return;
        }
        let Some(id) = id(bytes, ANSWER) else { return };
        let Some(at) = self.asked.iter().position(|asked| *asked == (id, from)) else { return };
        self.asked.remove(at);
        if self.answered.len() >= MOST {
            self.answered.retain(|_, at| now.duration_since(*at) < HOLDS);
        }
        if self.answered.len() < MOST {
            self.answered.insert(from, now);
        }
    }

    /// Whether an address has answered, and been heard of since.
    pub fn holds(&self, address: SocketAddr, now: Instant) -> bool {
        self.answered.get(&place(address)).is_some_and(|at| now.duration_since(*at) < HOLDS)
    }
}

fn id(bytes: &[u8], kind: [u8; 2]) -> Option<[u8; 12]> {
    bytes.starts_with(&kind).then(|| bytes.get(ID)?.try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: [u8; 2], id: u8) -> Vec<u8> {
        [&kind[..], &[0, 0, 0x21, 0x12, 0xa4, 0x42], &[id; 12]].concat()
    }

    #[test]
    fn only_the_answer_to_what_was_asked_there_counts_and_for_a_while() {
        let (mut consent, now) = (Consent::default(), Instant::now());
        let (here, there) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        consent.goes(here, &message(REQUEST, 7));
        for (from, bytes) in [
            (there, message(ANSWER, 7)),
            (here, message(ANSWER, 8)),
            (here, message(REQUEST, 7)),
            (here, message([1, 0x11], 7)),
            (here, vec![1, 1]),
            (here, Vec::new()),
        ] {
            consent.came(from, &bytes, now);
            assert!(!consent.holds(here, now) && !consent.holds(there, now));
        }
        consent.came(here, &message(ANSWER, 7), now);
        assert!(consent.holds(here, now) && !consent.holds(there, now));
        assert!(!consent.holds(here, now + HOLDS));
        // Its own requests keep it up; those of who has not answered do not.
        for address in [here, there] {
            consent.came(address, &message(REQUEST, 9), now + HOLDS / 2);
        }
        assert!(consent.holds(here, now + HOLDS) && !consent.holds(there, now + HOLDS / 2));
        // An answer counts once.
        consent.came(here, &message(ANSWER, 7), now + HOLDS);
        assert!(!consent.holds(here, now + HOLDS * 2));
    }

    #[test]
    fn a_link_local_address_is_the_same_on_any_interface() {
        let (mut consent, now) = (Consent::default(), Instant::now());
        let on = |interface| {
            let ip = "fe80::7".parse::<std::net::Ipv6Addr>().expect("an address");
            SocketAddr::from(std::net::SocketAddrV6::new(ip, 9, 0, interface))
        };
        consent.goes(on(0), &message(REQUEST, 7));
        consent.came(on(4), &message(ANSWER, 7), now);
        assert!(consent.holds(on(0), now));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut consent, now) = (Consent::default(), Instant::now());
        for port in 1..=2000_u16 {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            consent.goes(address, &message(REQUEST, port as u8));
            // Half of them at one time.
            consent.came(address, &message(ANSWER, port as u8), now + HOLDS * u32::from(port / 1000));
        }
        assert!(consent.asked.len() <= MOST && consent.answered.len() <= MOST, "{}", consent.answered.len());
    }
}
