//! The inbound end: `webrtcsrc` takes one talker's media, as RTP.
//!
//! In: a talker's peer id, through the signalling hub. Out: depayloaded VP8 and Opus, each in a tee.
//! Never: a decoder (branches bring their own); another codec; a public STUN server.
//!
//! ```text
//! webrtcsrc ─┬─ audio ─> rtpopusdepay ─> tee (Opus)
//!            └─ video ─> rtpvp8depay ──> tee (VP8)
//! ```

use gst::glib;
use gst::prelude::*;
use gstrswebrtc::webrtcsrc::WebRTCSrc;
use tokio::sync::mpsc;

use super::reports;
use crate::pipeline::{Error, Pipeline, make};
use crate::signaller::InProcessSignaller;
use crate::transport::{Change, IceUris, tune_ice, watch_transport};

/// What is received.
#[derive(Debug)]
pub struct WebrtcSrc {
    /// Opus packets of the talker.
    pub sound: gst::Element,
    /// VP8 frames of the talker.
    pub picture: gst::Element,
    signaller: InProcessSignaller,
}

impl WebrtcSrc {
    /// Adds the receiving part to a pipeline. `jitter` is how long packets wait for late ones.
    pub fn add_to(
        pipeline: &Pipeline,
        talker: &str,
        signaller: InProcessSignaller,
        ice: &IceUris,
        jitter: std::time::Duration,
        changes: mpsc::UnboundedSender<Change>,
    ) -> Result<Self, Error> {
        make("webrtcbin")?;
        let jitter = u32::try_from(jitter.as_millis()).unwrap_or(u32::MAX);
        let peer = talker.to_owned();
        signaller.connect("webrtcbin-ready", false, move |values| {
            let webrtcbin = values.get(2)?.get::<gst::Element>().ok()?;
            webrtcbin.set_property("latency", jitter);
            tune_ice(&webrtcbin);
            reports::hold_early(&webrtcbin);
            let changes = changes.clone();
            watch_transport(&webrtcbin, peer.clone(), move |change| {
                changes.send(change).ok();
            });
            None
        });
        let source = glib::Object::builder::<WebRTCSrc>().property("signaller", &signaller).build();
        source.set_property("stun-server", &ice.stun);
        source.set_property("turn-servers", gst::Array::new(ice.turn.iter().map(|uri| uri.to_send_value())));
        source.set_property("video-codecs", gst::Array::new([&"VP8"]));
        source.set_property("audio-codecs", gst::Array::new([&"OPUS"]));
        let source: gst::Element = source.upcast();

        let opus = make("rtpopusdepay")?;
        let sound = make("tee")?;
        let vp8 = make("rtpvp8depay")?;
        // Ask the browser for a key frame whenever one is missing, and show nothing broken until it comes.
        vp8.set_property("request-keyframe", true);
        vp8.set_property("wait-for-keyframe", true);
        let picture = make("tee")?;
        for tee in [&sound, &picture] {
            tee.set_property("allow-not-linked", true);
        }
        let link = |source| Error::Link { stage: "webrtcsrc", source };
        pipeline.inner().add(&source).map_err(link)?;
        pipeline.add_chain("talker's sound", &[&opus, &sound])?;
        pipeline.add_chain("talker's picture", &[&vp8, &picture])?;
        let (opus, vp8) = (opus.downgrade(), vp8.downgrade());
        source.connect_pad_added(move |_, pad| {
            let wanted = if pad.name().starts_with("audio") { &opus } else { &vp8 };
            let sink = wanted.upgrade().and_then(|element| element.static_pad("sink"));
            if let Some(sink) = sink.filter(|sink| !sink.is_linked())
                && let Err(error) = pad.link(&sink)
            {
                tracing::warn!(%error, "a talker's stream could not be linked");
            }
        });
        Ok(Self { sound, picture, signaller })
    }

    /// What ends the session.
    pub fn ender(&self) -> InProcessSignaller {
        self.signaller.clone()
    }
}

/// Sends end-of-stream into every branch, so that files are closed properly.
pub fn finish(tees: &[&gst::Element]) {
    for tee in tees {
        if let Some(pad) = tee.static_pad("sink") {
            pad.send_event(gst::event::Eos::new());
        }
    }
}

/// Adds a branch to a tee: a queue that drops its oldest when it is full, so that a branch that is
/// slow never holds up the others.
pub fn branch(
    pipeline: &Pipeline,
    tee: &gst::Element,
    stage: &'static str,
    elements: &[&gst::Element],
) -> Result<(), Error> {
    let queue = make("queue")?;
    queue.set_property_from_str("leaky", "downstream");
    queue.set_property("max-size-time", gst::ClockTime::from_seconds(1).nseconds());
    queue.set_property("max-size-buffers", 0u32);
    queue.set_property("max-size-bytes", 0u32);
    let chain: Vec<&gst::Element> = std::iter::once(&queue).chain(elements.iter().copied()).collect();
    pipeline.add_chain(stage, &chain)?;
    tee.link(&queue).map_err(|source| Error::Link { stage, source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::signalling::{hub::Hub, policy::Limits};
    use crate::transport::{asked, some_servers};

    #[tokio::test]
    async fn only_servers_of_the_configuration_are_asked() {
        crate::init_gstreamer().unwrap();
        for (ice, wanted) in some_servers() {
            let signaller = InProcessSignaller::consumer(Hub::spawn(Limits::default()).0, "talker");
            let pipeline = Pipeline::new("test");
            let changes = mpsc::unbounded_channel().0;
            WebrtcSrc::add_to(&pipeline, "talker", signaller, &ice, Duration::from_millis(100), changes).unwrap();
            assert_eq!(asked(pipeline.inner()), wanted);
        }
    }
}
