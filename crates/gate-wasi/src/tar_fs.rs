//! Read-only file systems that are tar files, shared by all programs to which they are given.
//!
//! The file is read through once: for its hash, by which a program that goes on knows it again, and for where everything is
//! in it ([`index`]). Contents stay in the file, and are read when a program reads them ([`open`]).

mod index;
mod open;

use crate::errno::Errno;
use crate::node::{How, Opened, Place, Stat};
use crate::walk::{Hierarchy, Last, Shape, walk};
use index::{Inode, Kind};
use open::{TarFile, TarFolder};
use rustix::fs::{FileType, Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A tar file whose contents programs can be given as a directory: see [`Builder::image`](crate::Builder::image).
///
/// It can be given to any number of programs. The file must stay as it is as long as programs use it.
#[derive(Clone)]
pub struct TarImage(Arc<TarFs>);

/// Why a file cannot be used as an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It cannot be opened or read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is a directory.
    #[error("it is a directory, not a tar file")]
    Directory,
    /// It is neither file nor directory: contents could not be read from any place.
    #[error("it is not a file")]
    NotFile,
    /// It is compressed.
    #[error("it is compressed: only a tar file as such can be read from any place")]
    Compressed,
    /// There should be a header at this offset, and is none.
    #[error("it is not a tar file, or is damaged: there is no header at {0:#x}")]
    Header(u64),
    /// It ends within an entry, or without the mark of its end.
    #[error("it ends too early")]
    Truncated,
    /// It has more names than programs can be given, or longer ones.
    #[error("there is too much in it")]
    TooLarge,
    /// Something in it cannot be so, or cannot be handled.
    #[error("{path:?} {problem}")]
    Entry {
        /// Its name.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// What is in a tar file.
pub(crate) struct TarFs {
    file: File,
    hash: [u8; 32],
    inodes: Vec<Inode>,
}

impl TarImage {
    /// Opens a tar file, and reads it through.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ImageError> {
        // Who gives a pipe should get an error, and not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path.as_ref(), flags, Mode::empty()).map_err(io::Error::from)?;
        let stat = rustix::fs::fstat(&fd).map_err(io::Error::from)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(ImageError::Directory),
            _ => return Err(ImageError::NotFile),
        }
        let file = File::from(fd);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let inodes = index::read(&file, size)?;
        let hash = hash(&file, size)?;
        Ok(Self(Arc::new(TarFs { file, hash, inodes })))
    }

    /// BLAKE3 of the file.
    pub fn hash(&self) -> [u8; 32] {
        self.0.hash
    }

    pub(crate) fn fs(&self) -> Arc<TarFs> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for TarImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TarFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarFs")
            .field("hash", &blake3::Hash::from_bytes(self.hash))
            .field("inodes", &self.inodes.len())
            .finish_non_exhaustive()
    }
}

fn hash(mut file: &File, size: u64) -> Result<[u8; 32], ImageError> {
    const PIECE: usize = 1 << 20;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut rest = size;
    while rest > 0 {
        let want = usize::try_from(rest).unwrap_or(PIECE).min(PIECE);
        let n = file.read(&mut piece[..want])?;
        if n == 0 {
            return Err(ImageError::Truncated);
        }
        hasher.update(&piece[..n]);
        rest -= n as u64;
    }
    Ok(hasher.finalize().into())
}

impl TarFs {
    /// BLAKE3 of the file.
    pub(crate) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The directory itself.
    pub(crate) fn folder(self: &Arc<Self>) -> TarFolder {
        TarFolder::new(Arc::clone(self), index::ROOT)
    }

    fn open(self: &Arc<Self>, start: u64, path: &[u8], how: How) -> Result<Opened, Errno> {
        if how.writable || how.flags.intersects(OFlags::CREATE | OFlags::TRUNC) {
            return Err(Errno::RoFs);
        }
        let last = if how.follow { Last::Follow } else { Last::Keep };
        let ino = walk(&**self, start, path, last)?.existing(&**self)?;
        match self.shape(ino) {
            Shape::Directory => Ok(Opened::Directory(Box::new(TarFolder::new(Arc::clone(self), ino)))),
            Shape::File | Shape::Symlink(_) if how.flags.contains(OFlags::DIRECTORY) => Err(Errno::NotDir),
            Shape::Symlink(_) => Err(Errno::Loop),
            Shape::File => Ok(Opened::File(Box::new(TarFile::new(Arc::clone(self), ino)))),
        }
    }

    fn locate(&self, start: u64, path: &[u8], follow: bool) -> Result<u64, Errno> {
        let last = if follow { Last::Follow } else { Last::Keep };
        walk(self, start, path, last)?.existing(self)
    }

    fn read_at(&self, ino: u64, buf: &mut [u8], position: u64) -> Result<usize, Errno> {
        let Kind::File { offset, size } = self.inode(ino).kind else { return Err(Errno::Inval) };
        let rest = usize::try_from(size.saturating_sub(position)).unwrap_or(usize::MAX);
        let n = buf.len().min(rest);
        loop {
            match self.file.read_at(&mut buf[..n], offset.saturating_add(position)) {
                // Somebody has made the file shorter.
                Ok(0) if n > 0 => return Err(Errno::Io),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(|err| Errno::from(&err)),
            }
        }
    }

    fn stat(&self, ino: u64) -> Stat {
        let inode = self.inode(ino);
        let mut dev = [0; 8];
        dev.copy_from_slice(&self.hash[..8]);
        Stat {
            // The same wherever the program goes on. No device of the host has such a number, and no file system in memory.
            dev: u64::from_le_bytes(dev) >> 2 | 1 << 62,
            ino: index::number(ino),
            ty: self.file_type(ino),
            links: inode.links.into(),
            size: match &inode.kind {
                Kind::Directory(_) => 0,
                Kind::File { size, .. } => *size,
                Kind::Symlink(target) => target.len() as u64,
            },
            accessed: inode.modified,
            modified: inode.modified,
            changed: inode.modified,
        }
    }

    fn file_type(&self, ino: u64) -> crate::abi::FileType {
        match self.inode(ino).kind {
            Kind::Directory(_) => crate::abi::FileType::Directory,
            Kind::File { .. } => crate::abi::FileType::RegularFile,
            Kind::Symlink(_) => crate::abi::FileType::SymbolicLink,
        }
    }

    /// By which path it is found again.
    fn place(&self, mut ino: u64) -> Place {
        let mut names = Vec::new();
        while ino != index::ROOT {
            let inode = self.inode(ino);
            names.push(&*inode.name);
            ino = inode.parent;
        }
        names.reverse();
        Place::Path(if names.is_empty() { b".".to_vec() } else { names.join(&b'/') })
    }

    /// All numbers are those of inodes that are there.
    fn inode(&self, ino: u64) -> &Inode {
        &self.inodes[ino as usize]
    }
}

impl Hierarchy for TarFs {
    fn entry(&self, directory: u64, name: &[u8]) -> Option<u64> {
        let Kind::Directory(names) = &self.inode(directory).kind else { return None };
        let found = names.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        Some(names[found].1)
    }

    fn shape(&self, ino: u64) -> Shape<'_> {
        match &self.inode(ino).kind {
            Kind::Directory(_) => Shape::Directory,
            Kind::File { .. } => Shape::File,
            Kind::Symlink(target) => Shape::Symlink(target),
        }
    }
}
