//! The static programs of a container, as files that can be executed.

use super::failed;
use crate::config::Binaries;
use crate::error::ExecutorError;
use gate_sandbox::{EXECUTOR, LOADER, RT};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Names and contents.
const ALL: [(&str, &[u8]); 3] = [("gate-executor", EXECUTOR), ("gate-loader", LOADER), ("gate-rt", RT)];

/// Opened files.
pub(super) struct Files {
    pub(super) executor: OwnedFd,
    pub(super) loader: OwnedFd,
    pub(super) rt: OwnedFd,
}

impl Files {
    pub(super) fn open(binaries: &Binaries) -> Result<Self, ExecutorError> {
        let open = |(name, contents)| match binaries {
            Binaries::Embedded => in_memory(name, contents),
            Binaries::Directory(dir) => in_directory(dir.join(name), contents),
        };
        let [executor, loader, rt] = ALL;
        Ok(Self { executor: open(executor)?, loader: open(loader)?, rt: open(rt)? })
    }
}

/// Writes the static programs that are executed in containers to a directory, for
/// [`Binaries::Directory`]. Whoever can write there can do what the host can.
pub fn install_binaries(dir: &Path) -> io::Result<()> {
    for (name, contents) in ALL {
        let temporary = dir.join(format!(".{name}.{}", std::process::id()));
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o755).open(&temporary)?;
        let written = file.write_all(contents).and_then(|()| fs::rename(&temporary, dir.join(name)));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
    }
    Ok(())
}

fn in_memory(name: &str, contents: &[u8]) -> Result<OwnedFd, ExecutorError> {
    // The kernel ends a process that exceeds this limit.
    let limit = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
    if limit < contents.len() as u64 {
        return Err(ExecutorError::FileSizeLimit(limit));
    }
    let write = || {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = match memfd_create(name, flags | MemfdFlags::EXEC) {
            // Before Linux 6.3 there is no such flag.
            Err(Errno::INVAL) => memfd_create(name, flags)?,
            result => result?,
        };
        let mut file = File::from(fd);
        file.write_all(contents)?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        io::Result::Ok(file.into())
    };
    write().map_err(failed("copy the sandbox's programs"))
}

fn in_directory(path: PathBuf, contents: &[u8]) -> Result<OwnedFd, ExecutorError> {
    let read = || {
        let mut file = File::open(&path)?;
        let mut found = Vec::new();
        (&mut file).take(contents.len() as u64 + 1).read_to_end(&mut found)?;
        io::Result::Ok((file, found == contents))
    };
    match read() {
        Ok((file, true)) => Ok(file.into()),
        Ok((_, false)) => {
            Err(ExecutorError::Binary { path, source: io::Error::other("not of this version of Gate") })
        }
        Err(source) => Err(ExecutorError::Binary { path, source }),
    }
}
