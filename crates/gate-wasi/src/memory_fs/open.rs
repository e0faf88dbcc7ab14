//! Open files and directories in memory.

use super::MemoryFs;
use super::tree::Inodes;
use crate::errno::Errno;
use crate::node::{Entry, Folder, How, Node, Opened, Place, RegularFile, SetTimes, Stat};
use crate::node::{list_dots, same_kind};
use rustix::fs::Advice;
use std::sync::Arc;

/// An inode that is kept as long as this is there.
#[derive(Debug)]
struct Open {
    fs: Arc<MemoryFs>,
    ino: u64,
}

impl Open {
    fn new(fs: Arc<MemoryFs>, inodes: &mut Inodes, ino: u64) -> Self {
        inodes.opened(ino);
        Self { fs, ino }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.fs.lock().closed(self.ino);
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct MemoryFile(Open);

/// An open directory.
#[derive(Debug)]
pub(crate) struct MemoryFolder(Open);

macro_rules! node {
    ($type:ident) => {
        impl $type {
            pub(super) fn new(fs: Arc<MemoryFs>, inodes: &mut Inodes, ino: u64) -> Self {
                Self(Open::new(fs, inodes, ino))
            }
        }

        impl Node for $type {
            fn stat(&self) -> Result<Stat, Errno> {
                self.0.fs.lock().stat(self.0.ino)
            }

            fn set_times(&self, times: SetTimes) -> Result<(), Errno> {
                self.0.fs.lock().set_times(self.0.ino, times)
            }

            /// There is nothing behind it that would last longer.
            fn sync(&self, _: bool) -> Result<(), Errno> {
                Ok(())
            }

            fn place(&self) -> Option<Place> {
                Some(Place::Inode(self.0.ino))
            }
        }
    };
}

node!(MemoryFile);
node!(MemoryFolder);

impl RegularFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> Result<usize, Errno> {
        self.0.fs.lock().read(self.0.ino, buf, position)
    }

    fn write_at(&self, data: &[u8], position: u64) -> Result<usize, Errno> {
        self.0.fs.lock().write(self.0.ino, data, position)
    }

    fn append(&self, data: &[u8]) -> Result<(usize, u64), Errno> {
        let mut inodes = self.0.fs.lock();
        let end = inodes.stat(self.0.ino)?.size;
        let n = inodes.write(self.0.ino, data, end)?;
        Ok((n, end + n as u64))
    }

    fn set_size(&self, size: u64) -> Result<(), Errno> {
        self.0.fs.lock().set_size(self.0.ino, size)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.0.fs.lock().allocate(self.0.ino, offset, len)
    }

    fn advise(&self, _: u64, _: u64, _: Advice) -> Result<(), Errno> {
        Ok(())
    }
}

impl Folder for MemoryFolder {
    fn open(&self, path: &[u8], how: How) -> Result<Opened, Errno> {
        let ino = self.0.fs.lock().open(self.0.ino, path, how)?;
        self.0.fs.open_inode(ino, how)
    }

    fn list(&mut self, cookie: u64, each: &mut dyn FnMut(&Entry<'_>) -> bool) -> Result<(), Errno> {
        if !list_dots(self.0.ino, cookie, each) {
            return Ok(());
        }
        let inodes = self.0.fs.lock();
        for (&cookie, (name, ino)) in inodes.names_in(self.0.ino)?.by_cookie.range(cookie..) {
            if !each(&Entry { next: cookie + 1, ino: *ino, ty: inodes.file_type(*ino), name }) {
                break;
            }
        }
        Ok(())
    }

    fn stat_at(&self, path: &[u8], follow: bool) -> Result<Stat, Errno> {
        let inodes = self.0.fs.lock();
        inodes.stat(inodes.locate(self.0.ino, path, follow)?)
    }

    fn set_times_at(&self, path: &[u8], follow: bool, times: SetTimes) -> Result<(), Errno> {
        let mut inodes = self.0.fs.lock();
        let ino = inodes.locate(self.0.ino, path, follow)?;
        inodes.set_times(ino, times)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        self.0.fs.lock().read_link(self.0.ino, path)
    }

    fn create_directory(&self, path: &[u8]) -> Result<(), Errno> {
        self.0.fs.lock().create_directory(self.0.ino, path)
    }

    fn remove_directory(&self, path: &[u8]) -> Result<(), Errno> {
        self.0.fs.lock().remove_directory(self.0.ino, path)
    }

    fn unlink(&self, path: &[u8]) -> Result<(), Errno> {
        self.0.fs.lock().unlink(self.0.ino, path)
    }

    fn symlink(&self, target: &[u8], path: &[u8]) -> Result<(), Errno> {
        self.0.fs.lock().symlink(self.0.ino, path, target)
    }

    fn link(&self, old: &[u8], to: &dyn Folder, new: &[u8]) -> Result<(), Errno> {
        self.on_both(to, |inodes, to| inodes.link((self.0.ino, old), (to, new)))
    }

    fn rename(&self, old: &[u8], to: &dyn Folder, new: &[u8]) -> Result<(), Errno> {
        self.on_both(to, |inodes, to| inodes.rename((self.0.ino, old), (to, new)))
    }
}

impl MemoryFolder {
    /// An operation with another directory, which must be of the same file system.
    fn on_both(
        &self,
        to: &dyn Folder,
        operation: impl FnOnce(&mut Inodes, u64) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let to: &Self = same_kind(to)?;
        match Arc::ptr_eq(&self.0.fs, &to.0.fs) {
            true => operation(&mut self.0.fs.lock(), to.0.ino),
            false => Err(Errno::XDev),
        }
    }
}
