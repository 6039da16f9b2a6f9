//! The one encode that all viewers share: picture and sound encoders for real time.
//!
//! In: raw I420 pictures, raw S16 sound. Out: VP8 or H.264 constrained baseline, Opus, in caps fixed
//! beforehand (a changed caps field would end every session). Never: a key frame for each of a
//! joining viewer's several requests; see [`KeyFrameRation`].

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

use crate::config::{Config, VideoCodec};
use crate::pipeline::{Error, make};

/// Size, rate and bit rates of what goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Frames per second.
    pub framerate: u32,
    /// Codec of the picture.
    pub codec: VideoCodec,
    /// kbit/s of the picture.
    pub video_bitrate: u32,
    /// kbit/s of the sound.
    pub audio_bitrate: u32,
}

/// Sample rate of all sound inside the service, Hz: Opus's own.
pub const RATE: i32 = 48_000;
/// Channels of all sound inside the service.
pub const CHANNELS: i32 = 2;

/// Pixels of the largest picture that one thread encodes: 720p. At 30 frames per second that is 13 % of a core of a
/// server's Xeon; a core of a Raspberry Pi 4 is reckoned (not measured) to need two thirds of its time for it.
const ONE_THREAD: u32 = 1280 * 720;

/// Processor cores an encoder may use: at most four.
fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, usize::from).min(4) as u32
}

/// Most pictures from one key frame to the next: practically never, they come when somebody asks for one.
const KEY_FRAMES: u32 = 2000;

impl Format {
    /// What a configuration asks for.
    pub fn of(config: &Config) -> Self {
        Self {
            width: config.width,
            height: config.height,
            framerate: config.framerate,
            codec: config.video_codec,
            video_bitrate: config.video_bitrate,
            audio_bitrate: config.audio_bitrate,
        }
    }

    /// Caps of every raw picture, whatever its source.
    pub fn raw_video(&self) -> gst::Caps {
        gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", self.width as i32)
            .field("height", self.height as i32)
            .field("framerate", gst::Fraction::new(self.framerate as i32, 1))
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build()
    }

    /// Caps of every raw sound, whatever its source.
    pub fn raw_audio() -> gst::Caps {
        gst::Caps::builder("audio/x-raw")
            .field("format", "S16LE")
            .field("layout", "interleaved")
            .field("rate", RATE)
            .field("channels", CHANNELS)
            .field("channel-mask", gst::Bitmask::new(3))
            .build()
    }

    /// Caps of the encoded picture.
    pub fn encoded_video(&self) -> gst::Caps {
        let caps = match self.codec {
            VideoCodec::Vp8 => gst::Caps::builder("video/x-vp8").field("profile", "0"),
            VideoCodec::H264 => gst::Caps::builder("video/x-h264")
                .field("stream-format", "byte-stream")
                .field("alignment", "au")
                .field("profile", "constrained-baseline"),
        };
        caps.field("width", self.width as i32)
            .field("height", self.height as i32)
            .field("framerate", gst::Fraction::new(self.framerate as i32, 1))
            .build()
    }

    /// Caps of the encoded sound.
    pub fn encoded_audio() -> gst::Caps {
        gst::Caps::builder("audio/x-opus")
            .field("rate", RATE)
            .field("channels", CHANNELS)
            .field("channel-mapping-family", 0i32)
            .field("stream-count", 1i32)
            .field("coupled-count", 1i32)
            .build()
    }

    /// The encoder of the picture.
    ///
    /// VP8: `deadline=1 cpu-used=-16` is libvpx's real-time mode at its fastest, as webrtcsink sets it.
    pub fn video_encoder(&self) -> Result<gst::Element, Error> {
        let encoder = match self.codec {
            VideoCodec::Vp8 => {
                let encoder = make("vp8enc")?;
                encoder.set_property("deadline", 1i64);
                encoder.set_property("cpu-used", -16i32);
                encoder.set_property("threads", self.vp8_threads() as i32);
                encoder.set_property_from_str("end-usage", "cbr");
                encoder.set_property("undershoot", 95i32);
                encoder.set_property("buffer-size", 6000i32);
                encoder.set_property("buffer-initial-size", 4000i32);
                encoder.set_property("buffer-optimal-size", 5000i32);
                // A key frame of at most this many per cent of a frame's share, as WebRTC's own encoder keeps it.
                encoder.set_property("max-intra-bitrate", 450i32);
                encoder.set_property("lag-in-frames", 0i32);
                encoder.set_property("static-threshold", 100i32);
                encoder.set_property_from_str("error-resilient", "default");
                encoder.set_property("keyframe-max-dist", KEY_FRAMES as i32);
                encoder
            }
            VideoCodec::H264 => {
                let encoder = make("x264enc")?;
                encoder.set_property_from_str("tune", "zerolatency");
                encoder.set_property_from_str("speed-preset", "ultrafast");
                encoder.set_property("threads", cores());
                encoder.set_property("bframes", 0u32);
                encoder.set_property("key-int-max", KEY_FRAMES);
                encoder.set_property("byte-stream", true);
                encoder
            }
        };
        self.set_video_bitrate(&encoder, self.video_bitrate);
        Ok(encoder)
    }

    /// Gives an encoder of [`Format::video_encoder`] another bit rate, kbit/s, in the middle of the stream.
    pub fn set_video_bitrate(&self, encoder: &gst::Element, kbits: u32) {
        match self.codec {
            VideoCodec::Vp8 => encoder.set_property("target-bitrate", (kbits * 1000) as i32),
            VideoCodec::H264 => encoder.set_property("bitrate", kbits),
        }
    }

    /// Threads of libvpx. They wait for each other in a busy loop: at 720p30 two of them take 2.4 times the processor time
    /// of one, for no frame more. Only pictures that one core may not manage in time get more.
    fn vp8_threads(&self) -> u32 {
        if self.width * self.height <= ONE_THREAD { 1 } else { cores() }
    }

    /// The encoder of the sound: 20 ms frames with in-band FEC.
    pub fn audio_encoder(&self) -> Result<gst::Element, Error> {
        let encoder = make("opusenc")?;
        encoder.set_property("bitrate", (self.audio_bitrate * 1000) as i32);
        encoder.set_property("inband-fec", true);
        encoder.set_property("packet-loss-percentage", 5i32);
        Ok(encoder)
    }
}

/// Decides which key-frame requests reach the shared encoder.
///
/// A key frame costs every viewer bitrate, and a joining viewer asks several times. A request passes
/// if a viewer just joined, or if the last one that passed is at least [`KeyFrameRation::SPACING`] ago.
#[derive(Debug, Default)]
pub struct KeyFrameRation {
    last: Option<Instant>,
    joined: bool,
}

impl KeyFrameRation {
    /// Least time between two key frames that are not for a new viewer. A browser that still needs
    /// one repeats its request.
    pub const SPACING: Duration = Duration::from_millis(500);

    /// A viewer joined: the next request is let through.
    pub fn joined(&mut self) {
        self.joined = true;
    }

    /// Whether a request that comes now passes.
    pub fn pass(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= Self::SPACING);
        if !(self.joined || due) {
            return false;
        }
        self.joined = false;
        self.last = Some(now);
        true
    }
}

/// Puts a ration in front of an encoder.
pub fn ration_key_frames(encoder: &gst::Element, ration: Arc<Mutex<KeyFrameRation>>) {
    let Some(pad) = encoder.static_pad("src") else { return };
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if !info.event().is_some_and(|event| event.has_name("GstForceKeyUnit")) {
            return gst::PadProbeReturn::Ok;
        }
        let mut ration = ration.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if ration.pass(Instant::now()) { gst::PadProbeReturn::Ok } else { crate::bridge::DISCARD }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_up_to_720p() {
        let format = |width, height| Format {
            width,
            height,
            framerate: 30,
            codec: VideoCodec::Vp8,
            video_bitrate: 2000,
            audio_bitrate: 64,
        };
        assert_eq!(format(1280, 720).vp8_threads(), 1);
        assert_eq!(format(1920, 1080).vp8_threads(), cores());
    }

    #[test]
    fn a_burst_of_requests_costs_one_key_frame() {
        let mut ration = KeyFrameRation::default();
        let start = Instant::now();
        let passed = (0..10).filter(|i| ration.pass(start + Duration::from_millis(i * 40))).count();
        assert_eq!(passed, 1);
        assert!(ration.pass(start + Duration::from_millis(500)));
    }

    #[test]
    fn a_new_viewer_does_not_wait() {
        let mut ration = KeyFrameRation::default();
        let start = Instant::now();
        assert!(ration.pass(start));
        assert!(!ration.pass(start + Duration::from_millis(10)));
        ration.joined();
        assert!(ration.pass(start + Duration::from_millis(20)));
        assert!(!ration.pass(start + Duration::from_millis(30)));
    }
}
