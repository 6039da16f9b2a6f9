//! Our addresses as ICE candidates.
//!
//! In: ends of sockets. Out: candidates. Never: one of an address that no viewer could reach.

use std::net::IpAddr;

use str0m::Candidate;
use str0m::net::TcpType;

use super::sockets::End;

/// Our ends as candidates.
pub fn candidates(ends: &[End]) -> Vec<Candidate> {
    let candidate = |end: &End| {
        if matches!(end.address.ip(), IpAddr::V4(ip) if ip.is_link_local()) {
            return link_local(end);
        }
        let builder = Candidate::builder();
        if end.tcp {
            builder.tcp().host(end.address).tcptype(TcpType::Passive).build()
        } else {
            builder.udp().host(end.address).build()
        }
        .ok()
    };
    ends.iter().filter_map(candidate).collect()
}

/// A computer that is connected by a cable alone has no other address, and the library makes no candidate of such a one; it reads it.
fn link_local(End { address, tcp }: &End) -> Option<Candidate> {
    // Of the whole protocol's range (RFC 8445, 5.1.2), below those of other addresses.
    const PRIORITY: u32 = (126 << 24) | 255;
    let (ip, port) = (address.ip(), address.port());
    let (protocol, kind) = if *tcp { ("tcp", " tcptype passive") } else { ("udp", "") };
    Candidate::from_sdp_string(&format!("candidate:{port} 1 {protocol} {PRIORITY} {ip} {port} typ host{kind}")).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use super::*;

    #[test]
    fn an_address_of_the_link_alone_is_offered() {
        let mut rtc = str0m::RtcConfig::new().build(Instant::now());
        let address = "169.254.7.8:5000".parse().unwrap();
        let ends = [End { address, tcp: false }, End { address, tcp: true }];
        let offered: Vec<String> = candidates(&ends)
            .into_iter()
            .filter_map(|candidate| rtc.add_local_candidate(candidate).map(Candidate::to_sdp_string))
            .collect();
        assert_eq!(offered.len(), 2, "{offered:?}");
        assert!(offered[0].contains("udp") && offered[0].contains(" 169.254.7.8 5000 typ host"), "{offered:?}");
        assert!(offered[1].contains("tcp") && offered[1].contains("tcptype passive"), "{offered:?}");
    }
}
