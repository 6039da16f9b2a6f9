//! The answer to an offer: all of it is wanted, one way, in what browsers take as well.
//!
//! In: an SDP offer; credentials, fingerprint and address of this end. Out: an SDP answer, and what its packets mean. Never:
//! media of its own.

use std::collections::HashMap;
use std::net::SocketAddr;

/// What is sent as one media section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A picture.
    Video,
    /// A sound.
    Audio,
    /// What was sent before, once more.
    Again,
}

/// This end.
#[derive(Debug)]
pub struct Here<'a> {
    /// ICE user fragment and password.
    pub credentials: (&'a str, &'a str),
    /// SHA-256 of the certificate, as SDP has it.
    pub fingerprint: &'a str,
    /// Where packets are taken.
    pub address: SocketAddr,
}

/// What the sender's packets mean.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// By payload type.
    pub kinds: HashMap<u8, Kind>,
    /// Number of the header extension that counts all packets of the transport.
    pub transport_wide: Option<u8>,
}

/// Answers. Pictures are wanted as VP8, or in the first codec that is offered, with everything that is sent for them:
/// retransmissions, and redundancy where it is offered, as browsers take it.
pub fn answer(offer: &str, here: &Here) -> (String, Meaning) {
    let lines: Vec<&str> = offer.lines().map(str::trim_end).collect();
    let starts: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].starts_with("m=")).collect();
    let sections: Vec<&[&str]> = starts
        .iter()
        .enumerate()
        .map(|(i, start)| &lines[*start..starts.get(i + 1).copied().unwrap_or(lines.len())])
        .collect();
    let mids: Vec<&str> = sections.iter().filter_map(|section| attribute(section, "mid:").next()).collect();
    let mut meaning = Meaning::default();
    let mut text = vec![
        "v=0".to_owned(),
        "o=- 1 1 IN IP4 127.0.0.1".to_owned(),
        "s=-".to_owned(),
        "t=0 0".to_owned(),
        "a=ice-lite".to_owned(),
        format!("a=group:BUNDLE {}", mids.join(" ")),
    ];
    for section in sections {
        text.extend(section_answer(section, here, &mut meaning));
    }
    (text.join("\r\n") + "\r\n", meaning)
}

fn section_answer(section: &[&str], here: &Here, meaning: &mut Meaning) -> Vec<String> {
    let words: Vec<&str> = section[0].split(' ').collect();
    let kind = if words[0] == "m=video" { Kind::Video } else { Kind::Audio };
    let payloads: Vec<&str> = words.iter().skip(3).copied().filter(|payload| wanted(section, payload, kind)).collect();
    for payload in &payloads {
        if let Ok(number) = payload.parse() {
            let again = encoding(section, payload).is_some_and(|name| name == "RTX");
            meaning.kinds.insert(number, if again { Kind::Again } else { kind });
        }
    }
    let (name, port) = (here.address.ip(), here.address.port());
    let mut text = vec![
        format!("{} {port} {} {}", words[0], words[2], payloads.join(" ")),
        format!("c=IN IP4 {name}"),
        "a=rtcp-mux".to_owned(),
        "a=recvonly".to_owned(),
        "a=setup:active".to_owned(),
        format!("a=ice-ufrag:{}", here.credentials.0),
        format!("a=ice-pwd:{}", here.credentials.1),
        format!("a=fingerprint:sha-256 {}", here.fingerprint),
    ];
    for line in section.iter().filter(|line| line.starts_with("a=")) {
        let of_payload = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().find_map(|start| line.strip_prefix(start));
        let counts = line.starts_with("a=extmap:") && line.contains("transport-wide-cc");
        if counts {
            let number = line["a=extmap:".len()..].split([' ', '/']).next();
            meaning.transport_wide = number.and_then(|number| number.parse().ok());
        }
        let kept =
            of_payload.and_then(|rest| rest.split(' ').next()).is_some_and(|payload| payloads.contains(&payload));
        if kept || counts || line.starts_with("a=mid:") || *line == "a=rtcp-rsize" {
            text.push((*line).to_owned());
        }
    }
    text.push(format!("a=candidate:1 1 UDP 2130706431 {name} {port} typ host"));
    text.push("a=end-of-candidates".to_owned());
    text
}

/// Whether a payload type is taken: the codec, and what repeats or repairs it.
fn wanted(section: &[&str], payload: &str, kind: Kind) -> bool {
    let Some(name) = encoding(section, payload) else { return false };
    if kind == Kind::Audio {
        return name == "OPUS";
    }
    let codec = codec(section);
    if name == "RTX" {
        return attribute(section, &format!("fmtp:{payload} apt=")).next().is_some_and(|apt| Some(apt) == codec);
    }
    Some(payload) == codec || name == "RED" || name == "ULPFEC"
}

/// The payload type of the picture's codec.
fn codec<'a>(section: &[&'a str]) -> Option<&'a str> {
    let offered: Vec<&str> = section[0].split(' ').skip(3).collect();
    let vp8 = offered.iter().find(|payload| encoding(section, payload).is_some_and(|name| name == "VP8"));
    vp8.or(offered.first()).copied()
}

/// Name of a payload type's encoding, in capitals.
fn encoding(section: &[&str], payload: &str) -> Option<String> {
    let mapped = attribute(section, &format!("rtpmap:{payload} ")).next()?;
    mapped.split('/').next().map(str::to_uppercase)
}

fn attribute<'a>(section: &[&'a str], name: &str) -> impl Iterator<Item = &'a str> {
    section.iter().filter_map(move |line| line.strip_prefix("a=")?.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 5 0 IN IP4 0.0.0.0\r\ns=-\r\na=group:BUNDLE video0 audio1\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102 96 97 98\r\na=mid:video0\r\na=setup:actpass\r\na=rtpmap:102 H264/90000\r\n\
        a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
        a=rtpmap:98 rtx/90000\r\na=fmtp:98 apt=102\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 100\r\na=mid:audio1\r\na=rtpmap:100 OPUS/48000/2\r\n";

    #[test]
    fn vp8_with_its_retransmissions_and_sound_are_taken() {
        let here = Here {
            credentials: ("me", "secret"),
            fingerprint: "AB",
            address: "127.0.0.1:5000".parse().expect("address"),
        };
        let (text, meaning) = answer(OFFER, &here);
        let kinds = [(96, Kind::Video), (97, Kind::Again), (100, Kind::Audio)];
        assert_eq!(meaning, Meaning { kinds: kinds.into(), transport_wide: Some(3) });
        for line in [
            "a=group:BUNDLE video0 audio1",
            "m=video 5000 UDP/TLS/RTP/SAVPF 96 97",
            "m=audio 5000 UDP/TLS/RTP/SAVPF 100",
            "a=rtcp-fb:96 nack pli",
            "a=candidate:1 1 UDP 2130706431 127.0.0.1 5000 typ host",
        ] {
            assert!(text.lines().any(|one| one == line), "no {line} in {text}");
        }
        assert!(!text.contains("H264"));
    }
}
