//! A file as picture, sound, or both in sync; looped.
//!
//! In: a path to anything decodebin opens. Out: raw media paced to the clock. Never: a gap at the loop
//! (segment seeks keep one running time), or a URL: only local files are opened.
//!
//! ```text
//! filesrc ─> decodebin ─┬─> convert, scale, rate ─> outlet
//!                       └─> convert, resample ─> outlet
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::{End, NO_PICTURE, NO_SOUND, Source, picture_tail, sound_tail};
use crate::outbound::encoder::Format;
use crate::pipeline::{Error, Pipeline, make};

/// A file's picture (if `format` is given) and sound (if `sound`).
pub fn file(path: &Path, format: Option<&Format>, sound: bool) -> Result<Source, Error> {
    let pipeline = Pipeline::new("source-file");
    let source = make("filesrc")?;
    source.set_property("location", path);
    let decode = make("decodebin")?;
    pipeline.add_chain("file", &[&source, &decode])?;
    let picture = format.map(|format| picture_tail(&pipeline, format, true)).transpose()?;
    let audio = if sound { Some(sound_tail(&pipeline, true)?) } else { None };
    let tails = Mutex::new((
        picture.as_ref().map(|(tail, _)| tail.downgrade()),
        audio.as_ref().map(|(tail, _)| tail.downgrade()),
    ));
    let tails = Arc::new(tails);
    let unlinked = tails.clone();
    decode.connect("no-more-pads", false, move |values| {
        let decode = values.first()?.get::<gst::Element>().ok()?;
        let missing = unlinked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (is_missing, words) in [(missing.0.is_some(), NO_PICTURE), (missing.1.is_some(), NO_SOUND)] {
            if is_missing {
                gst::element_error!(decode, gst::StreamError::WrongType, ("{}", words));
            }
        }
        None
    });
    let bin = pipeline.inner().downgrade();
    decode.connect_pad_added(move |_, pad| {
        let Some(bin) = bin.upgrade() else { return };
        let kind =
            pad.current_caps().and_then(|caps| caps.structure(0).map(|s| s.name().to_string())).unwrap_or_default();
        let tail = {
            let mut tails = tails.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if kind.starts_with("video/") {
                tails.0.take()
            } else if kind.starts_with("audio/") {
                tails.1.take()
            } else {
                None
            }
        };
        let sink = tail.and_then(|weak| weak.upgrade()).and_then(|tail| tail.static_pad("sink"));
        let linked = match sink {
            Some(sink) => pad.link(&sink).is_ok(),
            None => swallow(&bin, pad).is_ok(),
        };
        if !linked {
            tracing::warn!(kind, "a stream of the file could not be linked");
        }
    });
    let (picture, sound) = (picture.map(|(_, outlet)| outlet), audio.map(|(_, outlet)| outlet));
    Ok(Source::new(pipeline, picture, sound, End::Loop))
}

/// A stream nobody wants would stop the demuxer once its queue is full.
fn swallow(bin: &gst::Pipeline, pad: &gst::Pad) -> Result<(), Error> {
    let sink = make("fakesink")?;
    sink.set_property("async", false);
    sink.set_property("sync", false);
    let link = |source| Error::Link { stage: "file", source };
    bin.add(&sink).map_err(link)?;
    sink.sync_state_with_parent().map_err(link)?;
    let target = sink.static_pad("sink").ok_or_else(|| Error::Input("fakesink has no pad".into()))?;
    pad.link(&target).map(|_| ()).map_err(|error| Error::Input(error.to_string()))
}
