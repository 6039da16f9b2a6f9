//! What is counted of packets: pictures, gaps between them, losses.
//!
//! In: RTP packets, encrypted or not (the header never is), and when they came. Out: a [`Count`]. Never: a guess at what
//! is in them.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::answer::{Kind, Meaning};

/// Ticks of a picture's clock in a second.
const CLOCK: f64 = 90_000.0;
/// Pictures in a second, as measurements have it.
const RATE: f64 = 30.0;

/// The header of an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Payload type.
    pub payload: u8,
    /// Sequence number.
    pub sequence: u16,
    /// In ticks of the stream's clock.
    pub timestamp: u32,
    /// The stream.
    pub source: u32,
    /// The number among all packets of the transport.
    pub transport_wide: Option<u16>,
}

/// Reads a header; `None` if it is none. `extension`: the number of the header extension that counts all packets.
pub fn header(packet: &[u8], extension: Option<u8>) -> Option<Header> {
    let &[first, second, ..] = packet.get(..12)? else { return None };
    if first >> 6 != 2 {
        return None;
    }
    Some(Header {
        payload: second & 0x7f,
        sequence: u16::from_be_bytes([packet[2], packet[3]]),
        timestamp: u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]),
        source: u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]),
        transport_wide: extension.filter(|_| first & 0x10 != 0).and_then(|number| counted(packet, number)),
    })
}

/// Reads the value of a one-byte header extension (RFC 8285).
fn counted(packet: &[u8], number: u8) -> Option<u16> {
    let mut at = 12 + 4 * usize::from(packet[0] & 0x0f);
    if packet.get(at..at + 2)? != [0xbe, 0xde] {
        return None;
    }
    let words = usize::from(u16::from_be_bytes([*packet.get(at + 2)?, *packet.get(at + 3)?]));
    at += 4;
    let end = (at + 4 * words).min(packet.len());
    while at < end {
        let (id, length) = (packet[at] >> 4, usize::from(packet[at] & 0x0f) + 1);
        if packet[at] == 0 {
            at += 1;
        } else if id == number {
            return Some(u16::from_be_bytes([*packet.get(at + 1)?, *packet.get(at + 2)?]));
        } else {
            at += 1 + length;
        }
    }
    None
}

/// What one viewer got since the counting began.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Count {
    /// Whether its transport is up.
    pub connected: bool,
    /// Pictures of which a packet came.
    pub frames: u64,
    /// Pictures that are missing between them, by their timestamps, at 30 a second.
    pub skipped: u64,
    /// Longest time between two pictures, ms.
    pub gap_ms: f64,
    /// Packets of picture and sound that are missing, by their sequence numbers; those that came late or again are not.
    pub lost: i64,
    /// Packets.
    pub packets: u64,
    /// Bytes of them, header and encryption included.
    pub bytes: u64,
}

/// Keeps the count of one viewer.
#[derive(Debug, Default)]
pub struct Counter {
    count: Count,
    video: Stream,
    audio: Stream,
    picture: Option<(u32, Instant)>,
}

/// Sequence numbers of one stream.
#[derive(Debug, Default)]
struct Stream {
    last: Option<u16>,
}

impl Stream {
    /// Takes a number; how many more are missing now, negative for one that was thought lost.
    fn take(&mut self, sequence: u16) -> i64 {
        let step = self.last.map_or(1, |last| sequence.wrapping_sub(last) as i16);
        if step > 0 {
            self.last = Some(sequence);
        }
        match step {
            1.. => i64::from(step) - 1,
            0 => 0,
            _ => -1,
        }
    }
}

impl Counter {
    /// Takes a packet of `size` bytes that came at `now`.
    pub fn take(&mut self, header: &Header, meaning: &Meaning, size: usize, now: Instant) {
        self.count.packets += 1;
        self.count.bytes += size as u64;
        match meaning.kinds.get(&header.payload) {
            Some(Kind::Audio) => self.count.lost += self.audio.take(header.sequence),
            Some(Kind::Video) => {
                self.count.lost += self.video.take(header.sequence);
                self.picture(header.timestamp, now);
            }
            Some(Kind::Again) | None => {}
        }
    }

    fn picture(&mut self, timestamp: u32, now: Instant) {
        if let Some((last, at)) = self.picture {
            let ticks = timestamp.wrapping_sub(last) as i32;
            // Of the same picture, or of one before it.
            if ticks <= 0 {
                return;
            }
            let steps = (f64::from(ticks) / CLOCK * RATE).round() as u64;
            self.count.skipped += steps.saturating_sub(1);
            self.count.gap_ms = self.count.gap_ms.max(milliseconds(now - at));
        }
        self.count.frames += 1;
        self.picture = Some((timestamp, now));
    }

    /// Counts anew; streams go on.
    pub fn reset(&mut self) {
        self.count = Count::default();
    }

    /// What was counted; a picture that should have come by now is a gap as well.
    pub fn count(&self, connected: bool, now: Instant) -> Count {
        let since = self.picture.map_or(0.0, |(_, at)| milliseconds(now - at));
        Count { connected, gap_ms: self.count.gap_ms.max(since), ..self.count.clone() }
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload: u8, sequence: u16, timestamp: u32) -> Header {
        Header { payload, sequence, timestamp, source: 7, transport_wide: None }
    }

    #[test]
    fn a_header_with_the_count_of_the_transport() {
        let mut bytes = vec![0x90, 0x80 | 96, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7, 0xbe, 0xde, 0, 2];
        // Another extension of two bytes, padding, then the count.
        bytes.extend([0x11, 1, 2, 0, 0x31, 0xab, 0xcd, 0, 0xff]);
        let wanted = Header { payload: 96, sequence: 0x1234, timestamp: 9, source: 7, transport_wide: Some(0xabcd) };
        assert_eq!(header(&bytes, Some(3)), Some(wanted));
        assert_eq!(header(&bytes, None), Some(Header { transport_wide: None, ..wanted }));
        assert_eq!(header(&bytes[..11], Some(3)), None);
    }

    #[test]
    fn pictures_losses_and_what_is_skipped() {
        let meaning =
            Meaning { kinds: [(96, Kind::Video), (100, Kind::Audio), (97, Kind::Again)].into(), transport_wide: None };
        let (mut counter, began) = (Counter::default(), Instant::now());
        let mut take = |payload, sequence, timestamp: u32, ms| {
            counter.take(&packet(payload, sequence, timestamp), &meaning, 100, began + Duration::from_millis(ms));
        };
        take(96, 65534, 0, 0);
        take(96, 65535, 0, 1);
        take(96, 0, 3000, 33);
        // Number 1 comes late, 2 never; a picture is skipped.
        take(96, 3, 9000, 110);
        take(96, 1, 3000, 111);
        take(97, 500, 3000, 112);
        take(100, 10, 0, 0);
        take(100, 12, 1920, 40);
        let count = counter.count(true, began + Duration::from_millis(115));
        assert_eq!((count.frames, count.skipped, count.lost, count.packets), (3, 1, 2, 8));
        assert_eq!((count.gap_ms, count.bytes), (77.0, 800));
        counter.reset();
        assert_eq!(counter.count(true, began + Duration::from_millis(210)).gap_ms, 100.0);
    }
}
