//! Signalling: who is here, who may see whom, and the messages they exchange.
//!
//! In: messages of remote peers (WebSockets, [`server`]) and of the device's own elements (in process, [`hub`]).
//! Out: the same messages as far as [`policy`] lets them through, and [`Notice`]s for the device's desk.
//! Never: media, HTTP, passwords. The protocol itself is gst-plugin-webrtc-signalling's `Handler`.

pub mod hub;
pub mod policy;
pub mod ration;
pub mod server;

pub use gst_plugin_webrtc_signalling_protocol as wire;

/// A peer's id: a version 4 UUID in its usual text form, made by the hub and never used twice.
pub type PeerId = String;

/// What a remote peer may do, fixed when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// May see and hear the device and published producers.
    pub watch: bool,
    /// May send media to the device.
    pub talk: bool,
    /// May publish a producer that everybody with `watch` sees.
    pub produce: bool,
    /// May take the media of talkers.
    pub consume_peer: bool,
    /// Is the owner of the device.
    pub owner: bool,
    /// The connection came with an `Origin`, so from a web page.
    pub browser: bool,
    /// Who it is, for the log and for signing out: `session:HASH`, `token:NAME` or `open`. Never a secret.
    pub principal: String,
}

/// What a peer is to the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The device's own picture and sound.
    DeviceProducer,
    /// The device's own receiver for one talker.
    DeviceConsumer {
        /// The talker whose media it takes.
        talker: PeerId,
    },
    /// The device's own publisher: takes the device's media for a server elsewhere.
    DevicePublisher,
    /// Anybody who came over the network.
    Remote(Grants),
}

/// What the hub tells the device's desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A device producer has registered and can be watched.
    DeviceProducing(PeerId),
    /// A device producer has stopped producing or left.
    DeviceGone(PeerId),
    /// A talker offers its media.
    TalkerProducing(PeerId),
    /// A talker no longer offers its media; comes before [`Notice::PeerGone`] when it leaves.
    TalkerStopped(PeerId),
    /// A remote peer has left.
    PeerGone(PeerId),
    /// A remote peer tried what it may not.
    Refused {
        /// Who tried.
        peer: PeerId,
        /// The type of the message, as on the wire.
        act: &'static str,
        /// The sentence the peer was told.
        reason: String,
    },
}
