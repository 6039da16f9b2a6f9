//! The talker's sound: to a speaker, a WAV file, or nowhere.
//!
//! In: Opus. Out: sound at a volume. Never: a call that fails because a speaker is missing.
//!
//! ```text
//! tee ─> queue ─> opusdec ─> audioconvert ─> audioresample ─> volume ─> alsasink | wavenc ─> filesink | fakesink
//! ```

use gst::prelude::*;

use super::webrtc_src::branch;
use crate::config::SoundSink;
use crate::devices::{self, Class};
use crate::pipeline::{Error, Pipeline, make};

/// Name of the element that plays: errors from it are the speaker's.
pub const SINK: &str = "speaker";

/// Adds the branch. The second value is a sentence when the speaker asked for is not there and the
/// sound is discarded instead.
pub fn speaker(
    pipeline: &Pipeline,
    tee: &gst::Element,
    sink: &SoundSink,
    volume: f64,
) -> Result<Option<String>, Error> {
    let decode = make("opusdec")?;
    decode.set_property("plc", true);
    decode.set_property("use-inband-fec", true);
    let convert = make("audioconvert")?;
    let resample = make("audioresample")?;
    let level = make("volume")?;
    level.set_property("volume", volume);
    let (ends, missing) = ends(sink)?;
    let mut chain = vec![&decode, &convert, &resample, &level];
    chain.extend(ends.iter());
    branch(pipeline, tee, "speaker", &chain)?;
    Ok(missing)
}

fn ends(sink: &SoundSink) -> Result<(Vec<gst::Element>, Option<String>), Error> {
    match sink {
        SoundSink::Discard => Ok((vec![nowhere()?], None)),
        SoundSink::File(path) => {
            let caps = make("capsfilter")?;
            caps.set_property(
                "caps",
                gst::Caps::builder("audio/x-raw")
                    .field("format", "S16LE")
                    .field("rate", 48_000i32)
                    .field("channels", 1i32)
                    .build(),
            );
            let encode = make("wavenc")?;
            let file = make("filesink")?;
            file.set_property("location", path);
            file.set_property("async", false);
            file.set_property("sync", false);
            file.set_property_from_str("buffer-mode", "unbuffered");
            Ok((vec![caps, encode, file], None))
        }
        SoundSink::Speaker(name) => match devices::alsa_name(Class::Speaker, name.as_deref()) {
            Ok(device) => {
                let alsa = make("alsasink")?;
                alsa.set_property("name", SINK);
                alsa.set_property("device", device);
                alsa.set_property("buffer-time", 60_000i64);
                alsa.set_property("latency-time", 10_000i64);
                Ok((vec![alsa], None))
            }
            Err(error) => Ok((vec![nowhere()?], Some(format!("the talker is not heard: {error}")))),
        },
    }
}

fn nowhere() -> Result<gst::Element, Error> {
    let sink = make("fakesink")?;
    sink.set_property("async", false);
    sink.set_property("sync", false);
    Ok(sink)
}
