//! Sources: each a pipeline of its own that ends in raw media of one fixed format.
//!
//! In: a configured source. Out: a [`Source`] with outlets for picture and sound. Never: the mixer, the
//! encoder or a viewer; a source that fails takes nothing with it.
//!
//! ```text
//! test | camera | image | file ──> convert, scale, rate ──> outlet (appsink, I420)
//! test | microphone | speech | file ──> convert, resample ──> outlet (appsink, S16LE)
//! ```

mod camera;
mod card;
mod file;
mod image;
mod microphone;
mod speech;
mod test;

pub use card::card;
pub use file::file;
pub use speech::speech;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use gst::prelude::*;

use super::encoder::Format;
use crate::bridge;
use crate::config::{AudioSource, Camera, Config, Room, VideoSource};
use crate::devices::{self, Class, Device};
use crate::far_end::{self, FarEnd};
use crate::pipeline::{Error, Pipeline, make};

/// A source that can be played and joined to the mixer.
#[derive(Debug)]
pub struct Source {
    /// The pipeline and its events.
    pub pipeline: Pipeline,
    /// Raw picture, if it has one.
    pub video: Option<Outlet>,
    /// Raw sound, if it has one.
    pub audio: Option<Outlet>,
    /// What to do when it comes to its end.
    pub end: End,
    /// What it captures from, if it is a device.
    pub device: Option<Device>,
    /// Buffers that have come from it.
    pub flow: Arc<AtomicU64>,
}

impl Source {
    /// A source that is no device.
    fn new(pipeline: Pipeline, video: Option<gst_app::AppSink>, audio: Option<gst_app::AppSink>, end: End) -> Self {
        Self { pipeline, video: video.map(Outlet), audio: audio.map(Outlet), end, device: None, flow: Arc::default() }
    }

    /// The same, captured from a device.
    fn of(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }
}

/// What sources are built for.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Size and rate of the picture.
    pub format: Format,
    /// How a camera is set.
    pub camera: Camera,
    /// What is done to a microphone's sound.
    pub room: Room,
    /// What the speaker plays.
    pub far_end: FarEnd,
}

impl Setup {
    /// As configured.
    pub fn of(config: &Config, far_end: FarEnd) -> Self {
        let room = Room { echo: far_end::resolved(config.room.echo), ..config.room };
        Self { format: Format::of(config), camera: config.camera.clone(), room, far_end }
    }
}

/// Caps of every raw sound.
pub fn raw_audio() -> gst::Caps {
    Format::raw_audio()
}

/// Where a source's media comes out. Dropping it ends that at once: the pipeline stops in its own time, and must not mix
/// with what follows it.
#[derive(Debug)]
pub struct Outlet(gst_app::AppSink);

impl std::ops::Deref for Outlet {
    type Target = gst_app::AppSink;

    fn deref(&self) -> &gst_app::AppSink {
        &self.0
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        bridge::part(&self.0);
    }
}

/// What the end of a source means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has none: an end is a fault.
    Never,
    /// Seek to the start in the same pipeline, without a gap.
    Loop,
    /// Build it anew after a pause (speech).
    Repeat,
}

/// Said of a file that has no picture, though it is to be shown.
const NO_PICTURE: &str = "the file has no picture";
/// Said of a file that has no sound, though it is to be heard.
pub const NO_SOUND: &str = "the file has no sound";

/// What a source is made from: the parts of the programme that share one pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A picture.
    Video(VideoSource),
    /// Sound.
    Audio(AudioSource),
    /// Both from one file, in sync.
    Both(std::path::PathBuf),
}

impl Wanted {
    /// The pipelines that a configuration needs.
    pub fn from_config(video: &VideoSource, audio: &AudioSource) -> Vec<Self> {
        match (video, audio) {
            (VideoSource::File(v), AudioSource::File(a)) if v == a => vec![Self::Both(v.clone())],
            _ => vec![Self::Video(video.clone()), Self::Audio(audio.clone())],
        }
    }

    /// Kind of device that it captures from.
    pub fn device_class(&self) -> Option<Class> {
        match self {
            Self::Video(VideoSource::Camera(_)) => Some(Class::Camera),
            Self::Audio(AudioSource::Microphone(_)) => Some(Class::Microphone),
            _ => None,
        }
    }

    /// The kind of device of which it captures from the best.
    pub fn auto_class(&self) -> Option<Class> {
        match self {
            Self::Video(VideoSource::Camera(None)) => Some(Class::Camera),
            Self::Audio(AudioSource::Microphone(None)) => Some(Class::Microphone),
            _ => None,
        }
    }

    /// Builds the source, of this device if one was chosen; it does not play yet. Looks for devices otherwise, which may take a moment.
    pub fn build(&self, chosen: Option<Device>, setup: &Setup) -> Result<Source, Error> {
        let format = &setup.format;
        let device = |class, name: &Option<String>| match chosen {
            Some(device) => Ok(device),
            None => devices::find(class, name.as_deref()).map_err(|error| Error::Input(error.to_string())),
        };
        match self {
            Self::Video(VideoSource::Test) => test::picture(format),
            Self::Video(VideoSource::File(path)) => file(path, Some(format), false),
            Self::Video(VideoSource::Image(path)) => image::image(path, format),
            Self::Video(VideoSource::Camera(name)) => camera::camera(device(Class::Camera, name)?, setup),
            Self::Audio(AudioSource::Test) => test::tone(),
            Self::Audio(AudioSource::Silence) => test::silence(),
            Self::Audio(AudioSource::File(path)) => file(path, None, true),
            Self::Audio(AudioSource::Speech(text)) => speech(text, End::Repeat),
            Self::Audio(AudioSource::Microphone(name)) => {
                microphone::microphone(device(Class::Microphone, name)?, setup)
            }
            Self::Both(path) => file(path, Some(format), true),
        }
    }

    /// Whether the picture depends on it.
    pub fn has_video(&self) -> bool {
        !matches!(self, Self::Audio(_))
    }

    /// Whether the sound depends on it.
    pub fn has_audio(&self) -> bool {
        !matches!(self, Self::Video(_))
    }

    /// Whether it comes from a file.
    pub fn is_file(&self) -> bool {
        self.path().is_some()
    }

    /// The file that it comes from.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Both(path) => Some(path),
            Self::Video(source) => source.file(),
            Self::Audio(source) => source.file(),
        }
    }

    /// What people call it in a message.
    pub fn label(&self) -> String {
        match self {
            Self::Video(source) => source.to_string(),
            Self::Audio(AudioSource::Speech(_)) => "speech".to_owned(),
            Self::Audio(source) => source.to_string(),
            Self::Both(path) => format!("file:{}", path.display()),
        }
    }
}

/// `convert ! scale (keeping the shape) ! rate ! outlet`; returns the first element and the outlet.
///
/// Of a source that waits for nobody (`sync` is false) a processor that is too slow sees the latest pictures, not each one ever later.
fn picture_tail(pipeline: &Pipeline, format: &Format, sync: bool) -> Result<(gst::Element, gst_app::AppSink), Error> {
    let queue = make("queue")?;
    if !sync {
        latest(&queue);
    }
    let convert = make("videoconvert")?;
    convert.set_property("n-threads", 2u32);
    let scale = make("videoscale")?;
    scale.set_property("add-borders", true);
    let rate = make("videorate")?;
    // A camera slower than asked must not cost latency by waiting for its next frame.
    rate.set_property("skip-to-first", true);
    let caps = make("capsfilter")?;
    caps.set_property("caps", format.raw_video());
    let outlet = bridge::outlet(&format.raw_video(), sync)?;
    pipeline.add_chain("picture", &[&queue, &convert, &scale, &rate, &caps, outlet.upcast_ref()])?;
    Ok((queue, outlet))
}

/// Lets a queue hold two pictures, and lose the older one for the next.
pub fn latest(queue: &gst::Element) {
    queue.set_property("max-size-buffers", 2u32);
    queue.set_property("max-size-bytes", 0u32);
    queue.set_property("max-size-time", 0u64);
    queue.set_property_from_str("leaky", "downstream");
}

/// `convert ! resample ! outlet`; returns the first element and the outlet.
fn sound_tail(pipeline: &Pipeline, sync: bool) -> Result<(gst::Element, gst_app::AppSink), Error> {
    let queue = make("queue")?;
    let convert = make("audioconvert")?;
    let resample = make("audioresample")?;
    let caps = make("capsfilter")?;
    caps.set_property("caps", Format::raw_audio());
    let outlet = bridge::outlet(&Format::raw_audio(), sync)?;
    pipeline.add_chain("sound", &[&queue, &convert, &resample, &caps, outlet.upcast_ref()])?;
    Ok((queue, outlet))
}

/// Adds elements and links them, the last one into `tail`.
fn head(
    pipeline: &Pipeline,
    stage: &'static str,
    elements: &[&gst::Element],
    tail: &gst::Element,
) -> Result<(), Error> {
    pipeline.add_chain(stage, elements)?;
    if let Some(last) = elements.last() {
        last.link(tail).map_err(|source| Error::Link { stage, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::config::VideoCodec;

    pub fn small() -> Format {
        let codec = VideoCodec::Vp8;
        Format { width: 320, height: 240, framerate: 30, codec, video_bitrate: 300, audio_bitrate: 32 }
    }

    #[test]
    fn a_processor_that_is_too_slow_gets_the_latest_pictures_of_a_camera() {
        gst::init().unwrap();
        let pipeline = Pipeline::new("slow");
        let format = small();
        let (tail, _outlet) = picture_tail(&pipeline, &format, false).unwrap();
        let camera = bridge::inlet(&format.raw_video(), 0, gst::ClockTime::ZERO).unwrap();
        head(&pipeline, "slow", &[camera.upcast_ref()], &tail).unwrap();
        let (taken, takes) = channel();
        let (go_on, goes_on) = channel::<()>();
        let goes_on = Mutex::new(goes_on);
        tail.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            taken.send(info.buffer().and_then(|buffer| buffer.pts()).map(gst::ClockTime::seconds)).unwrap();
            goes_on.lock().unwrap().recv().ok();
            gst::PadProbeReturn::Ok
        });
        pipeline.inner().set_state(gst::State::Playing).unwrap();
        let size = gst_video::VideoInfo::from_caps(&format.raw_video()).unwrap().size();
        let push = |second| {
            let mut buffer = gst::Buffer::with_size(size).unwrap();
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_seconds(second));
            camera.push_buffer(buffer).unwrap();
        };
        push(0);
        assert_eq!(takes.recv().unwrap(), Some(0));
        (1..10).for_each(push);
        crate::gate::tests::until("all are in the queue", || camera.current_level_buffers() == 0);
        // The last may be on its way from the one to the other.
        crate::gate::tests::until("the queue has the latest", || {
            tail.property::<u32>("current-level-buffers") == 2 && takes.try_recv().is_err()
        });
        go_on.send(()).unwrap();
        let next = takes.recv().unwrap();
        assert!(next >= Some(7), "{next:?}");
        drop(go_on);
        pipeline.inner().set_state(gst::State::Null).unwrap();
    }
}
