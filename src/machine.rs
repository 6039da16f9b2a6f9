//! The state of the device itself: heat, throttling, load, memory, disks, clock.
//!
//! In: files of the kernel under a root, and `df`. Out: [`Machine`], in which everything that this device does not tell
//! is `None`. Never: writes; asks the network; guesses.

mod files;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// One temperature sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Temperature {
    /// The kernel's name of it, such as `cpu-thermal`.
    pub sensor: String,
    /// Degrees Celsius.
    pub celsius: f64,
}

/// What keeps the processor from its full speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttling {
    /// It is slowed down at this moment.
    pub now: bool,
    /// It was since the device was switched on.
    pub before: bool,
    /// The supply's voltage is, or was, too low; `None`: the device does not measure it.
    pub low_voltage: Option<bool>,
}

/// Memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What programs can still get.
    pub available: u64,
    /// What this service uses.
    pub service: Option<u64>,
}

/// The disk that holds a folder, bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What the folder is for.
    pub purpose: &'static str,
    /// The folder.
    pub folder: PathBuf,
    /// Size of its file system.
    pub total: u64,
    /// What can still be written.
    pub available: u64,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Model, as the firmware tells it.
    pub model: Option<String>,
    /// Version of the kernel.
    pub kernel: Option<String>,
    /// Sensors, the hottest first.
    pub temperatures: Vec<Temperature>,
    /// Whether the processor is held back.
    pub throttling: Option<Throttling>,
    /// Tasks that want to run, averaged over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Processors.
    pub processors: usize,
    /// Memory.
    pub memory: Option<Memory>,
    /// Disks of the folders that are asked about.
    pub disks: Vec<Disk>,
    /// Whether the clock was set by a time server; `None`: nobody here says.
    pub clock_synchronised: Option<bool>,
    /// Since the device was switched on.
    pub uptime: Option<Duration>,
}

/// Looks at the device whose files are under `root`; `folders` with what they are for. Blocks for some milliseconds.
pub fn look(root: &Path, folders: &[(&'static str, PathBuf)]) -> Machine {
    let at = |path: &str| root.join(path);
    Machine {
        model: files::text(&at("proc/device-tree/model")).or_else(|| files::text(&at("sys/class/dmi/id/product_name"))),
        kernel: files::text(&at("proc/sys/kernel/osrelease")),
        temperatures: files::temperatures(root),
        throttling: files::throttling(root),
        load: files::load(&at("proc/loadavg")),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory: files::memory(root),
        disks: folders.iter().filter_map(|(purpose, folder)| disk(purpose, folder)).collect(),
        clock_synchronised: files::clock_synchronised(root),
        uptime: files::uptime(&at("proc/uptime")),
    }
}

/// Asks `df`, since only C can ask the kernel. A folder that is not there yet is on the disk of the one above it.
fn disk(purpose: &'static str, folder: &Path) -> Option<Disk> {
    let there = folder.ancestors().find(|path| path.exists())?;
    let run = |program: &str, first: &[&str]| {
        let mut command = std::process::Command::new(program);
        command.args(first).args(["-P", "-k", "--"]).arg(there).env("LC_ALL", "C").stdin(std::process::Stdio::null());
        command.output().ok().filter(|output| output.status.success())
    };
    let output = run("df", &[]).or_else(|| run("busybox", &["df"]))?;
    let (total, available) = sizes(&String::from_utf8_lossy(&output.stdout))?;
    Some(Disk { purpose, folder: folder.to_owned(), total, available })
}

/// Size and free bytes from the table of `df -P -k`.
fn sizes(table: &str) -> Option<(u64, u64)> {
    // The device's name in front and the folder behind may have blanks in them; the share of use ends in a per cent sign.
    let words: Vec<&str> = table.lines().nth(1)?.split_whitespace().collect();
    let share = words.iter().position(|word| word.ends_with('%') && word.len() <= 4)?;
    let kib = |back: usize| words.get(share.checked_sub(back)?)?.parse::<u64>().ok();
    Some((kib(3)?.saturating_mul(1024), kib(1)?.saturating_mul(1024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_df() {
        let head = "Filesystem 1024-blocks Used Available Capacity Mounted on\n";
        assert_eq!(sizes(&format!("{head}/dev/mmcblk0p3 1000 400 600 40% /data\n")), Some((1_024_000, 614_400)));
        assert_eq!(sizes(&format!("{head}a b 1000 400 600 40% /with blank\n")), Some((1_024_000, 614_400)));
        assert_eq!(sizes(head), None);
        assert_eq!(sizes("nonsense"), None);
    }

    #[test]
    fn a_real_machine_has_memory_load_and_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let machine = look(Path::new("/"), &[("state", dir.path().join("not/there/yet"))]);
        assert!(machine.memory.is_some_and(|memory| memory.total >= memory.available && memory.service > Some(0)));
        assert!(machine.load.is_some() && machine.uptime.is_some() && machine.kernel.is_some(), "{machine:?}");
        assert!(machine.disks.iter().all(|disk| disk.total >= disk.available && disk.total > 0));
        assert_eq!(machine.disks.len(), 1, "{machine:?}");
    }

    #[test]
    fn a_device_that_tells_nothing_is_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        let machine = look(dir.path(), &[]);
        assert_eq!((machine.model, machine.memory, machine.load), (None, None, None));
        assert_eq!((machine.throttling, machine.clock_synchronised, machine.uptime), (None, None, None));
        assert!(machine.temperatures.is_empty());
    }
}
