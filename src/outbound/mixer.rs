//! Joins what goes out: the programme (camera or file, microphone), announcements over it, the
//! talker's picture in a corner; and encodes the result once for each rung that somebody stands on.
//!
//! In: raw buffers in inlets, the talker's latest picture in a [`PictureSlot`]. Out: encoded buffers at
//! outlets. Never: a capture device; a frame of delay for an overlay that is not there; an encode nobody wants.
//!
//! ```text
//! picture inlet (appsrc) ─> overlaycomposition ─> tee ─> branch of each rung: encoder ─> outlet (appsink)
//!
//! silence (audiotestsrc) ──┐
//! programme inlet (appsrc) ┼─> audiomixer ─> opusenc ─> outlet (appsink)
//! announcement inlets ─────┘   (programme pad ducked while somebody talks)
//! ```

use gst::prelude::*;

use super::branch::Branch;
use super::count;
use super::encoder::{Format, RATE};
use super::seats::Seats;
use crate::bridge;
use crate::config::{Corner, Overlay};
use crate::metrics::{Kind, Metrics};
use crate::picture_slot::PictureSlot;
use crate::pipeline::{Error, Pipeline, make};

/// How long the mixer waits for a source that is late. Sources push 10 to 46 ms at a time.
const AUDIO_LATENCY: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// The mixing and encoding pipeline.
#[derive(Debug)]
pub struct Mixer {
    /// The pipeline and its events.
    pub pipeline: Pipeline,
    /// Where the raw picture goes in.
    pub picture: gst_app::AppSrc,
    /// Where the raw programme sound goes in.
    pub sound: gst_app::AppSrc,
    /// The pad that finished pictures pass on their way to the encoders.
    pub drawn: gst::Pad,
    /// Encoded sound.
    pub audio_out: gst_app::AppSink,
    /// Where encoded pictures are counted; `None`: nowhere.
    pub counted: Option<Metrics>,
    rungs: Vec<Format>,
    tee: gst::Element,
    /// By rung; built when it is first wanted.
    branches: Vec<Option<Branch>>,
    audiomixer: gst::Element,
    programme: gst::Pad,
}

/// One announcement being mixed in; taken out again by [`Mixer::remove`].
#[derive(Debug)]
pub struct Announcement {
    /// Where its raw sound goes in.
    pub inlet: gst_app::AppSrc,
    pad: gst::Pad,
}

impl Mixer {
    /// Builds it, with rungs in the given formats, of which none is encoded yet.
    pub fn new(rungs: &[Format], overlay: &Overlay, slot: &PictureSlot) -> Result<Self, Error> {
        let pipeline = Pipeline::on_common_time("outbound-mixer");
        let format = rungs.first().ok_or_else(|| Error::Input("a ladder has at least one rung".to_owned()))?;

        let picture = bridge::inlet(&format.raw_video(), 2, gst::ClockTime::ZERO)?;
        let composition = make("overlaycomposition")?;
        draw_talker(&composition, format, overlay, slot.clone());
        let tee = make("tee")?;
        tee.set_property("allow-not-linked", true);
        pipeline.add_chain("picture", &[picture.upcast_ref(), &composition, &tee])?;

        let drawn = composition
            .static_pad("src")
            .ok_or_else(|| Error::Input("overlaycomposition has no source pad".to_owned()))?;

        let audiomixer = make("audiomixer")?;
        audiomixer.set_property("output-buffer-duration", gst::ClockTime::from_mseconds(10).nseconds());
        // The pipeline's running time is the process's: without this the mixer would first make up for all the time
        // since the process began.
        audiomixer.set_property_from_str("start-time-selection", "first");
        // Announcements come and go: with their latency counted from the start nothing jumps.
        audiomixer.set_property("min-upstream-latency", AUDIO_LATENCY.nseconds());
        let audio_encoder = format.audio_encoder()?;
        let audio_out = bridge::outlet(&gst::Caps::new_empty_simple("audio/x-opus"), false)?;
        let caps = make("capsfilter")?;
        caps.set_property("caps", Format::raw_audio());
        pipeline.add_chain("sound", &[&audiomixer, &caps, &audio_encoder, audio_out.upcast_ref()])?;

        let silence = make("audiotestsrc")?;
        silence.set_property_from_str("wave", "silence");
        silence.set_property("is-live", true);
        silence.set_property("samplesperbuffer", RATE / 100);
        let silence_caps = make("capsfilter")?;
        silence_caps.set_property("caps", Format::raw_audio());
        let sound = bridge::inlet(&Format::raw_audio(), 20, AUDIO_LATENCY)?;
        let link = |source| Error::Link { stage: "sound", source };
        pipeline.inner().add_many([&silence, &silence_caps, sound.upcast_ref()]).map_err(link)?;
        gst::Element::link_many([&silence, &silence_caps, &audiomixer]).map_err(link)?;
        let programme = request(&audiomixer)?;
        link_to(sound.upcast_ref(), &programme)?;
        let branches = rungs.iter().map(|_| None).collect();
        let rungs = rungs.to_vec();
        Ok(Self {
            pipeline,
            picture,
            sound,
            drawn,
            audio_out,
            counted: None,
            rungs,
            tee,
            branches,
            audiomixer,
            programme,
        })
    }

    /// Encodes the rungs that are wanted, and no others; those that are new feed `seats`.
    ///
    /// # Errors
    /// An encoder cannot be built.
    pub fn encode(&mut self, wanted: &[bool], seats: &Seats) -> Result<(), Error> {
        // One that fails does not keep the others from what they are told.
        (0..self.branches.len().min(wanted.len()))
            .map(|rung| self.encode_rung(rung, wanted[rung], seats))
            .fold(Ok(()), Result::and)
    }

    /// Encodes each rung with so many kbit/s from its next picture on.
    pub fn set_bitrates(&mut self, kbits: &[u32]) {
        for (rung, (branch, kbits)) in self.branches.iter_mut().zip(kbits).enumerate() {
            let Some(branch) = branch else { continue };
            if branch.set_bitrate(*kbits) {
                tracing::info!(rung, kbits, "a rung's bit rate follows its viewers' links");
            }
            if let Some(metrics) = &self.counted {
                metrics.encodes_with(rung, *kbits);
            }
        }
    }

    fn encode_rung(&mut self, rung: usize, wanted: bool, seats: &Seats) -> Result<(), Error> {
        if let Some(branch) = &mut self.branches[rung] {
            return branch.set_open(wanted);
        }
        if !wanted {
            return Ok(());
        }
        let (pipeline, ration) = (self.pipeline.inner(), seats.ration(rung));
        let branch = Branch::new(pipeline, &self.tee, &self.rungs[rung], rung > 0, ration)?;
        if let Some(metrics) = &self.counted {
            count::encoded(&branch.outlet, Kind::Picture, rung, metrics);
        }
        seats.attach(rung, &branch.outlet);
        self.branches[rung] = Some(branch);
        Ok(())
    }

    /// Where the encoded pictures of the top rung come out, once it has been wanted.
    pub fn top(&self) -> Option<&gst_app::AppSink> {
        self.branches.first()?.as_ref().map(|branch| &branch.outlet)
    }

    /// Gives nothing any more.
    pub fn part(&self) {
        self.branches.iter().flatten().for_each(|branch| bridge::part(&branch.outlet));
        bridge::part(&self.audio_out);
    }

    /// Sets the loudness of the programme, as a factor.
    pub fn set_programme_volume(&self, factor: f64) {
        self.programme.set_property("volume", factor);
    }

    /// Adds an announcement over the programme.
    pub fn announce(&self) -> Result<Announcement, Error> {
        let inlet = bridge::inlet(&Format::raw_audio(), 100, AUDIO_LATENCY)?;
        let link = |source| Error::Link { stage: "announcement", source };
        self.pipeline.inner().add(&inlet).map_err(link)?;
        let pad = request(&self.audiomixer)?;
        link_to(inlet.upcast_ref(), &pad)?;
        inlet.sync_state_with_parent().map_err(link)?;
        Ok(Announcement { inlet, pad })
    }

    /// Takes an announcement out again.
    pub fn remove(&self, announcement: Announcement) {
        let Announcement { inlet, pad } = announcement;
        let element = inlet.upcast::<gst::Element>();
        if element.set_state(gst::State::Null).is_err() || self.pipeline.inner().remove(&element).is_err() {
            tracing::warn!("an announcement did not leave the mixer cleanly");
        }
        self.audiomixer.release_request_pad(&pad);
    }
}

fn request(audiomixer: &gst::Element) -> Result<gst::Pad, Error> {
    audiomixer
        .request_pad_simple("sink_%u")
        .ok_or_else(|| Error::Input("the audio mixer gives no further input".to_owned()))
}

fn link_to(element: &gst::Element, pad: &gst::Pad) -> Result<(), Error> {
    let missing = || Error::Input("an element has no source pad".to_owned());
    let src = element.static_pad("src").ok_or_else(missing)?;
    src.link(pad).map(|_| ()).map_err(|error| Error::Input(format!("cannot link into the audio mixer: {error}")))
}

/// Blends the slot's picture into a corner of each frame, when there is one.
fn draw_talker(composition: &gst::Element, format: &Format, overlay: &Overlay, slot: PictureSlot) {
    let (frame_width, frame_height) = (format.width, format.height);
    let overlay = *overlay;
    composition.connect("draw", false, move |_| {
        let drawn = slot.latest().map(|picture| {
            let (x, y) = place(&overlay, (frame_width, frame_height), (picture.width, picture.height));
            let rectangle = gst_video::VideoOverlayRectangle::new_raw(
                &picture.buffer,
                x as i32,
                y as i32,
                picture.width,
                picture.height,
                gst_video::VideoOverlayFormatFlags::empty(),
            );
            gst_video::VideoOverlayComposition::new([&rectangle])
        });
        Some(drawn.and_then(Result::ok).to_value())
    });
}

/// Upper left corner of a picture of size `inner` in a frame of size `outer`, never outside of it.
fn place(overlay: &Overlay, outer: (u32, u32), inner: (u32, u32)) -> (u32, u32) {
    let far = |outer: u32, inner: u32| outer.saturating_sub(inner).saturating_sub(overlay.margin);
    let near = |outer: u32, inner: u32| overlay.margin.min(outer.saturating_sub(inner));
    let left = matches!(overlay.corner, Corner::TopLeft | Corner::BottomLeft);
    let top = matches!(overlay.corner, Corner::TopLeft | Corner::TopRight);
    let x = if left { near(outer.0, inner.0) } else { far(outer.0, inner.0) };
    let y = if top { near(outer.1, inner.1) } else { far(outer.1, inner.1) };
    (x, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_stays_in_the_frame() {
        for corner in [Corner::TopLeft, Corner::TopRight, Corner::BottomLeft, Corner::BottomRight] {
            for margin in [0, 16, 1000] {
                let overlay = Overlay { corner, size: 0.25, margin };
                let (x, y) = place(&overlay, (320, 240), (80, 60));
                assert!(x + 80 <= 320 && y + 60 <= 240, "{corner:?} {margin}: {x},{y}");
            }
        }
        let overlay = Overlay { corner: Corner::BottomRight, size: 0.25, margin: 16 };
        assert_eq!(place(&overlay, (1280, 720), (320, 180)), (944, 524));
    }
}
