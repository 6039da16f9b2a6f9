//! A camera: libcamera or V4L2.
//!
//! In: a device; the owner's controls. Out: its picture, turned as configured.
//! Never: a camera opened before somebody watches; H.264 of a camera's own: the talker's picture goes into the same
//! frames and every viewer gets the same encode, so it would be decoded and encoded again, which costs more than MJPEG.
//!
//! ```text
//! libcamerasrc | v4l2src ─> caps (size wanted, raw or MJPEG) ─> decodebin ─> videoflip ─> convert, scale, rate ─> outlet
//! ```

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use gst::prelude::*;

use super::{End, Setup, Source, picture_tail};
use crate::bridge::DISCARD;
use crate::config::{Auto, Camera};
use crate::devices::{self, Device, Driver, camera_settings};
use crate::outbound::encoder::Format;
use crate::pipeline::{Error, Pipeline, make};

/// The camera as a source. Blocks where something is set: the camera is asked whether it takes that.
pub fn camera(device: Device, setup: &Setup) -> Result<Source, Error> {
    let format = &setup.format;
    remark(&device, &setup.camera);
    let (source, wanted) = match (device.driver, &device.node) {
        (Driver::V4l2, Some(node)) => {
            let source = make("v4l2src")?;
            source.set_property("device", node.to_string_lossy().as_ref());
            if let Some(controls) = v4l2_controls(&setup.camera) {
                source.set_property("extra-controls", controls);
            }
            (source, preferred(format))
        }
        _ => {
            let source = make("libcamerasrc")?;
            own_memory(&source);
            source.set_property("camera-name", &device.name);
            set_libcamera(&source, &setup.camera);
            (source, device.offers.as_ref().map_or_else(|| preferred(format), |offers| chosen(format, offers)))
        }
    };
    let mut pipeline = Pipeline::new("source-camera");
    if device.driver == Driver::Libcamera {
        pipeline.go_through(&devices::libcamera::OPENING);
    }
    let caps = make("capsfilter")?;
    caps.set_property("caps", wanted);
    let decode = make("decodebin")?;
    let flip = make("videoflip")?;
    flip.set_property_from_str("method", method(&setup.camera));
    let (tail, outlet) = picture_tail(&pipeline, format, false)?;
    pipeline.add_chain("camera", &[&source, &caps, &decode])?;
    super::head(&pipeline, "camera", &[&flip], &tail)?;
    let flip = flip.downgrade();
    decode.connect_pad_added(move |_, pad| {
        let sink = flip.upgrade().and_then(|flip| flip.static_pad("sink"));
        if let Some(sink) = sink.filter(|sink| !sink.is_linked())
            && let Err(error) = pad.link(&sink)
        {
            tracing::warn!(%error, "the camera could not be linked");
        }
    });
    Ok(Source::new(pipeline, Some(outlet), None, End::Never).of(device))
}

/// Copies each picture out of libcamera's memory, which keeps libcamera's manager alive wherever a picture still is: the pipeline's
/// end would not be the manager's. The camera has its few buffers back at once.
fn own_memory(source: &gst::Element) {
    let Some(pad) = source.static_pad("src") else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
            match buffer.copy_deep() {
                Ok(copy) => *buffer = copy,
                Err(error) => {
                    tracing::debug!(%error, "a picture of the camera was not copied");
                    return DISCARD;
                }
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// What to ask a camera for, best first: the size and rate wanted raw, then as MJPEG (USB 2 cannot carry 720p30
/// raw), then more than wanted, to be made smaller, then anything. The first is one rate, not a range: v4l2src takes of all that is
/// possible what comes nearest to it, in rate first; of a range it would be the camera's highest, which is decoded and thrown away.
fn preferred(format: &Format) -> gst::Caps {
    let (width, height, rate) = (format.width as i32, format.height as i32, format.framerate as i32);
    let wanted = gst::Fraction::new(rate, 1);
    let rates = gst::FractionRange::new(wanted, gst::Fraction::new(i32::MAX, 1));
    let sized = |kind: &str| gst::Structure::builder(kind).field("width", width).field("height", height);
    let exact = |kind: &str| sized(kind).field("framerate", wanted).build();
    let faster = |kind: &str| sized(kind).field("framerate", rates).build();
    let larger = |kind: &str| {
        let sized = gst::Structure::builder(kind).field("width", gst::IntRange::new(width, 4 * width));
        sized.field("height", gst::IntRange::new(height, 4 * height)).field("framerate", rates).build()
    };
    let mut caps = gst::Caps::new_empty();
    let writable = caps.make_mut();
    for structure in [
        exact("video/x-raw"),
        exact("image/jpeg"),
        faster("video/x-raw"),
        faster("image/jpeg"),
        larger("video/x-raw"),
        larger("image/jpeg"),
        gst::Structure::new_empty("video/x-raw"),
        gst::Structure::new_empty("image/jpeg"),
    ] {
        writable.append_structure(structure);
    }
    caps
}

/// What to ask libcamera's source for: the best of what the camera offers, and nothing else. Given a choice it takes the size
/// nearest to the camera's default, and the format with the lowest code: of a Raspberry Pi it would be 1080p in grey, whatever was
/// wanted. The rate has to be one number as well: of a range it makes 30. See `gst_libcamera_configure_stream_from_caps` in libcamera.
fn chosen(format: &Format, offers: &gst::Caps) -> gst::Caps {
    let (width, height) = (format.width as i32, format.height as i32);
    let kinds = || {
        // What the encoder takes, what is made that at the least cost, and the rest.
        let raw =
            ["I420", "NV12", "YUY2"].map(|name| gst::Structure::builder("video/x-raw").field("format", name).build());
        raw.into_iter().chain([gst::Structure::new_empty("video/x-raw"), gst::Structure::new_empty("image/jpeg")])
    };
    let exact = kinds().map(|mut kind| {
        kind.set("width", width);
        kind.set("height", height);
        kind
    });
    let larger = kinds().map(|mut kind| {
        kind.set("width", gst::IntRange::new(width, 4 * width));
        kind.set("height", gst::IntRange::new(height, 4 * height));
        kind
    });
    let best = exact.chain(larger).chain(kinds()).find(|kind| gst::Caps::from(kind.clone()).can_intersect(offers));
    let Some(any_rate) = best else { return preferred(format) };
    let mut caps = gst::Caps::new_empty();
    let mut at_rate = any_rate.clone();
    at_rate.set("framerate", gst::Fraction::new(format.framerate as i32, 1));
    // A camera that is slower says its own rate.
    caps.make_mut().append_structure(at_rate);
    caps.make_mut().append_structure(any_rate);
    caps
}

/// How videoflip calls a rotation and then a mirror.
fn method(camera: &Camera) -> &'static str {
    match (camera.rotate, camera.mirror) {
        (90, false) => "clockwise",
        (90, true) => "upper-left-diagonal",
        (180, false) => "rotate-180",
        (180, true) => "vertical-flip",
        (270, false) => "counterclockwise",
        (270, true) => "upper-right-diagonal",
        (_, true) => "horizontal-flip",
        (_, false) => "none",
    }
}

/// Tells what of the settings this camera does not take, once: it is opened whenever somebody comes.
fn remark(device: &Device, camera: &Camera) {
    static TOLD: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());
    match camera_settings::remark(device, camera) {
        Ok(None) => {}
        Ok(Some(text)) => {
            let told = (device.name.clone(), text.clone());
            if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(told) {
                tracing::warn!(camera = device.name, "not all of the camera's settings can hold: {text}");
            }
        }
        Err(error) => tracing::debug!(camera = device.name, %error, "the camera was not asked for its controls"),
    }
}

/// The controls that differ from the camera's own choice, under the names of new and of old kernels: those that a camera
/// does not have v4l2src passes over.
fn v4l2_controls(camera: &Camera) -> Option<gst::Structure> {
    let asked = camera_settings::asked(camera);
    if asked.is_empty() {
        return None;
    }
    let mut structure = gst::Structure::new_empty("controls");
    for (name, value) in asked.iter().flat_map(|one| one.names.iter().map(|name| (*name, one.value))) {
        structure.set(name, value);
    }
    Some(structure)
}

/// The same for libcamera, whose properties depend on its version. Those that the camera at hand does not have it passes over.
fn set_libcamera(source: &gst::Element, camera: &Camera) {
    // A lens that moves stands still otherwise, at a distance that nobody chose.
    if source.find_property("af-mode").is_some() {
        source.set_property_from_str("af-mode", "continuous");
    }
    let set = |name: &str, value: &str| {
        if source.find_property(name).is_some() {
            source.set_property_from_str(name, value);
        } else {
            tracing::warn!(property = name, "this libcamera has no such control; the camera's own choice stays");
        }
    };
    if let Auto::Fixed(microseconds) = camera.exposure {
        set("ae-enable", "false");
        set("exposure-time", &microseconds.to_string());
    }
    if let Auto::Fixed(kelvin) = camera.white_balance {
        set("awb-enable", "false");
        set("colour-temperature", &kelvin.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;
    use crate::config::VideoCodec;

    #[test]
    fn a_flip_for_every_rotation_and_mirror() {
        let mut seen = std::collections::HashSet::new();
        for rotate in [0, 90, 180, 270] {
            for mirror in [false, true] {
                assert!(seen.insert(method(&Camera { rotate, mirror, ..Camera::default() })));
            }
        }
    }

    #[test]
    fn a_v4l2_camera_is_asked_for_the_rate_wanted_before_any_other() {
        gst::init().unwrap();
        let (codec, video_bitrate, audio_bitrate) = (VideoCodec::Vp8, 2000, 64);
        let format = Format { width: 320, height: 240, framerate: 15, codec, video_bitrate, audio_bitrate };
        let asked = preferred(&format);
        // What v4l2src takes for the preference.
        let first = asked.structure(0).unwrap();
        let is = (first.name().as_str(), first.get::<i32>("width"), first.get::<gst::Fraction>("framerate"));
        assert_eq!(is, ("video/x-raw", Ok(320), Ok(gst::Fraction::new(15, 1))), "{asked}");
        // Raw pictures too few, or larger than wanted; as JPEG what is wanted. H.264 is not asked for.
        let webcam = "video/x-raw,format=YUY2,width=640,height=480,framerate=15/1;\
            video/x-raw,format=YUY2,width=320,height=240,framerate=5/1;\
            image/jpeg,width=320,height=240,framerate={(fraction)30/1,(fraction)15/1};\
            video/x-h264,width=320,height=240,framerate=15/1";
        let webcam = gst::Caps::from_str(webcam).unwrap();
        let common = asked.intersect_with_mode(&webcam, gst::CapsIntersectMode::First);
        let best = common.structure(0).unwrap();
        let is = (best.name().as_str(), best.get::<i32>("width"), best.get::<gst::Fraction>("framerate"));
        assert_eq!(is, ("image/jpeg", Ok(320), Ok(gst::Fraction::new(15, 1))), "{common}");
        assert!(common.iter().all(|one| one.name() != "video/x-h264"), "{common}");
    }

    /// As libcamera's provider tells it of a Raspberry Pi: by the codes of the formats, each with common sizes and a range.
    fn offers() -> gst::Caps {
        let sized = |kind: &str| {
            let range = format!("{kind},width=[64,4608,2],height=[64,2592,2]");
            format!("{kind},width=1280,height=720;{kind},width=1920,height=1080;{range}")
        };
        let kinds = ["GRAY8", "NV12", "I420"].map(|name| sized(&format!("video/x-raw,format={name}")));
        gst::Caps::from_str(&kinds.join(";")).unwrap()
    }

    #[test]
    fn libcamera_is_asked_for_what_is_wanted_alone() {
        gst::init().unwrap();
        let (codec, video_bitrate, audio_bitrate) = (VideoCodec::Vp8, 2000, 64);
        let mut format = Format { width: 1280, height: 720, framerate: 25, codec, video_bitrate, audio_bitrate };
        let asked = chosen(&format, &offers()).intersect(&offers());
        let first = asked.structure(0).unwrap();
        assert_eq!(first.get::<gst::Fraction>("framerate"), Ok(gst::Fraction::new(25, 1)));
        for one in asked.iter() {
            let is = (one.get::<&str>("format"), one.get::<i32>("width"), one.get::<i32>("height"));
            assert_eq!(is, (Ok("I420"), Ok(1280), Ok(720)), "{asked}");
        }
        // A camera with fixed sizes: the larger one, to be made smaller.
        format.width = 1000;
        let fixed =
            gst::Caps::from_str("video/x-raw,format=NV12,width=640,height=480;image/jpeg,width=1920,height=1080")
                .unwrap();
        let asked = chosen(&format, &fixed).intersect(&fixed);
        assert!(asked.iter().all(|one| one.name() == "image/jpeg"), "{asked}");
        // One that is smaller than all that is wanted gives what it has.
        format.width = 4000;
        let asked = chosen(&format, &fixed).intersect(&fixed);
        assert!(asked.iter().all(|one| one.get::<i32>("width") == Ok(640)) && !asked.is_empty(), "{asked}");
    }

    #[test]
    fn controls_are_given_only_where_the_owner_chose() {
        gst::init().unwrap();
        assert_eq!(v4l2_controls(&Camera::default()), None);
        let camera = Camera {
            exposure: Auto::Fixed(10_000),
            white_balance: Auto::Fixed(4600),
            controls: vec![("brightness".into(), -3)],
            ..Camera::default()
        };
        let set = v4l2_controls(&camera).unwrap();
        assert_eq!(set.get::<i32>("auto_exposure"), Ok(1));
        assert_eq!(set.get::<i32>("exposure_time_absolute"), Ok(100));
        assert_eq!(set.get::<i32>("exposure_absolute"), Ok(100));
        assert_eq!(set.get::<i32>("white_balance_temperature"), Ok(4600));
        assert_eq!(set.get::<i32>("brightness"), Ok(-3));
    }
}
