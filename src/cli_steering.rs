//! The commands that change or show what a running service does: `source`, `sound`, `volume`, `mute`, `unmute`.
//!
//! In: words of the command line. Out: a request for the control socket; what is in force, as text.
//! Never: a value that the service has not judged.

use std::fmt::{Display, Write};

use clap::{Subcommand, ValueEnum};

use crate::cli_place::Wrong;
use crate::config::{AudioSource, SoundSink, VideoSource};
use crate::control::Request;
use crate::steering::{Changes, Present, Setting};

/// `duplex source ...`.
#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// Show sources, speaker and volumes in force, and which of them differ from the configuration
    Show,
    /// Take the picture or the sound from elsewhere; calls go on
    #[command(
        after_help = "Examples:\n  duplex source set video camera:auto\n  duplex source set video image:away.png\n  \
        duplex source set audio microphone:auto\n\nSetting what the configuration says undoes a change."
    )]
    Set {
        /// Which source
        which: Which,
        /// As in the configuration: test, file:PATH, image:PATH, camera:NAME, microphone:NAME, speech:TEXT, silence
        source: String,
    },
}

/// Picture or sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The picture
    Video,
    /// The sound
    Audio,
}

/// `duplex sound ...`.
#[derive(Debug, Subcommand)]
pub enum SoundCommand {
    /// Send the talker's sound elsewhere; a talk goes on
    Set {
        /// As in the configuration: speaker:auto, speaker:NAME, file:PATH.wav (each talk writes it anew) or discard
        sink: String,
    },
}

/// A direction of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// What viewers hear of the device
    Device,
    /// What is heard of the talker at the device
    Talk,
}

impl SourceCommand {
    /// The request for the service.
    ///
    /// # Errors
    /// The source is not one that the configuration would take.
    pub fn request(&self) -> anyhow::Result<Request> {
        let changes = match self {
            Self::Show => return Ok(Request::Present),
            Self::Set { which: Which::Video, source } => {
                let video = match source.parse().map_err(|rule| Wrong(format!("{source:?}: {rule}")))? {
                    VideoSource::File(path) => VideoSource::File(std::path::absolute(path)?),
                    VideoSource::Image(path) => VideoSource::Image(std::path::absolute(path)?),
                    other => other,
                };
                Changes { video: Some(video), ..Changes::default() }
            }
            Self::Set { which: Which::Audio, source } => {
                let audio = match source.parse().map_err(|rule| Wrong(format!("{source:?}: {rule}")))? {
                    AudioSource::File(path) => AudioSource::File(std::path::absolute(path)?),
                    other => other,
                };
                Changes { audio: Some(audio), ..Changes::default() }
            }
        };
        Ok(Request::Change { changes })
    }
}

impl SoundCommand {
    /// The request for the service.
    ///
    /// # Errors
    /// The sink is not one that the configuration would take.
    pub fn request(&self) -> anyhow::Result<Request> {
        let Self::Set { sink } = self;
        let sound = match sink.parse().map_err(|rule| Wrong(format!("{sink:?}: {rule}")))? {
            SoundSink::File(path) => {
                let path = std::path::absolute(path)?;
                // Each talk writes it anew.
                if path.exists() {
                    let rule = "is there already and would be overwritten; name another file";
                    return Err(Wrong(format!("{} {rule}", path.display())).into());
                }
                SoundSink::File(path)
            }
            other => other,
        };
        Ok(Request::Change { changes: Changes { sound: Some(sound), ..Changes::default() } })
    }
}

impl Direction {
    /// The request to set this direction's volume.
    pub fn volume(self, factor: f64) -> Request {
        let mut changes = Changes::default();
        match self {
            Self::Device => changes.device_volume = Some(factor),
            Self::Talk => changes.talk_volume = Some(factor),
        }
        Request::Change { changes }
    }

    /// The request to silence this direction, or to let it be heard again.
    pub fn mute(self, muted: bool) -> Request {
        let mut changes = Changes::default();
        match self {
            Self::Device => changes.device_muted = Some(muted),
            Self::Talk => changes.talk_muted = Some(muted),
        }
        Request::Change { changes }
    }
}

/// A volume as it is written: `NaN` and the infinities are numbers for a parser, and nothing at all in what the service is sent.
///
/// # Errors
/// It is no number from 0 to 2.
pub fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor| (0.0..=2.0).contains(factor));
    factor.ok_or_else(|| "must be a number from 0 to 2".to_owned())
}

/// What a change has come to, a line for each thing that it was about.
pub fn done(changes: &Changes, present: &Present) -> String {
    fn comes<T: Display>(what: &str, setting: &Setting<T>) -> String {
        let Setting { value, configured, changed } = setting;
        let note = if *changed { format!("; the configuration says {configured}") } else { String::new() };
        format!("{what} {value}{note}\n")
    }
    let heard = |whose: &str, volume: f64, muted: bool| match (muted, volume) {
        (true, _) => format!("{whose} is muted; its volume is {volume}\n"),
        (false, 0.0) => format!("{whose} is not muted, but its volume is 0\n"),
        (false, _) => format!("{whose} is not muted; its volume is {volume}\n"),
    };
    let mut text = String::new();
    if changes.video.is_some() {
        text += &comes("the picture comes from", &present.video);
    }
    if changes.audio.is_some() {
        text += &comes("the sound comes from", &present.audio);
    }
    if changes.sound.is_some() {
        text += &comes("the talker's sound goes to", &present.sound);
    }
    if changes.device_volume.is_some() || changes.device_muted.is_some() {
        text += &heard("the device's sound", present.device_volume.value, present.device_muted.value);
    }
    if changes.talk_volume.is_some() || changes.talk_muted.is_some() {
        text += &heard("the talker's sound", present.talk_volume.value, present.talk_muted.value);
    }
    for note in &present.notes {
        text += &format!("note: {}; `duplex devices` lists those that are there\n", note.text);
    }
    text
}

/// What is in force, a line each.
pub fn shown(present: &Present) -> String {
    let mut text = String::new();
    line(&mut text, "video", &present.video);
    line(&mut text, "audio", &present.audio);
    line(&mut text, "sound", &present.sound);
    line(&mut text, "device volume", &present.device_volume);
    line(&mut text, "device muted", &present.device_muted);
    line(&mut text, "talk volume", &present.talk_volume);
    line(&mut text, "talk muted", &present.talk_muted);
    text
}

fn line<T: Display>(text: &mut String, what: &str, setting: &Setting<T>) {
    let Setting { value, configured, changed } = setting;
    let note = if *changed { format!("  (changed; configured: {configured})") } else { String::new() };
    // Writing to a String cannot fail.
    writeln!(text, "{what:<14} {value}{note}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::Note;

    fn present(device_volume: f64, device_muted: bool) -> Present {
        fn setting<T: Clone + PartialEq>(value: T, configured: T) -> Setting<T> {
            Setting { changed: value != configured, value, configured }
        }
        Present {
            video: setting(VideoSource::Camera(None), VideoSource::Test),
            audio: setting(AudioSource::Test, AudioSource::Test),
            sound: setting(SoundSink::Discard, SoundSink::Discard),
            device_volume: setting(device_volume, 1.0),
            device_muted: setting(device_muted, false),
            talk_volume: setting(1.0, 1.0),
            talk_muted: setting(false, false),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_change_is_told_in_one_line() {
        let changes = |request| match request {
            Request::Change { changes } => changes,
            other => panic!("{other:?}"),
        };
        let mute = |muted, volume| done(&changes(Direction::Device.mute(muted)), &present(volume, muted));
        assert_eq!(mute(true, 0.5), "the device's sound is muted; its volume is 0.5\n");
        assert_eq!(mute(false, 1.0), "the device's sound is not muted; its volume is 1\n");
        assert_eq!(mute(false, 0.0), "the device's sound is not muted, but its volume is 0\n");
        assert_eq!(
            done(&changes(Direction::Talk.volume(1.0)), &present(0.0, true)),
            "the talker's sound is not muted; its volume is 1\n"
        );
        let video = Changes { video: Some(VideoSource::Camera(None)), ..Changes::default() };
        assert_eq!(
            done(&video, &present(1.0, false)),
            "the picture comes from camera:auto; the configuration says test\n"
        );
        let note = Note { key: "video".to_owned(), text: "no camera is connected".to_owned() };
        let told = done(&video, &Present { notes: vec![note], ..present(1.0, false) });
        assert!(
            told.ends_with("\nnote: no camera is connected; `duplex devices` lists those that are there\n"),
            "{told}"
        );
    }

    #[test]
    fn a_volume_is_a_number_from_0_to_2() {
        for wrong in ["NaN", "inf", "-inf", "-1", "2.01", "loud", ""] {
            assert_eq!(factor(wrong), Err("must be a number from 0 to 2".to_owned()), "{wrong}");
        }
        assert_eq!((factor("0"), factor("0.25"), factor("2")), (Ok(0.0), Ok(0.25), Ok(2.0)));
    }
}
