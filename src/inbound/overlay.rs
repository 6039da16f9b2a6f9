//! The talker's picture, made small for the corner of the outgoing one.
//!
//! In: VP8. Out: BGRA pictures in the [`PictureSlot`], each after the jitter buffer's length, as the sound that belongs to it. Never: a queue of decoded
//! pictures: the latest one counts.
//!
//! ```text
//! tee ─> queue ─> vp8dec ─> videoscale ─> videoconvert ─> appsink ─> slot
//! ```

use gst::prelude::*;

use super::webrtc_src::branch;
use crate::picture_slot::{Picture, PictureSlot};
use crate::pipeline::{Error, Pipeline, make};

/// Adds the branch; it shows each picture at its time and the pipeline's latency. Pictures are `width` pixels wide, as high as their shape asks.
pub fn overlay(pipeline: &Pipeline, tee: &gst::Element, width: u32, slot: &PictureSlot) -> Result<(), Error> {
    let decode = make("vp8dec")?;
    let scale = make("videoscale")?;
    let convert = make("videoconvert")?;
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "BGRA")
        .field("width", (width & !1) as i32)
        // A picture of extreme shape gets borders instead of all the memory.
        .field("height", gst::IntRange::new(2, (width * 2) as i32))
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .build();
    let slot = slot.clone();
    let sink = gst_app::AppSink::builder()
        .caps(&caps)
        .sync(true)
        .async_(false)
        .max_buffers(1)
        .drop(true)
        .callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    if let Some(picture) = picture(&sample) {
                        slot.put(picture);
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        )
        .build();
    branch(pipeline, tee, "overlay", &[&decode, &scale, &convert, sink.upcast_ref()])
}

fn picture(sample: &gst::Sample) -> Option<Picture> {
    let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
    let mut buffer = sample.buffer_owned()?;
    if buffer.meta::<gst_video::VideoMeta>().is_none() {
        gst_video::VideoMeta::add(
            buffer.make_mut(),
            gst_video::VideoFrameFlags::empty(),
            info.format(),
            info.width(),
            info.height(),
        )
        .ok()?;
    }
    Some(Picture { buffer, width: info.width(), height: info.height() })
}
