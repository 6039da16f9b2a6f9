//! What a `webrtcbin` needs for its transport: servers, quick and quiet checks; and how it does.
//!
//! In: a `webrtcbin`. Out: [`Change`]s when it connects or fails. Never: a public server nobody configured.

use gst::glib;
use gst::prelude::*;

/// What happens to sessions, each named by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Its transport is up.
    Connected(String),
    /// Its transport failed for good.
    Failed(String),
}

/// STUN and TURN servers as GStreamer takes them.
#[derive(Debug, Clone, Default)]
pub struct IceUris {
    /// `stun://HOST:PORT`
    pub stun: Option<String>,
    /// `turn://USER:CREDENTIAL@HOST:PORT`
    pub turn: Vec<String>,
}

/// Reports when the transport of a session comes up or fails.
pub fn watch_transport(webrtcbin: &gst::Element, session: String, tell: impl Fn(Change) + Send + Sync + 'static) {
    webrtcbin.connect_notify(Some("connection-state"), move |bin, _| {
        match bin.property::<gst_webrtc::WebRTCPeerConnectionState>("connection-state") {
            gst_webrtc::WebRTCPeerConnectionState::Connected => tell(Change::Connected(session.clone())),
            gst_webrtc::WebRTCPeerConnectionState::Failed => tell(Change::Failed(session.clone())),
            _ => {}
        }
    });
}

/// Sets up libnice: no UPnP, which looks for routers nobody asked about and leaks threads; and connectivity checks
/// without long waits between them.
pub fn tune_ice(webrtcbin: &gst::Element) {
    let Some(agent) = agent(webrtcbin) else { return };
    if agent.find_property("upnp").is_some() {
        agent.set_property("upnp", false);
    }
    if agent.find_property("stun-pacing-timer").is_some() {
        agent.set_property("stun-pacing-timer", PACING.as_millis() as u32);
    }
}

fn agent(webrtcbin: &gst::Element) -> Option<glib::Object> {
    let ice =
        webrtcbin.find_property("ice-agent").and_then(|_| webrtcbin.property::<Option<glib::Object>>("ice-agent"))?;
    ice.find_property("agent").and_then(|_| ice.property::<Option<glib::Object>>("agent"))
}

/// Time between two connectivity checks of one session: the least that RFC 8445 (14.2) allows an agent. A pair of candidates
/// is only used after four of them, which at libnice's 20 ms is most of the time between an answer and the first key.
const PACING: std::time::Duration = std::time::Duration::from_millis(5);

/// What a pipeline's WebRTC element would ask: its STUN server, and how many TURN servers. The elements' own default is a public one.
#[cfg(test)]
pub fn asked(pipeline: &gst::Pipeline) -> (Option<String>, usize) {
    let element = pipeline.children().into_iter().find(|element| element.find_property("stun-server").is_some());
    element
        .map(|element| (element.property("stun-server"), element.property::<gst::Array>("turn-servers").len()))
        .unwrap_or_default()
}

/// Without servers, and with one of each kind.
#[cfg(test)]
pub fn some_servers() -> [(IceUris, (Option<String>, usize)); 2] {
    let stun = Some("stun://192.0.2.1:3478".to_owned());
    let ice = IceUris { stun: stun.clone(), turn: vec!["turn://a:b@192.0.2.1:3478".into()] };
    [(IceUris::default(), (None, 0)), (ice, (stun, 1))]
}
