//! The card shown in place of a picture that is not there.
//!
//! In: a sentence that names the fault. Out: a still, dark picture with that sentence.
//! Never: anything that can fail for the reason the real source failed.
//!
//! ```text
//! videotestsrc (live, one colour) ─> textoverlay ─> outlet
//! ```

use gst::prelude::*;

use super::{End, Source};
use crate::bridge;
use crate::outbound::encoder::Format;
use crate::pipeline::{Error, Pipeline, make};

/// A card with this text.
pub fn card(text: &str, format: &Format) -> Result<Source, Error> {
    let pipeline = Pipeline::new("source-card");
    let source = make("videotestsrc")?;
    source.set_property("is-live", true);
    source.set_property_from_str("pattern", "solid-color");
    source.set_property("foreground-color", 0xff1d_2733u32);
    let caps = make("capsfilter")?;
    caps.set_property("caps", format.raw_video());
    let overlay = make("textoverlay")?;
    overlay.set_property_from_str("valignment", "center");
    overlay.set_property_from_str("halignment", "center");
    overlay.set_property("font-desc", "Sans 18");
    overlay.set_property("auto-resize", true);
    // The element takes Pango markup: text from outside is escaped.
    overlay.set_property("text", gst::glib::markup_escape_text(text).as_str());
    let outlet = bridge::outlet(&format.raw_video(), false)?;
    pipeline.add_chain("card", &[&source, &caps, &overlay, outlet.upcast_ref()])?;
    Ok(Source::new(pipeline, Some(outlet), None, End::Never))
}
