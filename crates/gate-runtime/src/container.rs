//! Making the container in which an executor and its programs live.

mod binaries;
mod hint;
mod ids;
mod subid;

pub use binaries::install_binaries;

use crate::cgroup::{CgroupHierarchy, Directory, PROCS, systemd};
use crate::config::{CgroupConfig, ContainerCgroup, ContainerConfig, ContainerIds};
use crate::error::ExecutorError;
use crate::group::{GroupAccess, ProcessGroup};
use crate::spawn::{self, Child, Surroundings};
use binaries::Files;
use ids::Ids;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::process::{Resource, getrlimit};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use tracing::warn;

/// A container whose executor has been told what it needs to know, and will report whether it is ready.
pub(crate) struct Container {
    pub(crate) executor: Child,
    pub(crate) control: OwnedFd,
    pub(crate) place: Place,
}

/// As whom and where an executor lives.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// User and group, as the host sees them.
    pub(crate) ids: (u32, u32),
    /// Path of its control group. Empty if there are no control groups.
    pub(crate) cgroup: PathBuf,
    /// Below this path, it can be given access to groups.
    pub(crate) domain: Option<PathBuf>,
    /// Where processes are made if nothing else is said.
    pub(crate) default_group: Option<ProcessGroup>,
}

impl Place {
    /// What it takes to use other groups.
    pub(crate) fn access(&self) -> Option<GroupAccess> {
        let hierarchy = CgroupHierarchy::detect().ok().filter(|_| self.cgroup.is_absolute())?;
        Some(GroupAccess::new(hierarchy, self.cgroup.clone(), self.ids, self.domain.clone()))
    }
}

/// Starts an executor in a new container. Takes some time, in which the thread is blocked; it must be within a tokio
/// runtime, as blocking tasks are.
pub(crate) fn start(config: &ContainerConfig) -> Result<Container, ExecutorError> {
    check_descriptor_limit()?;
    if !config.namespaces {
        warn!(
            "namespaces are DISABLED: programs are kept from this system's files, network and processes by the \
             compiler and a system call filter only"
        );
    }
    let files = Files::open(&config.binaries)?;
    let ids = Ids::choose(config)?;
    match start_as(config, &files, ids) {
        Err(error @ ExecutorError::Credentials(_)) if config.ids == ContainerIds::Auto && ids != Ids::Own => {
            warn!("programs run as this user, because no other ids can be mapped: {error}");
            start_as(config, &files, Ids::Own)
        }
        result => result,
    }
}

fn start_as(config: &ContainerConfig, files: &Files, ids: Ids) -> Result<Container, ExecutorError> {
    let (control, executor_control) = control_sockets().map_err(failed("create the control socket"))?;
    let birthplace = Birthplace::prepare(&config.cgroup.container)?;
    let surroundings = Surroundings {
        namespaces: config.namespaces,
        cgroup: birthplace.directory.as_ref().map(AsFd::as_fd),
    };
    let fds = [executor_control.as_fd(), files.loader.as_fd(), files.rt.as_fd()];
    let step = match (config.namespaces, &birthplace.directory) {
        (true, None) => "create namespaces",
        (false, None) => "create a process",
        (_, Some(_)) => "create a process in the container's cgroup",
    };
    let waiting = spawn::spawn(files.executor.as_fd(), fds, surroundings).map_err(failed(step))?;
    let place = birthplace.settle(&config.cgroup, waiting.process.pid, ids.outside())?;
    if config.namespaces {
        ids.map(waiting.process.pid)?;
    }
    let executor = waiting.release().map_err(|failure| failed(failure.step)(failure.errno))?;
    drop(executor_control);
    let setup = ids.setup(config.namespaces).encode();
    send(&control, &setup, SendFlags::NOSIGNAL).map_err(failed("configure the container"))?;
    Ok(Container { executor, control, place })
}

/// An error which says what may be the reason.
pub(crate) fn failed<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> ExecutorError {
    move |error| {
        let source = error.into();
        let hint = hint::hint(&source);
        ExecutorError::Container { step, source, hint }
    }
}

/// The host's end, which does not block, and the executor's, which does.
fn control_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    let (host, executor) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let flags = rustix::fs::fcntl_getfl(&host)?;
    rustix::fs::fcntl_setfl(&host, flags | OFlags::NONBLOCK)?;
    Ok((host, executor))
}

/// Below this, the numbers that the new process uses while it puts descriptors in order do not exist, and the kernel's
/// errors say nothing about it.
fn check_descriptor_limit() -> Result<(), ExecutorError> {
    const NEEDED: u64 = 32;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < NEEDED => Err(failed("open descriptors")(Errno::MFILE)),
        _ => Ok(()),
    }
}

/// Where an executor is born, and how it gets to where it is to live.
struct Birthplace<'a> {
    hierarchy: Option<CgroupHierarchy>,
    directory: Option<Directory>,
    config: &'a ContainerCgroup,
}

impl<'a> Birthplace<'a> {
    fn prepare(config: &'a ContainerCgroup) -> Result<Self, ExecutorError> {
        let (hierarchy, directory) = match config {
            ContainerCgroup::Inherit => (CgroupHierarchy::detect().ok(), None),
            ContainerCgroup::Path(name) => {
                let hierarchy = CgroupHierarchy::detect()?;
                let path = hierarchy.path(name)?;
                let (directory, _) = Directory::ensure(&hierarchy, &path)?;
                (Some(hierarchy), Some(directory))
            }
            ContainerCgroup::SystemdScope(_) => (Some(CgroupHierarchy::detect()?), None),
        };
        Ok(Self { hierarchy, directory, config })
    }

    /// Finishes with a process which has been born there and does nothing yet.
    fn settle(self, config: &CgroupConfig, pid: i32, ids: (u32, u32)) -> Result<Place, ExecutorError> {
        let Some(hierarchy) = self.hierarchy else {
            return match &config.process {
                Some(_) => Err(crate::CgroupError::NotMounted.into()),
                None => Ok(Place { ids, ..Place::default() }),
            };
        };
        let (cgroup, domain) = match (self.config, self.directory) {
            (ContainerCgroup::SystemdScope(scope), _) => {
                let enter = systemd::enter_scope(&hierarchy, scope, pid);
                let scope = tokio::runtime::Handle::current().block_on(enter)?;
                let path = scope.join("executor");
                Directory::ensure(&hierarchy, &path)?.0.write(PROCS, &pid.to_string())?;
                (path, Some(scope))
            }
            (_, Some(directory)) => {
                let path = directory.path().to_owned();
                let domain = path.parent().map(PathBuf::from);
                (path, domain)
            }
            (_, None) => (hierarchy.group_of(None).unwrap_or_default(), None),
        };
        let mut place = Place { ids, cgroup, domain, default_group: None };
        if let Some(name) = &config.process {
            let (directory, _) = Directory::ensure(&hierarchy, &hierarchy.path(name)?)?;
            let group = ProcessGroup::new(directory, None);
            let access = GroupAccess::new(hierarchy, place.cgroup.clone(), ids, place.domain.clone());
            access.admit(&group)?;
            place.default_group = Some(group);
        }
        Ok(place)
    }
}
