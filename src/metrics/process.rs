//! The process itself, as every Prometheus client shows it.
//!
//! In: /proc/self. Out: memory, processor time, threads and descriptors, read at each scrape. Never: a figure that the
//! kernel did not give; what cannot be read is left out.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<i64>| match value {
            Some(value) => {
                ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
            }
            None => Ok(()),
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = field(&status, "VmRSS:").map(|kib| kib.saturating_mul(1024));
        gauge("process_resident_memory_bytes", "Resident memory of the process", resident)?;
        gauge("process_threads", "Threads of the process", field(&status, "Threads:"))?;
        let open = fs::read_dir("/proc/self/fd").ok().and_then(|folder| i64::try_from(folder.count()).ok());
        gauge("process_open_fds", "Open file descriptors of the process", open)?;
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(processor_seconds) {
            let help = "Processor time the process has used, user and system";
            let descriptor = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            ConstCounter::new(seconds).encode(descriptor)?;
        }
        Ok(())
    }
}

fn field(status: &str, name: &str) -> Option<i64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// From /proc/self/stat. The kernel tells it in hundredths of a second on every architecture (USER_HZ).
fn processor_seconds(stat: &str) -> Option<f64> {
    // The name before the parenthesis may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 100";
        assert_eq!(processor_seconds(stat), Some(3.0));
        assert_eq!(processor_seconds("12 (a"), None);
    }

    #[test]
    fn a_field_of_the_status() {
        assert_eq!(field("Name:\tx\nVmRSS:\t  2048 kB\nThreads:\t7\n", "VmRSS:"), Some(2048));
        assert_eq!(field("Name:\tx\n", "VmRSS:"), None);
    }
}
