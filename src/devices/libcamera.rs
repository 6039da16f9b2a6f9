//! Cameras that libcamera knows: those of the board.
//!
//! In: libcamera's list through GStreamer's device provider. Out: cameras by libcamera's id. Never: asked where no
//! media device is, because asking takes its time.

use std::path::Path;

use gst::prelude::*;

use super::{Device, Driver};

/// The cameras, in libcamera's order.
pub fn list() -> Vec<Device> {
    if !Path::new("/dev/media0").exists() {
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

fn device(device: &gst::Device) -> Device {
    // libcamera's id is the name that its source element takes.
    let name = device.display_name().to_string();
    let short = name.rsplit('/').next().unwrap_or_default().split('@').next().unwrap_or_default().to_owned();
    Device { name, description: short, driver: Driver::Libcamera, node: None }
}
