//! Cameras of the board that the kernel has been told of, and whether a driver has taken them.
//!
//! In: the device tree and the I2C bus in `/sys`. Out: a [`Sensor`] for each known one. Never: a guess about a camera of which
//! the board's firmware has said nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// A sensor of cameras made for the board.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// What the device tree calls it.
    pub compatible: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// The kernel's driver for it, where there is one.
    pub driver: &'static str,
}

/// All that are known.
pub const KNOWN: &[Known] = &[
    Known { compatible: "sony,imx708", name: "Camera Module 3 (imx708)", driver: "imx708" },
    Known { compatible: "sony,imx219", name: "Camera Module 2 (imx219)", driver: "imx219" },
    Known { compatible: "ovti,ov5647", name: "Camera Module 1 (ov5647)", driver: "ov5647" },
    Known { compatible: "sony,imx477", name: "HQ Camera (imx477)", driver: "imx477" },
    Known { compatible: "sony,imx296", name: "Global Shutter Camera (imx296)", driver: "imx296" },
    Known { compatible: "sony,imx500", name: "AI Camera (imx500)", driver: "imx500" },
    Known { compatible: "sony,imx290", name: "imx290", driver: "imx290" },
    Known { compatible: "ovti,ov9281", name: "ov9281", driver: "ov9282" },
];

/// A sensor in the device tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sensor {
    /// Which it is.
    pub known: &'static Known,
    /// Whether a driver of this kernel has taken it.
    pub driven: bool,
}

/// The sensors that the board's firmware has found or was told of.
pub fn list(root: &Path) -> Vec<Sensor> {
    let buses = fs::read_dir(root.join("sys/bus/i2c/devices")).into_iter().flatten().filter_map(Result::ok);
    let mut on_a_bus = Vec::new();
    for device in buses {
        if let Some(known) = known(&device.path().join("of_node/compatible")) {
            on_a_bus.push(Sensor { known, driven: device.path().join("driver").exists() });
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

/// Deep enough for every sensor below its bus.
const DEPTH: usize = 7;

fn search(folder: &Path, depth: usize, found: &mut Vec<Sensor>) {
    if let Some(known) = known(&folder.join("compatible")) {
        let enabled = fs::read_to_string(folder.join("status")).map_or(true, |status| status.starts_with("okay"));
        if enabled {
            found.push(Sensor { known, driven: false });
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

/// The known sensor that a `compatible` file names.
fn known(compatible: &Path) -> Option<&'static Known> {
    let texts = texts(compatible)?;
    KNOWN.iter().find(|known| texts.iter().any(|text| text == known.compatible))
}

/// The texts of a property of the device tree, each ended by a zero byte.
pub(super) fn texts(property: &Path) -> Option<Vec<String>> {
    let bytes = fs::read(property).ok()?;
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    Some(parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect())
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
        let known = &KNOWN[0];
        assert_eq!(known.name, "Camera Module 3 (imx708)");
        assert_eq!(list(root.path()), [Sensor { known, driven: false }]);
        fs::write(tree.join("status"), b"disabled\0").unwrap();
        assert_eq!(list(root.path()), []);
        let bus = root.path().join("sys/bus/i2c/devices/10-001a");
        fs::create_dir_all(bus.join("of_node")).unwrap();
        fs::write(bus.join("of_node/compatible"), b"sony,imx708\0").unwrap();
        assert_eq!(list(root.path()), [Sensor { known, driven: false }]);
        fs::create_dir_all(bus.join("driver")).unwrap();
        assert_eq!(list(root.path()), [Sensor { known, driven: true }]);
    }
}
