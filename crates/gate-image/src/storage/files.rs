//! Files of an instance.
//!
//! Everything that changes a directory goes through here, one step at a time, so that tests can make each step the last.

use super::error::StorageError;
use crate::memfd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something that changes a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a directory or an empty file.
    Create,
    /// Write to a file.
    Write,
    /// See to it that a file, or a directory's entries, outlast a power failure.
    Sync,
    /// Give a file or a directory another name.
    Rename,
    /// Remove a file or a directory.
    Remove,
}

/// Is told what is about to be done.
pub(super) trait Steps: std::fmt::Debug + Send + Sync {
    /// `to` is the new name. An error prevents it.
    fn before(&self, step: Step, path: &Path, to: Option<&Path>) -> io::Result<()>;
}

/// Lets everything be done.
#[derive(Debug)]
pub(super) struct Unhindered;

impl Steps for Unhindered {
    fn before(&self, _: Step, _: &Path, _: Option<&Path>) -> io::Result<()> {
        Ok(())
    }
}

/// A directory with files in it.
#[derive(Clone, Debug)]
pub(super) struct Files {
    dir: Arc<OwnedFd>,
    path: PathBuf,
    steps: Arc<dyn Steps>,
}

type Result<T> = std::result::Result<T, StorageError>;

impl Files {
    /// Opens a directory.
    pub(super) fn open(path: PathBuf, steps: &Arc<dyn Steps>) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { dir: Arc::new(dir), path, steps: Arc::clone(steps) })
    }

    /// Makes a directory, and opens it.
    pub(super) fn create(path: PathBuf, steps: &Arc<dyn Steps>) -> Result<Self> {
        let step = || {
            steps.before(Step::Create, &path, None)?;
            rustix::fs::mkdir(&path, Mode::RWXU)?;
            Self::open(path.clone(), steps)
        };
        step().map_err(StorageError::file("make directory", &path))
    }

    /// Where the directory was when it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory has another name now.
    pub(super) fn set_path(&mut self, path: PathBuf) {
        self.path = path;
    }

    pub(super) fn steps(&self) -> &Arc<dyn Steps> {
        &self.steps
    }

    /// Locks the directory for as long as it is open. Says whether nobody else has locked it.
    pub(super) fn try_lock(&self) -> Result<bool> {
        match rustix::fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(StorageError::file("lock directory", &self.path)(errno.into())),
        }
    }

    /// Ends the lock even if a process which is just being made still has the directory open.
    pub(super) fn unlock(&self) {
        // It ends with the last descriptor at the latest.
        let _ = rustix::fs::flock(&self.dir, FlockOperation::Unlock);
    }

    /// Whether the directory has been removed.
    pub(super) fn is_gone(&self) -> Result<bool> {
        let stat = rustix::fs::fstat(&self.dir)
            .map_err(|errno| StorageError::file("look at directory", &self.path)(errno.into()))?;
        Ok(stat.st_nlink == 0)
    }

    /// Whether what was found is the directory.
    pub(super) fn is(&self, found: &Metadata) -> io::Result<bool> {
        let stat = rustix::fs::fstat(&self.dir)?;
        Ok((stat.st_dev, stat.st_ino) == (found.dev(), found.ino()))
    }

    /// Makes an empty file.
    pub(super) fn create_file(&self, name: &str) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        self.step("create", name, Step::Create, || {
            Ok(rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)?)
        })
    }

    /// Makes a file of zeros.
    pub(super) fn create_sized(&self, name: &str, size: u64) -> Result<OwnedFd> {
        let file = self.create_file(name)?;
        self.change("set the size of", name, || Ok(rustix::fs::ftruncate(&file, size)?))?;
        Ok(file)
    }

    /// Opens a file for reading.
    pub(super) fn open_file(&self, name: &str) -> Result<OwnedFd> {
        self.open_with(name, OFlags::RDONLY)
    }

    /// Opens a file for reading and writing.
    pub(super) fn open_writable(&self, name: &str) -> Result<OwnedFd> {
        self.open_with(name, OFlags::RDWR)
    }

    fn open_with(&self, name: &str, mode: OFlags) -> Result<OwnedFd> {
        let flags = mode | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, name, flags, Mode::empty())
            .map_err(|errno| StorageError::file("open", self.path.join(name))(errno.into()))
    }

    /// Reads a whole file, if it exists.
    pub(super) fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let file = match self.open_file(name) {
            Ok(file) => File::from(file),
            Err(StorageError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut contents = Vec::new();
        match file.take(max).read_to_end(&mut contents) {
            Ok(_) => Ok(Some(contents)),
            Err(source) => Err(StorageError::file("read", self.path.join(name))(source)),
        }
    }

    /// Makes a file with the contents, which outlasts a power failure if it has a name by then.
    pub(super) fn write_file(&self, name: &str, contents: &[u8]) -> Result<()> {
        let file = self.create_file(name)?;
        self.change("write to", name, || Ok(memfd::write_all(&file, contents, 0)?))?;
        self.sync_file(name, &file)
    }

    /// Does something which writes to a file.
    pub(super) fn change<T>(
        &self,
        action: &'static str,
        name: &str,
        f: impl FnOnce() -> io::Result<T>,
    ) -> Result<T> {
        self.step(action, name, Step::Write, f)
    }

    /// Waits until what is in a file outlasts a power failure.
    pub(super) fn sync_file(&self, name: &str, file: impl AsFd) -> Result<()> {
        self.step("sync", name, Step::Sync, || Ok(rustix::fs::fsync(&file)?))
    }

    /// Waits until the names in the directory outlast a power failure.
    pub(super) fn sync(&self) -> Result<()> {
        let step = || {
            self.steps.before(Step::Sync, &self.path, None)?;
            Ok(rustix::fs::fsync(&self.dir)?)
        };
        step().map_err(StorageError::file("sync", &self.path))
    }

    /// Gives a file another name, that of another file if there is one.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (old, new) = (self.path.join(from), self.path.join(to));
        self.steps
            .before(Step::Rename, &old, Some(&new))
            .and_then(|()| Ok(rustix::fs::renameat(&self.dir, from, &self.dir, to)?))
            .map_err(StorageError::file("rename", old))
    }

    /// Removes a file, if it exists.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        self.step("remove", name, Step::Remove, || {
            match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        })
    }

    /// Names of all files.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let names = || {
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::read_from(&*self.dir)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name != "." && name != ".." {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        };
        names().map_err(StorageError::file("list", &self.path))
    }

    fn step<T>(
        &self,
        action: &'static str,
        name: &str,
        step: Step,
        f: impl FnOnce() -> io::Result<T>,
    ) -> Result<T> {
        let path = self.path.join(name);
        self.steps.before(step, &path, None).and_then(|()| f()).map_err(StorageError::file(action, &path))
    }
}
