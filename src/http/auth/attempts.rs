//! How often somebody may try a password or a code.
//!
//! In: addresses and the time. Out: go on, or wait so long. Never: reads the clock, grows without bound.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Counts attempts: each address has 5, and gets one back every 10 s; the whole service takes 50 in any minute.
///
/// An IPv6 address stands for its /64 network, which is what one household or attacker has.
#[derive(Debug, Default)]
pub struct Attempts {
    /// When each address will have all its attempts back; that instant is all there is to remember.
    restored: HashMap<IpAddr, Instant>,
    /// The instants of the last minute's attempts.
    recent: VecDeque<Instant>,
}

/// How long to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// Whole seconds, at least 1, as the header `Retry-After` takes them.
    pub fn seconds(self) -> u64 {
        self.0.as_secs_f64().ceil().max(1.0) as u64
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Too many attempts. Try again in {} s.", self.seconds())
    }
}

impl std::error::Error for RetryAfter {}

impl Attempts {
    /// Nobody has tried anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one attempt from `address`. A refused one costs nothing.
    ///
    /// # Errors
    /// With the time to wait, if the address or the whole service has none left.
    pub fn check(&mut self, address: IpAddr, now: Instant) -> Result<(), RetryAfter> {
        let address = network(address);
        let restored = self.restored.get(&address).copied().unwrap_or(now).max(now);
        let latest = now + EVERY * (BURST - 1);
        if restored > latest {
            return Err(RetryAfter(restored - latest));
        }
        while self.recent.front().is_some_and(|first| now.saturating_duration_since(*first) >= MINUTE) {
            self.recent.pop_front();
        }
        if let Some(first) = self.recent.front().filter(|_| self.recent.len() >= MOST_IN_A_MINUTE) {
            return Err(RetryAfter((*first + MINUTE).saturating_duration_since(now)));
        }
        self.recent.push_back(now);
        self.make_room(&address, now);
        self.restored.insert(address, restored + EVERY);
        Ok(())
    }

    /// Gives back the attempt that `address` took at that instant: it was no guess.
    pub fn restore(&mut self, address: IpAddr, taken: Instant) {
        if let Some(place) = self.recent.iter().rposition(|instant| *instant == taken) {
            self.recent.remove(place);
        }
        if let Some(restored) = self.restored.get_mut(&network(address)) {
            // Never before it was taken, so that nobody gets more than he had.
            *restored = restored.checked_sub(EVERY).map_or(taken, |before| before.max(taken));
        }
    }

    fn make_room(&mut self, address: &IpAddr, now: Instant) {
        if self.restored.len() < MOST_ADDRESSES || self.restored.contains_key(address) {
            return;
        }
        self.restored.retain(|_, restored| *restored > now);
        if self.restored.len() >= MOST_ADDRESSES {
            let oldest = self.restored.iter().min_by_key(|(_, restored)| **restored).map(|(address, _)| *address);
            if let Some(oldest) = oldest {
                self.restored.remove(&oldest);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

const BURST: u32 = 5;
const EVERY: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
const MOST_IN_A_MINUTE: usize = 50;
const MOST_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn an_address_has_five_and_one_more_every_ten_seconds() {
        let now = Instant::now();
        let mut attempts = Attempts::new();
        for _ in 0..5 {
            assert_eq!(attempts.check(v4(1), now), Ok(()));
        }
        assert_eq!(attempts.check(v4(1), now), Err(RetryAfter(Duration::from_secs(10))));
        assert_eq!(attempts.check(v4(2), now), Ok(()), "another address is not touched");
        assert_eq!(attempts.check(v4(1), after(now, 9.5)).map_err(RetryAfter::seconds), Err(1));
        // Refused ones cost nothing.
        assert_eq!(attempts.check(v4(1), after(now, 10.0)), Ok(()));
        assert!(attempts.check(v4(1), after(now, 10.0)).is_err());
        assert_eq!(attempts.check(v4(1), after(now, 20.0)), Ok(()));
        // All five are back after a while, and not more.
        let later = after(now, 1000.0);
        assert_eq!((0..9).filter(|_| attempts.check(v4(1), later).is_ok()).count(), 5);
    }

    #[test]
    fn what_was_no_guess_is_given_back_and_not_more() {
        let now = Instant::now();
        let mut attempts = Attempts::new();
        for _ in 0..60 {
            assert_eq!(attempts.check(v4(1), now), Ok(()), "neither the address's nor the service's");
            attempts.restore(v4(1), now);
        }
        for _ in 0..4 {
            assert_eq!(attempts.check(v4(1), now), Ok(()));
        }
        let last = after(now, 1.0);
        assert_eq!(attempts.check(v4(1), last), Ok(()));
        assert!(attempts.check(v4(1), last).is_err());
        attempts.restore(v4(1), last);
        assert_eq!(attempts.check(v4(1), last), Ok(()));
        assert!(attempts.check(v4(1), last).is_err(), "the guesses before it still count");
        attempts.restore(v4(2), now);
        assert_eq!((0..9).filter(|_| attempts.check(v4(2), last).is_ok()).count(), 5);
    }

    #[test]
    fn the_service_takes_fifty_in_any_minute() {
        let start = Instant::now();
        let mut attempts = Attempts::new();
        let mut taken = Vec::new();
        // Two attempts a second, each from a new address, for five minutes.
        for step in 0..600_u32 {
            let now = after(start, f64::from(step) / 2.0);
            match attempts.check(v4(step), now) {
                Ok(()) => taken.push(now),
                Err(wait) => assert!(wait.0 <= MINUTE && wait.seconds() >= 1),
            }
        }
        for first in &taken {
            let within = taken.iter().filter(|time| **time >= *first && **time - *first < MINUTE).count();
            assert!(within <= 50, "{within} in a minute");
        }
        assert_eq!(taken.len(), 250);
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let now = Instant::now();
        let mut attempts = Attempts::new();
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        for host in 1..=5 {
            assert_eq!(attempts.check(parse(&format!("2001:db8::{host}")), now), Ok(()));
        }
        assert!(attempts.check(parse("2001:db8::ffff:1"), now).is_err());
        assert_eq!(attempts.check(parse("2001:db8:0:1::1"), now), Ok(()));
        for _ in 0..5 {
            assert_eq!(attempts.check(parse("::ffff:192.0.2.1"), now), Ok(()));
        }
        assert!(attempts.check(parse("192.0.2.1"), now).is_err());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let start = Instant::now();
        let mut attempts = Attempts::new();
        // Addresses that used all five are remembered for 50 s; 50 a minute can never fill the table by themselves.
        for number in 0..MOST_ADDRESSES as u32 {
            attempts.restored.insert(v4(number), after(start, 1000.0 + f64::from(number)));
        }
        assert_eq!(attempts.check(v4(u32::MAX), start), Ok(()));
        assert_eq!(attempts.restored.len(), MOST_ADDRESSES);
        assert!(!attempts.restored.contains_key(&v4(0)) && attempts.restored.contains_key(&v4(1)));
        // Those that have everything back go all at once.
        assert_eq!(attempts.check(v4(u32::MAX - 1), after(start, 1e6)), Ok(()));
        assert_eq!(attempts.restored.len(), 1);
    }
}
