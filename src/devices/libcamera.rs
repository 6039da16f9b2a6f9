//! Cameras that libcamera knows: those of the board.
//!
//! In: libcamera's list through GStreamer's device provider. Out: cameras by libcamera's id, with what they offer. Never: asked
//! where no media device is, because asking takes its time.

use std::fs;
use std::path::Path;

use gst::prelude::*;

use super::{Device, Driver};

/// The cameras, in libcamera's order.
pub fn list() -> Vec<Device> {
    if !has_media_device(Path::new("/")) {
        return Vec::new();
    }
    let Some(provider) = gst::DeviceProviderFactory::find("libcameraprovider").and_then(|factory| factory.get()) else {
        return Vec::new();
    };
    provider.devices().iter().map(device).collect()
}

/// Whether a camera is the board's own; libcamera lists USB cameras as well.
pub fn is_of_the_board(device: &Device) -> bool {
    device.name.starts_with("/base/")
}

/// Any of them: numbers are given as devices come, and the first one may have been pulled out.
fn has_media_device(root: &Path) -> bool {
    let nodes = fs::read_dir(root.join("dev")).into_iter().flatten().filter_map(Result::ok);
    nodes.into_iter().any(|node| {
        let name = node.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("media"));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn device(device: &gst::Device) -> Device {
    // libcamera's id is the name that its source element takes.
    let name = device.display_name().to_string();
    let short = name.rsplit('/').next().unwrap_or_default().split('@').next().unwrap_or_default().to_owned();
    Device { name, description: short, driver: Driver::Libcamera, node: None, offers: device.caps() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_device_of_any_number_is_one() {
        let root = tempfile::tempdir().unwrap();
        assert!(!has_media_device(root.path()));
        fs::create_dir_all(root.path().join("dev")).unwrap();
        for (node, expected) in [("mediatek", false), ("media", false), ("media1", true)] {
            fs::write(root.path().join("dev").join(node), "").unwrap();
            assert_eq!(has_media_device(root.path()), expected, "{node}");
        }
    }
}
