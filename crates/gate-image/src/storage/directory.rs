//! Directories of instances.

use super::build::Build;
use super::error::StorageError;
use super::files::{Files, Step, Steps, Unhindered};
use super::stored::StoredInstance;
use super::{MAX_NAME, MODULE};
use crate::instance::Instance;
use crate::snapshot::ServiceState;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names of directories which are not complete yet, and of those which are about to be removed, begin with these.
const NEW_PREFIX: &str = ".new-";
const OLD_PREFIX: &str = ".old-";

/// A directory of stored instances.
///
/// Any number of processes may use it at the same time, but each instance is open only once. It must belong to the user, and
/// nobody else may write to it.
#[derive(Clone, Debug)]
pub struct Directory {
    files: Files,
    build: Build,
}

type Result<T> = std::result::Result<T, StorageError>;

impl Directory {
    /// Uses the directory, which is made if it does not exist. Only its last component is.
    ///
    /// `rt` is the native code with which programs run: one that is stopped goes on natively only with the same.
    pub fn open(dir: impl Into<PathBuf>, rt: &[u8]) -> Result<Self> {
        Self::open_with(dir.into(), rt, Arc::new(Unhindered))
    }

    pub(super) fn open_with(dir: PathBuf, rt: &[u8], steps: Arc<dyn Steps>) -> Result<Self> {
        let error = |source| StorageError::file("open storage directory", &dir)(source);
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => {
                // It is empty, so that there's nothing to lose if this fails.
                let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
                let _ = fs::File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all());
            }
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(error(source)),
        }
        let metadata = fs::metadata(&dir).map_err(error)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(StorageError::NotPrivate { dir });
        }
        let files = Files::open(fs::canonicalize(&dir).map_err(error)?, &steps).map_err(error)?;
        let directory = Self { files, build: Build::new(rt) };
        directory.remove_abandoned()?;
        Ok(directory)
    }

    /// Stores an instance, which must not be running, under a new name.
    ///
    /// `module` is what the instance's program was compiled from. `services` is kept with it. If it is suspended, its frames must
    /// be known ([`Mutation::finish_export`](crate::Mutation::finish_export)). From now on the instance is the stored one: before it can run again, it needs [`StoredInstance::prepare`].
    pub fn create(
        &self,
        name: &str,
        module: &[u8],
        instance: &mut Instance,
        services: &[ServiceState],
    ) -> Result<StoredInstance> {
        check_name(name)?;
        if self.files.path().join(name).exists() {
            return Err(StorageError::Exists { name: name.into() });
        }
        let files = self.create_locked()?;
        let temporary = files.path().to_owned();
        let result = (|| {
            files.write_file(MODULE, module)?;
            let mut stored = StoredInstance::new(files, name, blake3::hash(module), self.build.clone());
            stored.commit_to_new(instance, services)?;
            self.rename_new(&temporary, name)?;
            stored.rename(self.files.path().join(name));
            self.files.sync()?;
            Ok(stored)
        })();
        if result.is_err() {
            // It is removed later otherwise.
            let _ = self.discard(&temporary);
        }
        result
    }

    /// Opens a stored instance. Fails if somebody has it open already.
    pub fn open_instance(&self, name: &str) -> Result<StoredInstance> {
        check_name(name)?;
        StoredInstance::open(self.lock(name)?, name, self.build.clone())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.files.path()
    }

    /// Names of the stored instances, sorted.
    pub fn list(&self) -> Result<Vec<String>> {
        let mut names = self.files.names()?;
        names.retain(|name| check_name(name).is_ok());
        Ok(names)
    }

    /// Removes a stored instance. Fails if somebody has it open.
    pub fn remove(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let files = self.lock(name)?;
        let result = self.remove_locked(name);
        files.unlock();
        result
    }

    fn remove_locked(&self, name: &str) -> Result<()> {
        let old = format!("{OLD_PREFIX}{:032x}", rand::random::<u128>());
        self.files.rename(name, &old)?;
        self.files.sync()?;
        // It does not exist any more, even if something of it is left until the directory is opened the next time.
        let _ = self.discard(&self.files.path().join(old));
        Ok(())
    }

    fn lock(&self, name: &str) -> Result<Files> {
        let path = self.files.path().join(name);
        let files = Files::open(path.clone(), self.files.steps()).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StorageError::NotFound { name: name.into() },
            _ => StorageError::file("open", path)(source),
        })?;
        if !files.try_lock()? {
            return Err(StorageError::InUse { name: name.into() });
        }
        // It may have been removed before it was locked.
        let is_current = fs::metadata(files.path()).and_then(|found| files.is(&found));
        match is_current {
            Ok(true) => Ok(files),
            _ => Err(StorageError::NotFound { name: name.into() }),
        }
    }

    /// Makes a directory for a new instance, and locks it.
    fn create_locked(&self) -> Result<Files> {
        loop {
            let name = format!("{NEW_PREFIX}{:032x}", rand::random::<u128>());
            let path = self.files.path().join(name);
            let files = match Files::create(path, self.files.steps()) {
                // Somebody has taken it for abandoned, as it was not locked yet.
                Err(StorageError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                result => result?,
            };
            if files.try_lock()? && !files.is_gone()? {
                return Ok(files);
            }
        }
    }

    fn rename_new(&self, temporary: &Path, name: &str) -> Result<()> {
        let path = self.files.path().join(name);
        self.files
            .steps()
            .before(Step::Rename, temporary, Some(&path))
            .and_then(|()| {
                let (old, new) = (rustix::fs::CWD, rustix::fs::CWD);
                match rustix::fs::renameat_with(old, temporary, new, &path, RenameFlags::NOREPLACE) {
                    // Not every file system can do that. A directory does not replace one which has something in it.
                    Err(Errno::INVAL) => rustix::fs::rename(temporary, &path),
                    result => result,
                }
                .map_err(io::Error::from)
            })
            .map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
                    StorageError::Exists { name: name.into() }
                }
                _ => StorageError::file("rename", temporary)(source),
            })
    }

    /// Removes what was left by processes which did not come to the end.
    fn remove_abandoned(&self) -> Result<()> {
        for name in self.files.names()? {
            if !name.starts_with(NEW_PREFIX) && !name.starts_with(OLD_PREFIX) {
                continue;
            }
            let path = self.files.path().join(name);
            match Files::open(path.clone(), self.files.steps()) {
                Ok(files) if files.try_lock()? => self.discard(&path)?,
                // Somebody is using it, or has just removed it.
                _ => {}
            }
        }
        Ok(())
    }

    fn discard(&self, path: &Path) -> Result<()> {
        let remove = || {
            self.files.steps().before(Step::Remove, path, None)?;
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            }
        };
        remove().map_err(StorageError::file("remove", path))
    }
}

fn check_name(name: &str) -> Result<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_allowed) {
        true => Ok(()),
        false => Err(StorageError::InvalidName { name: name.into() }),
    }
}
