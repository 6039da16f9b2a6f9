//! What has to be said of a change that is made all the same: that a device is not there now.
//!
//! In: changes; what there is to say of a device. Out: a [`Note`] for each key that it concerns. Never: a refusal: a device may come later.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

use super::Changes;
use crate::config::{AudioSource, SoundSink, VideoSource};
use crate::devices::Class;

/// A word on a value that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, ToSchema)]
#[ts(export)]
pub struct Note {
    /// What it is about: `video`, `audio` or `sound`.
    pub key: String,
    /// A sentence, as part of a line: without a capital letter and a full stop.
    pub text: String,
}

/// The notes on changes; `remark` says of a device by its name, or of the one that `auto` means, what there is to say. It may block.
pub(super) fn notes(changes: &Changes, remark: impl Fn(Class, Option<&str>) -> Option<String>) -> Vec<Note> {
    let camera = match &changes.video {
        Some(VideoSource::Camera(name)) => Some(("video", Class::Camera, name)),
        _ => None,
    };
    let microphone = match &changes.audio {
        Some(AudioSource::Microphone(name)) => Some(("audio", Class::Microphone, name)),
        _ => None,
    };
    let speaker = match &changes.sound {
        Some(SoundSink::Speaker(name)) => Some(("sound", Class::Speaker, name)),
        _ => None,
    };
    let note = |(key, class, name): (&str, Class, &Option<String>)| {
        remark(class, name.as_deref()).map(|text| Note { key: key.to_owned(), text })
    };
    [camera, microphone, speaker].into_iter().flatten().filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_device_is_looked_for_and_nothing_else() {
        let changes = |text: &str| serde_json::from_str::<Changes>(text).unwrap();
        let of = |text: &str| {
            let said = |class: Class, name: Option<&str>| Some(format!("{} {}", class.word(), name.unwrap_or("auto")));
            notes(&changes(text), said)
                .into_iter()
                .map(|note| format!("{}: {}", note.key, note.text))
                .collect::<Vec<_>>()
        };
        let all = r#"{"video":"camera:nope","audio":"microphone:auto","sound":"speaker:hw:1"}"#;
        assert_eq!(of(all), ["video: camera nope", "audio: microphone auto", "sound: speaker hw:1"]);
        assert!(of(r#"{"video":"test","audio":"silence","sound":"discard","deviceMuted":true}"#).is_empty());
        assert!(notes(&changes(all), |_, _| None).is_empty(), "of devices that are there");
    }
}
