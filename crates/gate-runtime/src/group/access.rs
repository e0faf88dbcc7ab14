//! Whether an executor may make processes in a group.

use super::ProcessGroup;
use crate::cgroup::{CgroupError, CgroupHierarchy, Directory};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What an executor needs to have processes born in groups other than its own.
///
/// The kernel asks the same as of somebody who moves a process: the right to write to `cgroup.procs` of the destination,
/// and of the nearest group above both it and the origin.
#[derive(Debug)]
pub(crate) struct GroupAccess {
    hierarchy: CgroupHierarchy,
    /// Where the executor is.
    executor: PathBuf,
    /// User and group of the executor.
    ids: (u32, u32),
    /// Below this group, rights can be given: it is made for programs.
    domain: Option<PathBuf>,
    /// Which groups are known to be accessible.
    admitted: Mutex<HashSet<u64>>,
}

impl GroupAccess {
    pub(crate) fn new(
        hierarchy: CgroupHierarchy,
        executor: PathBuf,
        ids: (u32, u32),
        domain: Option<PathBuf>,
    ) -> Self {
        let domain = domain.filter(|path| !hierarchy.is_top(path) && path.parent().is_some());
        Self { hierarchy, executor, ids, domain, admitted: Mutex::default() }
    }

    /// Makes sure that processes can be made in a group.
    pub(crate) fn admit(&self, group: &ProcessGroup) -> Result<(), CgroupError> {
        if self.admitted().contains(&group.serial()) {
            return Ok(());
        }
        let common = common_ancestor(&self.executor, group.path());
        self.check(group, group.directory())?;
        if common != group.path() {
            self.check(group, &Directory::open(&self.hierarchy, &common)?)?;
        }
        self.admitted().insert(group.serial());
        Ok(())
    }

    fn check(&self, group: &ProcessGroup, directory: &Directory) -> Result<(), CgroupError> {
        if directory.admits(self.ids)? {
            return Ok(());
        }
        let denied = |reason| CgroupError::Access {
            path: group.path().to_owned(),
            executor: self.executor.clone(),
            reason,
        };
        let (path, (uid, gid)) = (directory.path(), self.ids);
        match &self.domain {
            Some(domain) if path.starts_with(domain) => directory.admit(gid).map_err(|errno| {
                denied(format!(
                    "cgroup.procs of {path:?} is not writable for user {uid} or group {gid}, and cannot be made so: {}",
                    std::io::Error::from(errno)
                ))
            }),
            _ if path.parent().is_none() => Err(denied(
                "the root is the only group above both; configure a container cgroup which is in the same group as \
                 this one"
                    .into(),
            )),
            _ => Err(denied(format!("cgroup.procs of {path:?} is not writable for user {uid} or group {gid}"))),
        }
    }

    fn admitted(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn common_ancestor(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_common() {
        let common = |a: &str, b: &str| common_ancestor(Path::new(a), Path::new(b));
        assert_eq!(common("/a/b", "/a/c/d"), Path::new("/a"));
        assert_eq!(common("/a/b", "/a/b"), Path::new("/a/b"));
        assert_eq!(common("/a/b", "/ab"), Path::new("/"));
    }
}
