//! Making groups with limits.

use super::ProcessGroup;
use crate::cgroup::{CgroupError, CgroupHierarchy, Directory};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Describes a group which is to be made, and its limits.
///
/// A limit takes a controller, which must be delegated to the group above this one. If it is not, making
/// the group fails, and the error says why.
#[derive(Clone, Debug)]
#[must_use]
pub struct GroupBuilder {
    name: PathBuf,
    settings: Vec<Setting>,
}

/// Limits for a block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoLimit {
    /// Bytes per second that are read.
    pub read_bytes: Option<u64>,
    /// Bytes per second that are written.
    pub write_bytes: Option<u64>,
    /// Reading operations per second.
    pub reads: Option<u64>,
    /// Writing operations per second.
    pub writes: Option<u64>,
}

#[derive(Clone, Debug)]
struct Setting {
    controller: &'static str,
    file: &'static str,
    value: String,
}

impl GroupBuilder {
    pub(super) fn new(name: PathBuf) -> Self {
        Self { name, settings: Vec::new() }
    }

    /// Bytes of memory which its processes may have together; beyond them, the kernel kills.
    pub fn memory_max(self, bytes: u64) -> Self {
        self.set("memory", "memory.max", bytes.to_string())
    }

    /// Bytes of memory above which its processes are slowed down and their memory is reclaimed.
    pub fn memory_high(self, bytes: u64) -> Self {
        self.set("memory", "memory.high", bytes.to_string())
    }

    /// Bytes of swap space which its processes may have together.
    pub fn swap_max(self, bytes: u64) -> Self {
        self.set("memory", "memory.swap.max", bytes.to_string())
    }

    /// How many processes there may be.
    pub fn pids_max(self, count: u32) -> Self {
        self.set("pids", "pids.max", count.to_string())
    }

    /// How much processor time its processes may use together in each period.
    pub fn cpu_max(self, quota: Duration, period: Duration) -> Self {
        self.set("cpu", "cpu.max", format!("{} {}", quota.as_micros(), period.as_micros()))
    }

    /// Its share of processor time, from 1 to 10,000, among groups beside it. That of others is 100.
    pub fn cpu_weight(self, weight: u32) -> Self {
        self.set("cpu", "cpu.weight", weight.to_string())
    }

    /// What its processes may do with a block device.
    pub fn io_max(self, major: u32, minor: u32, limit: IoLimit) -> Self {
        let number = |value: Option<u64>| value.map_or("max".into(), |n| n.to_string());
        let value = format!(
            "{major}:{minor} rbps={} wbps={} riops={} wiops={}",
            number(limit.read_bytes),
            number(limit.write_bytes),
            number(limit.reads),
            number(limit.writes)
        );
        self.set("io", "io.max", value)
    }

    /// Any setting of a controller, such as `hugetlb`, `hugetlb.2MB.max`, `0`.
    pub fn setting(self, controller: &'static str, file: &'static str, value: impl Into<String>) -> Self {
        self.set(controller, file, value.into())
    }

    /// Makes the group, which may not exist; those above it are made if they do not exist.
    pub fn create(self) -> Result<ProcessGroup, CgroupError> {
        let hierarchy = CgroupHierarchy::detect()?;
        let path = hierarchy.path(&self.name)?;
        let Some(parent) = path.parent().filter(|_| !hierarchy.is_top(&path)) else {
            let mount_point = hierarchy.mount_point().to_owned();
            return Err(CgroupError::Name { name: self.name, mount_point });
        };
        let (parent, _) = Directory::ensure(&hierarchy, parent)?;
        for setting in &self.settings {
            enable(&hierarchy, &parent, setting.controller)?;
        }
        let directory = Directory::make(&hierarchy, &path)?;
        // From here on, a failure removes it.
        let group = ProcessGroup::new(directory, Some(hierarchy.location(&path)));
        for setting in &self.settings {
            group.directory().write(setting.file, &setting.value)?;
        }
        Ok(group)
    }

    fn set(mut self, controller: &'static str, file: &'static str, value: String) -> Self {
        self.settings.retain(|s| s.file != file || file == "io.max");
        self.settings.push(Setting { controller, file, value });
        self
    }
}

/// Makes sure that groups below this one have a controller.
fn enable(
    hierarchy: &CgroupHierarchy,
    directory: &Directory,
    controller: &'static str,
) -> Result<(), CgroupError> {
    const SUBTREE: &str = "cgroup.subtree_control";
    let has = |file| Ok::<_, CgroupError>(directory.words(file)?.iter().any(|word| word == controller));
    if has(SUBTREE)? {
        return Ok(());
    }
    let missing = |path: &Path, reason| CgroupError::Controller { path: path.to_owned(), controller, reason };
    if !has("cgroup.controllers")? {
        match directory.path().parent() {
            Some(parent) if !hierarchy.is_top(directory.path()) => {
                enable(hierarchy, &Directory::open(hierarchy, parent)?, controller)?;
            }
            _ => return Err(missing(directory.path(), hierarchy.why_not(controller))),
        }
    }
    directory.write(SUBTREE, &format!("+{controller}")).map_err(|error| match error {
        CgroupError::System { path, source, .. } => match source.raw_os_error() {
            Some(libc::EBUSY) => missing(
                &path,
                "there are processes in the group itself, and the kernel hands controllers on only from groups without"
                    .into(),
            ),
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
                missing(&path, format!("it is not delegated: {source}"))
            }
            _ => missing(&path, source.to_string()),
        },
        other => other,
    })
}
