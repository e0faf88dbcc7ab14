//! What the machine has, and what is used of it.

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

/// Descriptors besides those of programs.
const OTHER_DESCRIPTORS: u64 = 256;

/// Processes and threads besides programs.
const OTHER_PROCESSES: u64 = 1024;

/// Raises this process's limits as far as it may. Gives how many programs are possible, and what is missing for more.
pub(crate) fn raise_limits(programs: usize) -> anyhow::Result<(usize, Vec<String>)> {
    let programs = programs as u64;
    let mut possible = programs;
    let mut missing = Vec::new();
    // The host has a socket and a state file of each program; the executor inherits the limit.
    let descriptors = 2 * programs + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let enough = Rlimit { current: Some(descriptors.max(hard)), maximum: Some(descriptors.max(hard)) };
    // More than the hard limit takes a privilege.
    if setrlimit(Resource::Nofile, enough).is_err() {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
            .context("raise the limit on descriptors")?;
        if hard < descriptors {
            possible = hard.saturating_sub(OTHER_DESCRIPTORS) / 2;
            missing.push(format!("RLIMIT_NOFILE is {hard}, {descriptors} are needed"));
        }
    }
    let processes = programs + OTHER_PROCESSES;
    if let Some(limit) = getrlimit(Resource::Nproc).current.filter(|&limit| limit < processes) {
        missing.push(format!("RLIMIT_NPROC is {limit}, {processes} may be needed"));
    }
    for name in ["pid_max", "threads-max"] {
        let limit: u64 = read(&format!("/proc/sys/kernel/{name}"))?.trim().parse()?;
        if limit < processes {
            missing.push(format!("kernel.{name} is {limit}, {processes} may be needed"));
        }
    }
    Ok((usize::try_from(possible)?, missing))
}

/// Memory in use, in KiB, by kind.
pub(super) struct Memory {
    used: i64,
    parts: [(&'static str, i64); 4],
}

impl Memory {
    pub(super) fn now() -> anyhow::Result<Self> {
        let text = read("/proc/meminfo")?;
        let field = |name: &str| -> anyhow::Result<i64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.with_context(|| format!("no {name} in /proc/meminfo"))?.parse().map_err(Into::into)
        };
        // The cache of files can be dropped, but for what is in memory only, such as the programs' states.
        let cache = field("Cached")? - field("Shmem")? + field("Buffers")?;
        let used = field("MemTotal")? - field("MemFree")? - cache;
        let mut parts = [("PageTables", 0), ("KernelStack", 0), ("Slab", 0), ("Shmem", 0)];
        for (name, size) in &mut parts {
            *size = field(name)?;
        }
        Ok(Self { used, parts })
    }

    /// What has been taken since.
    pub(super) fn since(&self, before: &Self) -> Self {
        let mut parts = self.parts;
        for ((_, size), (_, old)) in parts.iter_mut().zip(before.parts) {
            *size -= old;
        }
        Self { used: self.used - before.used, parts }
    }

    pub(super) fn per_program(&self, programs: usize) -> String {
        let each = |size: i64| size as f64 / programs as f64;
        let parts = self.parts.map(|(name, size)| format!("{name} {:.1}", each(size))).join(", ");
        format!("{:.1} KiB each, of which {parts}", each(self.used))
    }
}

/// How much processor time was used: by this process, and by all of the machine.
pub(super) struct Busy {
    host: f64,
    machine: f64,
}

impl Busy {
    pub(super) async fn watch(time: Duration) -> anyhow::Result<Self> {
        let (start, host, machine) = (Instant::now(), host_time(), machine_time()?);
        tokio::time::sleep(time).await;
        let elapsed = start.elapsed().as_secs_f64();
        Ok(Self { host: (host_time() - host) / elapsed, machine: (machine_time()? - machine) / elapsed })
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {:.2} %, everything on the machine {:.1} %", self.host * 100.0, self.machine * 100.0)
    }
}

/// Processor time of this process, in seconds.
fn host_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Time that all processors have been busy, in seconds.
fn machine_time() -> anyhow::Result<f64> {
    /// Of the fields of the first line these are idle time: nothing to do, and nothing but to wait for a disk.
    const IDLE: [usize; 2] = [3, 4];
    /// `USER_HZ`, which is the same everywhere.
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = read("/proc/stat")?;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("odd /proc/stat")?;
    let mut busy = 0;
    // What follows the first eight is contained in others.
    for (i, field) in line.split_whitespace().take(8).enumerate() {
        if !IDLE.contains(&i) {
            busy += field.parse::<u64>()?;
        }
    }
    Ok(busy as f64 / TICKS_PER_SECOND)
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}
