//! Text to speech by espeak-ng.
//!
//! In: a text. Out: its sound, once. Never: the text as markup or a command.
//!
//! ```text
//! espeak ─> convert, resample ─> outlet (paced to the clock)
//! ```

use gst::prelude::*;

use super::{End, Source, sound_tail};
use crate::pipeline::{Error, Pipeline, make};

/// Speaks `text`; `end` tells what follows.
pub fn speech(text: &str, end: End) -> Result<Source, Error> {
    let pipeline = Pipeline::new("source-speech");
    let source = make("espeak")?;
    source.set_property("text", text);
    let (tail, outlet) = sound_tail(&pipeline, true)?;
    super::head(&pipeline, "speech", &[&source], &tail)?;
    Ok(Source::new(pipeline, None, Some(outlet), end))
}
