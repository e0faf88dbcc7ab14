//! What to say of an error of the kernel's: which setting, capability or limit may be the reason.

use rustix::process::{Resource, getrlimit};
use std::{fs, io};

/// The reasons that there may be for an error, in parentheses, if there are any.
pub(super) fn hint(error: &io::Error) -> String {
    let mut reasons = Vec::new();
    let mut add = |name: &str, wrong: fn(u64) -> bool| {
        if let Some(value) = setting(name).filter(|&value| wrong(value)) {
            reasons.push(format!("{name} is {value}"));
        }
    };
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            add("kernel.unprivileged_userns_clone", |v| v == 0);
            add("kernel.apparmor_restrict_unprivileged_userns", |v| v != 0);
            add("vm.memfd_noexec", |v| v > 1);
            add("user.max_user_namespaces", |v| v == 0);
            reasons.extend(missing_capabilities());
            if reasons.is_empty() {
                reasons.push("a container around this process, or its seccomp filter, may forbid it".into());
            }
        }
        Some(libc::ENOSPC | libc::EUSERS) => {
            for kind in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"] {
                add(&format!("user.max_{kind}_namespaces"), |v| v < 1000);
            }
            if reasons.is_empty() {
                reasons.push("a limit user.max_*_namespaces is reached".into());
            }
        }
        Some(libc::EMFILE) => {
            let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            reasons.push(format!("the limit on open files, ulimit -n, is {limit}"));
        }
        Some(libc::EAGAIN) => {
            let limit = getrlimit(Resource::Nproc).current;
            let limit = limit.map_or("unlimited".into(), |n| n.to_string());
            reasons.push(format!(
                "the limit on the user's processes, ulimit -u, is {limit}; there may be one on the cgroup's, pids.max"
            ));
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

/// The value of a kernel setting which is a number.
fn setting(name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    text.trim().parse().ok()
}

/// What an almighty user lacks in spite of that.
fn missing_capabilities() -> Option<String> {
    let names = [(Capability::SetGid, "CAP_SETGID"), (Capability::SetUid, "CAP_SETUID")];
    let missing: Vec<_> = names.iter().filter(|(c, _)| !c.is_effective()).map(|(_, name)| *name).collect();
    let root = rustix::process::geteuid().is_root();
    (root && !missing.is_empty()).then(|| format!("root lacks {}", missing.join(" and ")))
}

/// Capabilities that a host may have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Capability {
    SetGid = 6,
    SetUid = 7,
}

impl Capability {
    /// Whether this process can use it.
    pub(crate) fn is_effective(self) -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
        set >> self as u32 & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_errors() {
        let hint = |errno| hint(&io::Error::from_raw_os_error(errno));
        assert!(hint(libc::EMFILE).contains("ulimit -n"));
        assert!(hint(libc::EAGAIN).contains("ulimit -u"));
        assert!(hint(libc::EPERM).starts_with(" ("));
        assert_eq!(hint(libc::EIO), "");
    }
}
