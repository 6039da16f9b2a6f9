//! Connectivity checks (RFC 8489, RFC 8445): answers to them.
//!
//! In: a packet, the password of this end. Out: the answer to a check that knows the password. Never: a check of its own;
//! this end is ICE lite.

use std::net::{IpAddr, SocketAddr};

use gst::glib;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER: usize = 20;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;

/// A check that was answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// What goes back.
    pub answer: Vec<u8>,
    /// Whether the sender means to use this path.
    pub nominated: bool,
}

/// Answers a binding request; `None` if it is none, or if its author does not know the password.
pub fn answer(packet: &[u8], from: SocketAddr, password: &str) -> Option<Check> {
    if packet.len() < HEADER || packet[..2] != [0, 1] || packet[4..8] != COOKIE {
        return None;
    }
    let attributes = attributes(packet);
    let (at, integrity) =
        attributes.iter().find_map(|(at, kind, value)| (*kind == MESSAGE_INTEGRITY).then_some((*at, *value)))?;
    if integrity != hmac(&packet[..at], password) {
        return None;
    }
    let nominated = attributes.iter().any(|(_, kind, _)| *kind == USE_CANDIDATE);
    let mut answer = vec![1, 1, 0, 0];
    answer.extend_from_slice(&packet[4..HEADER]);
    add(&mut answer, XOR_MAPPED_ADDRESS, &masked(from, &packet[4..HEADER]));
    let integrity = hmac(&answer, password);
    add(&mut answer, MESSAGE_INTEGRITY, &integrity);
    // The fingerprint is over a header that already counts it in.
    set_length(&mut answer, 8);
    let fingerprint = (crc32(&answer) ^ 0x5354_554e).to_be_bytes();
    add(&mut answer, FINGERPRINT, &fingerprint);
    Some(Check { answer, nominated })
}

/// Where each attribute begins, its kind and its value.
fn attributes(packet: &[u8]) -> Vec<(usize, u16, &[u8])> {
    let (mut found, mut at) = (Vec::new(), HEADER);
    while let Some(&[kind_high, kind_low, length_high, length_low]) = packet.get(at..at + 4) {
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let Some(value) = packet.get(at + 4..at + 4 + length) else { break };
        found.push((at, u16::from_be_bytes([kind_high, kind_low]), value));
        at += 4 + length.next_multiple_of(4);
    }
    found
}

/// HMAC-SHA1 over what comes before, with a header that counts in the 24 bytes of the attribute itself.
fn hmac(before: &[u8], password: &str) -> Vec<u8> {
    let mut text = before.to_vec();
    set_length(&mut text, 24);
    let hex = glib::compute_hmac_for_data(glib::ChecksumType::Sha1, password.as_bytes(), &text);
    (0..hex.len() / 2).filter_map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()).collect()
}

fn add(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&(value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
    set_length(message, 0);
}

/// Writes the length of what there is and of `more` bytes into the header.
fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() - HEADER + more) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// The sender's address as XOR-MAPPED-ADDRESS has it; `mask` is cookie and transaction.
fn masked(from: SocketAddr, mask: &[u8]) -> Vec<u8> {
    let port = from.port() ^ 0x2112;
    let (family, address) = match from.ip() {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend_from_slice(&port.to_be_bytes());
    value.extend(address.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    value
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769, 2.1: a request, with this password.
    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
    const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
        002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
        80280004e57a3bcf";

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect()
    }

    #[test]
    fn the_request_of_the_rfc_is_answered() {
        let from = "192.0.2.1:32853".parse().expect("address");
        let check = answer(&bytes(REQUEST), from, PASSWORD).expect("an answer");
        assert!(!check.nominated);
        let answer = check.answer;
        assert_eq!(usize::from(u16::from_be_bytes([answer[2], answer[3]])), answer.len() - HEADER);
        let found = attributes(&answer);
        // RFC 5769, 2.2: the same address behind the same transaction.
        assert_eq!((found[0].1, found[0].2), (XOR_MAPPED_ADDRESS, bytes("0001a147e112a643").as_slice()));
        assert_eq!((found[1].1, found[1].2), (MESSAGE_INTEGRITY, hmac(&answer[..found[1].0], PASSWORD).as_slice()));
        let until = found[2].0;
        assert_eq!(found[2].2, (crc32(&answer[..until]) ^ 0x5354_554e).to_be_bytes());
    }

    #[test]
    fn the_fingerprint_is_that_of_the_rfc() {
        let request = bytes(REQUEST);
        let until = request.len() - 8;
        assert_eq!((crc32(&request[..until]) ^ 0x5354_554e).to_be_bytes(), request[until + 4..]);
    }

    #[test]
    fn who_does_not_know_the_password_gets_no_answer() {
        let from = "192.0.2.1:32853".parse().expect("address");
        assert_eq!(answer(&bytes(REQUEST), from, "another"), None);
        assert_eq!(answer(&[0; 20], from, PASSWORD), None);
        assert_eq!(answer(&bytes(REQUEST)[..30], from, PASSWORD), None);
    }
}
