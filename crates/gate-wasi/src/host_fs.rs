//! Files and directories of the host.

use crate::abi::{FileType, fdflags};
use crate::errno::Errno;
use crate::node::{Entry, Folder, How, Node, Opened, Place, RegularFile, SetTime, SetTimes, Stat};
use crate::node::{list_dots, same_kind};
use crate::resolve;
use rustix::fs::{
    Advice, AtFlags, FallocateFlags, FileType as HostFileType, Mode, OFlags, RawDir, SeekFrom, Timespec,
    Timestamps, UTIME_NOW, UTIME_OMIT, fstat, futimens, open, readlink, seek, tell,
};
use rustix::io::{Errno as HostErrno, ReadWriteFlags, pread, pwrite, pwritev2};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// How many bytes of directory entries are fetched at a time.
const ENTRIES_SIZE: usize = 32 << 10;

/// A directory of the host that was given to the program.
#[derive(Clone, Debug)]
pub(crate) struct HostRoot(Arc<OwnedFd>);

impl HostRoot {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self(Arc::new(fd)))
    }

    /// The directory itself.
    pub(crate) fn folder(&self) -> Result<HostFolder, Errno> {
        let fd = resolve::open(&self.0, b".", OFlags::DIRECTORY, Mode::empty())?;
        Ok(HostFolder { fd, root: self.clone(), listing: (0, 0) })
    }

    /// Where in this directory an open file is now. `None` if it is not there any more.
    fn path_of(&self, fd: &OwnedFd) -> Option<Place> {
        if fstat(fd).ok()?.st_nlink == 0 {
            return None;
        }
        let (root, path) = (name_of(&self.0)?, name_of(fd)?);
        let root = root.strip_suffix(b"/").unwrap_or(&root);
        match path.strip_prefix(root)? {
            b"" | b"/" => Some(Place::Path(b".".to_vec())),
            [b'/', rest @ ..] => Some(Place::Path(rest.to_vec())),
            _ => None,
        }
    }
}

fn name_of(fd: &OwnedFd) -> Option<Vec<u8>> {
    readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new()).ok().map(|name| name.into_bytes())
}

/// An open file of the host.
#[derive(Debug)]
struct HostFile {
    fd: OwnedFd,
    root: HostRoot,
}

impl Node for HostFile {
    fn stat(&self) -> Result<Stat, Errno> {
        stat_of(&self.fd)
    }

    fn set_times(&self, times: SetTimes) -> Result<(), Errno> {
        Ok(futimens(&self.fd, &timestamps(times))?)
    }

    fn sync(&self, data: bool) -> Result<(), Errno> {
        sync(&self.fd, data)
    }

    fn place(&self) -> Option<Place> {
        self.root.path_of(&self.fd)
    }
}

impl RegularFile for HostFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> Result<usize, Errno> {
        uninterrupted(|| pread(&self.fd, &mut *buf, position))
    }

    fn write_at(&self, data: &[u8], position: u64) -> Result<usize, Errno> {
        uninterrupted(|| pwrite(&self.fd, data, position))
    }

    fn append(&self, data: &[u8]) -> Result<(usize, u64), Errno> {
        let data = [IoSlice::new(data)];
        let n = uninterrupted(|| pwritev2(&self.fd, &data, u64::MAX, ReadWriteFlags::APPEND))?;
        Ok((n, tell(&self.fd)?))
    }

    fn set_size(&self, size: u64) -> Result<(), Errno> {
        Ok(rustix::fs::ftruncate(&self.fd, size)?)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), Errno> {
        Ok(rustix::fs::fallocate(&self.fd, FallocateFlags::empty(), offset, len)?)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Errno> {
        Ok(rustix::fs::fadvise(&self.fd, offset, std::num::NonZero::new(len), advice)?)
    }
}

/// An open directory of the host.
#[derive(Debug)]
pub(crate) struct HostFolder {
    fd: OwnedFd,
    root: HostRoot,
    /// Where listing goes on without beginning anew: number of an entry, and the system's position before it.
    listing: (u64, u64),
}

impl Node for HostFolder {
    fn stat(&self) -> Result<Stat, Errno> {
        stat_of(&self.fd)
    }

    fn set_times(&self, times: SetTimes) -> Result<(), Errno> {
        Ok(futimens(&self.fd, &timestamps(times))?)
    }

    fn sync(&self, data: bool) -> Result<(), Errno> {
        sync(&self.fd, data)
    }

    fn place(&self) -> Option<Place> {
        self.root.path_of(&self.fd)
    }
}

impl Folder for HostFolder {
    /// Devices, pipes and sockets are `ENOTSUP`.
    fn open(&self, path: &[u8], how: How) -> Result<Opened, Errno> {
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
        let fd = resolve::open(&self.fd, path, flags, mode)?;
        let root = self.root.clone();
        match HostFileType::from_raw_mode(fstat(&fd)?.st_mode) {
            HostFileType::RegularFile => Ok(Opened::File(Box::new(HostFile { fd, root }))),
            HostFileType::Directory => {
                Ok(Opened::Directory(Box::new(HostFolder { fd, root, listing: (0, 0) })))
            }
            _ => Err(Errno::NotSup),
        }
    }

    /// Cookies are counted from the beginning, so that they mean something in a program that has moved.
    fn list(&mut self, cookie: u64, each: &mut dyn FnMut(&Entry<'_>) -> bool) -> Result<(), Errno> {
        if !list_dots(fstat(&self.fd)?.st_ino, cookie, each) {
            return Ok(());
        }
        let first = cookie.saturating_sub(2);
        if self.listing.0 > first {
            self.listing = (0, 0);
        }
        seek(&self.fd, SeekFrom::Start(self.listing.1))?;
        let mut buf = Vec::with_capacity(ENTRIES_SIZE);
        let mut entries = RawDir::new(&self.fd, buf.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let (number, _) = self.listing;
            if name != b"." && name != b".." {
                let ty = FileType::of_host(entry.file_type());
                let entry = Entry { next: number.saturating_add(3), ino: entry.ino(), ty, name };
                if number >= first && !each(&entry) {
                    return Ok(());
                }
                self.listing.0 += 1;
            }
            self.listing.1 = entry.next_entry_cookie();
        }
        Ok(())
    }

    fn stat_at(&self, path: &[u8], follow: bool) -> Result<Stat, Errno> {
        stat_of(&resolve::locate(&self.fd, path, follow)?)
    }

    fn set_times_at(&self, path: &[u8], follow: bool, times: SetTimes) -> Result<(), Errno> {
        let found = resolve::locate(&self.fd, path, follow)?;
        Ok(rustix::fs::utimensat(found, "", &timestamps(times), AtFlags::EMPTY_PATH)?)
    }

    /// What begins at the host's root is none of the program's business.
    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let link = resolve::locate(&self.fd, path, false)?;
        if HostFileType::from_raw_mode(fstat(&link)?.st_mode) != HostFileType::Symlink {
            return Err(Errno::Inval);
        }
        let target = rustix::fs::readlinkat(&link, "", Vec::new())?.into_bytes();
        if target.first() == Some(&b'/') { Err(Errno::Perm) } else { Ok(target) }
    }

    fn create_directory(&self, path: &[u8]) -> Result<(), Errno> {
        let (parent, name) = resolve::parent(&self.fd, path)?;
        Ok(rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777))?)
    }

    fn remove_directory(&self, path: &[u8]) -> Result<(), Errno> {
        let (parent, name) = resolve::parent(&self.fd, path)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    fn unlink(&self, path: &[u8]) -> Result<(), Errno> {
        let (parent, name) = resolve::parent(&self.fd, path)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)
    }

    fn symlink(&self, target: &[u8], path: &[u8]) -> Result<(), Errno> {
        let (parent, name) = resolve::parent(&self.fd, path)?;
        Ok(rustix::fs::symlinkat(target, parent, name)?)
    }

    fn link(&self, old: &[u8], to: &dyn Folder, new: &[u8]) -> Result<(), Errno> {
        let to: &Self = same_kind(to)?;
        let (old_parent, old_name) = resolve::parent(&self.fd, old)?;
        let (new_parent, new_name) = resolve::parent(&to.fd, new)?;
        // With a slash behind it, the system would follow a symbolic link: and only directories may have it.
        if old_name.ends_with(b"/") {
            return Err(Errno::NotDir);
        }
        Ok(rustix::fs::linkat(old_parent, old_name, new_parent, new_name, AtFlags::empty())?)
    }

    fn rename(&self, old: &[u8], to: &dyn Folder, new: &[u8]) -> Result<(), Errno> {
        let to: &Self = same_kind(to)?;
        let (old_parent, old_name) = resolve::parent(&self.fd, old)?;
        let (new_parent, new_name) = resolve::parent(&to.fd, new)?;
        Ok(rustix::fs::renameat(old_parent, old_name, new_parent, new_name)?)
    }
}

#[allow(clippy::useless_conversion, reason = "the number of links has 32 bits on other processors")]
fn stat_of(fd: &OwnedFd) -> Result<Stat, Errno> {
    let time = |secs: i64, nanos: u64| {
        u64::try_from(secs).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanos)
    };
    let stat = fstat(fd)?;
    Ok(Stat {
        dev: stat.st_dev,
        ino: stat.st_ino,
        ty: FileType::of_host(HostFileType::from_raw_mode(stat.st_mode)),
        links: u64::from(stat.st_nlink),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        accessed: time(stat.st_atime, stat.st_atime_nsec),
        modified: time(stat.st_mtime, stat.st_mtime_nsec),
        changed: time(stat.st_ctime, stat.st_ctime_nsec),
    })
}

fn timestamps(times: SetTimes) -> Timestamps {
    let time = |time| match time {
        SetTime::Keep => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        SetTime::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        SetTime::At(nanos) => {
            Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as i64 }
        }
    };
    Timestamps { last_access: time(times.accessed), last_modification: time(times.modified) }
}

fn sync(fd: &OwnedFd, data: bool) -> Result<(), Errno> {
    Ok(if data { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) }?)
}

fn uninterrupted<T>(mut operation: impl FnMut() -> rustix::io::Result<T>) -> Result<T, Errno> {
    loop {
        match operation() {
            Err(HostErrno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
