//! What of GStreamer a configuration needs.
//!
//! In: the configuration. Out: names of element factories, and which of them are not there. Never: an element, or anything of a device.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use gst::prelude::*;

use crate::config::{AudioSource, Config, Echo, Noise, PictureSink, SoundSink, VideoCodec, VideoSource};
use crate::{far_end, pipeline};

/// Element factories that are not there, by the Debian package that has them.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing(BTreeMap<&'static str, Vec<&'static str>>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements: Vec<&str> = self.0.values().flatten().copied().collect();
        let packages: Vec<&str> = self.0.keys().copied().collect();
        let (verb, noun) = if elements.len() == 1 { ("is", "element") } else { ("are", "elements") };
        write!(f, "{noun} {} {verb} missing; on Debian install {}", elements.join(", "), packages.join(" "))
    }
}

impl std::error::Error for Missing {}

/// Looks whether all is there that this configuration needs. Loads the plugins, which then are there for the first viewer.
///
/// # Errors
/// All that is missing, together.
pub fn check(config: &Config) -> Result<(), Missing> {
    missing(elements(config), |factory| gst::ElementFactory::find(factory).is_some_and(|found| found.load().is_ok()))
}

fn missing(needed: Vec<&'static str>, there: impl Fn(&str) -> bool) -> Result<(), Missing> {
    let mut lacking: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
    for factory in needed.into_iter().filter(|factory| !there(factory)) {
        lacking.entry(pipeline::package_of(factory)).or_default().push(factory);
    }
    if lacking.is_empty() { Ok(()) } else { Err(Missing(lacking)) }
}

/// The element factories that this configuration needs, each once. What a file is decoded with is not known before it is opened.
pub fn elements(config: &Config) -> Vec<&'static str> {
    let mut needed = vec![
        "webrtcsrc",
        "webrtcbin",
        "nicesrc",
        "nicesink",
        "dtlsenc",
        "dtlsdec",
        "srtpenc",
        "srtpdec",
        "rtpbin",
        // webrtcsrc makes these itself, and without one of them says little.
        "parsebin",
        "decodebin3",
        "queue",
        "capsfilter",
        "appsrc",
        "appsink",
        "audiomixer",
        "opusenc",
        "opusdec",
        "overlaycomposition",
        "videoconvert",
        "videoscale",
        "videorate",
        "audioconvert",
        "audioresample",
        "textoverlay",
        "rtpopusdepay",
        "rtpvp8depay",
        "tee",
        "volume",
        "fakesink",
        // The card that stands in for a picture, and what is sent before there is one.
        "videotestsrc",
        "audiotestsrc",
    ];
    needed.push(match config.video_codec {
        VideoCodec::Vp8 => "vp8enc",
        VideoCodec::H264 => "x264enc",
    });
    needed.extend(match &config.video {
        VideoSource::Test => &[][..],
        VideoSource::File(_) => &["filesrc", "decodebin"],
        VideoSource::Image(_) => &["filesrc", "decodebin", "imagefreeze"],
        VideoSource::Camera(_) => &["v4l2src", "decodebin", "jpegdec", "videoflip"],
    });
    needed.extend(match &config.audio {
        AudioSource::Test | AudioSource::Silence => &[][..],
        AudioSource::File(_) => &["filesrc", "decodebin"],
        AudioSource::Speech(_) => &["espeak"],
        AudioSource::Microphone(_) => &["alsasrc"],
    });
    let treated =
        far_end::resolved(config.room.echo) == Echo::Cancel || config.room.noise != Noise::Off || config.room.gain;
    if treated && matches!(config.audio, AudioSource::Microphone(_)) {
        needed.extend(["webrtcdsp", "webrtcechoprobe"]);
    }
    needed.extend(match &config.sound {
        SoundSink::Speaker(_) => &["alsasink"][..],
        SoundSink::File(_) => &["wavenc", "filesink"],
        SoundSink::Discard => &[],
    });
    if config.picture.contains(&PictureSink::Overlay) {
        needed.push("vp8dec");
    }
    let mut seen = BTreeSet::new();
    needed.retain(|factory| seen.insert(*factory));
    needed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config;

    #[test]
    fn all_that_is_missing_is_named_with_its_packages() {
        let said = |gone: &[&str]| {
            missing(vec!["webrtcbin", "textoverlay", "vp8enc", "vp8dec"], |factory| !gone.contains(&factory))
        };
        assert_eq!(said(&[]), Ok(()));
        assert_eq!(
            said(&["textoverlay"]).unwrap_err().to_string(),
            "element textoverlay is missing; on Debian install gstreamer1.0-x"
        );
        assert_eq!(
            said(&["vp8enc", "webrtcbin", "vp8dec"]).unwrap_err().to_string(),
            "elements webrtcbin, vp8enc, vp8dec are missing; on Debian install gstreamer1.0-plugins-bad gstreamer1.0-plugins-good"
        );
    }

    #[test]
    fn each_setting_asks_for_its_own_and_nothing_twice() {
        gst::init().unwrap();
        let flags = config::Flags::default().with("state-dir", "/nowhere");
        let mut config = config::load(&flags, |_| None).unwrap();
        let plain = elements(&config);
        assert_eq!(plain.iter().collect::<BTreeSet<_>>().len(), plain.len());
        assert!(!plain.contains(&"x264enc") && !plain.contains(&"espeak"));
        config.video_codec = VideoCodec::H264;
        config.audio = AudioSource::Speech("hello".into());
        config.sound = SoundSink::Speaker(None);
        let more = elements(&config);
        assert!(["x264enc", "espeak", "alsasink"].iter().all(|factory| more.contains(factory)));
    }
}
