//! How executors are made, and what programs may.

use crate::limit::LimitAction;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// Greatest number of processes per [`Executor`](crate::Executor).
pub const MAX_PROCS: u32 = gate_wire::MAX_PROCS;

/// How an [`Executor`](crate::Executor) is made.
#[derive(Debug)]
pub struct Config {
    /// How many processes there may be at once, prepared ones included. At least 1 and at most [`MAX_PROCS`].
    ///
    /// A live process takes up two of the host's file descriptors, and one of the executor's: there are no more processes
    /// than the hard limit on them (`RLIMIT_NOFILE`) allows.
    pub max_procs: u32,
    /// A connection to a daemon (`gate runtime`), which makes the container. It is for this executor alone.
    pub conn_file: Option<OwnedFd>,
    /// Socket of a daemon which makes the container. Applicable if `conn_file` is not set.
    pub daemon_socket: Option<PathBuf>,
    /// How the container is made. Applicable if neither `conn_file` nor `daemon_socket` is set.
    pub container: ContainerConfig,
    /// Where the executor's events go. If it is not set, it is where those of the caller of
    /// [`Executor::new`](crate::Executor::new) go.
    pub log: Option<tracing::Dispatch>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_procs: MAX_PROCS,
            conn_file: None,
            daemon_socket: None,
            container: ContainerConfig::default(),
            log: None,
        }
    }
}

/// How the container of an executor is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Whether it has namespaces of its own.
    ///
    /// Without them, programs are where the host is: one that got around the compiler and the system call filter would
    /// find the host's files, network and processes. That is for places where the kernel allows no namespaces, and for
    /// programs that are trusted.
    pub namespaces: bool,
    /// As whom its processes run.
    pub ids: ContainerIds,
    /// Where its processes are accounted for.
    pub cgroup: CgroupConfig,
    /// What is executed in it.
    pub binaries: Binaries,
}

impl Default for ContainerConfig {
    fn default() -> Self {
        Self {
            namespaces: true,
            ids: ContainerIds::default(),
            cgroup: CgroupConfig::default(),
            binaries: Binaries::default(),
        }
    }
}

/// User and group ids of a container's processes, as they are outside of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerIds {
    /// [`ContainerIds::UNPRIVILEGED`] if the host process may map them. Otherwise [`ContainerIds::Subordinate`], if the
    /// user has such ids, and the programs that map them are there; else [`ContainerIds::Own`].
    #[default]
    Auto,
    /// The host process's own ids. The programs then have the same user as the host: that they cannot harm it is
    /// left to the other layers of the sandbox.
    Own,
    /// The first two user ids and the first two group ids which `/etc/subuid` and `/etc/subgid` give to the host
    /// process's user.
    Subordinate,
    /// One pair of ids, user and group, for setting up the container, and another for the programs. Nothing else of the
    /// system should have them. Takes the capabilities `CAP_SETUID` and `CAP_SETGID`; or the programs `newuidmap` and
    /// `newgidmap`, and the ids in `/etc/subuid` and `/etc/subgid`. Without namespaces, only the latter pair is used.
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

/// The control groups (version 2) of a container's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupConfig {
    /// Where the executor is.
    pub container: ContainerCgroup,
    /// Where a program's process is, if no [`ProcessGroup`](crate::ProcessGroup) is given: an absolute path, as for
    /// [`open_cgroup`](crate::open_cgroup). It is made if it does not exist. If this is not set, it is where the
    /// executor is.
    pub process: Option<PathBuf>,
}

/// The control group of an executor.
///
/// For processes to be born in other groups, the executor must be allowed to write to `cgroup.procs` of these groups and
/// of the nearest group above both them and itself. Where the host has the right to, Gate gives the executor's group
/// this access in the container's cgroup, the one above it, and in process groups below that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerCgroup {
    /// That of the host process.
    #[default]
    Inherit,
    /// An absolute path, as for [`open_cgroup`](crate::open_cgroup). It is made if it does not exist. The cgroup above it
    /// should be Gate's own, and not the root.
    Path(PathBuf),
    /// One which systemd makes, and with all controllers that are to be had. It is gone when the executor is. The
    /// executor is in its child `executor`, other children are for programs.
    SystemdScope(SystemdScope),
}

/// A systemd scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemdScope {
    /// The slice that it is part of, such as `gate.slice`. If it is not set, systemd chooses.
    pub slice: Option<String>,
    /// Whether to ask the user's own systemd instead of the system's.
    pub user: bool,
}

/// The static programs that are executed in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Binaries {
    /// Those within this library. They are executed from memory, which the setting `vm.memfd_noexec` can forbid.
    #[default]
    Embedded,
    /// Those in a directory, as [`install_binaries`](crate::install_binaries) puts them there.
    Directory(PathBuf),
}

/// What a process is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessPolicy {
    /// How exactly the program can tell the time. At least a nanosecond.
    pub time_resolution: Duration,
    /// How long the program may go on when it is to be suspended, before it is killed.
    ///
    /// Compiled programs stop within microseconds of their own time, so that this is for what should not happen. It is
    /// time of the clock, though: with thousands of programs and few processors it can be a while until it is a
    /// program's turn.
    pub suspend_allowance: Duration,
    /// How long the program may run, whatever it does, from [`Process::start`](crate::Process::start).
    pub time_limit: Option<Duration>,
    /// How much processor time the program may use in this process. It can be exceeded by some milliseconds.
    pub cpu_limit: Option<Duration>,
    /// What happens to it then.
    pub limit_action: LimitAction,
}

impl Default for ProcessPolicy {
    /// The clocks' own resolution, ten seconds for stopping, and no limits.
    fn default() -> Self {
        Self {
            time_resolution: Duration::from_nanos(1),
            suspend_allowance: Duration::from_secs(10),
            time_limit: None,
            cpu_limit: None,
            limit_action: LimitAction::default(),
        }
    }
}
