//! Keeps sender reports (RTCP, RFC 3550) away from webrtcbin until the stream that they are about has begun.
//!
//! In: a `webrtcbin` before it plays. Out: RTP and RTCP for it, without reports that come too early. Never: a report held
//! back once a packet of its stream has passed.
//!
//! Of a stream that it knows by a report alone rtpsession finds that its sender has been silent since the session began,
//! and says so at its next turn; webrtcbin then forgets which media the stream belongs to, takes its first packet for
//! something unknown, and the whole session ends with `not-linked`. So it was with a camera that was switched on long
//! after the talk began, where the device was slow (GStreamer 1.26; on_rtpbin_sender_timeout in gstwebrtcbin.c). To be
//! taken out when webrtcbin keeps the streams that its peer's description names.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;

/// Watches what webrtcbin receives from now on.
pub fn hold_early(webrtcbin: &gst::Element) {
    let Some(rtpbin) = webrtcbin.downcast_ref::<gst::Bin>().and_then(|bin| bin.by_name("rtpbin")) else {
        tracing::warn!("webrtcbin is built in another way than expected: a camera that comes late may end the talk");
        return;
    };
    let begun = Begun::default();
    rtpbin.pads().iter().for_each(|pad| watch(pad, &begun));
    rtpbin.connect_pad_added(move |_, pad| watch(pad, &begun));
}

fn watch(pad: &gst::Pad, begun: &Begun) {
    let begun = begun.clone();
    let name = pad.name();
    if name.starts_with("recv_rtp_sink") {
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
            match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => begun.note(&start_of(buffer)),
                Some(gst::PadProbeData::BufferList(list)) => {
                    list.iter().for_each(|buffer| begun.note(&start_of(buffer)));
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    } else if name.starts_with("recv_rtcp_sink") {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| match &info.data {
            // GStreamer 1.22 complains about what is dropped.
            Some(gst::PadProbeData::Buffer(buffer)) if begun.comes_later(&start_of(buffer)) => {
                gst::PadProbeReturn::Handled
            }
            _ => gst::PadProbeReturn::Ok,
        });
    }
}

/// Streams, by SSRC, of which a packet has come.
#[derive(Debug, Clone, Default)]
struct Begun(Arc<Mutex<HashSet<u32>>>);

impl Begun {
    /// Notes the stream of an RTP packet.
    fn note(&self, start: &[u8; START]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < STREAMS {
            known.insert(word(start, RTP_SSRC));
        }
    }

    /// Whether an RTCP packet is a report of a stream that has not begun.
    fn comes_later(&self, start: &[u8; START]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        start[1] == SENDER_REPORT && known.len() < STREAMS && !known.contains(&word(start, RTCP_SSRC))
    }
}

/// The first bytes of a packet, zeros after its end.
fn start_of(buffer: &gst::BufferRef) -> [u8; START] {
    let mut start = [0; START];
    let there = START.min(buffer.size());
    if buffer.copy_to_slice(0, &mut start[..there]).is_err() {
        tracing::trace!("a packet could not be read");
    }
    start
}

fn word(start: &[u8; START], at: usize) -> u32 {
    start.iter().skip(at).take(4).fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Bytes of an RTP header (RFC 3550, 5.1).
const START: usize = 12;
/// Where the SSRC stands in an RTP header.
const RTP_SSRC: usize = 8;
/// Where the sender's SSRC stands in an RTCP report (RFC 3550, 6.4.1).
const RTCP_SSRC: usize = 4;
/// Packet type of a sender report.
const SENDER_REPORT: u8 = 200;
/// Streams that are told apart; a talker has two, and as many of repetition. Of one with more, nothing is held back.
const STREAMS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(ssrc: u8) -> [u8; START] {
        [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, ssrc]
    }

    fn rtcp(kind: u8, ssrc: u8) -> [u8; START] {
        [0x80, kind, 0, 6, 0, 0, 0, ssrc, 0, 0, 0, 0]
    }

    #[test]
    fn a_report_waits_for_its_stream() {
        let begun = Begun::default();
        begun.note(&rtp(1));
        assert!(!begun.comes_later(&rtcp(SENDER_REPORT, 1)));
        assert!(begun.comes_later(&rtcp(SENDER_REPORT, 2)));
        // Receivers' reports, feedback and goodbyes say nothing of a stream that begins.
        assert!([201, 202, 203, 205, 206].into_iter().all(|kind| !begun.comes_later(&rtcp(kind, 2))));
        begun.note(&rtp(2));
        assert!(!begun.comes_later(&rtcp(SENDER_REPORT, 2)));
    }

    #[test]
    fn streams_without_end_hold_nothing_back() {
        let begun = Begun::default();
        (0..200).for_each(|ssrc| begun.note(&rtp(ssrc)));
        assert_eq!(begun.0.lock().unwrap().len(), STREAMS);
        assert!(!begun.comes_later(&rtcp(SENDER_REPORT, 250)));
    }

    #[test]
    fn a_packet_that_is_cut_off_is_none() {
        gst::init().unwrap();
        for length in 0..START {
            let buffer = gst::Buffer::from_slice(vec![SENDER_REPORT; length]);
            let start = start_of(&buffer);
            assert!(start.iter().skip(length).all(|byte| *byte == 0));
            Begun::default().comes_later(&start);
        }
    }

    #[test]
    fn a_report_that_comes_early_does_not_reach_webrtcbin() {
        gst::init().unwrap();
        let has_rtpbin =
            |element: &gst::Element| element.downcast_ref::<gst::Bin>().unwrap().by_name("rtpbin").is_some();
        assert!(has_rtpbin(&gst::ElementFactory::make("webrtcbin").build().unwrap()), "webrtcbin is built as expected");
        // One of our own: webrtcbin's has no session before there is a description.
        let webrtcbin = gst::Bin::new();
        let rtpbin = gst::ElementFactory::make("rtpbin").name("rtpbin").build().unwrap();
        webrtcbin.add(&rtpbin).unwrap();
        hold_early(webrtcbin.upcast_ref());
        let passed = Arc::new(Mutex::new(Vec::new()));
        let pads = ["recv_rtp_sink_0", "recv_rtcp_sink_0"].map(|name| {
            let pad = rtpbin.request_pad_simple(name).unwrap();
            let passed = passed.clone();
            // Behind the probe of the module, and instead of what follows.
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data {
                    passed.lock().unwrap().push(start_of(buffer));
                }
                gst::PadProbeReturn::Handled
            });
            pad.set_active(true).unwrap();
            let source = gst::Pad::builder(gst::PadDirection::Src).build();
            source.set_active(true).unwrap();
            source.link_full(&pad, gst::PadLinkCheck::empty()).unwrap();
            source.push_event(gst::event::StreamStart::new(name));
            source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
            source
        });
        let send = |to: usize, packet: [u8; START]| {
            pads[to].push(gst::Buffer::from_slice(packet)).unwrap();
        };
        send(1, rtcp(SENDER_REPORT, 2));
        send(1, rtcp(201, 2));
        send(0, rtp(2));
        send(1, rtcp(SENDER_REPORT, 2));
        assert_eq!(*passed.lock().unwrap(), [rtcp(201, 2), rtp(2), rtcp(SENDER_REPORT, 2)]);
    }
}
