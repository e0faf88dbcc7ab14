//! Which ids outside of a container are which ids inside.

use super::hint::Capability;
use super::{failed, subid};
use crate::config::{ContainerConfig, ContainerIds};
use crate::error::ExecutorError;
use crate::spawn::SETUP_ID;
use gate_wire::control::{SETUP_NO_NAMESPACES, Setup};
use rustix::process::{getegid, geteuid};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Id that programs have in the container if they can have one of their own.
const PROGRAMS_ID: u32 = 2;

/// Programs that map ids for ordinary users.
const NEWUIDMAP: &str = "newuidmap";
const NEWGIDMAP: &str = "newgidmap";

/// As whom the processes of a container run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// As whom the host runs. The kernel lets everybody map that.
    Own,
    /// As others: first who sets the container up, then who runs the programs.
    Two { setup: (u32, u32), programs: (u32, u32) },
}

impl Ids {
    pub(super) fn choose(config: &ContainerConfig) -> Result<Self, ExecutorError> {
        let privileged = Capability::SetUid.is_effective() && Capability::SetGid.is_effective();
        let ids = match config.ids {
            ContainerIds::Own => Self::Own,
            ContainerIds::Two { setup, programs } => Self::Two { setup, programs },
            ContainerIds::Subordinate => Self::subordinate()?,
            ContainerIds::Auto if privileged => match ContainerIds::UNPRIVILEGED {
                ContainerIds::Two { setup, programs } => Self::Two { setup, programs },
                _ => Self::Own,
            },
            ContainerIds::Auto if config.namespaces && has_helpers() => {
                Self::subordinate().unwrap_or(Self::Own)
            }
            ContainerIds::Auto => Self::Own,
        };
        if !config.namespaces && !privileged && ids != Self::Own {
            return Err(ExecutorError::Credentials(
                "without namespaces, other ids take the capabilities CAP_SETUID and CAP_SETGID".into(),
            ));
        }
        Ok(ids)
    }

    fn subordinate() -> Result<Self, ExecutorError> {
        let uid = geteuid().as_raw();
        let [setup_uid, programs_uid] = subid::first_two(Path::new("/etc/subuid"), uid)?;
        let [setup_gid, programs_gid] = subid::first_two(Path::new("/etc/subgid"), uid)?;
        Ok(Self::Two { setup: (setup_uid, setup_gid), programs: (programs_uid, programs_gid) })
    }

    /// User and group of the programs, as the host sees them.
    pub(crate) fn outside(self) -> (u32, u32) {
        match self {
            Self::Own => (geteuid().as_raw(), getegid().as_raw()),
            Self::Two { programs, .. } => programs,
        }
    }

    /// What to tell the executor.
    pub(super) fn setup(self, namespaces: bool) -> Setup {
        let (uid, gid) = self.outside();
        match (namespaces, self) {
            (false, _) => Setup { uid, gid, flags: SETUP_NO_NAMESPACES },
            (true, Self::Own) => Setup { uid: SETUP_ID, gid: SETUP_ID, flags: 0 },
            (true, Self::Two { .. }) => Setup { uid: PROGRAMS_ID, gid: PROGRAMS_ID, flags: 0 },
        }
    }

    /// Maps the ids in a new user namespace, that of a process.
    pub(super) fn map(self, pid: i32) -> Result<(), ExecutorError> {
        let Self::Two { setup, programs } = self else {
            // Without this, who has no privileges may not map groups.
            write(pid, "setgroups", "deny", "forbid changes of groups")?;
            let (uid, gid) = self.outside();
            write(pid, "uid_map", &format!("{SETUP_ID} {uid} 1\n"), "map user ids")?;
            return write(pid, "gid_map", &format!("{SETUP_ID} {gid} 1\n"), "map group ids");
        };
        let maps = [
            ("uid_map", NEWUIDMAP, Capability::SetUid, [setup.0, programs.0], "map user ids"),
            ("gid_map", NEWGIDMAP, Capability::SetGid, [setup.1, programs.1], "map group ids"),
        ];
        for (name, helper, capability, [setup, programs], step) in maps {
            if capability.is_effective() {
                let map = format!("{SETUP_ID} {setup} 1\n{PROGRAMS_ID} {programs} 1\n");
                write(pid, name, &map, step)?;
            } else {
                run(helper, pid, [SETUP_ID, setup, 1, PROGRAMS_ID, programs, 1])?;
            }
        }
        Ok(())
    }
}

fn write(pid: i32, name: &str, contents: &str, step: &'static str) -> Result<(), ExecutorError> {
    fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/{pid}/{name}"))
        .and_then(|mut file| file.write_all(contents.as_bytes()))
        .map_err(failed(step))
}

fn run(helper: &str, pid: i32, map: [u32; 6]) -> Result<(), ExecutorError> {
    let output = Command::new(helper)
        .arg(pid.to_string())
        .args(map.map(|n| n.to_string()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ExecutorError::Credentials(format!(
                "{helper} is not installed (Debian package uidmap); it maps ids for users who may not"
            )),
            _ => ExecutorError::Credentials(format!("run {helper}: {error}")),
        })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(ExecutorError::Credentials(format!(
        "{helper} failed, {}: {} (the ids must be in /etc/subuid and /etc/subgid)",
        output.status,
        words.trim()
    )))
}

fn has_helpers() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let exists = |name| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    exists(NEWUIDMAP) && exists(NEWGIDMAP)
}
