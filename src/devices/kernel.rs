//! Which cameras made for the board the kernel at hand has drivers for, whether one is connected or not.
//!
//! In: the kernel's release, its tables of modules below `/lib/modules`, the board's device tree. Out: [`Drivers`]. Never: loads a
//! module; says anything of tables that cannot be read, or of a board whose camera sockets are not known.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::sensors::{self, KNOWN, Known};

/// What the kernel's tables say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drivers {
    /// The kernel's release, as `uname -r` has it.
    pub release: String,
    /// Sensors it has a driver for.
    pub with: Vec<&'static Known>,
    /// Sensors it has none for.
    pub without: Vec<&'static Known>,
    /// The receiver behind the board's camera sockets, if that is known, and the kernel has no driver for it.
    pub no_receiver: Option<&'static str>,
    /// libcamera needs a DMA heap of contiguous memory for the board's camera sockets, and there is none.
    pub no_heap: bool,
}

impl Drivers {
    /// Whether there is one for this sensor.
    pub fn drive(&self, sensor: &Known) -> bool {
        self.with.contains(&sensor)
    }
}

/// The tables cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {source}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    source: io::Error,
}

/// Receivers of the camera's lines: a processor's name in the board's device tree; what the tree calls the receiver; its driver.
const RECEIVERS: &[(&str, &str, &str)] = &[
    ("brcm,bcm2712", "raspberrypi,rp1-cfe", "rp1_cfe"),
    ("brcm,bcm2711", UNICAM, "bcm2835_unicam"),
    ("brcm,bcm2837", UNICAM, "bcm2835_unicam"),
    ("brcm,bcm2836", UNICAM, "bcm2835_unicam"),
    ("brcm,bcm2835", UNICAM, "bcm2835_unicam"),
];
const UNICAM: &str = "brcm,bcm2835-unicam";
/// Names below `/dev/dma_heap` of which libcamera takes one for the processor behind [`UNICAM`] (libcamera 0.7.1).
const HEAPS: [&str; 2] = ["linux,cma", "reserved"];

/// The board's model, if it is a Raspberry Pi.
pub fn raspberry_pi(root: &Path) -> Option<String> {
    let model = sensors::texts(&root.join("proc/device-tree/model"))?.into_iter().next()?;
    model.contains("Raspberry Pi").then_some(model)
}

/// Looks the known sensors, and the board's receiver, up in the tables of the kernel that runs.
///
/// # Errors
/// The kernel's release, or its table of aliases, cannot be read.
pub fn drivers(root: &Path) -> Result<Drivers, Unreadable> {
    let text = |path: PathBuf| fs::read_to_string(&path).map_err(|source| Unreadable { path, source });
    let release = text(root.join("proc/sys/kernel/osrelease"))?.trim().to_owned();
    let folder = root.join("lib/modules").join(&release);
    let aliases = text(folder.join("modules.alias"))?;
    // A driver that is built in has no line there; its file's name stands in another table.
    let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    let there = |compatible: &str, driver: &str| {
        aliases.lines().any(|line| is_alias(line, compatible)) || builtin.lines().any(|line| is_driver(line, driver))
    };
    let (with, without) = KNOWN.iter().partition(|known| there(known.compatible, known.driver));
    let board = sensors::texts(&root.join("proc/device-tree/compatible")).unwrap_or_default();
    let receiver = RECEIVERS.iter().find(|(processor, ..)| board.iter().any(|text| text == processor));
    let no_receiver = receiver.filter(|(_, name, driver)| !there(name, driver)).map(|(_, name, _)| *name);
    let needs_heap = receiver.is_some_and(|(_, name, _)| *name == UNICAM);
    let no_heap = needs_heap && !HEAPS.iter().any(|name| root.join("dev/dma_heap").join(name).exists());
    Ok(Drivers { release, with, without, no_receiver, no_heap })
}

/// Whether a line such as `alias of:N*T*Csony,imx219C* imx219` is of this part of a device tree.
fn is_alias(line: &str, compatible: &str) -> bool {
    let mut words = line.split_whitespace();
    let (Some("alias"), Some(pattern)) = (words.next(), words.next()) else { return false };
    let Some(rest) = pattern.strip_prefix("of:N*T*C").and_then(|rest| rest.strip_prefix(compatible)) else {
        return false;
    };
    matches!(rest, "" | "*" | "C*")
}

/// Whether a line such as `kernel/drivers/media/i2c/imx219.ko` is of this driver.
fn is_driver(line: &str, driver: &str) -> bool {
    let file = line.rsplit('/').next().unwrap_or_default();
    file.strip_suffix(".ko").is_some_and(|name| name.replace('-', "_") == driver)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A board's folder with a kernel whose tables are these.
    pub fn board(model: &str, compatible: &[u8], aliases: &str, builtin: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let (tree, modules) = (root.path().join("proc/device-tree"), root.path().join("lib/modules/7.3.4-test"));
        for folder in [&tree, &modules, &root.path().join("proc/sys/kernel")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(tree.join("model"), format!("{model}\0")).unwrap();
        fs::write(tree.join("compatible"), compatible).unwrap();
        fs::write(root.path().join("proc/sys/kernel/osrelease"), "7.3.4-test\n").unwrap();
        fs::write(modules.join("modules.alias"), aliases).unwrap();
        fs::write(modules.join("modules.builtin"), builtin).unwrap();
        root
    }

    pub const PI_4: (&str, &[u8]) = ("Raspberry Pi 4 Model B Rev 1.4", b"raspberrypi,4-model-b\0brcm,bcm2711\0");
    pub const PI_5: (&str, &[u8]) = ("Raspberry Pi 5 Model B Rev 1.0", b"raspberrypi,5-model-b\0brcm,bcm2712\0");

    #[test]
    fn sensors_are_looked_up_in_both_tables() {
        let aliases = "# Aliases extracted from modules themselves.\nalias of:N*T*Csony,imx219C* imx219\n\
            alias of:N*T*Csony,imx219 imx219\nalias of:N*T*Csony,imx708-other other\nalias i2c:imx477 imx477\n\
            alias of:N*T*Cbrcm,bcm2835-unicam bcm2835_unicam\nalias\n";
        let root =
            board(PI_4.0, PI_4.1, aliases, "kernel/drivers/media/i2c/ov9282.ko\nkernel/drivers/media/i2c/imx2900.ko\n");
        let found = drivers(root.path()).unwrap();
        let names = |list: &[&Known]| list.iter().map(|known| known.driver).collect::<Vec<_>>().join(" ");
        assert_eq!((found.release.as_str(), names(&found.with).as_str()), ("7.3.4-test", "imx219 ov9282"));
        assert_eq!(names(&found.without), "imx708 ov5647 imx477 imx296 imx500 imx290");
        assert_eq!((found.no_receiver, found.no_heap), (None, true));
        fs::create_dir_all(root.path().join("dev/dma_heap/linux,cma")).unwrap();
        assert!(!drivers(root.path()).unwrap().no_heap);
        assert!(!drivers(board(PI_5.0, PI_5.1, aliases, "").path()).unwrap().no_heap, "a Pi 5 needs none");
        assert!(found.drive(found.with[0]) && !found.drive(found.without[0]));
    }

    #[test]
    fn each_board_has_its_own_receiver() {
        let cfe = "alias of:N*T*Craspberrypi,rp1-cfeC* rp1_cfe\n";
        let receiver = |(model, compatible): (&str, &[u8]), aliases: &str, builtin: &str| {
            drivers(board(model, compatible, aliases, builtin).path()).unwrap().no_receiver
        };
        assert_eq!(receiver(PI_5, cfe, ""), None);
        assert_eq!(receiver(PI_4, cfe, ""), Some("brcm,bcm2835-unicam"));
        assert_eq!(receiver(PI_5, "", "kernel/drivers/media/platform/raspberrypi/rp1-cfe/rp1-cfe.ko\n"), None);
        assert_eq!(receiver(PI_5, "", ""), Some("raspberrypi,rp1-cfe"));
        assert_eq!(receiver(("Another board", b"maker,board\0"), "", ""), None);
    }

    #[test]
    fn tables_that_cannot_be_read_are_no_answer() {
        let root = board(PI_5.0, PI_5.1, "", "");
        assert_eq!(raspberry_pi(root.path()).as_deref(), Some(PI_5.0));
        let table = root.path().join("lib/modules/7.3.4-test/modules.alias");
        fs::remove_file(&table).unwrap();
        let error = drivers(root.path()).unwrap_err().to_string();
        assert!(error.contains(&table.display().to_string()), "{error}");
        assert_eq!(raspberry_pi(tempfile::tempdir().unwrap().path()), None);
    }
}
