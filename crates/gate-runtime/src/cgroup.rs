//! The hierarchy of control groups, version 2.
//!
//! It can be mounted anywhere, alone or (on hybrid systems) beside hierarchies of version 1 which have the
//! controllers. Nothing is assumed about where it is or what it can do.

mod directory;
mod error;
pub(crate) mod systemd;

pub(crate) use directory::{Directory, PROCS};
pub use error::CgroupError;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// Where the control groups are, and which controllers there are for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupHierarchy {
    mount_point: PathBuf,
    /// Path of the cgroup which is at the mount point.
    top: PathBuf,
    /// Controllers that are in hierarchies of version 1, and where these are mounted.
    legacy: Vec<(String, PathBuf)>,
}

impl CgroupHierarchy {
    /// Finds the hierarchy.
    pub fn detect() -> Result<Self, CgroupError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(CgroupError::Mounts)?;
        Self::parse(&mounts).ok_or(CgroupError::NotMounted)
    }

    fn parse(mounts: &str) -> Option<Self> {
        let (mut found, mut legacy) = (None, Vec::new());
        for mount in mounts.lines().filter_map(Mount::parse) {
            match mount.kind {
                // Of several mounts, the one that shows most.
                "cgroup2"
                    if found.as_ref().is_none_or(|(_, top): &(_, PathBuf)| top.starts_with(&mount.root)) =>
                {
                    found = Some((mount.point, mount.root));
                }
                "cgroup" => {
                    let controllers = mount.options.split(',').filter(|o| CONTROLLERS.contains(o));
                    legacy.extend(controllers.map(|name| (name.to_owned(), mount.point.clone())));
                }
                _ => {}
            }
        }
        found.map(|(mount_point, top)| Self { mount_point, top, legacy })
    }

    /// Where it is mounted.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Whether controllers are in hierarchies of version 1, where groups of this one cannot have them.
    pub fn is_hybrid(&self) -> bool {
        !self.legacy.is_empty()
    }

    /// The controllers that the topmost group has.
    pub fn controllers(&self) -> Result<Vec<String>, CgroupError> {
        Directory::open(self, &self.top)?.words("cgroup.controllers")
    }

    /// Path of the group in which a process is, such as this one (`None`).
    pub fn group_of(&self, pid: Option<i32>) -> Result<PathBuf, CgroupError> {
        let file = pid.map_or("/proc/self/cgroup".into(), |pid| format!("/proc/{pid}/cgroup"));
        let text = fs::read_to_string(file).map_err(CgroupError::Mounts)?;
        text.lines()
            .find_map(|line| line.strip_prefix("0::"))
            .map(PathBuf::from)
            .ok_or(CgroupError::NotMounted)
    }

    /// Why no group can have a controller.
    pub(crate) fn why_not(&self, controller: &str) -> String {
        match self.legacy.iter().find(|(name, _)| is_called(controller, name)) {
            Some((_, mount)) => {
                format!("it is used by the cgroup hierarchy of version 1 at {}", mount.display())
            }
            None => "the kernel does not have it, or it is disabled".into(),
        }
    }

    /// Path of a group, from the name that a user gives it: an absolute path in the hierarchy, or in the file system.
    pub(crate) fn path(&self, name: &Path) -> Result<PathBuf, CgroupError> {
        let path = match name.strip_prefix(&self.mount_point) {
            Ok(relative) => self.top.join(relative),
            Err(_) => name.to_owned(),
        };
        let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if path.is_absolute() && plain && path.starts_with(&self.top) {
            Ok(path.components().collect())
        } else {
            Err(CgroupError::Name { name: name.to_owned(), mount_point: self.mount_point.clone() })
        }
    }

    /// Where the directory of a group is.
    pub(crate) fn location(&self, path: &Path) -> PathBuf {
        self.mount_point.join(path.strip_prefix(&self.top).unwrap_or(path))
    }

    pub(crate) fn is_top(&self, path: &Path) -> bool {
        path == self.top
    }
}

/// Names which mean controllers among the mount options of version 1.
const CONTROLLERS: [&str; 13] = [
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "misc", "net_cls",
    "net_prio", "pids", "rdma",
];

/// Whether a controller has this name in version 1.
fn is_called(controller: &str, legacy: &str) -> bool {
    legacy == if controller == "io" { "blkio" } else { controller }
}

/// A line of the list of mounts.
struct Mount<'a> {
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (place, what) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let mut what = what.split(' ');
        Some(Self {
            root: unescape(place.next()?),
            point: unescape(place.next()?),
            kind: what.next()?,
            options: what.nth(1)?,
        })
    }
}

/// Undoes what the kernel does to spaces and the like.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.first_chunk::<3>().filter(|_| first == b'\\');
        let octal = octal.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 1 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
36 31 0:33 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
38 31 0:35 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
39 31 0:36 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid_hierarchies_are_found() {
        let found = CgroupHierarchy::parse(HYBRID).unwrap();
        assert_eq!(found.mount_point(), Path::new("/sys/fs/cgroup/uni fied"));
        assert!(found.is_hybrid());
        assert!(found.why_not("io").ends_with("version 1 at /sys/fs/cgroup/blkio"));
        assert!(found.why_not("pids").contains("kernel"));
        assert_eq!(CgroupHierarchy::parse("36 31 0:33 / /c rw - cgroup cgroup rw,memory"), None);
    }

    #[test]
    fn names_are_paths_below_the_top() {
        let mounts = "1 2 0:1 /pod /c rw - cgroup2 none rw\n1 2 0:1 /pod/x /d rw - cgroup2 none rw\n";
        let found = CgroupHierarchy::parse(mounts).unwrap();
        assert!(!found.is_hybrid());
        for name in ["/pod/a/b", "/c/a/b", "/pod/a//b/"] {
            let path = found.path(Path::new(name)).unwrap();
            assert_eq!(path, Path::new("/pod/a/b"));
            assert_eq!(found.location(&path), Path::new("/c/a/b"));
        }
        for name in ["/other/a", "a", "/pod/../other", "", "/"] {
            assert!(found.path(Path::new(name)).is_err(), "{name}");
        }
    }
}
