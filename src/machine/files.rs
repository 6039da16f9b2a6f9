//! Files of the kernel and of systemd, read with care.
//!
//! In: a path. Out: what stands there, if it is what it should be. Never: an error; absent is normal.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Memory, Temperature, Throttling};

/// The text of a small file without the zeros and blanks at its end.
pub fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_matches(|letter: char| letter == '\0' || letter.is_whitespace());
    (!text.is_empty()).then(|| text.to_owned())
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = found
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// All thermal zones, the hottest first.
pub fn temperatures(root: &Path) -> Vec<Temperature> {
    let mut found: Vec<Temperature> = entries(&root.join("sys/class/thermal"), "thermal_zone")
        .iter()
        .filter_map(|zone| {
            let millidegrees: i64 = number(&zone.join("temp"))?;
            let sensor = text(&zone.join("type")).unwrap_or_else(|| "unnamed".to_owned());
            // A sensor that is not connected reads as some absurd value.
            (-40_000..=150_000)
                .contains(&millidegrees)
                .then(|| Temperature { sensor, celsius: millidegrees as f64 / 1000.0 })
        })
        .collect();
    found.sort_by(|a, b| b.celsius.total_cmp(&a.celsius));
    found
}

/// From the firmware of a Raspberry Pi, or else from the kernel's cooling of the processor and its alarm of low voltage.
pub fn throttling(root: &Path) -> Option<Throttling> {
    let firmware = root.join("sys/devices/platform/soc/soc:firmware/get_throttled");
    if let Some(bits) = text(&firmware).and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()) {
        // Bits 0 to 3: low voltage, frequency capped, throttled, soft limit; 16 to 19: the same since it was switched on.
        return Some(Throttling {
            now: bits & 0b1110 != 0,
            before: bits & (0b1110 << 16) != 0,
            low_voltage: Some(bits & 0x1_0001 != 0),
        });
    }
    let low_voltage = entries(&root.join("sys/class/hwmon"), "hwmon")
        .iter()
        .filter(|sensor| text(&sensor.join("name")).as_deref() == Some("rpi_volt"))
        .find_map(|sensor| number::<u8>(&sensor.join("in0_lcrit_alarm")))
        .map(|alarm| alarm != 0);
    let cooling: Vec<u64> = entries(&root.join("sys/class/thermal"), "cooling_device")
        .iter()
        .filter(|device| text(&device.join("type")).is_some_and(|kind| kind.starts_with("cpufreq")))
        .filter_map(|device| number(&device.join("cur_state")))
        .collect();
    let counts: Vec<u64> = entries(&root.join("sys/devices/system/cpu"), "cpu")
        .iter()
        .filter_map(|cpu| number(&cpu.join("thermal_throttle/core_throttle_count")))
        .collect();
    if low_voltage.is_none() && cooling.is_empty() && counts.is_empty() {
        return None;
    }
    let now = cooling.iter().any(|state| *state > 0);
    Some(Throttling { now, before: now || counts.iter().any(|count| *count > 0), low_voltage })
}

pub fn load(path: &Path) -> Option<[f64; 3]> {
    let text = text(path)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

pub fn memory(root: &Path) -> Option<Memory> {
    let info = text(&root.join("proc/meminfo"))?;
    let status = text(&root.join("proc/self/status")).unwrap_or_default();
    let total = kib(&info, "MemTotal:")?;
    Some(Memory { total, available: kib(&info, "MemAvailable:")?.min(total), service: kib(&status, "VmRSS:") })
}

/// Bytes from a line such as `MemTotal:  1234 kB`.
fn kib(lines: &str, name: &str) -> Option<u64> {
    let rest = lines.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// systemd-timesyncd marks a clock that it has set; other programs leave no mark that could be read.
pub fn clock_synchronised(root: &Path) -> Option<bool> {
    let folder = root.join("run/systemd/timesync");
    folder.is_dir().then(|| folder.join("synchronized").exists())
}

pub fn uptime(path: &Path) -> Option<Duration> {
    Duration::try_from_secs_f64(text(path)?.split_whitespace().next()?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_raspberry_pi() {
        let dir = tree(&[
            ("sys/class/thermal/thermal_zone0/temp", "61835\n"),
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone1/temp", "-274000\n"),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
            ("run/systemd/timesync/synchronized", ""),
        ]);
        let found = temperatures(dir.path());
        assert_eq!(found, [Temperature { sensor: "cpu-thermal".into(), celsius: 61.835 }]);
        let throttled = throttling(dir.path()).unwrap();
        assert_eq!(throttled, Throttling { now: true, before: true, low_voltage: Some(true) });
        assert_eq!(clock_synchronised(dir.path()), Some(true));
    }

    #[test]
    fn a_mainline_kernel() {
        let dir = tree(&[
            ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
            ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"),
            ("sys/class/thermal/cooling_device0/type", "cpufreq-cpu0\n"),
            ("sys/class/thermal/cooling_device0/cur_state", "0\n"),
            ("run/systemd/timesync/other", ""),
        ]);
        let throttled = throttling(dir.path()).unwrap();
        assert_eq!(throttled, Throttling { now: false, before: false, low_voltage: Some(true) });
        assert_eq!(clock_synchronised(dir.path()), Some(false));
    }

    #[test]
    fn nonsense_is_absent() {
        let dir = tree(&[
            ("sys/class/thermal/thermal_zone0/temp", "hot\n"),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "no\n"),
            ("proc/loadavg", "0.1 0.2\n"),
            ("proc/meminfo", "MemTotal: much kB\n"),
            ("proc/uptime", "-1 2\n"),
        ]);
        assert!(temperatures(dir.path()).is_empty());
        assert_eq!(throttling(dir.path()), None);
        assert_eq!(load(&dir.path().join("proc/loadavg")), None);
        assert_eq!(memory(dir.path()), None);
        assert_eq!(uptime(&dir.path().join("proc/uptime")), None);
    }
}
