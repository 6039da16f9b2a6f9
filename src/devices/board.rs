//! What there is to say of cameras made for the board: those that are known to be connected, and what the kernel can drive.
//!
//! In: the device tree, the I2C bus, the kernel's tables. Out: sentences for people, on any board of those known to be connected, on a
//! Raspberry Pi always of the kernel. Never: that a camera is absent: only the board's firmware sees one before its driver does.

use std::path::Path;

use super::kernel::{self, Drivers};
use super::sensors::{self, Known, Sensor};

/// What a sentence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A sensor that has its driver.
    Driven,
    /// A sensor that has none: it gives no picture.
    NotDriven,
    /// The kernel, whatever is connected.
    Kernel,
}

impl About {
    /// Whether it tells why the camera that somebody looks for is missing; `none`: no camera at all was found.
    pub fn explains(self, none: bool) -> bool {
        match self {
            Self::Driven => false,
            Self::NotDriven => true,
            Self::Kernel => none,
        }
    }
}

/// All there is to say.
pub fn remarks(root: &Path) -> Vec<(About, String)> {
    let (sensors, drivers) = (sensors::list(root), kernel::drivers(root));
    let mut said: Vec<_> = sensors.iter().map(|sensor| of_sensor(sensor, drivers.as_ref().ok())).collect();
    if let Some(model) = kernel::raspberry_pi(root) {
        let unseen = if sensors.is_empty() { NOT_TOLD } else { "" };
        let text = match &drivers {
            Ok(drivers) => format!("{model}: {}{unseen}", of_kernel(drivers)),
            Err(error) => format!("{model}: which cameras this kernel has drivers for is not known: {error}.{unseen}"),
        };
        said.push((About::Kernel, text));
    }
    said
}

fn of_sensor(sensor: &Sensor, drivers: Option<&Drivers>) -> (About, String) {
    let name = sensor.known.name;
    if sensor.driven {
        return (About::Driven, format!("{name} is connected and has its driver"));
    }
    let why = match drivers {
        Some(drivers) if drivers.drive(sensor.known) => {
            "but its driver, which this kernel has, has not taken it: see `dmesg`".to_owned()
        }
        Some(drivers) => {
            format!("but kernel {} has no driver for it here: it cannot be used. {WHAT_TO_DO}", drivers.release)
        }
        None => format!("but no driver has taken it: it cannot be used. {WHAT_TO_DO}"),
    };
    (About::NotDriven, format!("{name} is in the device tree, {why}"))
}

fn of_kernel(Drivers { release, with, without, no_receiver, no_heap }: &Drivers) -> String {
    let names = |list: &[&Known]| list.iter().map(|known| known.name).collect::<Vec<_>>().join(", ");
    let mut text = match (with.is_empty(), without.is_empty()) {
        (false, true) => format!("kernel {release} has a driver for each camera known here: {}.", names(with)),
        (false, false) => format!(
            "kernel {release} has drivers for {}; none for {}: these it cannot drive, connected or not.",
            names(with),
            names(without)
        ),
        (true, _) => {
            format!(
                "kernel {release} has no driver here for {}: it cannot drive them, connected or not.",
                names(without)
            )
        }
    };
    if let Some(receiver) = no_receiver {
        text += &format!(
            " It has no driver for the board's camera sockets ({receiver}): it cannot drive a camera on them."
        );
    }
    if *no_heap {
        text += " It has no DMA heap (/dev/dma_heap/linux,cma), without which libcamera lists no camera on this board's sockets.";
    }
    if !without.is_empty() || no_receiver.is_some() || *no_heap {
        text += &format!(" {WHAT_TO_DO}.");
    }
    text
}

/// For those whose camera cannot be driven.
const WHAT_TO_DO: &str =
    "Take a USB camera; or build the image with a kernel that has the driver (nix/rootfs/kernel.toml)";
/// Where no sensor was found.
const NOT_TOLD: &str = " The firmware has told the kernel of none of them: whether one is connected is not known here.";

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::{PI_4, PI_5, board};
    use super::*;
    use std::fs;

    #[test]
    fn a_pi_says_what_its_kernel_drives_though_nothing_is_connected() {
        let cfe = "alias of:N*T*Craspberrypi,rp1-cfeC* rp1_cfe\n";
        let [(About::Kernel, text)] = &remarks(board(PI_5.0, PI_5.1, cfe, "").path())[..] else {
            panic!("one sentence")
        };
        for part in [
            "Pi 5",
            "kernel 7.3.4-test has no driver here for Camera Module 3 (imx708), ",
            "not known here",
            "USB camera",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("sockets") && !text.contains("heap"), "{text}");
        let aliases = "alias of:N*T*Csony,imx219C* imx219\n";
        let [(About::Kernel, text)] = &remarks(board(PI_4.0, PI_4.1, aliases, "").path())[..] else {
            panic!("one sentence")
        };
        for part in [
            "has drivers for Camera Module 2 (imx219); none for Camera Module 3 (imx708), ",
            "sockets (brcm,bcm2835-unicam)",
            "no DMA heap",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let root = board(PI_5.0, PI_5.1, "", "");
        fs::remove_dir_all(root.path().join("lib")).unwrap();
        let [(About::Kernel, text)] = &remarks(root.path())[..] else { panic!("one sentence") };
        assert!(text.contains("is not known: ") && !text.contains("cannot drive"), "{text}");
    }

    #[test]
    fn another_board_is_told_of_what_is_connected_alone() {
        let root = board("Another board", b"maker,board\0", "alias of:N*T*Csony,imx477C* imx477\n", "");
        assert_eq!(remarks(root.path()), []);
        for (place, sensor) in [("10-001a", "sony,imx708"), ("11-001a", "sony,imx477"), ("12-001a", "sony,imx219")] {
            let node = root.path().join("sys/bus/i2c/devices").join(place).join("of_node");
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("compatible"), format!("{sensor}\0")).unwrap();
        }
        fs::create_dir_all(root.path().join("sys/bus/i2c/devices/12-001a/driver")).unwrap();
        let mut said = remarks(root.path());
        said.sort_by(|one, other| one.1.cmp(&other.1));
        let about: Vec<About> = said.iter().map(|(about, _)| *about).collect();
        assert_eq!(about, [About::Driven, About::NotDriven, About::NotDriven], "{said:?}");
        assert!(said[1].1.contains("kernel 7.3.4-test has no driver for it"), "{said:?}");
        assert!(said[2].1.contains("has not taken it"), "{said:?}");
    }
}
