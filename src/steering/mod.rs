//! What can be changed while the service runs: sources, speaker, volumes. The one place for it, whoever asks.
//!
//! In: [`Changes`] from the control socket and the owner's panel. Out: what is in force as [`Present`]; both directions of
//! media follow; the changes last across restarts in a file beside the configuration. Never: writes into the
//! configuration; interrupts a call; takes what the configuration would refuse.

mod kept;
mod notes;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use ts_rs::TS;
use utoipa::ToSchema;

use crate::config::{self, AudioSource, Config, SoundSink, VideoSource};
use crate::desk::{Desk, SoundNow};
use crate::devices;
use crate::far_end::FarEnd;
use crate::inbound::Playback;
use crate::outbound::Outbound;
use crate::outbound::source::{Setup, Wanted};
pub use kept::{FILE, load};
pub use notes::Note;

/// What shall be other than it is; what is `None` stays.
///
/// Sources and sinks are the texts of the configuration, such as `camera:auto`; files by their absolute path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[ts(export)]
pub struct Changes {
    /// Where the outgoing picture comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(as = "Option<String>", optional)]
    #[schema(value_type = Option<String>)]
    pub video: Option<VideoSource>,
    /// Where the outgoing sound comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(as = "Option<String>", optional)]
    #[schema(value_type = Option<String>)]
    pub audio: Option<AudioSource>,
    /// Where the talker's sound goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(as = "Option<String>", optional)]
    #[schema(value_type = Option<String>)]
    pub sound: Option<SoundSink>,
    /// Factor on the device's sound, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub device_volume: Option<f64>,
    /// The device's sound is silenced, announcements apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub device_muted: Option<bool>,
    /// Factor on the talker's sound, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub talk_volume: Option<f64>,
    /// The talker's sound is silenced in the speaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub talk_muted: Option<bool>,
}

/// One value that can be changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Setting<T> {
    /// In force now.
    pub value: T,
    /// What the configuration says; changing back to it undoes a change.
    pub configured: T,
    /// It comes from a change made while the service ran, not from the configuration.
    pub changed: bool,
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS, ToSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Present {
    /// Where the outgoing picture comes from.
    #[ts(as = "Setting<String>")]
    #[schema(value_type = Setting<String>)]
    pub video: Setting<VideoSource>,
    /// Where the outgoing sound comes from.
    #[ts(as = "Setting<String>")]
    #[schema(value_type = Setting<String>)]
    pub audio: Setting<AudioSource>,
    /// Where the talker's sound goes.
    #[ts(as = "Setting<String>")]
    #[schema(value_type = Setting<String>)]
    pub sound: Setting<SoundSink>,
    /// Factor on the device's sound.
    pub device_volume: Setting<f64>,
    /// The device's sound is silenced.
    pub device_muted: Setting<bool>,
    /// Factor on the talker's sound.
    pub talk_volume: Setting<f64>,
    /// The talker's sound is silenced.
    pub talk_muted: Setting<bool>,
    /// What has to be said of a change that was made: a device that is not there now. Only in the answer to that change.
    #[serde(default)]
    pub notes: Vec<Note>,
}

/// Why a change was not made, or not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is named by a path that depends on where the service was started.
    #[error("{what}: must be an absolute path")]
    Relative {
        /// The source or sink.
        what: String,
    },
    /// The configuration would refuse it.
    #[error(transparent)]
    Refused(#[from] config::Errors),
    /// A file cannot be shown or played.
    #[error("cannot show or play {source_name}: {detail}")]
    Unplayable {
        /// The source.
        source_name: String,
        /// Why.
        detail: String,
    },
    /// It is in force, but will be forgotten.
    #[error("changed, but it will not outlast this run: cannot write {}: {source}", path.display())]
    NotKept {
        /// The state file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What a [`Steering`] moves.
pub struct Parts {
    /// Outgoing media.
    pub outbound: Outbound,
    /// The talker's sound.
    pub playback: watch::Sender<Playback>,
    /// Tells the pages.
    pub desk: Desk,
}

/// Handle; cheap to clone.
#[derive(Clone)]
pub struct Steering(Arc<Inner>);

struct Inner {
    configured: Arc<Config>,
    /// Held while a change is made: one at a time.
    in_force: Mutex<Config>,
    present: watch::Sender<Present>,
    parts: Parts,
}

impl Steering {
    /// Steers `parts`, which were started with `in_force`, see [`load`].
    pub fn new(configured: Arc<Config>, in_force: Config, parts: Parts) -> Self {
        let present = watch::Sender::new(Present::of(&in_force, &configured));
        Self(Arc::new(Inner { configured, in_force: Mutex::new(in_force), present, parts }))
    }

    /// What is in force.
    pub fn present(&self) -> Present {
        self.0.present.borrow().clone()
    }

    /// Where changes outlast a restart.
    pub fn file(&self) -> PathBuf {
        self.0.configured.state_dir.join(FILE)
    }

    /// What is in force, and each time it is something else.
    pub fn watch(&self) -> watch::Receiver<Present> {
        self.0.present.subscribe()
    }

    /// Makes changes: all of them or none. The answer waits until the devices they name were looked at; the changes do not.
    ///
    /// # Errors
    /// Nothing is changed, except with [`Error::NotKept`].
    pub async fn change(&self, changes: Changes) -> Result<Present, Error> {
        let inner = &self.0;
        let mut in_force = inner.in_force.lock().await;
        changes.refuse_relative()?;
        let next = in_force.with(&changes.table(), Path::new("this change"))?;
        let (before, after) = (wanted(&in_force), wanted(&next));
        let setup = Arc::new(Setup::of(&next, FarEnd::default()));
        for source in after.iter().filter(|source| source.is_file() && !before.contains(source)) {
            let refused = |error: crate::pipeline::Error| Error::Unplayable {
                source_name: source.label(),
                detail: error.reason(),
            };
            crate::outbound::try_out(source, &setup).await.map_err(refused)?;
        }
        // Begun before the sources change: a camera that is being opened holds up the list of cameras. Nothing waits for it, a mute
        // least of all.
        let looked_at = changes.clone();
        let notes = tokio::task::spawn_blocking(move || notes::notes(&looked_at, devices::remark));
        tracing::info!(changes = %serde_json::to_string(&changes).unwrap_or_default(), "changed while running");
        if before != after {
            inner.parts.outbound.set_sources(after);
        }
        let playback = Playback::of(&next);
        let now = SoundNow {
            sent: next.audio != AudioSource::Silence,
            muted: device_volume(&next) == 0.0,
            talk: playback.outcome(),
        };
        if inner.parts.desk.sound(now).await.is_err() {
            tracing::debug!("the desk has stopped");
        }
        inner.parts.outbound.set_volume(device_volume(&next));
        inner.parts.playback.send_if_modified(|before| std::mem::replace(before, playback.clone()) != playback);
        *in_force = next;
        let present = Present::of(&in_force, &inner.configured);
        inner.present.send_replace(present.clone());
        let (table, path) = (present.changes().table(), self.file());
        let writing = path.clone();
        let written = tokio::task::spawn_blocking(move || kept::write(&writing, &table)).await;
        let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        drop(in_force);
        written.map_err(|source| Error::NotKept { path, source })?;
        let mut notes = notes.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the devices could not be looked at");
            Vec::new()
        });
        // Others may have changed something meanwhile.
        let now = self.present();
        notes.retain(|note| match &*note.key {
            "video" => now.video == present.video,
            "audio" => now.audio == present.audio,
            _ => now.sound == present.sound,
        });
        Ok(Present { notes, ..now })
    }
}

/// The pipelines that a configuration needs.
fn wanted(config: &Config) -> Vec<Wanted> {
    Wanted::from_config(&config.video, &config.audio)
}

/// Factor on the device's sound, with muting counted in.
pub fn device_volume(config: &Config) -> f64 {
    if config.audio_mute { 0.0 } else { config.audio_volume }
}

impl Changes {
    /// The changes as keys of the configuration.
    fn table(&self) -> toml::Table {
        let text = |value: Option<String>| value.map(toml::Value::from);
        let values = [
            ("video", text(self.video.as_ref().map(ToString::to_string))),
            ("audio", text(self.audio.as_ref().map(ToString::to_string))),
            ("sound", text(self.sound.as_ref().map(ToString::to_string))),
            ("audio-volume", self.device_volume.map(toml::Value::from)),
            ("audio-mute", self.device_muted.map(toml::Value::from)),
            ("sound-volume", self.talk_volume.map(toml::Value::from)),
            ("sound-mute", self.talk_muted.map(toml::Value::from)),
        ];
        values.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    fn refuse_relative(&self) -> Result<(), Error> {
        let sink = match &self.sound {
            Some(SoundSink::File(path)) => Some(path.as_path()),
            _ => None,
        };
        let paths =
            [self.video.as_ref().and_then(VideoSource::file), self.audio.as_ref().and_then(AudioSource::file), sink];
        match paths.into_iter().flatten().find(|path| !path.is_absolute()) {
            Some(path) => Err(Error::Relative { what: format!("file {:?}", path.display().to_string()) }),
            None => Ok(()),
        }
    }
}

impl Present {
    fn of(in_force: &Config, configured: &Config) -> Self {
        fn setting<T: Clone + PartialEq>(value: &T, configured: &T) -> Setting<T> {
            Setting { value: value.clone(), configured: configured.clone(), changed: value != configured }
        }
        Self {
            video: setting(&in_force.video, &configured.video),
            audio: setting(&in_force.audio, &configured.audio),
            sound: setting(&in_force.sound, &configured.sound),
            device_volume: setting(&in_force.audio_volume, &configured.audio_volume),
            device_muted: setting(&in_force.audio_mute, &configured.audio_mute),
            talk_volume: setting(&in_force.sound_volume, &configured.sound_volume),
            talk_muted: setting(&in_force.sound_mute, &configured.sound_mute),
            notes: Vec::new(),
        }
    }

    /// Keys whose value is not the configuration's, with that value as a file has it, texts without their quotes.
    pub fn changed(&self) -> Vec<(String, String)> {
        let bare = |value: toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.changes().table().into_iter().map(|(key, value)| (key, bare(value))).collect()
    }

    /// What differs from the configuration.
    fn changes(&self) -> Changes {
        fn differs<T: Clone>(setting: &Setting<T>) -> Option<T> {
            setting.changed.then(|| setting.value.clone())
        }
        Changes {
            video: differs(&self.video),
            audio: differs(&self.audio),
            sound: differs(&self.sound),
            device_volume: differs(&self.device_volume),
            device_muted: differs(&self.device_muted),
            talk_volume: differs(&self.talk_volume),
            talk_muted: differs(&self.talk_muted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_as_the_configuration_does_and_refuse_what_is_unknown() {
        let text = r#"{"video":"camera:/dev/v4l/by-id/usb-x-video-index0","talkVolume":0.5,"deviceMuted":true}"#;
        let changes: Changes = serde_json::from_str(text).unwrap();
        assert_eq!(changes.video, Some(VideoSource::Camera(Some("/dev/v4l/by-id/usb-x-video-index0".into()))));
        assert_eq!(
            serde_json::to_string(&changes).unwrap(),
            text.replace("\"talkVolume\":0.5,\"deviceMuted\":true", "\"deviceMuted\":true,\"talkVolume\":0.5")
        );
        for (wrong, word) in [
            (r#"{"vidoe":"test"}"#, "vidoe"),
            (r#"{"video":"camra:x"}"#, "must be test, file:PATH"),
            (r#"{"talkVolume":"loud"}"#, "loud"),
        ] {
            let said = serde_json::from_str::<Changes>(wrong).unwrap_err().to_string();
            assert!(said.contains(word), "{wrong}: {said}");
        }
    }

    #[test]
    fn only_absolute_files_are_taken() {
        let change = |text: &str| serde_json::from_str::<Changes>(text).unwrap().refuse_relative();
        assert!(change(r#"{"video":"file:clip.mp4"}"#).unwrap_err().to_string().contains("clip.mp4"));
        assert!(change(r#"{"sound":"file:out.wav"}"#).is_err());
        assert!(change(r#"{"audio":"file:/clip.mp4","video":"image:/a.png","sound":"discard"}"#).is_ok());
    }
}
