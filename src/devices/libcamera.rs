//! Cameras that libcamera knows: those of the board.
//!
//! In: libcamera's list through GStreamer's device provider. Out: cameras by libcamera's id, with what they offer. Never: asked
//! where no media device is, because asking takes its time.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;

use super::{Device, Driver};
use crate::gate::Gate;
use crate::pipeline::WAIT;

/// Whatever makes libcamera's manager or may be the last to let go of it: listing, opening and closing a camera.
///
/// A process may have one manager. The elements of its GStreamer plugin share it by a weak pointer; one that asks while the last
/// owner's destructor still runs makes a second, and then libcamera ends the process: "Multiple CameraManager objects are not
/// allowed" (libcamera 0.7.1, `gst_libcamera_get_camera_manager`). To be removed when the plugin waits for the destructor. It is the one
/// lock that is held across calls of GStreamer; nothing that they call asks for it.
pub static OPENING: Gate = Gate::new();

/// Rank of the board's own cameras.
pub const BOARD: u8 = 0;

/// Which cameras there are is not known just now: one neither opens nor closes within [`WAIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the board's cameras are busy: one is still being opened or closed")]
pub struct Busy;

/// The cameras, in libcamera's order. Blocks.
///
/// # Errors
/// They cannot be asked for yet.
pub fn list() -> Result<Vec<Device>, Busy> {
    if !has_media_device(Path::new("/")) {
        return Ok(Vec::new());
    }
    let Some(provider) = gst::DeviceProviderFactory::find("libcameraprovider").and_then(|factory| factory.get()) else {
        return Ok(Vec::new());
    };
    in_turn(&OPENING, || provider.devices().iter().map(device).collect())
}

fn in_turn(gate: &Gate, look: impl FnOnce() -> Vec<Device>) -> Result<Vec<Device>, Busy> {
    // Said once: one that hangs may do so for good.
    static TOLD: AtomicBool = AtomicBool::new(false);
    let listed = gate.pass_within(WAIT, look).ok_or(Busy);
    if !TOLD.swap(listed.is_err(), Ordering::Relaxed) && listed.is_err() {
        let seconds = WAIT.as_secs();
        tracing::warn!(seconds, "a camera neither opens nor closes; libcamera's cameras are not listed");
    }
    listed
}

/// Whether a camera is the board's own; libcamera lists USB cameras as well.
fn is_of_the_board(name: &str) -> bool {
    name.starts_with("/base/") && !is_usb(name)
}

/// Whether an id is that of a USB camera: the host controller's place in the device tree, which begins with `/base/` as well, then
/// ports, configuration and interface, then vendor and product, as in `/base/axi/pcie@120000/rp1/usb@200000-1.2:1.0-046d:0825`. See
/// `UVCCameraData::generateId` in libcamera.
fn is_usb(id: &str) -> bool {
    let is_number = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let last = id.rsplit_once('-').and_then(|(_, last)| last.split_once(':'));
    last.is_some_and(|(vendor, product)| is_number(vendor) && is_number(product))
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
    let rank = if is_of_the_board(&name) { BOARD } else { 3 };
    Device { name, description: short, driver: Driver::Libcamera, rank, node: None, offers: device.caps() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usb_camera_behind_a_controller_of_the_device_tree_is_not_the_boards() {
        for (name, expected) in [
            ("/base/soc/i2c0mux/i2c@1/imx219@10", true),
            ("/base/axi/pcie@1000120000/rp1/i2c@88000/imx708-wide@1a", true),
            ("/base/scb/pcie@7d500000/pci@0,0/usb@0,0-1.2:1.0-046d:0825", false),
            ("/base/pcie@10000000-1:1.0-1209:0001", false),
            ("\\_SB_.PC00.XHCI.RHUB.HS03-3:1.0-0bda:5556", false),
        ] {
            assert_eq!(is_of_the_board(name), expected, "{name}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_had_is_not_an_empty_one() {
        static GATE: Gate = Gate::new();
        let (end, holder) = crate::gate::tests::occupied(&GATE);
        assert_eq!(in_turn(&GATE, || unreachable!()), Err(Busy));
        end.send(()).unwrap();
        holder.join().unwrap();
        assert_eq!(in_turn(&GATE, Vec::new), Ok(Vec::new()));
    }

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
