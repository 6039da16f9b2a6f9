//! An encoded picture or packet of sound, cut into RTP payloads once for all viewers.
//!
//! In: encoded buffers on common time. Out: [`Frame`]s. Never: a sequence number, which is each viewer's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::prelude::*;
use str0m::unversioned::{H264Packetizer, Packetizer, Vp8Packetizer};

use super::redundancy::Before;
use crate::config::VideoCodec;
use crate::pipeline;

/// Bytes of an RTP payload at most: what is left of a datagram of 1200 bytes, which passes everywhere, for header, extensions, RTX and SRTP.
pub const PAYLOAD: usize = 1140;
/// The clock of a stream's time stamps, Hz. It goes round.
#[derive(Debug, Clone, Copy)]
pub struct Rate(u64);

/// That of pictures.
pub const VIDEO_RATE: Rate = Rate(90_000);
/// The sound's.
pub const AUDIO_RATE: Rate = Rate(48_000);

impl Rate {
    /// The time stamp of a running time on common time.
    fn at(self, time: gst::ClockTime) -> u32 {
        (u128::from(time.nseconds()) * u128::from(self.0) / 1_000_000_000) as u32
    }

    /// The time stamp of what is captured now.
    pub fn now(self) -> u32 {
        self.at(running().unwrap_or_default())
    }
}

/// One picture, or one packet of sound.
#[derive(Debug)]
pub struct Frame {
    /// Rung of the ladder; 0 for sound.
    pub rung: usize,
    /// Whether it can be shown without those before it.
    pub key: bool,
    /// When it was captured, in units of its RTP clock since the process began.
    pub time: u32,
    /// When it was captured; never later than when it was made.
    pub captured: Instant,
    /// When it came out of the encoder.
    pub made: Instant,
    /// RTP payloads, in order.
    pub payloads: Vec<Arc<[u8]>>,
    /// Sound alone: its payload with those before it, of another payload type.
    pub redundant: Option<Arc<[u8]>>,
}

/// Cuts the buffers of one encoder.
#[derive(Debug)]
pub struct Packetiser {
    rung: usize,
    codec: Codec,
}

#[derive(Debug)]
enum Codec {
    Opus(Before),
    Vp8(Vp8Packetizer),
    H264(Box<H264Packetizer>),
}

impl Packetiser {
    /// Of a rung's pictures.
    pub fn video(codec: VideoCodec, rung: usize) -> Self {
        let codec = match codec {
            VideoCodec::Vp8 => Codec::Vp8(Vp8Packetizer::default()),
            VideoCodec::H264 => Codec::H264(Box::default()),
        };
        Self { rung, codec }
    }

    /// Of Opus, of which each buffer is a packet.
    pub fn sound() -> Self {
        Self { rung: 0, codec: Codec::Opus(Before::default()) }
    }

    /// `buffer` has its running time on common time; `None`: it has no time, or nothing in it.
    pub fn cut(&mut self, buffer: &gst::BufferRef) -> Option<Frame> {
        let stamp = buffer.pts()?;
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let data = buffer.map_readable().ok()?;
        let mut redundant = None;
        let (payloads, time) = match &mut self.codec {
            Codec::Opus(before) => {
                let (payload, time): (Arc<[u8]>, _) = (Arc::from(data.as_slice()), AUDIO_RATE.at(stamp));
                redundant = before.with(&payload, time);
                (vec![payload], time)
            }
            Codec::Vp8(packetizer) => (cut(packetizer, &data)?, VIDEO_RATE.at(stamp)),
            Codec::H264(packetizer) => (cut(packetizer.as_mut(), &data)?, VIDEO_RATE.at(stamp)),
        };
        let made = Instant::now();
        (!payloads.is_empty()).then(|| Frame {
            rung: self.rung,
            key,
            time,
            captured: captured(stamp, made),
            made,
            payloads,
            redundant,
        })
    }
}

fn cut(packetizer: &mut impl Packetizer, data: &[u8]) -> Option<Vec<Arc<[u8]>>> {
    let cut =
        packetizer.packetize(PAYLOAD, data).inspect_err(|error| tracing::warn!(?error, "a picture cannot be sent"));
    Some(cut.ok()?.into_iter().map(Arc::from).collect())
}

/// The running time on common time.
fn running() -> Option<gst::ClockTime> {
    pipeline::clock().time().checked_sub(pipeline::common_base_time())
}

/// The instant of a running time on common time, not later than `now`: reports on it would be of a time to come.
fn captured(stamp: gst::ClockTime, now: Instant) -> Instant {
    let ago = running().and_then(|running| running.checked_sub(stamp));
    ago.and_then(|ago| now.checked_sub(Duration::from_nanos(ago.nseconds()))).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn buffer(bytes: Vec<u8>, at: gst::ClockTime, delta: bool) -> gst::Buffer {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::from_slice(bytes);
        let writable = buffer.make_mut();
        writable.set_pts(at);
        if delta {
            writable.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        buffer
    }

    #[test]
    fn a_picture_is_cut_and_its_beginning_told() {
        let at = gst::ClockTime::from_seconds(2);
        let frame = Packetiser::video(VideoCodec::Vp8, 1).cut(&buffer(vec![7; 3000], at, true)).unwrap();
        assert_eq!((frame.rung, frame.key, frame.time), (1, false, 180_000));
        assert_eq!(frame.payloads.len(), 3);
        // RFC 7741: S is set at the start of a partition alone.
        let marks: Vec<u8> = frame.payloads.iter().map(|payload| payload[0]).collect();
        assert_eq!(marks, [0x10, 0, 0]);
        assert!(frame.payloads.iter().all(|payload| payload.len() <= PAYLOAD));
        assert_eq!(frame.payloads.iter().map(|payload| payload.len() - 1).sum::<usize>(), 3000);
    }

    #[test]
    fn sound_is_one_packet_and_time_goes_round() {
        let hours = gst::ClockTime::from_seconds(100 * 3600);
        let frame = Packetiser::sound().cut(&buffer(vec![1, 2, 3], hours, false)).unwrap();
        assert_eq!(frame.payloads.iter().map(|payload| payload.to_vec()).collect::<Vec<_>>(), [[1, 2, 3]]);
        assert_eq!(u64::from(frame.time), 100 * 3600 * 48_000 % (1 << 32));
        assert!(frame.redundant.is_none());
    }

    #[test]
    fn a_packet_of_sound_has_the_one_before_beside_it() {
        let mut sound = Packetiser::sound();
        let at = gst::ClockTime::from_mseconds;
        sound.cut(&buffer(vec![1, 2], at(100), false)).unwrap();
        let frame = sound.cut(&buffer(vec![3, 4, 5], at(120), false)).unwrap();
        // One header for the packet before, 960 units of 48 kHz earlier and 2 bytes long; one for this one (RFC 2198, 3).
        let header = [128 | 111, (960 >> 6) as u8, ((960 & 63) << 2) as u8, 2, 111];
        assert_eq!(frame.redundant.as_deref(), Some(&[&header[..], &[1, 2, 3, 4, 5]].concat()[..]));
        // After a pause it would be of no use.
        assert!(sound.cut(&buffer(vec![6], at(5000), false)).unwrap().redundant.is_none());
    }

    #[test]
    fn what_has_no_time_or_nothing_in_it_is_no_frame() {
        let mut timeless = buffer(vec![1], gst::ClockTime::ZERO, false);
        timeless.make_mut().set_pts(None);
        assert!(Packetiser::sound().cut(&timeless).is_none());
        assert!(Packetiser::video(VideoCodec::Vp8, 0).cut(&buffer(Vec::new(), gst::ClockTime::ZERO, false)).is_none());
    }

    #[test]
    fn h264_parameters_come_with_the_key_frame() {
        let unit = |kind: u8, bytes: usize| [vec![0, 0, 0, 1, kind], vec![0x55; bytes]].concat();
        let stream = [unit(0x67, 10), unit(0x68, 4), unit(0x65, 3000)].concat();
        let frame = Packetiser::video(VideoCodec::H264, 0).cut(&buffer(stream, gst::ClockTime::ZERO, false)).unwrap();
        assert!(frame.key);
        // RFC 6184: an aggregate of both parameter sets (STAP-A, 24), then fragments (FU-A, 28).
        let kinds: Vec<u8> = frame.payloads.iter().map(|payload| payload[0] & 0x1f).collect();
        assert_eq!(kinds[0], 24, "{kinds:?}");
        assert!(kinds.len() == 4 && kinds[1..].iter().all(|kind| *kind == 28), "{kinds:?}");
    }
}
