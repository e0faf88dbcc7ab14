//! File systems in memory, each of one program: they go along with it, and are copied with it.
//!
//! Copies share the contents of files until they write to them ([`content`]). What [`tree`] has by number is opened by
//! [`open`]; [`state`] is how it is written down.

mod content;
mod open;
mod state;
mod tree;

pub(crate) use state::SavedMemory;

use crate::errno::Errno;
use crate::node::{How, Opened};
use open::{MemoryFile, MemoryFolder};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tree::Inodes;

/// Largest size that all file systems in memory of a program may have together.
pub(crate) const MAX_TOTAL: u64 = 1 << 30;

/// A file system in memory.
#[derive(Debug)]
pub(crate) struct MemoryFs(Mutex<Inodes>);

impl MemoryFs {
    /// An empty one, of a size in bytes. `number` tells those of a program apart. Its times are multiples of `resolution`,
    /// in nanoseconds.
    pub(crate) fn new(size: u64, number: u32, resolution: u64) -> Arc<Self> {
        Self::of(Inodes::new(size, number, resolution))
    }

    fn of(inodes: Inodes) -> Arc<Self> {
        Arc::new(Self(Mutex::new(inodes)))
    }

    /// Opens the directory itself.
    pub(crate) fn folder(self: &Arc<Self>) -> MemoryFolder {
        MemoryFolder::new(Arc::clone(self), &mut self.lock(), tree::ROOT)
    }

    /// Opens what has that number, as it was open when the program was suspended.
    pub(crate) fn open_inode(self: &Arc<Self>, ino: u64, how: How) -> Result<Opened, Errno> {
        let mut inodes = self.lock();
        match inodes.is_directory(ino)? {
            true if how.writable => Err(Errno::IsDir),
            true => Ok(Opened::Directory(Box::new(MemoryFolder::new(Arc::clone(self), &mut inodes, ino)))),
            false => Ok(Opened::File(Box::new(MemoryFile::new(Arc::clone(self), &mut inodes, ino)))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inodes> {
        // No operation leaves anything half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
