//! One encode of the outgoing picture, shared by all who stand on its rung.
//!
//! In: raw pictures from a tee, key-frame requests at the outlet. Out: encoded pictures at the outlet. Never: encodes
//! while it rests; makes more key frames than its ration lets it.

use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;

use super::encoder::{Format, KeyFrameRation, ration_key_frames};
use crate::bridge;
use crate::pipeline::{Error, make};

/// An encoder that hangs on the tee of all pictures.
#[derive(Debug)]
pub struct Branch {
    /// Where its encoded pictures come out.
    pub outlet: gst_app::AppSink,
    encoder: gst::Element,
    format: Format,
    /// kbit/s.
    bitrate: u32,
    open: bool,
    /// Whether it is still to be taken off the tee, between two pictures.
    leaving: Arc<Mutex<bool>>,
    /// From the tee on.
    elements: Vec<gst::Element>,
    tee: gst::Pad,
    sink: gst::Pad,
}

impl Branch {
    /// Builds it into a pipeline, which may be playing already; it is open.
    ///
    /// ```text
    /// tee ─> [ queue ─> videoscale ─> capsfilter ─> ] encoder ─> outlet (appsink)
    /// ```
    ///
    /// What stands in brackets is only there below the top rung, which thus costs no more than without a tee.
    ///
    /// # Errors
    /// An element is missing or does not link.
    pub fn new(
        pipeline: &gst::Pipeline,
        tee: &gst::Element,
        format: &Format,
        scaled: bool,
        ration: Arc<Mutex<KeyFrameRation>>,
    ) -> Result<Self, Error> {
        let encoder = format.video_encoder()?;
        ration_key_frames(&encoder, ration);
        let outlet = bridge::outlet(&encoder_caps(&format.encoded_video()), false)?;
        // A sink that waits for its first picture would take a playing pipeline back to paused.
        outlet.set_property("async", false);
        let mut elements = if scaled { scaler(format)? } else { Vec::new() };
        elements.extend([encoder.clone(), outlet.clone().upcast()]);
        let link = |source| Error::Link { stage: "picture", source };
        let missing = || Error::Input("the picture cannot be shared: the tee has no further pad".to_owned());
        let sink = elements.first().and_then(|element| element.static_pad("sink")).ok_or_else(missing)?;
        pipeline.add_many(&elements).map_err(link)?;
        let pad = gst::Element::link_many(&elements)
            .map_err(link)
            .and_then(|()| tee.request_pad_simple("src_%u").ok_or_else(missing));
        let pad = pad.inspect_err(|_| leave(pipeline, &elements))?;
        let mut branch = Self {
            outlet,
            encoder,
            format: format.clone(),
            bitrate: format.video_bitrate,
            open: false,
            leaving: Arc::default(),
            elements,
            tee: pad,
            sink,
        };
        branch.set_open(true).inspect_err(|_| {
            tee.release_request_pad(&branch.tee);
            leave(pipeline, &branch.elements);
        })?;
        Ok(branch)
    }

    /// Encodes, or rests: then it has neither a thread nor the encoder's memory. It begins anew each time: over a pause
    /// libvpx would take the frame rate for that of a slide show, and give the next key frame all the bits since.
    ///
    /// # Errors
    /// It does not start.
    pub fn set_open(&mut self, open: bool) -> Result<(), Error> {
        if self.open == open {
            return Ok(());
        }
        if open {
            *self.leaving.lock().unwrap_or_else(PoisonError::into_inner) = false;
            // Half open it would encode for nobody.
            self.start().inspect_err(|_| self.rest())?;
        } else {
            self.rest();
        }
        self.open = open;
        Ok(())
    }

    /// Encodes with another bit rate from the next picture on, kbit/s. Returns whether it is another one.
    pub fn set_bitrate(&mut self, kbits: u32) -> bool {
        let other = kbits != self.bitrate;
        if other {
            self.format.set_video_bitrate(&self.encoder, kbits);
            self.bitrate = kbits;
        }
        other
    }

    fn start(&self) -> Result<(), Error> {
        let failed = |source| Error::Link { stage: "picture", source };
        for element in self.elements.iter().rev() {
            element.sync_state_with_parent().map_err(failed)?;
        }
        if !self.tee.is_linked() {
            let linked = self.tee.link(&self.sink);
            linked.map_err(|error| Error::Input(format!("cannot link an encoder to the picture: {error}")))?;
        }
        Ok(())
    }

    /// Takes the encoder off the tee between two pictures: one that is refused on its way would end the stream for all.
    fn rest(&self) {
        let (done, resting) = std::sync::mpsc::channel();
        let (sink, elements, leaving) = (self.sink.clone(), self.elements.clone(), self.leaving.clone());
        *leaving.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.tee.add_probe(gst::PadProbeType::IDLE, move |tee, _| {
            // It may be wanted again before its last picture was done. Not held while elements change their state: that may hang.
            let leaves = std::mem::take(&mut *leaving.lock().unwrap_or_else(PoisonError::into_inner));
            if leaves {
                let stopped = elements.iter().all(|element| element.set_state(gst::State::Ready).is_ok());
                if tee.unlink(&sink).is_err() || !stopped {
                    tracing::warn!("an encoder does not rest");
                }
            }
            // Nobody waits any more only when it took longer than that.
            done.send(()).ok();
            gst::PadProbeReturn::Remove
        });
        if resting.recv_timeout(REST).is_err() {
            tracing::warn!("an encoder still works on its last picture");
        }
    }
}

/// Takes out of the pipeline what was put in.
fn leave(pipeline: &gst::Pipeline, elements: &[gst::Element]) {
    for element in elements {
        if element.set_state(gst::State::Null).is_err() || pipeline.remove(element).is_err() {
            tracing::warn!(element = %element.name(), "an encoder that could not be built did not leave cleanly");
        }
    }
}

/// Longest wait for the picture that is being encoded; usually it is a few milliseconds.
const REST: std::time::Duration = std::time::Duration::from_secs(1);

/// A thread of its own, so that one rung's encoder does not hold up another's, and the rung's size.
fn scaler(format: &Format) -> Result<Vec<gst::Element>, Error> {
    let queue = make("queue")?;
    super::source::latest(&queue);
    let size = make("capsfilter")?;
    size.set_property("caps", format.raw_video());
    Ok(vec![queue, make("videoscale")?, size])
}

/// Encoders may add fields to their caps (a VP8 stream header): ask them only for what they must keep.
fn encoder_caps(caps: &gst::Caps) -> gst::Caps {
    let mut asked = gst::Caps::new_empty();
    if let Some(structure) = caps.structure(0) {
        let mut structure = structure.to_owned();
        structure.remove_fields(["width", "height", "framerate"]);
        asked.make_mut().append_structure(structure);
    }
    asked
}
