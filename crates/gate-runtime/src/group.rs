//! Groups of processes: control groups, as the kernel calls them.

mod access;
mod builder;
mod usage;

pub(crate) use access::GroupAccess;
pub use builder::{GroupBuilder, IoLimit};
pub use usage::{GroupUsage, IoUsage};

use crate::cgroup::{CgroupError, CgroupHierarchy, Directory};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long all processes of a group may take to stop, or to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens a control group, in which processes are then made.
///
/// The name is an absolute path in the hierarchy, such as `/gate/guests`, or in the file system, such as
/// `/sys/fs/cgroup/gate/guests`.
pub fn open_cgroup(name: impl AsRef<Path>) -> Result<ProcessGroup, CgroupError> {
    let hierarchy = CgroupHierarchy::detect()?;
    let path = hierarchy.path(name.as_ref())?;
    Ok(ProcessGroup::new(Directory::open(&hierarchy, &path)?, None))
}

/// A control group. A clone is the same group.
#[derive(Clone, Debug)]
pub struct ProcessGroup {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Tells groups apart.
    serial: u64,
    directory: Directory,
    /// Where it is to be removed from.
    location: Option<PathBuf>,
}

impl ProcessGroup {
    /// Starts to describe a group which is to be made. The name is one as for [`open_cgroup`].
    pub fn builder(name: impl Into<PathBuf>) -> GroupBuilder {
        GroupBuilder::new(name.into())
    }

    pub(crate) fn new(directory: Directory, location: Option<PathBuf>) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Self { inner: Arc::new(Inner { serial, directory, location }) }
    }

    /// Its path in the hierarchy.
    pub fn path(&self) -> &Path {
        self.directory().path()
    }

    /// The controllers that it has.
    pub fn controllers(&self) -> Result<Vec<String>, CgroupError> {
        self.directory().words("cgroup.controllers")
    }

    /// Stops all of its processes, those of groups below it too, where they happen to be, and waits until all have. They do not
    /// notice. New ones stop as soon as they are made.
    pub async fn freeze(&self) -> Result<(), CgroupError> {
        self.directory().write("cgroup.freeze", "1")?;
        self.wait_for("freezing", |group| group.is_frozen()).await
    }

    /// Lets its processes go on.
    pub async fn thaw(&self) -> Result<(), CgroupError> {
        self.directory().write("cgroup.freeze", "0")?;
        self.wait_for("thawing", |group| Ok(!group.is_frozen()?)).await
    }

    /// Whether all of its processes have been stopped.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        self.event("frozen")
    }

    /// Whether there are processes in it, or in groups below it.
    pub fn is_populated(&self) -> Result<bool, CgroupError> {
        self.event("populated")
    }

    /// Kills all of its processes, and those of groups below it.
    ///
    /// Serving them ends with the trap [`TrapId::Killed`](crate::TrapId::Killed).
    pub fn kill(&self) -> Result<(), CgroupError> {
        self.directory().write("cgroup.kill", "1")
    }

    /// Kills all of its processes, waits until they are gone, and removes the group if it was made by a builder.
    pub async fn remove(self) -> Result<(), CgroupError> {
        self.kill()?;
        self.wait_for("killing", |group| Ok(!group.is_populated()?)).await?;
        self.wait_for("removing", |group| Ok(group.inner.try_remove())).await
    }

    /// Lets go of the group. If a builder has made it, it is removed, unless there are processes in it, or other owners
    /// of it.
    pub fn close(self) {}

    /// How much of everything its processes use, and those of groups below it.
    pub fn usage(&self) -> Result<GroupUsage, CgroupError> {
        GroupUsage::read(self.directory())
    }

    pub(crate) fn serial(&self) -> u64 {
        self.inner.serial
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    async fn wait_for(
        &self,
        action: &'static str,
        mut done: impl FnMut(&Self) -> Result<bool, CgroupError>,
    ) -> Result<(), CgroupError> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        while !done(self)? {
            if start.elapsed() > PATIENCE {
                return Err(CgroupError::Timeout { path: self.path().to_owned(), action });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        Ok(())
    }

    fn event(&self, name: &str) -> Result<bool, CgroupError> {
        const FILE: &str = "cgroup.events";
        let text = self.directory().read(FILE)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        match value {
            Some("0") => Ok(false),
            Some("1") => Ok(true),
            _ => Err(CgroupError::Format { path: self.path().to_owned(), file: FILE }),
        }
    }
}

impl AsFd for ProcessGroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory().as_fd()
    }
}

impl Inner {
    /// Whether there is nothing left to be removed.
    fn try_remove(&self) -> bool {
        match self.location.as_ref().map(fs::remove_dir) {
            Some(Err(error)) => error.kind() == std::io::ErrorKind::NotFound,
            Some(Ok(())) | None => true,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.try_remove();
    }
}
