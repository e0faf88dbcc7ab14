//! The directory of a control group.

use super::{CgroupError, CgroupHierarchy};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, chmodat, chownat, open, openat, statat};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The file with the list of processes.
pub(crate) const PROCS: &str = "cgroup.procs";

/// An opened control group.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a group which exists.
    pub(crate) fn open(hierarchy: &CgroupHierarchy, path: &Path) -> Result<Self, CgroupError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match open(hierarchy.location(path), flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_owned() }),
            Err(errno) => Err(system(path, "open", errno.into())),
        }
    }

    /// Opens a group, and makes it and those above it if they do not exist. Tells whether it was made.
    pub(crate) fn ensure(hierarchy: &CgroupHierarchy, path: &Path) -> Result<(Self, bool), CgroupError> {
        let missing: Vec<_> =
            path.ancestors().take_while(|path| !hierarchy.location(path).is_dir()).collect();
        for path in missing.iter().rev() {
            match fs::create_dir(hierarchy.location(path)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(system(path, "make", error));
                }
                _ => {}
            }
        }
        Ok((Self::open(hierarchy, path)?, !missing.is_empty()))
    }

    /// Makes a group, which may not exist.
    pub(crate) fn make(hierarchy: &CgroupHierarchy, path: &Path) -> Result<Self, CgroupError> {
        fs::create_dir(hierarchy.location(path)).map_err(|error| system(path, "make", error))?;
        Self::open(hierarchy, path)
    }

    /// A group that somebody else has opened.
    pub(crate) fn from_fd(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self, file: &str) -> Result<String, CgroupError> {
        let read = || {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let mut text = String::new();
            File::from(openat(&self.fd, file, flags, Mode::empty())?).read_to_string(&mut text)?;
            io::Result::Ok(text)
        };
        read().map_err(|error| system(&self.path, &format!("read {file}"), error))
    }

    /// Reads a file which is there only if a controller or a newer kernel is.
    pub(crate) fn read_if_exists(&self, file: &str) -> Result<Option<String>, CgroupError> {
        match self.read(file) {
            Ok(text) => Ok(Some(text)),
            Err(CgroupError::System { source, .. })
                if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> Result<(), CgroupError> {
        let write = || {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            File::from(openat(&self.fd, file, flags, Mode::empty())?).write_all(text.as_bytes())
        };
        write().map_err(|error| system(&self.path, &format!("write {} to {file}", text.trim()), error))
    }

    /// The words of a file.
    pub(crate) fn words(&self, file: &str) -> Result<Vec<String>, CgroupError> {
        Ok(self.read(file)?.split_whitespace().map(str::to_owned).collect())
    }

    /// Whether someone may put processes into it, as far as its own file is concerned.
    pub(crate) fn admits(&self, (uid, gid): (u32, u32)) -> Result<bool, CgroupError> {
        let stat = self.stat_procs()?;
        let mode = stat.st_mode;
        let bit = match () {
            () if stat.st_uid == uid => 0o200,
            () if stat.st_gid == gid => 0o020,
            () => 0o002,
        };
        Ok(mode & bit != 0)
    }

    /// Lets a group of users put processes into it.
    pub(crate) fn admit(&self, gid: u32) -> Result<(), Errno> {
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH;
        chownat(&self.fd, PROCS, None, Some(Gid::from_raw(gid)), AtFlags::empty())?;
        chmodat(&self.fd, PROCS, mode, AtFlags::empty())
    }

    fn stat_procs(&self) -> Result<Stat, CgroupError> {
        statat(&self.fd, PROCS, AtFlags::empty())
            .map_err(|errno| system(&self.path, "look at cgroup.procs", errno.into()))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) fn system(path: &Path, action: &str, source: io::Error) -> CgroupError {
    CgroupError::System { path: path.to_owned(), action: action.to_owned(), source }
}
