//! What a viewer tells its sender, as a browser does: that it is there (RTCP receiver reports), when each packet came
//! (transport-wide feedback, draft-holmer-rmcat-transport-wide-cc-extensions-01), and that it needs a key frame.
//!
//! In: headers of packets and when they came. Out: compound RTCP packets, in the clear. Never: a request to send again;
//! nothing gets lost on the way within a machine.

use std::time::{Duration, Instant};

/// Between two reports, as Chromium has it on a link like this.
const EVERY: Duration = Duration::from_millis(100);
/// Units of the reference time, µs.
const REFERENCE: i64 = 64_000;
/// Units of the time between two packets, µs.
const DELTA: i64 = 250;

/// Gathers what is to be told of one transport.
#[derive(Debug)]
pub struct Feedback {
    began: Instant,
    told: Instant,
    number: u8,
    here: u32,
    /// Packets since the last report: the number among all of the transport, and µs since `began`.
    packets: Vec<(u16, i64)>,
}

impl Feedback {
    /// `here`: the id of this end's reports.
    pub fn new(here: u32, now: Instant) -> Self {
        Self { began: now, told: now, number: 0, here, packets: Vec::new() }
    }

    /// Takes a packet of the stream `source`; the report, when one is due.
    pub fn take(&mut self, counted: Option<u16>, source: u32, now: Instant) -> Option<Vec<u8>> {
        if let Some(number) = counted {
            self.packets.push((number, (now - self.began).as_micros() as i64));
        }
        if now - self.told < EVERY {
            return None;
        }
        self.told = now;
        let mut report = self.receiver_report();
        report.extend(self.arrivals(source));
        self.packets.clear();
        Some(report)
    }

    /// A request for a key frame (RFC 4585, 6.3.1).
    pub fn wants_key_frame(&self, source: u32) -> Vec<u8> {
        let mut request = self.receiver_report();
        request.extend(packet(1, 206, &[self.here.to_be_bytes(), source.to_be_bytes()].concat()));
        request
    }

    fn receiver_report(&self) -> Vec<u8> {
        packet(0, 201, &self.here.to_be_bytes())
    }

    /// The feedback packet; empty when nothing came that is counted.
    fn arrivals(&mut self, source: u32) -> Vec<u8> {
        let Some(&(first, _)) = self.packets.first() else { return Vec::new() };
        let place = |number: u16| i64::from(number.wrapping_sub(first) as i16);
        self.packets.sort_by_key(|(number, _)| place(*number));
        self.packets.dedup_by_key(|(number, _)| *number);
        let base = self.packets[0].0;
        let count = self.packets.last().map_or(0, |(number, _)| number.wrapping_sub(base)) + 1;
        let reference = self.packets.iter().map(|(_, at)| *at).min().unwrap_or_default() / REFERENCE;

        let (mut symbols, mut deltas) = (vec![0u16; usize::from(count)], Vec::new());
        let mut before = reference * REFERENCE;
        for (number, at) in &self.packets {
            let delta = (at - before).div_euclid(DELTA);
            before += delta * DELTA;
            let symbol = &mut symbols[usize::from(number.wrapping_sub(base))];
            if let Ok(small) = u8::try_from(delta) {
                *symbol = 1;
                deltas.push(small);
            } else {
                *symbol = 2;
                deltas.extend((delta.clamp(-32768, 32767) as i16).to_be_bytes());
            }
        }
        let mut body = [self.here.to_be_bytes(), source.to_be_bytes()].concat();
        body.extend(base.to_be_bytes());
        body.extend(count.to_be_bytes());
        body.extend(&(reference as u32).to_be_bytes()[1..]);
        body.push(self.number);
        self.number = self.number.wrapping_add(1);
        for seven in symbols.chunks(7) {
            let bits = seven.iter().enumerate().fold(0xc000u16, |chunk, (i, symbol)| chunk | symbol << (12 - 2 * i));
            body.extend(bits.to_be_bytes());
        }
        body.extend(deltas);
        body.resize(body.len().next_multiple_of(4), 0);
        packet(15, 205, &body)
    }
}

/// An RTCP packet; the body's length is a multiple of four.
fn packet(format: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | format, kind];
    bytes.extend(((body.len() / 4) as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_told_with_what_is_missing() {
        let began = Instant::now();
        let mut feedback = Feedback::new(1, began);
        let at = |ms: u64| began + Duration::from_millis(ms);
        assert_eq!(feedback.take(Some(65535), 9, at(65)), None);
        assert_eq!(feedback.take(Some(1), 9, at(70)), None);
        let report = feedback.take(Some(2), 9, at(170)).expect("due");
        #[rustfmt::skip]
        let wanted = [
            0x80, 201, 0, 1, 0, 0, 0, 1,
            0x8f, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 9,
            // From number 65535 on four packets; reference 64 ms; the first report.
            0xff, 0xff, 0, 4, 0, 0, 1, 0,
            // There, missing, there, there after more than 63.75 ms: 01 00 01 10.
            0xd1, 0x80,
            // 1 ms, 5 ms, 100 ms in quarters of a millisecond; padding.
            4, 20, 1, 0x90, 0, 0,
        ];
        assert_eq!(report, wanted);
        // The next one begins anew.
        assert_eq!(feedback.take(None, 9, at(400)).expect("due").len(), 8);
    }

    #[test]
    fn a_key_frame_is_asked_for() {
        let request = Feedback::new(1, Instant::now()).wants_key_frame(9);
        assert_eq!(request[8..], [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9]);
    }
}
