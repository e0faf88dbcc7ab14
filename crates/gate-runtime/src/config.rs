//! How executors are made, and what programs may.

use std::time::Duration;

/// Greatest number of processes per [`Executor`](crate::Executor).
pub const MAX_PROCS: u32 = gate_wire::MAX_PROCS;

/// How an [`Executor`](crate::Executor) is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many processes there may be at once, prepared ones included. At least 1 and at most [`MAX_PROCS`].
    ///
    /// A live process takes up two of the host's file descriptors, and one of the executor's: there are no more processes
    /// than the hard limit on them (`RLIMIT_NOFILE`) allows.
    pub max_procs: u32,
    /// How the container is made.
    pub container: ContainerConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_procs: MAX_PROCS, container: ContainerConfig::default() }
    }
}

/// How the container of an executor is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// As whom its processes run.
    pub ids: ContainerIds,
}

/// User and group ids of a container's processes, as they are outside of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerIds {
    /// [`ContainerIds::UNPRIVILEGED`] if the host process has the effective user id zero, else
    /// [`ContainerIds::Own`].
    #[default]
    Auto,
    /// The host process's own ids. The programs then have the same user as the host: that they cannot harm it is
    /// left to the other layers of the sandbox.
    Own,
    /// One pair of ids, user and group, for setting up the container, and another for the programs. Nothing else of the
    /// system should have them. Takes the privilege to map them.
    Two {
        /// Owner of the container.
        setup: (u32, u32),
        /// Owner of the processes.
        programs: (u32, u32),
    },
}

impl ContainerIds {
    /// Ids between those which distributions hand out and `nobody`: they belong to no one, and exist in containers
    /// which have no more than 65536 ids.
    pub const UNPRIVILEGED: Self = Self::Two { setup: (65532, 65532), programs: (65533, 65533) };
}

/// What a process is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessPolicy {
    /// How exactly the program can tell the time. At least a nanosecond.
    pub time_resolution: Duration,
}

impl Default for ProcessPolicy {
    /// The clocks' own resolution.
    fn default() -> Self {
        Self { time_resolution: Duration::from_nanos(1) }
    }
}
