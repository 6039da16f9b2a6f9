//! A still image, PNG or JPEG, as a live picture.
//!
//! In: a path. Out: the image at the programme's frame rate. Never: a second decode.
//!
//! ```text
//! filesrc ─> decodebin ─> videoconvert ─> videoscale (shape kept) ─> imagefreeze (live) ─> outlet
//! ```

use std::path::Path;

use gst::prelude::*;

use super::{End, NO_PICTURE, Source};
use crate::bridge;
use crate::outbound::encoder::Format;
use crate::pipeline::{Error, Pipeline, make};

/// An image file.
pub fn image(path: &Path, format: &Format) -> Result<Source, Error> {
    let pipeline = Pipeline::new("source-image");
    let source = make("filesrc")?;
    source.set_property("location", path);
    let decode = make("decodebin")?;
    let convert = make("videoconvert")?;
    let scale = make("videoscale")?;
    scale.set_property("add-borders", true);
    let size = make("capsfilter")?;
    size.set_property("caps", without_rate(&format.raw_video()));
    let freeze = make("imagefreeze")?;
    freeze.set_property("is-live", true);
    let outlet = bridge::outlet(&format.raw_video(), false)?;
    pipeline.add_chain("image", &[&source, &decode])?;
    pipeline.add_chain("image", &[&convert, &scale, &size, &freeze, outlet.upcast_ref()])?;
    let convert = convert.downgrade();
    let unlinked = convert.clone();
    decode.connect("no-more-pads", false, move |values| {
        let decode = values.first()?.get::<gst::Element>().ok()?;
        let sink = unlinked.upgrade()?.static_pad("sink")?;
        if !sink.is_linked() {
            gst::element_error!(decode, gst::StreamError::WrongType, ("{}", NO_PICTURE));
        }
        None
    });
    decode.connect_pad_added(move |_, pad| {
        let sink = convert.upgrade().and_then(|convert| convert.static_pad("sink"));
        if let Some(sink) = sink.filter(|sink| !sink.is_linked())
            && let Err(error) = pad.link(&sink)
        {
            // Sound, for example; that there is no picture is told when all is known.
            tracing::debug!(%error, "a stream of the image's file is none of a picture");
        }
    });
    Ok(Source::new(pipeline, Some(outlet), None, End::Never))
}

fn without_rate(caps: &gst::Caps) -> gst::Caps {
    let mut caps = caps.clone();
    if let Some(structure) = caps.make_mut().structure_mut(0) {
        structure.remove_field("framerate");
    }
    caps
}
