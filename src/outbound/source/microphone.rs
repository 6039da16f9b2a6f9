//! A microphone through ALSA.
//!
//! In: a name (`plughw:CARD=Device,DEV=0`, or any other of ALSA's), or none for the one that `auto` means. Out: its sound in 10 ms pieces. Never: opened before somebody listens.
//!
//! ```text
//! alsasrc ─> convert, resample ─> outlet
//! ```

use gst::prelude::*;

use super::{End, Source, sound_tail};
use crate::devices;
use crate::pipeline::{Error, Pipeline, make};

/// A microphone by name.
pub fn microphone(name: Option<&str>) -> Result<Source, Error> {
    let pipeline = Pipeline::new("source-microphone");
    let source = make("alsasrc")?;
    let device = devices::find(devices::Class::Microphone, name).map_err(|error| Error::Input(error.to_string()))?;
    source.set_property("device", &device.name);
    // Small pieces: the buffer is what a talker hears as delay.
    source.set_property("latency-time", 10_000i64);
    source.set_property("buffer-time", 60_000i64);
    let (tail, outlet) = sound_tail(&pipeline, false)?;
    super::head(&pipeline, "microphone", &[&source], &tail)?;
    Ok(Source::new(pipeline, None, Some(outlet), End::Never).of(device))
}
