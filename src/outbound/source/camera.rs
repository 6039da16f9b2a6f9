//! A camera: libcamera or V4L2, as the device monitor names it.
//!
//! In: a name, or none for the first camera found (libcamera's before V4L2's). Out: its picture.
//! Never: a camera opened before somebody watches.
//!
//! ```text
//! libcamerasrc | v4l2src ─> caps (size wanted, raw or MJPEG) ─> decodebin ─> convert, scale, rate ─> outlet
//! ```

use gst::prelude::*;

use super::{End, Source, picture_tail};
use crate::devices::{self, Class};
use crate::outbound::encoder::Format;
use crate::pipeline::{Error, Pipeline, make};

/// A camera by name.
pub fn camera(name: Option<&str>, format: &Format) -> Result<Source, Error> {
    let source = match name {
        // A path needs no monitor, and works where it has no provider.
        Some(path) if path.starts_with("/dev/") => {
            if !std::path::Path::new(path).exists() {
                return Err(Error::Input(format!("camera {path} is not there")));
            }
            let source = make("v4l2src")?;
            source.set_property("device", path);
            source
        }
        _ => devices::element(Class::Camera, name).map_err(|error| Error::Input(error.to_string()))?,
    };
    let pipeline = Pipeline::new("source-camera");
    let caps = make("capsfilter")?;
    caps.set_property("caps", preferred(format));
    let decode = make("decodebin")?;
    let (tail, outlet) = picture_tail(&pipeline, format, false)?;
    pipeline.add_chain("camera", &[&source, &caps, &decode])?;
    let tail = tail.downgrade();
    decode.connect_pad_added(move |_, pad| {
        let sink = tail.upgrade().and_then(|tail| tail.static_pad("sink"));
        if let Some(sink) = sink.filter(|sink| !sink.is_linked())
            && let Err(error) = pad.link(&sink)
        {
            tracing::warn!(%error, "the camera could not be linked");
        }
    });
    Ok(Source { pipeline, video: Some(outlet), audio: None, end: End::Never })
}

/// What to ask a camera for, best first: the size wanted raw, then as MJPEG (USB 2 cannot carry 720p30
/// raw), then anything.
fn preferred(format: &Format) -> gst::Caps {
    let sized = |kind: &str| {
        gst::Structure::builder(kind)
            .field("width", format.width as i32)
            .field("height", format.height as i32)
            .field("framerate", gst::Fraction::new(format.framerate as i32, 1))
            .build()
    };
    let mut caps = gst::Caps::new_empty();
    let writable = caps.make_mut();
    for structure in [
        sized("video/x-raw"),
        sized("image/jpeg"),
        gst::Structure::new_empty("video/x-raw"),
        gst::Structure::new_empty("image/jpeg"),
    ] {
        writable.append_structure(structure);
    }
    caps
}
