//! The owner's part of the vocabulary: sessions, passwords, log, certificate, device, configuration.
//!
//! In: nothing. Out: types that `ts-rs` also writes as TypeScript. Never: a secret in an answer; secrets are paths everywhere, but for
//! passwords on their way in, which no type here prints.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

use super::Role;

/// One connection to the device's signalling: a page, or a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct SessionInfo {
    /// Its signalling peer id; ends it with `DELETE /api/v1/sessions/ID`.
    pub id: String,
    /// What it may do; `None`: neither watch nor talk.
    pub role: Option<Role>,
    /// Name of the token by which it came; `None`: a person.
    pub token: Option<String>,
    /// Where it comes from.
    pub address: Option<String>,
    /// Since when, seconds since 1970 by the device's clock.
    #[ts(type = "number")]
    pub since: u64,
    /// The device sends to it.
    pub watching: bool,
    /// It has the turn to talk.
    pub talking: bool,
    /// It waits for the turn to talk.
    pub waiting: bool,
    /// It came with the sign-in of whoever asks.
    pub own: bool,
    /// Bytes of RTP sent to it.
    #[ts(type = "number")]
    pub sent_bytes: u64,
    /// Rung of the quality ladder on which it stands, 0 the best one; `None`: it watches nothing.
    pub rung: Option<u32>,
    /// Width of the picture on that rung, pixels.
    pub width: Option<u32>,
    /// Height of the picture on that rung, pixels.
    pub height: Option<u32>,
    /// kbit/s that arrived there lately; `None`: nothing was reported, as for all of what follows.
    pub delivered_kbits: Option<u32>,
    /// Packets of the last second that were lost on the way, per cent.
    pub lost_percent: Option<f32>,
    /// kbit/s that its link is estimated to carry; more than the best picture takes is not looked for.
    pub link_kbits: Option<u32>,
    /// How long a packet to it and the answer take, milliseconds, by its reports on packets.
    pub round_trip_ms: Option<f32>,
    /// From capture to its screen, milliseconds, as its browser measured it in the last half minute (Chromium; Firefox
    /// does not tell).
    pub capture_to_screen_ms: Option<u32>,
    /// Milliseconds from the beginning of its call to the media connection; `None`: it watches nothing, or waits still.
    pub join_ms: Option<u32>,
}

/// Who is connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS, ToSchema)]
#[ts(export)]
pub struct Sessions {
    /// The longest here first.
    pub sessions: Vec<SessionInfo>,
}

/// A role and its password, of which nobody is told more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS, ToSchema)]
#[ts(export)]
pub struct PasswordState {
    /// Whose.
    pub role: Role,
    /// It has one.
    pub set: bool,
    /// It may be removed now: that of the owner only as the last one, by somebody at a device that serves nobody else.
    pub removable: bool,
}

/// Who can sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS, ToSchema)]
#[ts(export)]
pub struct Passwords {
    /// The owner, the talker, the viewer.
    pub roles: Vec<PasswordState>,
}

/// Sets or changes the password of a role.
#[derive(Clone, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[ts(export)]
pub struct PasswordRequest {
    /// Whose.
    pub role: Role,
    /// The new one, 10 to 200 characters.
    pub password: String,
    /// The owner's present one; `None` where there is none.
    pub owner_password: Option<String>,
}

/// Removes the password of a role.
#[derive(Clone, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[ts(export)]
pub struct PasswordRemoval {
    /// Whose.
    pub role: Role,
    /// The owner's present one.
    pub owner_password: Option<String>,
}

/// One line of the service's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct LogLine {
    /// Counts the lines since the service was started.
    #[ts(type = "number")]
    pub number: u64,
    /// Milliseconds since 1970 by the device's clock.
    #[ts(type = "number")]
    pub time: u64,
    /// How grave it is.
    pub level: LogLevel,
    /// The part of the program that wrote it.
    pub part: String,
    /// What it says.
    pub text: String,
}

/// How grave a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something needs an eye.
    Warn,
    /// Something happened.
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// Every step.
    Trace,
}

/// The end of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[ts(export)]
pub struct Log {
    /// The oldest first.
    pub lines: Vec<LogLine>,
}

/// The certificate the device shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Certificate {
    /// Names and addresses it is for.
    pub names: Vec<String>,
    /// Seconds since 1970.
    #[ts(type = "number")]
    pub not_before: u64,
    /// Seconds since 1970.
    #[ts(type = "number")]
    pub not_after: u64,
    /// SHA-256 of it, `AA:BB:...`.
    pub fingerprint: String,
    /// The device's own authority that issued it; `None`: somebody else did.
    pub authority: Option<Authority>,
}

/// The device's own certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Authority {
    /// Its name.
    pub name: String,
    /// SHA-256 of its certificate, to be compared when it is trusted.
    pub fingerprint: String,
    /// Seconds since 1970.
    #[ts(type = "number")]
    pub not_after: u64,
}

/// What the device tells of itself; what it does not tell is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DeviceHealth {
    /// What is wrong with the service, a sentence each.
    pub problems: Vec<String>,
    /// What does not work just now though the service goes on, a sentence each: a source, the speaker, a recording, publishing, the
    /// renewal of the certificate. Of sources it is known while somebody watches. On the appliance also what of `duplex.toml` was not
    /// taken in or cannot be used.
    pub faults: Vec<String>,
    /// The media server that gets picture and sound; `None`: none is configured, or media does not go there now.
    pub published_to: Option<String>,
    /// The recording that runs; `None`: nothing is recorded.
    pub recording: Option<RunningRecording>,
    /// Where the page is, the likeliest to work from elsewhere first, the one for this machine last.
    pub addresses: Vec<String>,
    /// Version of the service.
    pub version: String,
    /// Seconds since the service was started.
    #[ts(type = "number")]
    pub service_uptime: u64,
    /// Seconds since the device was switched on.
    #[ts(type = "number | null")]
    pub uptime: Option<u64>,
    /// Model, as the firmware tells it.
    pub model: Option<String>,
    /// Version of the kernel.
    pub kernel: Option<String>,
    /// The hottest first.
    pub temperatures: Vec<Temperature>,
    /// Whether the processor is held back.
    pub throttling: Option<Throttling>,
    /// Tasks that want to run, averaged over 1, 5 and 15 minutes.
    pub load: Option<Vec<f64>>,
    /// Processors.
    pub processors: u32,
    /// Memory.
    pub memory: Option<Memory>,
    /// Where things are kept.
    pub disks: Vec<Disk>,
    /// Whether a time server has set the clock.
    pub clock_synchronised: Option<bool>,
    /// The device's clock, milliseconds since 1970.
    #[ts(type = "number")]
    pub time: u64,
}

/// A recording under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[ts(export)]
pub struct RunningRecording {
    /// Since when, seconds since 1970 by the device's clock.
    #[ts(type = "number")]
    pub since: u64,
    /// Its name in the list of recordings; `None`: of the talker's own sound and picture alone (`picture = "record:..."`).
    pub file: Option<String>,
}

/// One sensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS, ToSchema)]
#[ts(export)]
pub struct Temperature {
    /// The kernel's name of it.
    pub sensor: String,
    /// Degrees Celsius.
    pub celsius: f64,
}

/// What keeps the processor from its full speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Throttling {
    /// At this moment.
    pub now: bool,
    /// Since the device was switched on.
    pub before: bool,
    /// The supply's voltage is, or was, too low.
    pub low_voltage: Option<bool>,
}

/// Memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Memory {
    /// All of it.
    #[ts(type = "number")]
    pub total: u64,
    /// What programs can still get.
    #[ts(type = "number")]
    pub available: u64,
    /// What the service uses.
    #[ts(type = "number | null")]
    pub service: Option<u64>,
}

/// A folder and the disk it is on, bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Disk {
    /// What the folder is for: `state` or `recordings`.
    pub purpose: String,
    /// The folder.
    pub folder: String,
    /// Size of the disk.
    #[ts(type = "number")]
    pub total: u64,
    /// What can still be written.
    #[ts(type = "number")]
    pub available: u64,
}

/// One key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ConfiguredKey {
    /// The key.
    pub key: String,
    /// Its value as it stands in a file.
    pub value: String,
    /// Where the value stands: a file's path, a flag, a variable, or `default`.
    pub origin: String,
    /// What the configuration says, where a change made while the service ran is in force instead; `origin` is the file
    /// that keeps the change then.
    pub configured: Option<String>,
    /// What it decides.
    pub help: String,
    /// The heading of the sample file under which it stands.
    pub heading: String,
}

/// The configuration as it was at the start, with what was changed since over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[ts(export)]
pub struct Configuration {
    /// In the order of the sample file.
    pub keys: Vec<ConfiguredKey>,
}

/// Something that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[ts(export)]
pub struct DeviceChoice {
    /// The stable name, as it stands in a configuration.
    pub name: String,
    /// The name for people.
    pub description: String,
}

/// The devices that are there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS, ToSchema)]
#[ts(export)]
pub struct Devices {
    /// What gives a picture.
    pub cameras: Vec<DeviceChoice>,
    /// What gives sound.
    pub microphones: Vec<DeviceChoice>,
    /// What plays sound.
    pub speakers: Vec<DeviceChoice>,
    /// The board's cameras are not among them, because one is just being opened or closed: to be asked again.
    pub incomplete: bool,
}

/// Whether the service does what it is there for. Nothing in it is private: it needs no sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[ts(export)]
pub struct HealthReport {
    /// Nothing is wrong.
    pub healthy: bool,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
}
