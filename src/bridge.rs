//! Carries media from one pipeline into another: appsink to appsrc, on the common clock.
//!
//! In: buffers at an appsink. Out: the same buffers with their time mapped to the other pipeline. Never: copies of media,
//! blocking (a full appsrc drops its oldest), or strong references between the two pipelines.
//!
//! A failing source thus never touches the pipeline that viewers hang on: pipelines meet only here.

use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;

use crate::pipeline::{Error, make};

/// What a probe returns to discard a buffer or an event. `Drop` would do, but with gstreamer-rs 0.25 GStreamer
/// then complains about an object that the bindings have taken away already.
pub const DISCARD: gst::PadProbeReturn = gst::PadProbeReturn::Handled;

/// An appsink that hands on what it gets.
///
/// `sync` paces a source that is not live (a file) to the clock.
pub fn outlet(caps: &gst::Caps, sync: bool) -> Result<gst_app::AppSink, Error> {
    make("appsink")?;
    Ok(gst_app::AppSink::builder().caps(caps).sync(sync).max_buffers(4).drop(!sync).build())
}

/// An appsrc, live, stamped in time, that drops its oldest buffer when `depth` buffers wait.
pub fn inlet(caps: &gst::Caps, depth: u64, latency: gst::ClockTime) -> Result<gst_app::AppSrc, Error> {
    make("appsrc")?;
    let inlet = gst_app::AppSrc::builder()
        .caps(caps)
        .format(gst::Format::Time)
        .is_live(true)
        .min_latency(latency.nseconds() as i64)
        .max_buffers(depth)
        .max_bytes(0)
        .leaky_type(gst_app::AppLeakyType::Downstream)
        .build();
    only_forward(&inlet);
    Ok(inlet)
}

/// Drops buffers that lie before the last one: for a moment two sources may feed one inlet (a card
/// and the camera that is back), and encoders refuse time that runs backwards.
fn only_forward(inlet: &gst_app::AppSrc) {
    let Some(pad) = inlet.static_pad("src") else { return };
    let last = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let stamp = info.buffer().and_then(|buffer| buffer.pts()).map_or(0, |pts| pts.nseconds() + 1);
        if last.fetch_max(stamp, Ordering::Relaxed) < stamp { gst::PadProbeReturn::Ok } else { DISCARD }
    });
}

/// Joins an outlet to inlets; lasts as long as the outlet. Calls `on_buffer` with each sample.
pub fn join(
    outlet: &gst_app::AppSink,
    inlets: &[&gst_app::AppSrc],
    mut on_buffer: impl FnMut(&gst::Sample) + Send + 'static,
) {
    let weak: Vec<_> = inlets.iter().map(|inlet| inlet.downgrade()).collect();
    outlet.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                on_buffer(&sample);
                for inlet in weak.iter().filter_map(|weak| weak.upgrade()) {
                    if let Some(buffer) = restamped(&sample, sink, &inlet) {
                        // Flushing or stopping: the far pipeline is on its way out, the source is not to blame.
                        inlet.push_buffer(buffer).ok();
                    }
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
}

/// Ends what [`join`] began: the outlet's buffers go nowhere.
pub fn part(outlet: &gst_app::AppSink) {
    outlet.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(|sink| sink.pull_sample().map(|_| gst::FlowSuccess::Ok).map_err(|_| gst::FlowError::Eos))
            .build(),
    );
}

/// The buffer with its running time for its time stamp: the same for all pipelines on common time.
pub fn on_common_time(sample: &gst::Sample) -> Option<gst::Buffer> {
    let mut buffer = sample.buffer_owned()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?.clone();
    let stamp = segment.to_running_time(buffer.pts()?)?;
    let writable = buffer.make_mut();
    writable.set_pts(stamp);
    writable.set_dts(None);
    Some(buffer)
}

/// The buffer with its running time in the source's pipeline mapped to the inlet's.
pub fn restamped(sample: &gst::Sample, from: &gst_app::AppSink, to: &gst_app::AppSrc) -> Option<gst::Buffer> {
    let mut buffer = sample.buffer_owned()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?.clone();
    let running = segment.to_running_time(buffer.pts()?)?;
    let shift = from.base_time()?.nseconds() as i64 - to.base_time()?.nseconds() as i64;
    let stamp = (running.nseconds() as i64).checked_add(shift)?.max(0) as u64;
    let writable = buffer.make_mut();
    writable.set_pts(gst::ClockTime::from_nseconds(stamp));
    writable.set_dts(None);
    Some(buffer)
}
