//! Both sides of a conversation as one sound: any player gives the whole of it from the first audio track.
//!
//! In: the device's and the talker's Opus, on the common clock. Out: one Opus stream, without a gap. Never: waits for a
//! side that is silent; touches the pipelines of the call.
//!
//! ```text
//! silence (audiotestsrc) ────────────────────────┐
//! device's sound (appsrc) ─> opusdec ─> convert ─┼─> audiomixer ─> opusenc ─> outlet (appsink)
//! talker's sound (appsrc) ─> opusdec ─> convert ─┘
//! ```

use gst::prelude::*;

use super::packet::{Data, Lane, Packet};
use super::tap::Tap;
use crate::outbound::encoder::{Format, RATE};
use crate::pipeline::{Error, Pipeline, make};

/// How long the mixer waits for a side that is late: a microphone, an encoder, a jitter buffer lie before it.
pub const LATENCY: gst::ClockTime = gst::ClockTime::from_mseconds(200);

/// Builds it; the mixed sound goes into the tap. Returns the pipeline and the inlets, the device's first.
pub fn mix(tap: &Tap, bitrate: u32) -> Result<(Pipeline, [gst_app::AppSrc; 2]), Error> {
    let pipeline = Pipeline::on_common_time("recording-mix");
    let link = |source| Error::Link { stage: "recording", source };
    let mixer = make("audiomixer")?;
    mixer.set_property("output-buffer-duration", gst::ClockTime::from_mseconds(20).nseconds());
    mixer.set_property_from_str("start-time-selection", "first");
    mixer.set_property("min-upstream-latency", LATENCY.nseconds());
    let caps = make("capsfilter")?;
    caps.set_property("caps", Format::raw_audio());
    let encoder = make("opusenc")?;
    encoder.set_property("bitrate", (bitrate * 1000) as i32);
    encoder.set_property("complexity", 5i32);
    let outlet = outlet(tap);
    pipeline.add_chain("recording", &[&mixer, &caps, &encoder, outlet.upcast_ref()])?;

    let silence = make("audiotestsrc")?;
    silence.set_property_from_str("wave", "silence");
    silence.set_property("is-live", true);
    silence.set_property("samplesperbuffer", RATE / 50);
    let silence_caps = make("capsfilter")?;
    silence_caps.set_property("caps", Format::raw_audio());
    pipeline.add_chain("recording", &[&silence, &silence_caps])?;
    silence_caps.link(&mixer).map_err(link)?;
    let inlets = [side(&pipeline, &mixer)?, side(&pipeline, &mixer)?];
    Ok((pipeline, inlets))
}

fn side(pipeline: &Pipeline, mixer: &gst::Element) -> Result<gst_app::AppSrc, Error> {
    let caps = gst::Caps::builder("audio/x-opus")
        .field("rate", RATE)
        .field("channels", 2i32)
        .field("channel-mapping-family", 0i32)
        .field("stream-count", 1i32)
        .field("coupled-count", 1i32)
        .build();
    let inlet = crate::bridge::inlet(&caps, 50, LATENCY)?;
    mark_gaps(&inlet);
    let decoder = make("opusdec")?;
    let convert = make("audioconvert")?;
    let resample = make("audioresample")?;
    pipeline.add_chain("recording", &[inlet.upcast_ref(), &decoder, &convert, &resample])?;
    resample.link(mixer).map_err(|source| Error::Link { stage: "recording", source })?;
    Ok(inlet)
}

/// Marks what follows a gap (a talk that begins, capture that was built anew): decoder and mixer would join it to what
/// was before.
fn mark_gaps(inlet: &gst_app::AppSrc) {
    let Some(pad) = inlet.static_pad("src") else { return };
    let last = std::sync::atomic::AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut()
            && let Some(time) = buffer.pts().map(gst::ClockTime::nseconds)
        {
            let before = last.swap(time, std::sync::atomic::Ordering::Relaxed);
            if time.abs_diff(before) > GAP.nseconds() {
                buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
            } else {
                buffer.make_mut().unset_flags(gst::BufferFlags::DISCONT);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Longest step between two packets of 20 ms that counts as none.
const GAP: gst::ClockTime = gst::ClockTime::from_mseconds(100);

fn outlet(tap: &Tap) -> gst_app::AppSink {
    let tap = tap.clone();
    gst_app::AppSink::builder()
        .caps(&gst::Caps::new_empty_simple("audio/x-opus"))
        .sync(false)
        .async_(false)
        .callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let time = sample.buffer().and_then(|buffer| buffer.pts());
                    let running = sample
                        .segment()
                        .and_then(|segment| segment.downcast_ref::<gst::ClockTime>()?.to_running_time(time?));
                    // The pipeline runs on the common time.
                    if let (Some(time), Some(buffer)) = (running, sample.buffer_owned()) {
                        let data = Data::Buffer(buffer);
                        tap.put(Packet {
                            lane: Lane::Both,
                            time: time.into(),
                            key: true,
                            is_h264: false,
                            size: None,
                            data,
                        });
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        )
        .build()
}
