//! Test sources: a moving picture with date, time and frame counter; a soft tone; silence.
//!
//! In: nothing. Out: a live picture whose frame counter people read in the text and programs in the
//! [`MARKER`] strip; a 440 Hz tone. Never: a file or a device.
//!
//! ```text
//! videotestsrc (live) ─> of now ─> textoverlay (text and strip set per frame) ─> outlet
//! audiotestsrc (live) ─> outlet
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;

use super::{End, Source, sound_tail};
use crate::bridge;
use crate::outbound::encoder::{Format, RATE};
use crate::pipeline::{Error, Pipeline, make};

/// Frequency of the test tone, Hz.
pub const TONE_HZ: f64 = 440.0;

/// The machine-readable frame counter: one row of cells along the lower edge, white for 1 and
/// black for 0, most significant bit first: 8 fixed bits, then 24 bits of the counter.
pub mod marker {
    /// Fixed bits in front of the counter.
    pub const SYNC: u32 = 0b1010_0110;
    /// Cells in the strip.
    pub const CELLS: usize = 32;

    /// Edge of a cell in pixels for a picture so wide: a 40th of the width, at most 16, even.
    pub fn cell(width: u32) -> usize {
        ((width / 40).min(16) as usize) & !1
    }

    /// The 32 bits for a frame.
    pub fn bits(frame: u64) -> u32 {
        (SYNC << 24) | (frame & 0xff_ffff) as u32
    }
}

/// The moving test picture.
pub fn picture(format: &Format) -> Result<Source, Error> {
    let pipeline = Pipeline::new("source-test-picture");
    let source = make("videotestsrc")?;
    source.set_property("is-live", true);
    source.set_property_from_str("pattern", "ball");
    source.set_property_from_str("motion", "sweep");
    source.set_property("background-color", 0xff1d_2733u32);
    source.set_property("foreground-color", 0xfff2_b134u32);
    let caps = make("capsfilter")?;
    caps.set_property("caps", format.raw_video());
    let text = make("textoverlay")?;
    text.set_property_from_str("valignment", "top");
    text.set_property_from_str("halignment", "left");
    text.set_property_from_str("line-alignment", "left");
    text.set_property("font-desc", "Monospace 16");
    text.set_property("shaded-background", true);
    text.set_property("auto-resize", true);
    of_now(&caps, format.framerate);
    write_text(&caps, &text);
    let outlet = bridge::outlet(&format.raw_video(), false)?;
    pipeline.add_chain("test picture", &[&source, &caps, &text, outlet.upcast_ref()])?;
    if let Some(pad) = text.static_pad("src") {
        write_strip(&pad, format);
    }
    Ok(Source::new(pipeline, Some(outlet), None, End::Never))
}

/// The soft tone.
pub fn tone() -> Result<Source, Error> {
    sound("source-test-tone", "sine")
}

/// Silence.
pub fn silence() -> Result<Source, Error> {
    sound("source-silence", "silence")
}

fn sound(name: &str, wave: &str) -> Result<Source, Error> {
    let pipeline = Pipeline::new(name);
    let source = make("audiotestsrc")?;
    source.set_property("is-live", true);
    source.set_property("freq", TONE_HZ);
    source.set_property("volume", 0.05f64);
    source.set_property("samplesperbuffer", RATE / 100);
    source.set_property_from_str("wave", wave);
    let (tail, outlet) = sound_tail(&pipeline, false)?;
    super::head(&pipeline, "test tone", &[&source], &tail)?;
    Ok(Source::new(pipeline, None, Some(outlet), End::Never))
}

/// How much later than its time a test picture may come.
const LATE: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// Keeps the picture in the present where the processor is too slow for it. videotestsrc counts its pictures for the time: a slow one would
/// show an ever older past. It goes on drawing as fast as it can to make up for it; late ones get the time that it is, and those that come
/// too close upon each other are dropped, as a camera drops them.
fn of_now(after: &gst::Element, framerate: u32) {
    let Some(pad) = after.static_pad("src") else { return };
    let element = after.downgrade();
    let length = gst::ClockTime::SECOND / u64::from(framerate.max(1));
    // Half a picture's length after the one before: what jitters is not dropped.
    let earliest = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let now = element.upgrade().and_then(|element| element.current_running_time());
        let Some(gst::PadProbeData::Buffer(buffer)) = info.data.as_mut() else { return gst::PadProbeReturn::Ok };
        let (Some(now), Some(due)) = (now, buffer.pts()) else { return gst::PadProbeReturn::Ok };
        let shown = if now > due + LATE { now } else { due };
        if shown.nseconds() < earliest.load(Ordering::Relaxed) {
            return bridge::DISCARD;
        }
        earliest.store((shown + length / 2).nseconds(), Ordering::Relaxed);
        if shown != due {
            buffer.make_mut().set_pts(shown);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Sets the text before each frame passes: date, time of day, frame number.
fn write_text(before: &gst::Element, text: &gst::Element) {
    let Some(pad) = before.static_pad("src") else { return };
    let text = text.downgrade();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let (Some(buffer), Some(text)) = (info.buffer(), text.upgrade()) {
            let now = gst::glib::DateTime::now_local()
                .and_then(|now| now.format("%Y-%m-%d %H:%M:%S"))
                .unwrap_or_else(|_| "no clock".into());
            text.set_property("text", format!("{now}\nframe {:07}", buffer.offset()));
        }
        gst::PadProbeReturn::Ok
    });
}

/// Paints the marker strip into the luma plane.
fn write_strip(pad: &gst::Pad, format: &Format) {
    let cell = marker::cell(format.width);
    let Ok(info) = gst_video::VideoInfo::from_caps(&format.raw_video()) else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
        let Some(gst::PadProbeData::Buffer(buffer)) = probe.data.as_mut() else {
            return gst::PadProbeReturn::Ok;
        };
        let bits = marker::bits(buffer.offset());
        let (stride, offset, height) = (info.stride()[0] as usize, info.offset()[0], info.height() as usize);
        if let Ok(mut map) = buffer.make_mut().map_writable() {
            for row in height.saturating_sub(cell)..height {
                let start = offset + row * stride;
                if let Some(line) = map.get_mut(start..start + marker::CELLS * cell) {
                    for (index, pixels) in line.chunks_mut(cell.max(1)).enumerate() {
                        let one = bits >> (marker::CELLS - 1 - index) & 1 == 1;
                        pixels.fill(if one { 235 } else { 16 });
                    }
                }
            }
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outbound::source::tests::small;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_processor_that_is_too_slow_shows_the_present() {
        gst::init().unwrap();
        let mut source = picture(&small()).unwrap();
        let outlet = source.video.take().unwrap();
        // Each takes longer than the time from one to the next.
        outlet.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, |_, _| {
            std::thread::sleep(Duration::from_millis(70));
            gst::PadProbeReturn::Ok
        });
        source.pipeline.play().await.unwrap();
        let mut late = Vec::new();
        let mut before = None;
        for _ in 0..40 {
            let sample = outlet.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a picture");
            let shown = sample.buffer().and_then(|buffer| buffer.pts()).unwrap();
            assert!(before < Some(shown), "time runs backwards");
            before = Some(shown);
            late.push(source.pipeline.inner().current_running_time().unwrap().saturating_sub(shown).mseconds());
        }
        // Unmended the least of the last ten is 30 times 37 ms late; one of them may be by a busy machine.
        assert!(late[30..].iter().min() < Some(&700), "{late:?}");
        source.pipeline.stop().await;
    }
}
