//! Open files and directories of an image. Nothing in it can be changed.

use super::index::Kind;
use super::{TarFs, index};
use crate::errno::Errno;
use crate::node::{Entry, Folder, How, Node, Opened, Place, RegularFile, SetTimes, Stat, list_dots};
use rustix::fs::Advice;
use std::sync::Arc;

/// An open file.
#[derive(Debug)]
pub(crate) struct TarFile {
    fs: Arc<TarFs>,
    ino: u64,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct TarFolder {
    fs: Arc<TarFs>,
    ino: u64,
}

macro_rules! node {
    ($type:ident) => {
        impl $type {
            pub(super) fn new(fs: Arc<TarFs>, ino: u64) -> Self {
                Self { fs, ino }
            }
        }

        impl Node for $type {
            fn stat(&self) -> Result<Stat, Errno> {
                Ok(self.fs.stat(self.ino))
            }

            fn set_times(&self, _: SetTimes) -> Result<(), Errno> {
                Err(Errno::RoFs)
            }

            fn sync(&self, _: bool) -> Result<(), Errno> {
                Ok(())
            }

            fn place(&self) -> Option<Place> {
                Some(self.fs.place(self.ino))
            }
        }
    };
}

node!(TarFile);
node!(TarFolder);

impl RegularFile for TarFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> Result<usize, Errno> {
        self.fs.read_at(self.ino, buf, position)
    }

    fn write_at(&self, _: &[u8], _: u64) -> Result<usize, Errno> {
        Err(Errno::RoFs)
    }

    fn append(&self, _: &[u8]) -> Result<(usize, u64), Errno> {
        Err(Errno::RoFs)
    }

    fn set_size(&self, _: u64) -> Result<(), Errno> {
        Err(Errno::RoFs)
    }

    fn allocate(&self, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::RoFs)
    }

    fn advise(&self, _: u64, _: u64, _: Advice) -> Result<(), Errno> {
        Ok(())
    }
}

impl Folder for TarFolder {
    fn open(&self, path: &[u8], how: How) -> Result<Opened, Errno> {
        self.fs.open(self.ino, path, how)
    }

    fn list(&mut self, cookie: u64, each: &mut dyn FnMut(&Entry<'_>) -> bool) -> Result<(), Errno> {
        if !list_dots(self.fs.stat(self.ino).ino, cookie, each) {
            return Ok(());
        }
        let Kind::Directory(names) = &self.fs.inode(self.ino).kind else { return Err(Errno::NotDir) };
        let first = cookie.saturating_sub(2).min(names.len() as u64);
        for (number, (name, ino)) in (first..).zip(&names[first as usize..]) {
            let ty = self.fs.file_type(*ino);
            if !each(&Entry { next: number + 3, ino: index::number(*ino), ty, name }) {
                break;
            }
        }
        Ok(())
    }

    fn stat_at(&self, path: &[u8], follow: bool) -> Result<Stat, Errno> {
        Ok(self.fs.stat(self.fs.locate(self.ino, path, follow)?))
    }

    fn set_times_at(&self, _: &[u8], _: bool, _: SetTimes) -> Result<(), Errno> {
        Err(Errno::RoFs)
    }

    /// What begins at a root is none that the program has.
    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        match &self.fs.inode(self.fs.locate(self.ino, path, false)?).kind {
            Kind::Symlink(target) if target.starts_with(b"/") => Err(Errno::Perm),
            Kind::Symlink(target) => Ok(target.to_vec()),
            Kind::Directory(_) | Kind::File { .. } => Err(Errno::Inval),
        }
    }

    fn create_directory(&self, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::RoFs)
    }

    fn remove_directory(&self, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::RoFs)
    }

    fn unlink(&self, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::RoFs)
    }

    fn symlink(&self, _: &[u8], _: &[u8]) -> Result<(), Errno> {
        Err(Errno::RoFs)
    }

    fn link(&self, _: &[u8], _: &dyn Folder, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::RoFs)
    }

    fn rename(&self, _: &[u8], _: &dyn Folder, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::RoFs)
    }
}
