//! The outbound end: encoded picture and sound into `webrtcsink`, one session per viewer.
//!
//! In: buffers in two inlets, in caps fixed for the life of the pipeline; each viewer's pictures in an inlet of its own.
//! Out: WebRTC sessions, and [`Change`]s about them. Never: an encoder; a public STUN server; a viewer that can stop
//! another.
//!
//! ```text
//! video inlet (appsrc) ──┐
//!                        ├─> webrtcsink ══> a session per viewer:
//! audio inlet (appsrc) ──┘                    video ─> fakesink   viewer's inlet (appsrc) ─> [h264parse] ─> payloader
//!                                             audio ─────────────────────────────────────────────────────> payloader
//! ```
//!
//! The video inlet only makes webrtcsink register: it wants to see the stream first. What viewers see comes from
//! [`Seats`], so that each can be moved between encodes without a new negotiation.

use std::ops::ControlFlow;

use gst::buffer::BufferMetaForeachAction;
use gst::prelude::*;
use gstrswebrtc::webrtcsink::BaseWebRTCSink;
use tokio::sync::mpsc;

use super::count;
use super::reaper::Reaper;
use super::round_trip::{self, RoundTrip};
use super::seats::Seats;
use crate::bridge;
use crate::metrics::Metrics;
use crate::pipeline::{Error, Pipeline, make};
use crate::signaller::InProcessSignaller;
use crate::transport::{Change, IceUris, notice_silence, tune_ice, watch_transport};

/// The pipeline that ends in `webrtcsink`.
#[derive(Debug)]
pub struct WebrtcSink {
    /// The pipeline and its events.
    pub pipeline: Pipeline,
    /// Where encoded pictures go in.
    pub video: gst_app::AppSrc,
    /// Where encoded sound goes in.
    pub audio: gst_app::AppSrc,
    signaller: InProcessSignaller,
}

impl WebrtcSink {
    /// Builds it; nothing registers before the first buffers have come.
    pub fn new(
        video_caps: &gst::Caps,
        audio_caps: &gst::Caps,
        ice: &IceUris,
        signaller: InProcessSignaller,
        seats: Seats,
        changes: mpsc::UnboundedSender<Change>,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let pipeline = Pipeline::on_common_time("outbound-webrtc");
        let video = bridge::inlet(video_caps, 8, gst::ClockTime::ZERO)?;
        let audio = bridge::inlet(audio_caps, 32, gst::ClockTime::ZERO)?;
        let sink = BaseWebRTCSink::with_signaller(signaller.clone().upcast());
        sink.set_property("stun-server", &ice.stun);
        sink.set_property("turn-servers", gst::Array::new(ice.turn.iter().map(|uri| uri.to_send_value())));
        sink.set_property("video-caps", bare(video_caps));
        sink.set_property("audio-caps", bare(audio_caps));
        // FEC would double the bitrate: it stays at 100 % of the media with encoded input.
        sink.set_property("do-fec", false);
        // So that receivers are asked for reports on every packet; see `registered`.
        sink.set_property_from_str("congestion-control", "gcc");
        sink.set_property("name", SINK);
        let sink: gst::Element = sink.upcast();
        give_inlets(&sink, video_caps);
        watch_sessions(&sink, &signaller, seats, changes, metrics);
        let link = |source| Error::Link { stage: "webrtcsink", source };
        let bin = pipeline.inner();
        bin.add_many([video.upcast_ref(), audio.upcast_ref(), &sink]).map_err(link)?;
        video.link_pads(Some("src"), &sink, Some("video_%u")).map_err(link)?;
        audio.link_pads(Some("src"), &sink, Some("audio_%u")).map_err(link)?;
        unmark(&audio);
        Ok(Self { pipeline, video, audio, signaller })
    }

    /// webrtcsink has looked at the streams, and put the reports that its congestion control needs into what it offers.
    /// Sessions shall have the reports without the control: it paces each session's packets with a thread that wakes 200
    /// times a second, for an encoder that it could set, and there is none.
    pub fn registered(&self) {
        if let Some(sink) = self.pipeline.inner().by_name(SINK) {
            sink.set_property_from_str("congestion-control", "disabled");
        }
    }

    /// What ends viewers' sessions.
    pub fn ender(&self) -> InProcessSignaller {
        self.signaller.clone()
    }
}

/// Takes off the mark that webrtcsink puts on each buffer for its `forward-metas`, which is not in use: each packet of each
/// viewer would carry it, copied anew at every step on its way.
fn unmark(inlet: &gst_app::AppSrc) {
    let pad = inlet.static_pad("src").and_then(|pad| pad.peer()).and_downcast::<gst::GhostPad>();
    let Some(inner) = pad.and_then(|pad| pad.internal()) else { return };
    inner.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            buffer.make_mut().foreach_meta_mut(|meta| {
                let mark = meta.try_as_custom_meta().is_some_and(|meta| meta.has_name(MARK));
                ControlFlow::Continue(if mark {
                    BufferMetaForeachAction::Remove
                } else {
                    BufferMetaForeachAction::Keep
                })
            });
        }
        gst::PadProbeReturn::Ok
    });
}

/// Codec name only: what `webrtcsink` should look for.
fn bare(caps: &gst::Caps) -> gst::Caps {
    caps.structure(0).map_or_else(gst::Caps::new_empty, |s| gst::Caps::new_empty_simple(s.name().as_str()))
}

/// Puts each viewer's own inlet in the place of the stream that all would share.
fn give_inlets(sink: &gst::Element, caps: &gst::Caps) {
    let caps = without_size(caps);
    sink.connect("request-encoded-filter", false, move |values| {
        // Without a consumer webrtcsink only looks at the stream.
        let consumer = values.get(1)?.get::<Option<String>>().ok()?;
        let codec = values.get(3)?.get::<gst::Caps>().ok()?;
        let video = codec.structure(0).is_some_and(|s| s.name().starts_with("video/"));
        let filter = match viewers_inlet(&caps) {
            Ok(filter) if consumer.is_some() && video => Some(filter),
            Ok(_) => None,
            Err(error) => {
                tracing::error!(%error, "a viewer gets the top rung for good");
                None
            }
        };
        Some(filter.to_value())
    });
}

/// What webrtcsink puts before a session's payloader.
fn viewers_inlet(caps: &gst::Caps) -> Result<gst::Element, Error> {
    let link = |source| Error::Link { stage: "viewer's picture", source };
    let away = make("fakesink")?;
    away.set_property("async", false);
    away.set_property("sync", false);
    make("appsrc")?;
    let inlet = gst_app::AppSrc::builder()
        .name(INLET)
        .caps(caps)
        .format(gst::Format::Time)
        .is_live(true)
        .min_latency(0)
        .max_buffers(DEPTH)
        .max_bytes(0)
        .leaky_type(gst_app::AppLeakyType::Downstream)
        .build();
    let bin = gst::Bin::new();
    bin.add_many([&away, inlet.upcast_ref()]).map_err(link)?;
    let mut last: gst::Element = inlet.upcast();
    if caps.structure(0).is_some_and(|s| s.name() == "video/x-h264") {
        // Finds the level, which the payloader is held to.
        let parser = make("h264parse")?;
        bin.add(&parser).map_err(link)?;
        last.link(&parser).map_err(link)?;
        last = parser;
    }
    for (element, name) in [(&away, "sink"), (&last, "src")] {
        let missing = || Error::Input(format!("an element has no {name} pad"));
        let pad = element.static_pad(name).ok_or_else(missing)?;
        bin.add_pad(&gst::GhostPad::with_target(&pad).map_err(link)?).map_err(link)?;
    }
    Ok(bin.upcast())
}

/// Name of webrtcsink within its pipeline.
const SINK: &str = "viewers";
/// Name of the mark on webrtcsink's buffers.
const MARK: &str = "webrtcsink-dye";
/// Name of a viewer's inlet within its session's pipeline.
const INLET: &str = "viewers-picture";
/// Pictures that wait in it while the session comes up: half a second's.
const DEPTH: u64 = 16;

/// The rungs differ in size alone.
fn without_size(caps: &gst::Caps) -> gst::Caps {
    let mut caps = caps.clone();
    if let Some(structure) = caps.make_mut().structure_mut(0) {
        structure.remove_fields(["width", "height"]);
    }
    caps
}

fn watch_sessions(
    sink: &gst::Element,
    signaller: &InProcessSignaller,
    seats: Seats,
    changes: mpsc::UnboundedSender<Change>,
    metrics: Metrics,
) {
    // Sends fail only while the service is stopping.
    let tell = move |change| {
        changes.send(change).ok();
    };
    let (joined, counts) = (tell.clone(), metrics.clone());
    let signaller = signaller.downgrade();
    let reaper = Reaper::spawn();
    sink.connect("consumer-added", false, move |values| {
        let peer = values.get(1)?.get::<String>().ok()?;
        let webrtcbin = values.get(2)?.get::<gst::Element>().ok()?;
        let session = session_of(&webrtcbin);
        tune_ice(&webrtcbin);
        let signaller = signaller.upgrade()?;
        watch_gathering(&webrtcbin, session.clone(), &signaller);
        if signaller.is_own(&peer) {
            notice_silence(&webrtcbin);
        }
        no_old_sound(&webrtcbin);
        round_trip::nobody_else_asks(&webrtcbin);
        let counted = metrics.session_began(&session, &peer);
        on_sink_pads(&webrtcbin, move |pad| count::packets(pad, counted.clone()));
        watch_picture_link(&webrtcbin, session.clone(), seats.clone(), joined.clone());
        watch_transport(&webrtcbin, session.clone(), joined.clone());
        joined(Change::Joined { session: session.clone(), peer });
        // webrtcsink tells of a session a moment after it made it: one that was ended meanwhile was told to be gone before.
        if !signaller.knows(&session) {
            metrics.session_ended(&session);
            joined(Change::Left(session));
        }
        None
    });
    sink.connect("consumer-removed", false, move |values| {
        let webrtcbin = values.get(2)?.get::<gst::Element>().ok()?;
        let session = session_of(&webrtcbin);
        if let Some(pipeline) = webrtcbin.parent().and_downcast() {
            reaper.take(pipeline);
        }
        // At once: the next session may begin before the task has heard of this one's end.
        counts.session_ended(&session);
        tell(Change::Left(session));
        None
    });
}

/// Tells a session's peer when it has all candidates.
fn watch_gathering(webrtcbin: &gst::Element, session: String, signaller: &InProcessSignaller) {
    let signaller = signaller.downgrade();
    webrtcbin.connect_notify(Some("ice-gathering-state"), move |bin, _| {
        let state = bin.property::<gst_webrtc::WebRTCICEGatheringState>("ice-gathering-state");
        if let (gst_webrtc::WebRTCICEGatheringState::Complete, Some(signaller)) = (state, signaller.upgrade()) {
            signaller.end_of_candidates(&session);
        }
    });
}

/// webrtcsink names each session's `webrtcbin` after the session.
fn session_of(webrtcbin: &gst::Element) -> String {
    webrtcbin.name().trim_start_matches("webrtcbin-").to_owned()
}

/// Calls `then` with every sink pad of a session, those it has and those it will get.
fn on_sink_pads(webrtcbin: &gst::Element, then: impl Fn(&gst::Pad) + Send + Sync + 'static) {
    webrtcbin.sink_pads().iter().for_each(&then);
    webrtcbin.connect_pad_added(move |_, pad| {
        if pad.direction() == gst::PadDirection::Sink {
            then(pad);
        }
    });
}

/// Seats the viewer, and tells so, when the picture is linked into its session.
fn watch_picture_link(
    webrtcbin: &gst::Element,
    session: String,
    seats: Seats,
    tell: impl Fn(Change) + Clone + Send + Sync + 'static,
) {
    let bin = webrtcbin.downgrade();
    on_sink_pads(webrtcbin, move |pad| {
        let (tell, session, seats, bin) = (tell.clone(), session.clone(), seats.clone(), bin.clone());
        pad.connect_linked(move |pad, _| {
            if kind(pad) != gst_webrtc::WebRTCKind::Video {
                return;
            }
            let bin = bin.upgrade();
            let pipeline = bin.as_ref().and_then(|bin| bin.parent()).and_downcast::<gst::Bin>();
            let inlet = pipeline.and_then(|pipeline| pipeline.by_name(INLET)).and_downcast();
            if let (Some(bin), Some(inlet)) = (bin, inlet) {
                seats.seat(&session, inlet, RoundTrip::of(&bin));
            }
            tell(Change::Linked(session.clone()));
        });
    });
}

fn kind(pad: &gst::Pad) -> gst_webrtc::WebRTCKind {
    let transceiver = pad.property::<Option<gst_webrtc::WebRTCRTPTransceiver>>("transceiver");
    transceiver.map_or(gst_webrtc::WebRTCKind::Unknown, |transceiver| transceiver.kind())
}

/// Discards sound until the transport is up. It would wait inside and come all at once, and a browser would then play
/// it half a second late for the next seconds. (The picture's first frames are wanted: the key frame is among them.)
fn no_old_sound(webrtcbin: &gst::Element) {
    let bin = webrtcbin.downgrade();
    on_sink_pads(webrtcbin, move |pad| {
        let bin = bin.clone();
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |pad, _| {
            let connected = bin.upgrade().is_none_or(|bin| {
                bin.property::<gst_webrtc::WebRTCPeerConnectionState>("connection-state")
                    == gst_webrtc::WebRTCPeerConnectionState::Connected
            });
            if connected || kind(pad) != gst_webrtc::WebRTCKind::Audio {
                gst::PadProbeReturn::Remove
            } else {
                bridge::DISCARD
            }
        });
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::outbound::encoder::Format;
    use crate::signalling::{hub::Hub, policy::Limits};
    use crate::transport::{asked, some_servers};

    #[tokio::test]
    async fn only_servers_of_the_configuration_are_asked() {
        crate::init_gstreamer().unwrap();
        for (ice, wanted) in some_servers() {
            let signaller = InProcessSignaller::producer(Hub::spawn(Limits::default()).0, "test");
            let (video, audio) = (gst::Caps::builder("video/x-vp8").build(), Format::encoded_audio());
            let changes = mpsc::unbounded_channel().0;
            let sink =
                WebrtcSink::new(&video, &audio, &ice, signaller, Seats::new(1), changes, Metrics::new("test")).unwrap();
            assert_eq!(asked(sink.pipeline.inner()), wanted);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_packet_of_sound_carries_webrtcsinks_mark() {
        crate::init_gstreamer().unwrap();
        let signaller = InProcessSignaller::producer(Hub::spawn(Limits::default()).0, "test");
        let (video, audio) = (gst::Caps::builder("video/x-vp8").build(), Format::encoded_audio());
        let (ice, changes) = (IceUris::default(), mpsc::unbounded_channel().0);
        let sink =
            WebrtcSink::new(&video, &audio, &ice, signaller, Seats::new(1), changes, Metrics::new("test")).unwrap();
        sink.pipeline.inner().set_state(gst::State::Playing).unwrap();
        let ghost = sink.audio.static_pad("src").and_then(|pad| pad.peer()).and_downcast::<gst::GhostPad>().unwrap();
        let (tx, marked) = std::sync::mpsc::channel();
        ghost.target().unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let mut metas = info.buffer().into_iter().flat_map(|buffer| buffer.iter_meta::<gst::Meta>());
            tx.send(metas.any(|meta| meta.try_as_custom_meta().is_some_and(|meta| meta.has_name(MARK)))).unwrap();
            gst::PadProbeReturn::Ok
        });
        sink.audio.push_buffer(gst::Buffer::with_size(100).unwrap()).unwrap();
        assert!(!marked.recv_timeout(std::time::Duration::from_secs(20)).unwrap());
        sink.pipeline.stop().await;
    }
}
