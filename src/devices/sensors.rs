//! Cameras of the board that are connected, but that the kernel at hand cannot drive.
//!
//! In: the device tree and the I2C bus in `/sys`. Out: a sentence for each sensor without a driver. Never: a guess about
//! a camera of which the board's firmware has said nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// Sensors of cameras made for the board: what the device tree calls them, what people do.
const KNOWN: &[(&str, &str)] = &[
    ("sony,imx708", "Camera Module 3 (imx708)"),
    ("sony,imx219", "Camera Module 2 (imx219)"),
    ("ovti,ov5647", "Camera Module 1 (ov5647)"),
    ("sony,imx477", "HQ Camera (imx477)"),
    ("sony,imx296", "Global Shutter Camera (imx296)"),
    ("sony,imx500", "AI Camera (imx500)"),
    ("sony,imx290", "imx290"),
    ("ovti,ov9281", "ov9281"),
];

/// A sensor in the device tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sensor {
    /// What people call it.
    pub name: &'static str,
    /// Whether a driver of this kernel has taken it.
    pub driven: bool,
}

/// The sensors that the board's firmware has found or was told of.
pub fn list(root: &Path) -> Vec<Sensor> {
    let buses = fs::read_dir(root.join("sys/bus/i2c/devices")).into_iter().flatten().filter_map(Result::ok);
    let mut on_a_bus = Vec::new();
    for device in buses {
        if let Some(name) = known(&device.path().join("of_node/compatible")) {
            on_a_bus.push(Sensor { name, driven: device.path().join("driver").exists() });
        }
    }
    if !on_a_bus.is_empty() {
        return on_a_bus;
    }
    // Without a driver of their bus they stand in the tree alone.
    let mut found = Vec::new();
    search(&root.join("proc/device-tree"), DEPTH, &mut found);
    found
}

/// Whether this is a Raspberry Pi.
pub fn is_raspberry_pi(root: &Path) -> bool {
    fs::read_to_string(root.join("proc/device-tree/model")).is_ok_and(|model| model.contains("Raspberry Pi"))
}

/// Deep enough for every sensor below its bus.
const DEPTH: usize = 7;

fn search(folder: &Path, depth: usize, found: &mut Vec<Sensor>) {
    if let Some(name) = known(&folder.join("compatible")) {
        let enabled = fs::read_to_string(folder.join("status")).map_or(true, |status| status.starts_with("okay"));
        if enabled {
            found.push(Sensor { name, driven: false });
        }
    }
    if depth > 0 {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        let folders: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        folders.iter().for_each(|folder| search(folder, depth - 1, found));
    }
}

/// The name of a known sensor in a `compatible` file: texts, each ended by a zero byte.
fn known(compatible: &Path) -> Option<&'static str> {
    let texts = fs::read(compatible).ok()?;
    KNOWN
        .iter()
        .find(|(wire, _)| texts.split(|byte| *byte == 0).any(|text| text == wire.as_bytes()))
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_without_a_driver_is_named() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(list(root.path()), []);
        let tree = root.path().join("proc/device-tree/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("compatible"), b"sony,imx708\0").unwrap();
        let name = "Camera Module 3 (imx708)";
        assert_eq!(list(root.path()), [Sensor { name, driven: false }]);
        fs::write(tree.join("status"), b"disabled\0").unwrap();
        assert_eq!(list(root.path()), []);
        let bus = root.path().join("sys/bus/i2c/devices/10-001a");
        fs::create_dir_all(bus.join("of_node")).unwrap();
        fs::write(bus.join("of_node/compatible"), b"sony,imx708\0").unwrap();
        assert_eq!(list(root.path()), [Sensor { name, driven: false }]);
        fs::create_dir_all(bus.join("driver")).unwrap();
        assert_eq!(list(root.path()), [Sensor { name, driven: true }]);
    }
}
