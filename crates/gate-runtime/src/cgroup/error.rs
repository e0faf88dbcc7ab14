//! What can go wrong with control groups.

use std::io;
use std::path::PathBuf;

/// Why something cannot be done with a control group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// It is not known which file systems are mounted.
    #[error("find the cgroup hierarchy: {0}")]
    Mounts(#[source] io::Error),
    /// There is no hierarchy of version 2.
    #[error("no cgroup2 file system is mounted")]
    NotMounted,
    /// The name does not name a group.
    #[error("{name:?} is not the absolute path of a cgroup in the hierarchy at {mount_point:?}")]
    Name {
        /// What was given.
        name: PathBuf,
        /// Where the hierarchy is mounted.
        mount_point: PathBuf,
    },
    /// Something that was done to a group did not succeed.
    #[error("cgroup {path:?}: {action}: {source}")]
    System {
        /// The group.
        path: PathBuf,
        /// What was being done.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A limit cannot be set.
    #[error("cgroup {path:?}: no controller {controller}: {reason}")]
    Controller {
        /// The group.
        path: PathBuf,
        /// What the limit would take.
        controller: &'static str,
        /// Why it is not there.
        reason: String,
    },
    /// An executor may not make processes in a group.
    #[error("cgroup {path:?}: an executor in {executor:?} may not make processes there: {reason}")]
    Access {
        /// The group.
        path: PathBuf,
        /// Where the executor is.
        executor: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
    /// Processes are still in it, or some do not become frozen.
    #[error("cgroup {path:?}: {action} takes too long")]
    Timeout {
        /// The group.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
    },
    /// A text of the kernel's is not understood.
    #[error("cgroup {path:?}: cannot read {file}")]
    Format {
        /// The group.
        path: PathBuf,
        /// In which file the text is.
        file: &'static str,
    },
    /// Systemd does not make a scope.
    #[error("ask systemd for a scope: {0}")]
    Systemd(String),
}
