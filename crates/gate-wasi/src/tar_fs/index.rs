//! What is where in a tar file: ustar, and the extensions of GNU and POSIX (pax) for long names and large files.
//!
//! The file may be hostile. Each header is read once, and what is kept of it is bounded.

use super::ImageError;
use crate::resolve::MAX_PATH;
use crate::walk::MAX_NAME;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tar::{EntryType, Header, PaxExtensions};

/// Index of the outermost directory.
pub(super) const ROOT: u64 = 0;

const BLOCK: u64 = 512;

/// Most files, directories and links, names that are given again included.
const MAX_INODES: usize = 1 << 20;

/// Largest size of all names and targets of links together.
const MAX_NAMES_SIZE: usize = 64 << 20;

/// Largest size of what precedes an entry: a long name, or attributes.
const MAX_EXTENSION: u64 = 64 << 10;

/// A file, a directory or a symbolic link.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    pub(super) links: u32,
    /// Nanoseconds since 1970.
    pub(super) modified: u64,
    /// A directory in which it is, and its name there.
    pub(super) parent: u64,
    pub(super) name: Arc<[u8]>,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Names in ascending order.
    Directory(Vec<(Arc<[u8]>, u64)>),
    /// Where its contents are.
    File {
        offset: u64,
        size: u64,
    },
    Symlink(Arc<[u8]>),
}

/// Number of an inode as programs see it.
pub(super) fn number(ino: u64) -> u64 {
    ino + 1
}

/// Reads all headers.
pub(super) fn read(file: &File, size: u64) -> Result<Vec<Inode>, ImageError> {
    let mut tree = Tree::new();
    let mut next = Extensions::default();
    let mut offset = 0;
    loop {
        let mut block = [0; BLOCK as usize];
        read_exact(file, &mut block, offset)?;
        if block == [0; BLOCK as usize] {
            return if next.is_empty() { Ok(tree.finish()) } else { Err(ImageError::Truncated) };
        }
        let header = checked(&block, offset)?;
        let contents = offset + BLOCK;
        let length = match next.size {
            Some(size) => size,
            None => header.entry_size().map_err(|_| ImageError::Header(offset))?,
        };
        let end = contents.checked_add(length).filter(|&end| end <= size).ok_or(ImageError::Truncated)?;
        let ty = header.entry_type();
        match ty {
            EntryType::GNULongName => next.path = Some(long_name(file, contents, length)?),
            EntryType::GNULongLink => next.target = Some(long_name(file, contents, length)?),
            EntryType::XHeader => next.take_pax(&extension(file, contents, length)?, offset)?,
            // Attributes of all entries that follow; none that matter here make sense for so many.
            EntryType::XGlobalHeader => {}
            _ => tree.add(header, std::mem::take(&mut next), contents, length)?,
        }
        offset = end.checked_next_multiple_of(BLOCK).ok_or(ImageError::Truncated)?;
    }
}

fn checked(block: &[u8; BLOCK as usize], offset: u64) -> Result<&Header, ImageError> {
    const MAGIC: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"];
    let header = Header::from_byte_slice(block);
    let byte = |(at, &byte)| if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(byte) };
    let sum: u32 = block.iter().enumerate().map(byte).sum();
    match header.cksum() {
        Ok(sum_there) if sum_there == sum => Ok(header),
        _ if offset == 0 && MAGIC.iter().any(|magic| block.starts_with(magic)) => Err(ImageError::Compressed),
        _ => Err(ImageError::Header(offset)),
    }
}

fn extension(file: &File, offset: u64, length: u64) -> Result<Vec<u8>, ImageError> {
    if length > MAX_EXTENSION {
        return Err(ImageError::TooLarge);
    }
    let mut bytes = vec![0; length as usize];
    read_exact(file, &mut bytes, offset)?;
    Ok(bytes)
}

/// A name that does not fit in a header. A NUL follows it.
fn long_name(file: &File, offset: u64, length: u64) -> Result<Vec<u8>, ImageError> {
    let mut name = extension(file, offset, length)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn read_exact(file: &File, buf: &mut [u8], offset: u64) -> Result<(), ImageError> {
    file.read_exact_at(buf, offset).map_err(|err| match err.kind() {
        io::ErrorKind::UnexpectedEof => ImageError::Truncated,
        _ => err.into(),
    })
}

/// What precedes an entry because its header has no room for it.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.target.is_none() && self.size.is_none()
    }

    fn take_pax(&mut self, records: &[u8], offset: u64) -> Result<(), ImageError> {
        for record in PaxExtensions::new(records) {
            let record = record.map_err(|_| ImageError::Header(offset))?;
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.target = Some(record.value_bytes().to_vec()),
                b"size" => {
                    let size = record.value().ok().and_then(|size| size.parse().ok());
                    self.size = Some(size.ok_or(ImageError::Header(offset))?);
                }
                key => self.sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        Ok(())
    }
}

/// What has been read so far.
struct Tree {
    inodes: Vec<Inode>,
    /// Of each directory, by its index.
    names: BTreeMap<u64, BTreeMap<Arc<[u8]>, u64>>,
    names_size: usize,
    count: usize,
}

impl Tree {
    fn new() -> Self {
        let root = Inode { kind: Kind::Directory(Vec::new()), links: 1, ..Inode::new() };
        Self { inodes: vec![root], names: BTreeMap::from([(ROOT, BTreeMap::new())]), names_size: 0, count: 1 }
    }

    fn add(
        &mut self,
        header: &Header,
        extensions: Extensions,
        offset: u64,
        size: u64,
    ) -> Result<(), ImageError> {
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let target = extensions.target.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        let target = target.unwrap_or_default();
        let result = Entry { header, path: &path, target: &target, offset, size, sparse: extensions.sparse };
        self.add_entry(&result).map_err(|reason| match reason {
            Reason::Entry(problem) => {
                ImageError::Entry { path: String::from_utf8_lossy(&path).into(), problem }
            }
            Reason::TooLarge => ImageError::TooLarge,
        })
    }

    fn add_entry(&mut self, entry: &Entry<'_>) -> Result<(), Reason> {
        let ty = entry.header.entry_type();
        let kind = match ty {
            _ if entry.sparse || ty == EntryType::GNUSparse => {
                return Err(Reason::Entry("is stored as a sparse file, which is not supported"));
            }
            // In the oldest form, directories are files whose names end with a slash.
            EntryType::Regular | EntryType::Continuous if !entry.path.ends_with(b"/") => {
                Kind::File { offset: entry.offset, size: entry.size }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::Directory => Kind::Directory(Vec::new()),
            EntryType::Symlink => Kind::Symlink(entry.target.into()),
            EntryType::Link => Kind::Symlink([][..].into()),
            // Programs cannot open them anyway.
            EntryType::Char | EntryType::Block | EntryType::Fifo => return Ok(()),
            _ if ty.as_byte() == b'V' => return Ok(()),
            _ => return Err(Reason::Entry("is of an unknown type")),
        };
        if !matches!(kind, Kind::File { .. }) && entry.size != 0 {
            return Err(Reason::Entry("has contents, but is no file"));
        }
        let modified = entry.header.mtime().unwrap_or(0).saturating_mul(1_000_000_000);
        if let Kind::Directory(_) = kind {
            let directory = self.directory(&names(entry.path)?)?;
            self.inodes[directory as usize].modified = modified;
            return Ok(());
        }
        let mut path = names(entry.path)?;
        let name = path.pop().ok_or(Reason::Entry("has no name"))?;
        if ty == EntryType::Link {
            let ino =
                self.find(&names(entry.target)?).ok_or(Reason::Entry("is a link to what is not there"))?;
            let parent = self.directory(&path)?;
            return self.link(parent, name, ino);
        }
        if let Kind::Symlink(target) = &kind {
            if target.is_empty() || target.len() >= MAX_PATH as usize || target.contains(&0) {
                return Err(Reason::Entry("is a link with an impossible target"));
            }
            self.count_name(target.len())?;
        }
        let parent = self.directory(&path)?;
        let ino = self.inodes.len() as u64;
        self.inodes.push(Inode { kind, modified, ..Inode::new() });
        self.link(parent, name, ino)
    }

    /// The directory of that path, which is made as far as it is not there.
    fn directory(&mut self, path: &[&[u8]]) -> Result<u64, Reason> {
        let mut here = ROOT;
        for name in path {
            here = match self.child(here, name) {
                Some(ino) if self.names.contains_key(&ino) => ino,
                Some(_) => {
                    return Err(Reason::Entry("is in, or in place of, something that is no directory"));
                }
                None => {
                    let ino = self.inodes.len() as u64;
                    self.inodes.push(Inode { kind: Kind::Directory(Vec::new()), ..Inode::new() });
                    self.names.insert(ino, BTreeMap::new());
                    self.link(here, name, ino)?;
                    ino
                }
            };
        }
        Ok(here)
    }

    fn find(&self, path: &[&[u8]]) -> Option<u64> {
        let ino = path.iter().try_fold(ROOT, |here, name| self.child(here, name))?;
        // Directories have one name only.
        (!self.names.contains_key(&ino)).then_some(ino)
    }

    fn child(&self, directory: u64, name: &[u8]) -> Option<u64> {
        self.names.get(&directory)?.get(name).copied()
    }

    /// Gives an inode a name, in place of what had it, as unpacking does.
    fn link(&mut self, parent: u64, name: &[u8], ino: u64) -> Result<(), Reason> {
        self.count_name(name.len())?;
        let Some(names) = self.names.get_mut(&parent) else { return Err(Reason::TooLarge) };
        if let Some(old) = names.insert(name.into(), ino) {
            if self.names.contains_key(&old) {
                return Err(Reason::Entry("is in place of a directory"));
            }
            self.inodes[old as usize].links -= 1;
        }
        self.inodes[ino as usize].links += 1;
        Ok(())
    }

    fn count_name(&mut self, len: usize) -> Result<(), Reason> {
        self.names_size += len;
        self.count += 1;
        if self.names_size > MAX_NAMES_SIZE || self.count > MAX_INODES {
            Err(Reason::TooLarge)
        } else {
            Ok(())
        }
    }

    fn finish(mut self) -> Vec<Inode> {
        for (parent, names) in self.names {
            for (name, &ino) in &names {
                let inode = &mut self.inodes[ino as usize];
                // Files have several names: any that they still have in the end will do.
                if inode.name.is_empty() {
                    (inode.parent, inode.name) = (parent, Arc::clone(name));
                }
            }
            self.inodes[parent as usize].kind = Kind::Directory(names.into_iter().collect());
        }
        self.inodes
    }
}

impl Inode {
    fn new() -> Self {
        let kind = Kind::Directory(Vec::new());
        Self { kind, links: 0, modified: 0, parent: ROOT, name: [][..].into() }
    }
}

struct Entry<'a> {
    header: &'a Header,
    path: &'a [u8],
    target: &'a [u8],
    offset: u64,
    size: u64,
    sparse: bool,
}

enum Reason {
    Entry(&'static str),
    TooLarge,
}

/// The names in a path. It begins at the outermost directory, with a slash or without.
fn names(path: &[u8]) -> Result<Vec<&[u8]>, Reason> {
    if path.len() >= MAX_PATH as usize || path.contains(&0) {
        return Err(Reason::Entry("has a name that is too long, or contains NUL"));
    }
    let names: Vec<_> = path.split(|&b| b == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    match names.iter().find(|name| **name == b".." || name.len() > MAX_NAME) {
        Some(_) => Err(Reason::Entry("has a name that leads out, or is too long")),
        None => Ok(names),
    }
}
