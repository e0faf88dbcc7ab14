//! Files and directories of the host, below directories that were given to the program.

use crate::abi::{FileType, fdflags};
use crate::errno::Errno;
use crate::resolve;
use crate::stdio::Readiness;
use rustix::fs::{
    FileType as HostFileType, Mode, OFlags, RawDir, SeekFrom, Stat, fstat, open, readlink, seek, tell,
};
use rustix::io::{Errno as HostErrno, ReadWriteFlags, pread, pwrite, pwritev2};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// How many bytes of directory entries are fetched at a time.
const ENTRIES_SIZE: usize = 32 << 10;

/// What a program may do in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look at everything, change nothing.
    ReadOnly,
    /// Everything.
    ReadWrite,
}

/// A directory that was given to the program, by the name under which it knows it.
#[derive(Debug)]
pub(crate) struct Preopen {
    pub(crate) name: String,
    pub(crate) access: Access,
    pub(crate) fd: OwnedFd,
}

impl Preopen {
    pub(crate) fn open(path: &Path, name: String, access: Access) -> io::Result<Self> {
        let fd = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { name, access, fd })
    }

    /// Where in this directory an open file is now. `None` if it is not there any more.
    fn path_of(&self, fd: &OwnedFd) -> Option<Vec<u8>> {
        if fstat(fd).ok()?.st_nlink == 0 {
            return None;
        }
        let (root, path) = (name_of(&self.fd)?, name_of(fd)?);
        let root = root.strip_suffix(b"/").unwrap_or(&root);
        match path.strip_prefix(root)? {
            b"" | b"/" => Some(b".".to_vec()),
            [b'/', rest @ ..] => Some(rest.to_vec()),
            _ => None,
        }
    }
}

fn name_of(fd: &OwnedFd) -> Option<Vec<u8>> {
    readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new()).ok().map(|name| name.into_bytes())
}

/// An open regular file. Its position is kept here, so that it can go along with the program.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) fd: OwnedFd,
    pub(crate) preopen: Arc<Preopen>,
    pub(crate) position: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) fd: OwnedFd,
    pub(crate) preopen: Arc<Preopen>,
    /// Whether it is the one that was given.
    pub(crate) root: bool,
    /// Where listing goes on without beginning anew: number of an entry, and the system's position before it.
    listing: (u64, u64),
}

/// A file or a directory.
#[derive(Debug)]
pub(crate) enum Opened {
    File(File),
    Directory(Directory),
}

/// How to open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) follow: bool,
    /// `O_CREAT` and the like.
    pub(crate) flags: OFlags,
    /// Flags of the descriptor.
    pub(crate) fdflags: u16,
}

impl Opened {
    /// Opens a path below a directory of the host. Devices, pipes and sockets are `ENOTSUP`.
    pub(crate) fn open(preopen: &Arc<Preopen>, dir: &OwnedFd, path: &[u8], how: How) -> Result<Self, Errno> {
        let access = match (how.readable, how.writable) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            (_, false) => OFlags::RDONLY,
        };
        // A pipe without a peer should not make anyone wait.
        let mut flags = access | how.flags | OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, !how.follow);
        flags.set(OFlags::DSYNC, how.fdflags & fdflags::DSYNC != 0);
        flags.set(OFlags::SYNC, how.fdflags & (fdflags::SYNC | fdflags::RSYNC) != 0);
        let creates = how.flags.contains(OFlags::CREATE);
        let mode = if creates { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        let fd = resolve::open(dir, path, flags, mode)?;
        let preopen = Arc::clone(preopen);
        match HostFileType::from_raw_mode(fstat(&fd)?.st_mode) {
            HostFileType::RegularFile => Ok(Self::File(File {
                fd,
                preopen,
                position: 0,
                readable: how.readable,
                writable: how.writable,
            })),
            HostFileType::Directory => {
                Ok(Self::Directory(Directory { fd, preopen, root: false, listing: (0, 0) }))
            }
            _ => Err(Errno::NotSup),
        }
    }
}

impl File {
    pub(crate) fn read_at(&self, buf: &mut [u8], position: u64) -> Result<usize, Errno> {
        if !self.readable {
            return Err(Errno::BadF);
        }
        uninterrupted(|| pread(&self.fd, &mut *buf, position))
    }

    pub(crate) fn write_at(&self, data: &[u8], position: u64) -> Result<usize, Errno> {
        if !self.writable {
            return Err(Errno::BadF);
        }
        uninterrupted(|| pwrite(&self.fd, data, position))
    }

    /// Writes at the end, wherever that is by now, and moves there.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<usize, Errno> {
        if !self.writable {
            return Err(Errno::BadF);
        }
        let data = [IoSlice::new(data)];
        let n = uninterrupted(|| pwritev2(&self.fd, &data, u64::MAX, ReadWriteFlags::APPEND))?;
        self.position = tell(&self.fd)?;
        Ok(n)
    }

    /// Moves, and returns the new position.
    pub(crate) fn seek(&mut self, offset: i64, whence: u32) -> Result<u64, Errno> {
        let base = match whence {
            0 => 0,
            1 => self.position,
            2 => self.size()?,
            _ => return Err(Errno::Inval),
        };
        let position = base.checked_add_signed(offset).filter(|&p| i64::try_from(p).is_ok());
        self.position = position.ok_or(Errno::Inval)?;
        Ok(self.position)
    }

    fn size(&self) -> Result<u64, Errno> {
        Ok(u64::try_from(fstat(&self.fd)?.st_size).unwrap_or(0))
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let rest = self.size().map_or(0, |size| size.saturating_sub(self.position));
        Readiness { nbytes: rest, hangup: false }
    }

    /// Where it is in its preopened directory, if it still is.
    pub(crate) fn path(&self) -> Option<Vec<u8>> {
        self.preopen.path_of(&self.fd)
    }
}

/// An entry of a directory.
pub(crate) struct Entry<'a> {
    /// Where listing goes on after it.
    pub(crate) next: u64,
    pub(crate) ino: u64,
    pub(crate) ty: FileType,
    pub(crate) name: &'a [u8],
}

impl Directory {
    /// The directory that was given itself.
    pub(crate) fn root(preopen: Arc<Preopen>) -> Result<Self, Errno> {
        let fd = resolve::open(&preopen.fd, b".", OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { fd, preopen, root: true, listing: (0, 0) })
    }

    /// Lists entries, the first of which has the number `cookie`, until `each` returns false or there are no more.
    ///
    /// Numbers are counted from the beginning, so that they mean something in a program that has moved; `.` and `..`
    /// are 0 and 1. What lies above the directory does not concern the program: both are the directory itself.
    pub(crate) fn list<E: From<Errno>>(
        &mut self,
        cookie: u64,
        mut each: impl FnMut(&Entry<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let ino = fstat(&self.fd).map_err(Errno::from)?.st_ino;
        for (number, name) in [(0, &b"."[..]), (1, b"..")] {
            let entry = Entry { next: number + 1, ino, ty: FileType::Directory, name };
            if number >= cookie && !each(&entry)? {
                return Ok(());
            }
        }
        let first = cookie.saturating_sub(2);
        if self.listing.0 > first {
            self.listing = (0, 0);
        }
        seek(&self.fd, SeekFrom::Start(self.listing.1)).map_err(Errno::from)?;
        let mut buf = Vec::with_capacity(ENTRIES_SIZE);
        let mut entries = RawDir::new(&self.fd, buf.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(Errno::from)?;
            let name = entry.file_name().to_bytes();
            let (number, _) = self.listing;
            if name != b"." && name != b".." {
                let ty = FileType::of_host(entry.file_type());
                let entry = Entry { next: number.saturating_add(3), ino: entry.ino(), ty, name };
                if number >= first && !each(&entry)? {
                    return Ok(());
                }
                self.listing.0 += 1;
            }
            self.listing.1 = entry.next_entry_cookie();
        }
        Ok(())
    }

    /// Where it is in its preopened directory, if it still is.
    pub(crate) fn path(&self) -> Option<Vec<u8>> {
        self.preopen.path_of(&self.fd)
    }
}

/// Contents of a symbolic link, and of nothing else. What begins at the host's root is none of the program's business.
pub(crate) fn read_link(dir: &OwnedFd, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let link = resolve::locate(dir, path, false)?;
    if HostFileType::from_raw_mode(fstat(&link)?.st_mode) != HostFileType::Symlink {
        return Err(Errno::Inval);
    }
    let target = rustix::fs::readlinkat(&link, "", Vec::new())?.into_bytes();
    if target.first() == Some(&b'/') { Err(Errno::Perm) } else { Ok(target) }
}

/// What is known about what a path leads to.
pub(crate) fn stat(dir: &OwnedFd, path: &[u8], follow: bool) -> Result<Stat, Errno> {
    Ok(fstat(resolve::locate(dir, path, follow)?)?)
}

fn uninterrupted<T>(mut operation: impl FnMut() -> rustix::io::Result<T>) -> Result<T, Errno> {
    loop {
        match operation() {
            Err(HostErrno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
