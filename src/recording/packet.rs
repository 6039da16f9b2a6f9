//! What a recording is made of: encoded packets of five lanes, all on the process's common clock.
//!
//! In: nothing. Out: [`Packet`]s and where they belong. Never: a decoded picture or sound.

use std::time::Duration;

/// One of the streams of a recording; also the number and the meaning of its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The device's outgoing picture, as viewers see it.
    Picture,
    /// Both sides of the conversation, mixed.
    Both,
    /// The device's outgoing sound alone.
    Sound,
    /// The talker's sound alone.
    TalkerSound,
    /// The talker's picture.
    TalkerPicture,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Picture, Self::Both, Self::Sound, Self::TalkerSound, Self::TalkerPicture];

    /// Number of its track, from 1: a player takes the first of each kind.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// Whether it carries pictures.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Picture | Self::TalkerPicture)
    }

    /// Whether players show or play it without being asked.
    pub fn is_default(self) -> bool {
        matches!(self, Self::Picture | Self::Both)
    }

    /// What players call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Picture => "Device",
            Self::Both => "Conversation",
            Self::Sound => "Device alone",
            Self::TalkerSound => "Talker alone",
            Self::TalkerPicture => "Talker",
        }
    }
}

/// One encoded frame of picture or sound.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Where it belongs.
    pub lane: Lane,
    /// When it is seen or heard, on the process's common clock.
    pub time: Duration,
    /// Whether a decoder can begin with it.
    pub key: bool,
    /// Whether it is H.264 and not VP8.
    pub is_h264: bool,
    /// Pixels, where the stream says so outside of itself.
    pub size: Option<(u32, u32)>,
    /// The frame.
    pub data: Data,
}

/// Bytes of a frame, not copied until they are written.
#[derive(Debug, Clone)]
pub enum Data {
    /// As GStreamer has it.
    Buffer(gst::Buffer),
    /// Bytes of one's own.
    Bytes(Vec<u8>),
}

impl Data {
    /// The bytes, once.
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Buffer(buffer) => buffer.map_readable().map(|map| map.to_vec()).unwrap_or_default(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}
