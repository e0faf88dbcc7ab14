//! Files and directories that a program has open, below directories that were given to it.

use crate::abi::FileType;
use crate::errno::Errno;
use crate::host_fs::HostRoot;
use crate::memory_fs::MemoryFs;
use crate::node::{Folder, How, Opened, RegularFile, Stat};
use crate::stdio::Readiness;
use crate::tar_fs::TarFs;
use std::sync::Arc;

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
    pub(crate) tree: Tree,
}

/// Where the directory is.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    Host(HostRoot),
    Memory(Arc<MemoryFs>),
    Image(Arc<TarFs>),
}

impl Tree {
    /// The directory itself.
    pub(crate) fn folder(&self) -> Result<Box<dyn Folder>, Errno> {
        Ok(match self {
            Self::Host(root) => Box::new(root.folder()?),
            Self::Memory(fs) => Box::new(fs.folder()),
            Self::Image(fs) => Box::new(fs.folder()),
        })
    }
}

/// An open regular file. Its position is kept here, so that it can go along with the program.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) node: Box<dyn RegularFile>,
    pub(crate) preopen: Arc<Preopen>,
    pub(crate) position: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) node: Box<dyn Folder>,
    pub(crate) preopen: Arc<Preopen>,
    /// Whether it is the one that was given.
    pub(crate) root: bool,
}

/// A file or a directory.
#[derive(Debug)]
pub(crate) enum FileOrDirectory {
    File(File),
    Directory(Directory),
}

impl FileOrDirectory {
    pub(crate) fn new(opened: Opened, preopen: Arc<Preopen>, how: How) -> Self {
        match opened {
            Opened::File(node) => Self::File(File {
                node,
                preopen,
                position: 0,
                readable: how.readable,
                writable: how.writable,
            }),
            Opened::Directory(node) => Self::Directory(Directory { node, preopen, root: false }),
        }
    }
}

impl File {
    pub(crate) fn read_at(&self, buf: &mut [u8], position: u64) -> Result<usize, Errno> {
        if self.readable { self.node.read_at(buf, position) } else { Err(Errno::BadF) }
    }

    pub(crate) fn write_at(&self, data: &[u8], position: u64) -> Result<usize, Errno> {
        if self.writable { self.node.write_at(data, position) } else { Err(Errno::BadF) }
    }

    /// Writes at the end, wherever that is by now, and moves there.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<usize, Errno> {
        if !self.writable {
            return Err(Errno::BadF);
        }
        let (n, end) = self.node.append(data)?;
        self.position = end;
        Ok(n)
    }

    pub(crate) fn set_size(&self, size: u64) -> Result<(), Errno> {
        if self.writable { self.node.set_size(size) } else { Err(Errno::Inval) }
    }

    pub(crate) fn allocate(&self, offset: u64, len: u64) -> Result<(), Errno> {
        if self.writable { self.node.allocate(offset, len) } else { Err(Errno::BadF) }
    }

    /// Moves, and returns the new position.
    pub(crate) fn seek(&mut self, offset: i64, whence: u32) -> Result<u64, Errno> {
        let base = match whence {
            0 => 0,
            1 => self.position,
            2 => self.node.stat()?.size,
            _ => return Err(Errno::Inval),
        };
        let position = base.checked_add_signed(offset).filter(|&p| i64::try_from(p).is_ok());
        self.position = position.ok_or(Errno::Inval)?;
        Ok(self.position)
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let rest = self.node.stat().map_or(0, |stat| stat.size.saturating_sub(self.position));
        Readiness { nbytes: rest, hangup: false }
    }
}

impl Directory {
    /// The directory that was given itself.
    pub(crate) fn root(preopen: Arc<Preopen>) -> Result<Self, Errno> {
        Ok(Self { node: preopen.tree.folder()?, preopen, root: true })
    }
}

/// What is known about something that is no file of a file system.
pub(crate) fn stream_stat(ty: FileType, size: u64) -> Stat {
    Stat { dev: 0, ino: 0, ty, links: 1, size, accessed: 0, modified: 0, changed: 0 }
}
