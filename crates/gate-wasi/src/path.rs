//! Operations on paths.

use crate::abi::{Rights, fdflags};
use crate::descriptors::Descriptor;
use crate::errno::Errno;
use crate::files::{Access, Directory, FileOrDirectory};
use crate::layout::Layout;
use crate::memory::Guest;
use crate::node::{How, SetTime, SetTimes};
use crate::resolve::MAX_PATH;
use crate::stream::Object;
use crate::{Failure, WasiCtx};
use rustix::fs::OFlags;
use std::sync::Arc;

/// Flags of path lookup.
const SYMLINK_FOLLOW: u32 = 1;

/// Flags of `path_open`.
mod oflags {
    pub(crate) const CREAT: u32 = 1 << 0;
    pub(crate) const DIRECTORY: u32 = 1 << 1;
    pub(crate) const EXCL: u32 = 1 << 2;
    pub(crate) const TRUNC: u32 = 1 << 3;
}

impl WasiCtx {
    /// `path_open`.
    #[expect(clippy::too_many_arguments, reason = "the specification has so many")]
    pub(crate) fn path_open(
        &mut self,
        guest: Guest<'_>,
        dir: u32,
        lookup: u32,
        path: (u32, u32),
        oflags: u32,
        rights: (u64, u64),
        flags: u32,
        result: u32,
    ) -> Result<(), Failure> {
        let mut needed = Rights::PATH_OPEN;
        let mut host = OFlags::empty();
        for (flag, host_flag, right) in [
            (oflags::CREAT, OFlags::CREATE, Rights::PATH_CREATE_FILE),
            (oflags::DIRECTORY, OFlags::DIRECTORY, Rights::NONE),
            (oflags::EXCL, OFlags::EXCL, Rights::NONE),
            (oflags::TRUNC, OFlags::TRUNC, Rights::PATH_FILESTAT_SET_SIZE),
        ] {
            if oflags & flag != 0 {
                host |= host_flag;
                needed = needed.union(right);
            }
        }
        let (base, inheriting) = (Rights(rights.0), Rights(rights.1));
        let directory = self.directory(dir, needed)?;
        let path = read_path(guest, path)?;
        guest.check(result, 4)?;
        let flags =
            u16::try_from(flags).ok().filter(|flags| flags & !fdflags::ALL == 0).ok_or(Errno::Inval)?;
        let inherited = self.descriptors.get(dir)?.inheriting;
        let wanted = base.intersection(Rights::FD_READ.union(Rights::FD_WRITE));
        let is_directory = oflags & oflags::DIRECTORY != 0;
        if !is_directory && !inherited.contains(wanted) {
            return Err(Errno::NotCapable.into());
        }
        if self.descriptors.is_full() {
            return Err(Errno::MFile.into());
        }
        let how = How {
            readable: base.contains(Rights::FD_READ),
            // Programs ask for all rights to a directory.
            writable: base.contains(Rights::FD_WRITE) && !is_directory,
            follow: lookup & SYMLINK_FOLLOW != 0,
            flags: host,
            fdflags: flags,
        };
        let opened = directory.node.open(&path, how)?;
        let opened = FileOrDirectory::new(opened, Arc::clone(&directory.preopen), how);
        let mut descriptor = Descriptor::of_file(opened);
        descriptor.rights = descriptor.rights.intersection(base).intersection(inherited);
        descriptor.inheriting = descriptor.inheriting.intersection(inheriting).intersection(inherited);
        descriptor.flags = flags;
        let fd = self.descriptors.insert(descriptor)?;
        guest.write_u32(result, fd)
    }

    /// `path_create_directory`.
    pub(crate) fn path_create_directory(
        &self,
        guest: Guest<'_>,
        dir: u32,
        path: (u32, u32),
    ) -> Result<(), Failure> {
        let directory = self.directory(dir, Rights::PATH_CREATE_DIRECTORY)?;
        Ok(directory.node.create_directory(&read_path(guest, path)?)?)
    }

    /// `path_remove_directory`.
    pub(crate) fn path_remove_directory(
        &self,
        guest: Guest<'_>,
        dir: u32,
        path: (u32, u32),
    ) -> Result<(), Failure> {
        let directory = self.directory(dir, Rights::PATH_REMOVE_DIRECTORY)?;
        Ok(directory.node.remove_directory(&read_path(guest, path)?)?)
    }

    /// `path_unlink_file`.
    pub(crate) fn path_unlink_file(
        &self,
        guest: Guest<'_>,
        dir: u32,
        path: (u32, u32),
    ) -> Result<(), Failure> {
        let directory = self.directory(dir, Rights::PATH_UNLINK_FILE)?;
        Ok(directory.node.unlink(&read_path(guest, path)?)?)
    }

    /// `path_rename`.
    pub(crate) fn path_rename(
        &self,
        guest: Guest<'_>,
        from: u32,
        old: (u32, u32),
        to: u32,
        new: (u32, u32),
    ) -> Result<(), Failure> {
        let from = self.directory(from, Rights::PATH_RENAME_SOURCE)?;
        let to = self.directory(to, Rights::PATH_RENAME_TARGET)?;
        let (old, new) = (read_path(guest, old)?, read_path(guest, new)?);
        Ok(from.node.rename(&old, &*to.node, &new)?)
    }

    /// `path_link`. Links are not followed for it.
    pub(crate) fn path_link(
        &self,
        guest: Guest<'_>,
        from: u32,
        lookup: u32,
        old: (u32, u32),
        to: u32,
        new: (u32, u32),
    ) -> Result<(), Failure> {
        let from = self.directory(from, Rights::PATH_LINK_SOURCE)?;
        let to = self.directory(to, Rights::PATH_LINK_TARGET)?;
        let (old, new) = (read_path(guest, old)?, read_path(guest, new)?);
        if lookup & SYMLINK_FOLLOW != 0 {
            return Err(Errno::Inval.into());
        }
        Ok(from.node.link(&old, &*to.node, &new)?)
    }

    /// `path_symlink`. What begins at the root is refused: it would mean something else to the host.
    pub(crate) fn path_symlink(
        &self,
        guest: Guest<'_>,
        target: (u32, u32),
        dir: u32,
        path: (u32, u32),
    ) -> Result<(), Failure> {
        let directory = self.directory(dir, Rights::PATH_SYMLINK)?;
        let (target, path) = (read_path(guest, target)?, read_path(guest, path)?);
        if target.starts_with(b"/") {
            return Err(Errno::Perm.into());
        }
        Ok(directory.node.symlink(&target, &path)?)
    }

    /// `path_readlink`: as much as there is room for.
    pub(crate) fn path_readlink(
        &self,
        guest: Guest<'_>,
        dir: u32,
        path: (u32, u32),
        buf: (u32, u32),
        used: u32,
    ) -> Result<(), Failure> {
        let directory = self.directory(dir, Rights::PATH_READLINK)?;
        let target = directory.node.read_link(&read_path(guest, path)?)?;
        let n = target.len().min(buf.1 as usize);
        guest.write(buf.0, &target[..n])?;
        guest.write_u32(used, n as u32)
    }

    /// `path_filestat_get`.
    pub(crate) fn path_filestat_get(
        &self,
        guest: Guest<'_>,
        dir: u32,
        lookup: u32,
        path: (u32, u32),
        layout: Layout,
        result: u32,
    ) -> Result<(), Failure> {
        let directory = self.directory(dir, Rights::PATH_FILESTAT_GET)?;
        let stat = directory.node.stat_at(&read_path(guest, path)?, lookup & SYMLINK_FOLLOW != 0)?;
        guest.write(result, &layout.filestat(&stat))
    }

    /// `path_filestat_set_times`.
    pub(crate) fn path_filestat_set_times(
        &self,
        guest: Guest<'_>,
        dir: u32,
        lookup: u32,
        path: (u32, u32),
        times: (u64, u64, u32),
    ) -> Result<(), Failure> {
        let directory = self.directory(dir, Rights::PATH_FILESTAT_SET_TIMES)?;
        let path = read_path(guest, path)?;
        let times = set_times(times)?;
        Ok(directory.node.set_times_at(&path, lookup & SYMLINK_FOLLOW != 0, times)?)
    }

    /// `fd_prestat_get`.
    pub(crate) fn fd_prestat_get(&self, guest: Guest<'_>, fd: u32, result: u32) -> Result<(), Failure> {
        let name = self.preopened(fd)?;
        guest.write_u64(result, (name.len() as u64) << 32) // The tag of directories is 0.
    }

    /// `fd_prestat_dir_name`.
    pub(crate) fn fd_prestat_dir_name(
        &self,
        guest: Guest<'_>,
        fd: u32,
        buf: u32,
        len: u32,
    ) -> Result<(), Failure> {
        let name = self.preopened(fd)?;
        if name.len() > len as usize {
            return Err(Errno::NameTooLong.into());
        }
        guest.write(buf, name.as_bytes())
    }

    fn preopened(&self, fd: u32) -> Result<&str, Errno> {
        match &self.descriptors.get(fd)?.object {
            Object::Directory(directory) if directory.root => Ok(&directory.preopen.name),
            _ => Err(Errno::BadF),
        }
    }

    fn directory(&self, fd: u32, rights: Rights) -> Result<&Directory, Errno> {
        let descriptor = self.descriptors.get(fd)?;
        match &descriptor.object {
            Object::Directory(directory) => descriptor.require(rights).map(|()| directory),
            Object::Gone => Err(Errno::BadF),
            _ => Err(Errno::NotDir),
        }
    }
}

impl Descriptor {
    /// A descriptor with all rights that the directory's access allows.
    pub(crate) fn of_file(opened: FileOrDirectory) -> Self {
        let (object, access) = match opened {
            FileOrDirectory::File(file) => {
                let access = file.preopen.access;
                (Object::File(file), access)
            }
            FileOrDirectory::Directory(directory) => {
                let access = directory.preopen.access;
                (Object::Directory(directory), access)
            }
        };
        let mut descriptor = Self::new(Self::FILE, object);
        if let Object::Directory(_) = descriptor.object {
            descriptor.inheriting = match access {
                Access::ReadOnly => Rights::DIRECTORY.union(Rights::FILE).without(Rights::CHANGE),
                Access::ReadWrite => Rights::DIRECTORY.union(Rights::FILE),
            };
        }
        descriptor
    }
}

/// Reads a path: any bytes but NUL, at least one.
fn read_path(guest: Guest<'_>, (addr, len): (u32, u32)) -> Result<Vec<u8>, Failure> {
    guest.check(addr, len.into())?;
    if len >= MAX_PATH {
        return Err(Errno::NameTooLong.into());
    }
    let mut path = vec![0; len as usize];
    guest.read(addr, &mut path)?;
    match path.as_slice() {
        [] => Err(Errno::NoEnt.into()),
        bytes if bytes.contains(&0) => Err(Errno::Inval.into()),
        _ => Ok(path),
    }
}

/// Times of access and modification, as the flags want them.
pub(crate) fn set_times((access, modification, flags): (u64, u64, u32)) -> Result<SetTimes, Errno> {
    let time = |nanos: u64, set: u32, now: u32| match (flags & set != 0, flags & now != 0) {
        (true, true) => Err(Errno::Inval),
        (true, false) => Ok(SetTime::At(nanos)),
        (false, true) => Ok(SetTime::Now),
        (false, false) => Ok(SetTime::Keep),
    };
    if flags > 15 {
        return Err(Errno::Inval);
    }
    Ok(SetTimes { accessed: time(access, 1, 2)?, modified: time(modification, 4, 8)? })
}
