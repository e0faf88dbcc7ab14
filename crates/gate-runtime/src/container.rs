//! Making the container in which an executor and its programs live.

use crate::config::{ContainerConfig, ContainerIds};
use crate::error::ExecutorError;
use crate::spawn::{self, Child, SETUP_ID};
use gate_sandbox::{EXECUTOR, LOADER, RT};
use gate_wire::control::Setup;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{getegid, geteuid};
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Id that programs have in the container if they can have one of their own.
const PROGRAMS_ID: u32 = 2;

/// A container whose executor has not set it up yet.
pub(crate) struct Container {
    pub(crate) executor: Child,
    pub(crate) control: OwnedFd,
    /// To be sent first.
    pub(crate) setup: Setup,
}

/// Starts an executor in a new container. Takes some time, in which the thread is blocked.
pub(crate) fn start(config: &ContainerConfig) -> Result<Container, ExecutorError> {
    let image = |name, contents| executable(name, contents).map_err(failed("copy the sandbox's programs"));
    let executor = image("gate-executor", EXECUTOR)?;
    let loader = image("gate-loader", LOADER)?;
    let rt = image("gate-rt", RT)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (control, executor_control) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(failed("create the control socket"))?;
    let flags = rustix::fs::fcntl_getfl(&executor_control).map_err(failed("create the control socket"))?;
    rustix::fs::fcntl_setfl(&executor_control, flags - rustix::fs::OFlags::NONBLOCK)
        .map_err(failed("create the control socket"))?;

    let waiting = spawn::spawn(executor.as_fd(), [executor_control.as_fd(), loader.as_fd(), rt.as_fd()])
        .map_err(failed("create namespaces"))?;
    let maps = IdMaps::choose(config.ids);
    maps.write(waiting.process.pid)?;
    let executor = waiting.release().map_err(|failure| failed(failure.step)(failure.errno))?;
    let id = maps.programs_id();
    Ok(Container { executor, control, setup: Setup { uid: id, gid: id } })
}

/// An error which says what may be the reason.
pub(crate) fn failed<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> ExecutorError {
    move |error| {
        let source = error.into();
        let hint = hint(&source);
        ExecutorError::Container { step, source, hint }
    }
}

fn executable(name: &str, contents: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match memfd_create(name, flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 there is no such flag.
        Err(Errno::INVAL) => memfd_create(name, flags)?,
        result => result?,
    };
    let mut file = fs::File::from(fd);
    file.write_all(contents)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

/// Which ids outside are which ids inside.
enum IdMaps {
    Own,
    Two { setup: (u32, u32), programs: (u32, u32) },
}

impl IdMaps {
    fn choose(ids: ContainerIds) -> Self {
        match ids {
            ContainerIds::Own => Self::Own,
            ContainerIds::Two { setup, programs } => Self::Two { setup, programs },
            ContainerIds::Auto if geteuid().is_root() => Self::choose(ContainerIds::UNPRIVILEGED),
            ContainerIds::Auto => Self::Own,
        }
    }

    fn programs_id(&self) -> u32 {
        match self {
            Self::Own => SETUP_ID,
            Self::Two { .. } => PROGRAMS_ID,
        }
    }

    fn write(&self, pid: i32) -> Result<(), ExecutorError> {
        let write = |name, contents: String, step| {
            fs::OpenOptions::new()
                .write(true)
                .open(format!("/proc/{pid}/{name}"))
                .and_then(|mut file| file.write_all(contents.as_bytes()))
                .map_err(failed(step))
        };
        let (users, groups) = match self {
            Self::Own => {
                // Without this, who has no privileges may not map groups.
                write("setgroups", "deny".into(), "forbid changes of groups")?;
                let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
                (format!("{SETUP_ID} {uid} 1\n"), format!("{SETUP_ID} {gid} 1\n"))
            }
            Self::Two { setup, programs } => {
                let map = |setup, programs| format!("{SETUP_ID} {setup} 1\n{PROGRAMS_ID} {programs} 1\n");
                (map(setup.0, programs.0), map(setup.1, programs.1))
            }
        };
        write("uid_map", users, "map user ids")?;
        write("gid_map", groups, "map group ids")
    }
}

/// The settings that may be the reason of an error, in parentheses, if there are any.
fn hint(error: &io::Error) -> String {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let mut reasons = Vec::new();
    let mut add = |name: &str, wrong: fn(u64) -> bool| {
        if let Some(value) = read(name).filter(|&value| wrong(value)) {
            reasons.push(format!("{name} is {value}"));
        }
    };
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            add("kernel.unprivileged_userns_clone", |v| v == 0);
            add("kernel.apparmor_restrict_unprivileged_userns", |v| v != 0);
            add("vm.memfd_noexec", |v| v > 1);
            add("user.max_user_namespaces", |v| v == 0);
            if reasons.is_empty() {
                reasons.push("a container around this process, or its seccomp filter, may forbid it".into());
            }
        }
        Some(libc::ENOSPC) => {
            for kind in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"] {
                add(&format!("user.max_{kind}_namespaces"), |v| v < 1000);
            }
            if reasons.is_empty() {
                reasons.push("a limit user.max_*_namespaces is reached".into());
            }
        }
        Some(libc::ENOSYS | libc::EINVAL) => {
            reasons
                .push("the kernel is too old, or a seccomp filter around this process forbids clone3".into());
        }
        _ => {}
    }
    match reasons.is_empty() {
        true => String::new(),
        false => format!(" ({})", reasons.join(", ")),
    }
}
