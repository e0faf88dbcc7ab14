//! Files in memory.

use crate::error::ImageError;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Whether a file in memory may be mapped executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Executable {
    Yes,
    No,
}

/// Makes an empty file.
pub(crate) fn create(name: &str, executable: Executable) -> Result<OwnedFd, ImageError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mode = match executable {
        Executable::Yes => MemfdFlags::EXEC,
        Executable::No => MemfdFlags::NOEXEC_SEAL,
    };
    match memfd_create(name, flags | mode) {
        // Before Linux 6.3 there is no choice: every such file can be executed.
        Err(Errno::INVAL) => memfd_create(name, flags),
        result => result,
    }
    .map_err(ImageError::system("create a file in memory"))
}

/// Makes a file of the given size, which nobody can change any more. It takes space where it is written.
/// [`seal_contents`] can still be used on it.
pub(crate) fn create_sized(name: &str, size: u64) -> Result<OwnedFd, ImageError> {
    let fd = create(name, Executable::No)?;
    ftruncate(&fd, size).map_err(ImageError::system("set the size of a file in memory"))?;
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)
        .map_err(ImageError::system("seal the size of a file in memory"))?;
    Ok(fd)
}

/// Sees to it that nobody can change the file any more. Fails if a process has it mapped for writing.
pub(crate) fn seal_contents(fd: impl AsFd) -> Result<(), Errno> {
    fcntl_add_seals(fd, SealFlags::WRITE | SealFlags::SEAL)
}

/// Makes an executable file with the given contents, which nobody can change any more.
pub(crate) fn create_executable(name: &str, contents: &[u8]) -> Result<OwnedFd, ImageError> {
    let fd = create(name, Executable::Yes)?;
    write_all(&fd, contents, 0).map_err(ImageError::system("write to a file in memory"))?;
    fcntl_add_seals(&fd, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
        .map_err(ImageError::system("seal a file in memory"))?;
    Ok(fd)
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_all(fd: impl AsFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Fills `buf` from `offset`. The file must be long enough.
pub(crate) fn read_exact(fd: impl AsFd, mut buf: &mut [u8], mut offset: u64) -> Result<(), Errno> {
    while !buf.is_empty() {
        match rustix::io::pread(&fd, &mut *buf, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => {
                buf = &mut buf[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
