//! The vocabulary of the HTTP API, version 1: what the page and other programs send and get.
//!
//! In: nothing. Out: types that `ts-rs` also writes as TypeScript into `web-app/src/generated`.
//! Never: behaviour, or anything that is not on the wire.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

pub mod panel;

/// What a signed-in person may do. Each role includes the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum Role {
    /// May see and hear the device.
    Viewer,
    /// May also be seen and heard by it.
    Talker,
    /// May also end another's turn and change settings.
    Owner,
}

/// How the caller stands with the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Access {
    /// `None`: not signed in.
    pub role: Option<Role>,
    /// Loopback without a password: everybody is the owner.
    pub open: bool,
    /// There is no owner password yet; the setup code on the device's terminal is wanted.
    pub needs_setup: bool,
}

/// One STUN or TURN server as a browser takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:` addresses.
    pub urls: Vec<String>,
    /// TURN user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub username: Option<String>,
    /// TURN credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub credential: Option<String>,
}

/// What a page must know before it can call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Status {
    /// Version of the service.
    pub version: String,
    /// Name of the device.
    pub name: String,
    /// The caller's own standing.
    pub access: Access,
    /// Signalling peer id under which the device produces; `None` while it does not, or for a caller without access.
    pub device_id: Option<String>,
    /// Configured STUN and TURN servers; none unless the owner configured some.
    pub ice_servers: Vec<IceServer>,
    /// The device sends a picture.
    pub video: bool,
    /// The device sends sound.
    pub audio: bool,
    /// The owner has muted the device's own sound, or set its volume to 0; announcements are heard all the same.
    pub audio_muted: bool,
    /// The device has a use for the browser's camera.
    pub inbound_video: bool,
    /// What becomes of a talker's sound.
    pub talk_sound: TalkSound,
}

/// What becomes of a talker's sound by the owner's will; a speaker that fails is a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum TalkSound {
    /// It is played, or written into a file.
    Played,
    /// It is muted, or its volume is 0.
    Muted,
    /// It goes nowhere (`sound = "discard"`).
    Discarded,
}

/// One's own place in the talk lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum Turn {
    /// Neither talking nor waiting.
    Idle,
    /// Asked, and in line.
    Waiting,
    /// Has the turn.
    Talking,
}

/// The talk lock as one peer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct TalkState {
    /// The caller's own place.
    pub you: Turn,
    /// Somebody else talks.
    pub busy: bool,
    /// The caller's place in the line, from 1; 0 when it does not wait.
    pub place: u32,
    /// How many wait.
    pub waiting: u32,
    /// Counts the lock's changes: an answer and an event may overtake each other, the higher one is the newer. It
    /// begins anew with the service.
    pub version: u32,
    /// A sentence that says why the caller's turn was just ended by somebody or something else.
    pub revoked_by: Option<String>,
}

/// A part of the device that can fail and be mended while calls go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, TS, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum Part {
    /// The outgoing picture.
    Video,
    /// The outgoing sound.
    Audio,
    /// What comes from the talker.
    Talk,
    /// Recording.
    Recording,
    /// Publishing to a media server; no business of viewers, so no event tells of it.
    Publish,
}

impl Part {
    /// Its name on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Talk => "talk",
            Self::Recording => "recording",
            Self::Publish => "publish",
        }
    }
}

/// Whether the call is recorded now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Recording {
    /// A file is being written, with what everybody sees and says.
    pub on: bool,
    /// Since when, RFC 3339; `None` when it is off.
    pub since: Option<String>,
    /// How long it had run when this was told, milliseconds: no setting of a clock changes it. `None` when it is off.
    #[ts(type = "number | null")]
    pub elapsed_ms: Option<u64>,
}

/// A viewer's own choice of picture quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum Quality {
    /// As good as its link carries.
    Auto,
    /// The whole picture, come what may.
    High,
    /// Half the width and height.
    Medium,
    /// The smallest picture.
    Low,
}

/// Where a viewer stands on the quality ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct QualityState {
    /// Its own choice.
    pub choice: Quality,
    /// The rung it stands on; 0 is the best.
    pub rung: u32,
    /// How many rungs there are; with 1 there is nothing to choose.
    pub rungs: u32,
}

/// Chooses a quality.
#[derive(Debug, Clone, Deserialize, TS, ToSchema)]
#[serde(deny_unknown_fields)]
#[ts(export)]
pub struct QualityRequest {
    /// The caller's signalling peer id.
    pub peer: String,
    /// The choice.
    pub quality: Quality,
}

/// Tells what the caller's browser measured of the picture it shows.
#[derive(Debug, Clone, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[ts(export)]
pub struct LatencyRequest {
    /// The caller's signalling peer id.
    pub peer: String,
    /// From capture to screen, milliseconds, 0 to 60000.
    pub capture_to_screen_ms: u32,
}

/// What the event stream carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS, ToSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
#[ts(export)]
pub enum Event {
    /// First, and whenever it changed.
    Status {
        /// The new status.
        status: Status,
    },
    /// First, and whenever it changed.
    Talk {
        /// The new state.
        talk: TalkState,
    },
    /// When the caller's picture has come, and whenever its quality changed.
    Quality {
        /// Where it stands.
        state: QualityState,
    },
    /// How many watch.
    Viewers {
        /// Sessions the device sends to.
        count: u32,
    },
    /// A part failed, or was mended (`message` is `None`).
    Fault {
        /// Which part.
        part: Part,
        /// A sentence.
        message: Option<String>,
    },
    /// First, and whenever it changed.
    Recording {
        /// The new state.
        recording: Recording,
    },
    /// The device's side of a negotiation with the caller failed or took too long.
    CallFailed {
        /// A sentence that says what to look at.
        message: String,
    },
    /// The device could not take the caller's own sound and picture, or no longer can. Watching goes on.
    TalkFailed {
        /// A sentence that says why.
        message: String,
    },
    /// The caller's call is over, by somebody's will; it shall not come back by itself.
    Ended {
        /// A sentence that says whose.
        message: String,
    },
    /// For owners: somebody came or went; the list of sessions is another one now.
    Sessions,
    /// For owners: sources, speaker or volumes were changed.
    Steering,
}

/// Asks for the turn to talk.
#[derive(Debug, Clone, Deserialize, TS, ToSchema)]
#[serde(deny_unknown_fields)]
#[ts(export)]
pub struct TalkRequest {
    /// The caller's signalling peer id.
    pub peer: String,
    /// End another's turn (owner only).
    #[serde(default)]
    pub take: bool,
}

/// Signs in.
#[derive(Clone, Deserialize, TS, ToSchema)]
#[serde(deny_unknown_fields)]
#[ts(export)]
pub struct SignInRequest {
    /// The password of a role.
    pub password: String,
}

/// Sets the owner's password on first start.
#[derive(Clone, Deserialize, TS, ToSchema)]
#[serde(deny_unknown_fields)]
#[ts(export)]
pub struct SetupRequest {
    /// The code from the device's terminal.
    pub code: String,
    /// The owner's new password.
    pub password: String,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS, ToSchema)]
#[ts(export)]
pub struct ApiError {
    /// What went wrong.
    pub error: ErrorBody,
}

/// The inside of [`ApiError`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS, ToSchema)]
#[ts(export)]
pub struct ErrorBody {
    /// camelCase name for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// Starts or stops to record the call (owner only).
#[derive(Debug, Clone, Deserialize, TS, ToSchema)]
#[serde(deny_unknown_fields)]
#[ts(export)]
pub struct RecordingRequest {
    /// What to do.
    pub action: RecordingAction,
}

/// What to do with the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, TS, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum RecordingAction {
    /// Begin a file; capture runs for it even if nobody watches.
    Start,
    /// Complete the file.
    Stop,
}

/// One recording in the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RecordingEntry {
    /// Its name, also the end of its address.
    pub name: String,
    /// When it began, RFC 3339.
    pub began: Option<String>,
    /// How long it is; so far, while it is being written.
    pub seconds: Option<f64>,
    /// How large it is.
    #[ts(type = "number")]
    pub bytes: u64,
    /// All who talked while it ran, in the order in which they came, at most 64: the start of each peer id.
    pub talkers: Vec<String>,
    /// It is being written.
    pub recording: bool,
    /// The service or its power was cut off while it was written; what had been written by then is whole.
    pub cut_off: bool,
}

/// Speaks a text to those who watch.
#[derive(Debug, Clone, Deserialize, TS, ToSchema)]
#[serde(deny_unknown_fields)]
#[ts(export)]
pub struct SayRequest {
    /// 1 to 1000 characters.
    pub text: String,
}

/// Plays a clip to those who watch.
#[derive(Debug, Clone, Deserialize, TS, ToSchema)]
#[serde(deny_unknown_fields)]
#[ts(export)]
pub struct ClipRequest {
    /// Its name in the list of clips.
    pub name: String,
}
