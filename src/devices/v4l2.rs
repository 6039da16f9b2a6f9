//! Cameras with a node below `/dev`: USB cameras first, then what else captures pictures.
//!
//! In: `/sys/class/video4linux`, udev's links and database. Out: cameras by udev's stable links. Never: nodes that are no
//! camera (metadata, codecs, image processors, a board's raw sensor data); an open node.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Device, Driver};

/// Drivers whose nodes are parts of a camera, or encode and convert: libcamera or nobody uses them.
const NO_CAMERA: &[&str] = &[
    "bcm2835-codec",
    "bcm2835-isp",
    "bcm2835-unicam",
    "unicam",
    "rp1-cfe",
    "pispbe",
    "pisp-be",
    "rpivid",
    "rpi-hevc-dec",
    "hantro-vpu",
];

/// Number of all video4linux nodes, by the kernel's list of devices (admin-guide/devices.txt).
const MAJOR: u32 = 81;

/// The cameras below `root`, best first.
pub fn list(root: &Path) -> Vec<Device> {
    let mut found: Vec<Device> = nodes(root).iter().filter_map(|node| device(root, node)).collect();
    found.sort_by_key(|device| device.rank);
    found
}

/// The camera at a path, whatever it is called; `None`: no video node is there.
pub fn at(path: &str) -> Option<Device> {
    let node = PathBuf::from(path);
    is_video(&node).then(|| Device {
        name: path.to_owned(),
        description: path.to_owned(),
        driver: Driver::V4l2,
        rank: 0,
        node: Some(node),
        offers: None,
    })
}

fn is_video(node: &Path) -> bool {
    let meta = fs::metadata(node).ok().filter(|meta| meta.file_type().is_char_device());
    meta.is_some_and(|meta| rustix::fs::major(meta.rdev()) == MAJOR)
}

/// All video nodes, `video0` and so on, by number.
pub fn nodes(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("sys/class/video4linux")).into_iter().flatten().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut nodes: Vec<String> = names.filter(|name| name.starts_with("video")).collect();
    nodes.sort_by_key(|name| (name.len(), name.clone()));
    nodes
}

fn device(root: &Path, node: &str) -> Option<Device> {
    let sys = root.join("sys/class/video4linux").join(node);
    let driver = fs::read_link(sys.join("device/driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let description = fs::read_to_string(sys.join("name")).unwrap_or_default().trim().to_owned();
    if NO_CAMERA.iter().any(|part| driver == *part || description.starts_with(part)) || !captures(root, &sys) {
        return None;
    }
    let name = link(root, node).unwrap_or_else(|| format!("/dev/{node}"));
    // The node itself: a link is udev's, which tidies up a little later than the kernel.
    let path = root.join("dev").join(node);
    // After libcamera's of the board.
    let rank = if driver == "uvcvideo" { 1 } else { 2 };
    Some(Device { name, description, driver: Driver::V4l2, rank, node: Some(path), offers: None })
}

/// Whether a node gives pictures, as udev has found out; without udev the first node of a device does.
fn captures(root: &Path, sys: &Path) -> bool {
    let number = fs::read_to_string(sys.join("dev")).unwrap_or_default();
    let told = fs::read_to_string(root.join("run/udev/data").join(format!("c{}", number.trim())));
    let told = told.ok().and_then(|data| {
        data.lines()
            .find_map(|line| line.strip_prefix("E:ID_V4L_CAPABILITIES=").map(|found| found.contains(":capture:")))
    });
    told.unwrap_or_else(|| fs::read_to_string(sys.join("index")).is_ok_and(|index| index.trim() == "0"))
}

/// udev's stable name of a node: by what it is, else by where it is plugged in.
fn link(root: &Path, node: &str) -> Option<String> {
    for folder in ["dev/v4l/by-id", "dev/v4l/by-path"] {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().filter_map(Result::ok);
        let mut links: Vec<String> = entries
            .filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.file_name().is_some_and(|name| name == node)))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        links.sort_by_key(|link| (link.len(), link.clone()));
        if let Some(link) = links.first() {
            return Some(format!("/{folder}/{link}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn node(root: &Path, number: u32, driver: &str, name: &str, index: u32, capabilities: Option<&str>) {
        let sys = root.join(format!("sys/class/video4linux/video{number}"));
        fs::create_dir_all(sys.join("device")).unwrap();
        symlink(format!("/sys/bus/drivers/{driver}"), sys.join("device/driver")).unwrap();
        for (file, text) in [("name", name.to_owned()), ("index", index.to_string()), ("dev", format!("81:{number}"))] {
            fs::write(sys.join(file), format!("{text}\n")).unwrap();
        }
        if let Some(capabilities) = capabilities {
            fs::create_dir_all(root.join("run/udev/data")).unwrap();
            fs::write(
                root.join(format!("run/udev/data/c81:{number}")),
                format!("S:v4l\nE:ID_V4L_CAPABILITIES={capabilities}\n"),
            )
            .unwrap();
        }
    }

    #[test]
    fn what_is_no_video_node_is_no_camera() {
        for other in ["/dev/null", "/dev", "/dev/video999", "/proc/version"] {
            assert_eq!(at(other), None, "{other}");
        }
    }

    #[test]
    fn a_usb_camera_comes_first_and_what_is_no_camera_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        node(root, 0, "vivid", "vivid-000-vid-cap", 0, Some(":capture:"));
        node(root, 1, "vivid", "vivid-000-vid-out", 0, Some(":video_output:"));
        node(root, 2, "rp1-cfe", "rp1-cfe-csi2_ch0", 0, Some(":capture:"));
        node(root, 10, "bcm2835-codec", "bcm2835-codec-decode", 0, Some(":"));
        node(root, 3, "uvcvideo", "HD Webcam", 0, Some(":capture:"));
        node(root, 4, "uvcvideo", "HD Webcam", 1, Some(":"));
        node(root, 5, "uvcvideo", "No udev", 0, None);
        node(root, 6, "uvcvideo", "No udev", 1, None);
        fs::create_dir_all(root.join("dev/v4l/by-id")).unwrap();
        fs::create_dir_all(root.join("dev/v4l/by-path")).unwrap();
        symlink("../../video3", root.join("dev/v4l/by-id/usb-Maker_HD-video-index0")).unwrap();
        symlink("../../video3", root.join("dev/v4l/by-path/platform-x-video-index0")).unwrap();
        symlink("../../video0", root.join("dev/v4l/by-path/platform-vivid.0-video-index0")).unwrap();
        let names: Vec<String> = list(root).into_iter().map(|device| device.name).collect();
        assert_eq!(
            names,
            [
                "/dev/v4l/by-id/usb-Maker_HD-video-index0",
                "/dev/video5",
                "/dev/v4l/by-path/platform-vivid.0-video-index0"
            ]
        );
        assert_eq!(nodes(root), ["video0", "video1", "video2", "video3", "video4", "video5", "video6", "video10"]);
    }
}
