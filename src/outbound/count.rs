//! Counts what passes pads.
//!
//! In: pads, the counters. Out: counters that grow, by one atomic step for each buffer. Never: changes, holds or reads
//! a buffer's data; outlives its pad.

use gst::prelude::*;

use super::mixer::Mixer;
use crate::metrics::{Kind, Metrics};

/// Counts what goes into a mixer and the sound it gives; what its rungs give once they are built.
pub fn mixer(mixer: &mut Mixer, metrics: &Metrics) {
    mixer.counted = Some(metrics.clone());
    for (inlet, kind) in [(&mixer.picture, Kind::Picture), (&mixer.sound, Kind::Sound)] {
        let captured = metrics.captured(kind);
        if let Some(pad) = inlet.static_pad("src") {
            each(&pad, move |_| {
                captured.inc();
            });
        }
    }
    encoded(&mixer.audio_out, Kind::Sound, 0, metrics);
}

/// Counts what an encoder gives.
pub fn encoded(outlet: &gst_app::AppSink, kind: Kind, rung: usize, metrics: &Metrics) {
    let (buffers, bytes) = metrics.encoded(kind, rung);
    let metrics = metrics.clone();
    if let Some(pad) = outlet.static_pad("sink") {
        each(&pad, move |buffer| {
            buffers.inc();
            bytes.inc_by(buffer.size() as u64);
            if kind == Kind::Picture {
                metrics.picture(!buffer.flags().contains(gst::BufferFlags::DELTA_UNIT));
            }
        });
    }
}

fn each(pad: &gst::Pad, count: impl Fn(&gst::BufferRef) + Send + Sync + 'static) {
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => count(buffer),
            Some(gst::PadProbeData::BufferList(list)) => list.iter().for_each(&count),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}
