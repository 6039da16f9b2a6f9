//! A microphone through ALSA, with what makes it fit for a room.
//!
//! In: a device by one of ALSA's names, such as `plughw:CARD=Device,DEV=0`; what the speaker plays. Out: its sound, without the
//! speaker's if that is wanted, in 10 ms pieces. Never: opened before somebody listens.
//!
//! ```text
//! alsasrc ─> queue ─> convert, resample ─> [webrtcdsp] ─> convert, resample ─> outlet
//! what the speaker plays (appsrc) ─> convert ─> webrtcechoprobe ─> fakesink        (with echo = cancel)
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use gst::prelude::*;

use super::{End, Setup, Source, sound_tail};
use crate::bridge;
use crate::config::{Echo, Noise, Room};
use crate::devices::Device;
use crate::far_end::FarEnd;
use crate::outbound::encoder::{Format, RATE};
use crate::pipeline::{Error, Pipeline, make};

/// The microphone as a source.
pub fn microphone(device: Device, setup: &Setup) -> Result<Source, Error> {
    let pipeline = Pipeline::new("source-microphone");
    let source = make("alsasrc")?;
    source.set_property("device", &device.name);
    // Small pieces: the buffer is what a talker hears as delay.
    source.set_property("latency-time", 10_000i64);
    source.set_property("buffer-time", 60_000i64);
    // Those of a sound server behind ALSA are of the wall clock: sound from the year 1970 on, that never comes due.
    source.set_property("use-driver-timestamps", false);
    let (tail, outlet) = sound_tail(&pipeline, false)?;
    match for_a_room(&pipeline, setup)? {
        Some(dsp) => {
            let (queue, convert, resample) = (make("queue")?, make("audioconvert")?, make("audioresample")?);
            super::head(&pipeline, "microphone", &[&source, &queue, &convert, &resample, &mono()?, &dsp], &tail)?;
        }
        None => super::head(&pipeline, "microphone", &[&source], &tail)?,
    }
    keep_in_time(&outlet);
    Ok(Source::new(pipeline, None, Some(outlet), End::Never).of(device))
}

/// A microphone behind a sound server, or with a large buffer, hands out what is older than the mixer waits for, which
/// would be silence: such sound is stamped later, once and for all, and not dropped.
fn keep_in_time(outlet: &gst_app::AppSink) {
    let Some(pad) = outlet.static_pad("sink") else { return };
    let weak = outlet.downgrade();
    let shift = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let now = weak.upgrade().and_then(|outlet| outlet.current_running_time());
        if let (Some(now), Some(gst::PadProbeData::Buffer(buffer))) = (now, info.data.as_mut())
            && let Some(stamp) = buffer.pts()
        {
            let behind = now.nseconds().saturating_sub(stamp.nseconds());
            if behind > shift.load(Ordering::Relaxed) + LATE.nseconds() {
                shift.store(behind - FRESH.nseconds(), Ordering::Relaxed);
            }
            let stamp = stamp + gst::ClockTime::from_nseconds(shift.load(Ordering::Relaxed));
            buffer.make_mut().set_pts(stamp);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Sound that comes so much later than its time stamp says is late; a mixer waits 40 ms.
const LATE: gst::ClockTime = gst::ClockTime::from_mseconds(30);
/// How old it is then said to be.
const FRESH: gst::ClockTime = gst::ClockTime::from_mseconds(12);

/// The element that takes out echo and noise and evens out loudness, if any of it is wanted.
fn for_a_room(pipeline: &Pipeline, setup: &Setup) -> Result<Option<gst::Element>, Error> {
    let Room { echo, noise, gain } = setup.room;
    let cancel = echo == Echo::Cancel;
    if !cancel && noise == Noise::Off && !gain {
        return Ok(None);
    }
    let dsp = make("webrtcdsp")?;
    dsp.set_property("echo-cancel", cancel);
    dsp.set_property("noise-suppression", noise != Noise::Off);
    if noise != Noise::Off {
        dsp.set_property_from_str("noise-suppression-level", &noise.to_string());
    }
    dsp.set_property("gain-control", gain);
    if cancel {
        dsp.set_property("probe", listen(pipeline, &setup.far_end)?);
    }
    Ok(Some(dsp))
}

/// Adds the branch through which the canceller hears the speaker; returns the probe's name.
fn listen(pipeline: &Pipeline, far_end: &FarEnd) -> Result<String, Error> {
    // The canceller finds its probe by name among all of the process, and an earlier microphone may still be closing.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("far-end-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let inlet = bridge::inlet(&Format::raw_audio(), 100, gst::ClockTime::ZERO)?;
    let probe = make("webrtcechoprobe")?;
    probe.set_property("name", &name);
    let convert = make("audioconvert")?;
    let sink = make("fakesink")?;
    sink.set_property("async", false);
    sink.set_property("sync", false);
    pipeline.add_chain("far end", &[inlet.upcast_ref(), &convert, &mono()?, &probe, &sink])?;
    far_end.heard_by(&inlet);
    Ok(name)
}

/// Rooms are heard through one channel, and the canceller wants both sounds at one rate.
fn mono() -> Result<gst::Element, Error> {
    let filter = make("capsfilter")?;
    let caps = gst::Caps::builder("audio/x-raw").field("format", "S16LE").field("layout", "interleaved");
    filter.set_property("caps", caps.field("rate", RATE).field("channels", 1i32).build());
    Ok(filter)
}
