//! What the processes of a group use.

use crate::cgroup::{CgroupError, Directory};
use std::time::Duration;

/// What the processes of a group, and of groups below it, use or have used. What takes a controller which the group
/// does not have is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupUsage {
    /// Processes in the group itself.
    pub processes: usize,
    /// Processor time.
    pub cpu: Option<Duration>,
    /// Time in which processes were kept from running by a limit.
    pub cpu_throttled: Option<Duration>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Greatest number of bytes of memory at any time.
    pub memory_peak: Option<u64>,
    /// How many processes the kernel has killed because there was not enough memory.
    pub oom_kills: Option<u64>,
    /// Processes and threads, as the limit counts them.
    pub pids: Option<u64>,
    /// Input and output, of all devices together.
    pub io: Option<IoUsage>,
}

/// Input and output of block devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoUsage {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reading operations.
    pub reads: u64,
    /// Writing operations.
    pub writes: u64,
}

impl GroupUsage {
    pub(super) fn read(directory: &Directory) -> Result<Self, CgroupError> {
        let number = |file| -> Result<Option<u64>, CgroupError> {
            Ok(directory.read_if_exists(file)?.and_then(|text| text.trim().parse().ok()))
        };
        let cpu = directory.read_if_exists("cpu.stat")?.unwrap_or_default();
        let memory_events = directory.read_if_exists("memory.events")?.unwrap_or_default();
        Ok(Self {
            processes: directory.read("cgroup.procs")?.lines().count(),
            cpu: entry(&cpu, "usage_usec").map(Duration::from_micros),
            cpu_throttled: entry(&cpu, "throttled_usec").map(Duration::from_micros),
            memory: number("memory.current")?,
            memory_peak: number("memory.peak")?,
            oom_kills: entry(&memory_events, "oom_kill"),
            pids: number("pids.current")?,
            io: directory.read_if_exists("io.stat")?.map(|text| IoUsage::parse(&text)),
        })
    }
}

impl IoUsage {
    fn parse(text: &str) -> Self {
        let mut total = Self::default();
        for word in text.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else { continue };
            let field = match name {
                "rbytes" => &mut total.read_bytes,
                "wbytes" => &mut total.write_bytes,
                "rios" => &mut total.reads,
                "wios" => &mut total.writes,
                _ => continue,
            };
            *field = field.saturating_add(value.parse().unwrap_or(0));
        }
        total
    }
}

/// The value of a line which begins with a name.
fn entry(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel_are_understood() {
        let cpu = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n";
        assert_eq!(entry(cpu, "usage_usec"), Some(1500));
        assert_eq!(entry(cpu, "throttled_usec"), None);
        assert_eq!(entry(cpu, "usage"), None);
        let io = "8:0 rbytes=5 wbytes=7 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=10 wbytes=x\n";
        let expected = IoUsage { read_bytes: 15, write_bytes: 7, reads: 1, writes: 2 };
        assert_eq!(IoUsage::parse(io), expected);
    }
}
