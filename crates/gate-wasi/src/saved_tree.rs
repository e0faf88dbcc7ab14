//! What goes along of directories that are the program's own, or are known by their contents.
//!
//! | size | what |
//! |---|---|
//! | 4 | number of directories; of each: |
//! | 4, *n* | - its name |
//! | 4 | - 1 for a file system in memory, which follows ([`memory_fs`](crate::memory_fs)); 2 for an image: |
//! | 32 | -- BLAKE3 of the file |

use crate::StateError;
use crate::descriptors::Descriptors;
use crate::files::{Access, Preopen, Tree};
use crate::memory_fs::{MAX_TOTAL, SavedMemory};
use crate::node::Place;
use crate::saved_file::SavedFile;
use crate::state::{Reader, put_bytes, put_u32};
use crate::stream::Object;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most directories of this kind that a program can have.
pub(crate) const MAX_TREES: u32 = 64;

/// A directory.
#[derive(Clone, Debug)]
pub(crate) struct SavedTree {
    pub(crate) name: String,
    contents: Contents,
}

#[derive(Clone, Debug)]
enum Contents {
    Memory(SavedMemory),
    Image([u8; 32]),
}

/// Those directories of a program of which anything goes along, each once.
pub(crate) fn trees(descriptors: &Descriptors) -> Vec<&Arc<Preopen>> {
    let mut trees: Vec<&Arc<Preopen>> = Vec::new();
    for (_, descriptor) in descriptors.iter() {
        let preopen = match &descriptor.object {
            Object::File(file) => &file.preopen,
            Object::Directory(directory) => &directory.preopen,
            _ => continue,
        };
        let known = trees.iter().any(|tree| Arc::ptr_eq(tree, preopen));
        if !known && !matches!(preopen.tree, Tree::Host(_)) {
            trees.push(preopen);
        }
    }
    trees
}

/// Whether there are some that only later versions of the state can have.
pub(crate) fn has_images(trees: &[&Arc<Preopen>]) -> bool {
    trees.iter().any(|preopen| matches!(preopen.tree, Tree::Image(_)))
}

pub(crate) fn put(trees: &[&Arc<Preopen>], out: &mut Vec<u8>) {
    put_u32(out, trees.len() as u32);
    for preopen in trees {
        put_bytes(out, preopen.name.as_bytes());
        match &preopen.tree {
            Tree::Host(_) => {}
            Tree::Memory(fs) => {
                put_u32(out, 1);
                fs.put(out);
            }
            Tree::Image(fs) => {
                put_u32(out, 2);
                out.extend_from_slice(fs.hash());
            }
        }
    }
}

pub(crate) fn decode(reader: &mut Reader<'_>, images: bool) -> Result<Vec<SavedTree>, StateError> {
    let count = reader.u32()?;
    if count > MAX_TREES {
        return Err(StateError::Invalid("there are too many directories"));
    }
    let mut trees: Vec<SavedTree> = Vec::new();
    let mut total = 0;
    for _ in 0..count {
        let name = reader.name()?;
        let contents = match reader.u32()? {
            1 => Contents::Memory(SavedMemory::decode(reader)?),
            2 if images => Contents::Image(reader.array()?),
            _ => return Err(StateError::Invalid("a directory is of an unknown kind")),
        };
        let tree = SavedTree { name, contents };
        total += tree.memory().map_or(0, SavedMemory::limit);
        let number = tree.memory().map(SavedMemory::number);
        let same = |other: &SavedTree| {
            other.name == tree.name || number.is_some() && other.memory().map(SavedMemory::number) == number
        };
        if trees.iter().any(same) {
            return Err(StateError::Invalid("two directories are the same"));
        }
        if total > MAX_TOTAL {
            return Err(StateError::Invalid("file systems in memory are too large"));
        }
        trees.push(tree);
    }
    Ok(trees)
}

/// Fails unless directories and open files fit together.
pub(crate) fn check<'a>(
    trees: &[SavedTree],
    files: impl Iterator<Item = &'a SavedFile>,
) -> Result<(), StateError> {
    let mut nameless: BTreeSet<(&str, u64)> = BTreeSet::new();
    for tree in trees {
        if let Some(memory) = tree.memory() {
            nameless.extend(memory.nameless().map(|ino| (tree.name.as_str(), ino)));
        }
    }
    for file in files {
        let tree = trees.iter().find(|tree| tree.name == file.preopen);
        let fits = match (tree.and_then(SavedTree::memory), &file.place) {
            (Some(memory), Place::Inode(ino)) => memory.has(*ino, file.is_directory()),
            (Some(_), Place::Path(_)) => file.is_root(),
            (None, Place::Inode(_)) => false,
            (None, Place::Path(_)) => true,
        };
        if !fits {
            return Err(StateError::Invalid("an open file is not in its file system"));
        }
        if let Place::Inode(ino) = file.place {
            nameless.remove(&(file.preopen.as_str(), ino));
        }
    }
    if nameless.is_empty() { Ok(()) } else { Err(StateError::Invalid("a file has no name, and is not open")) }
}

impl SavedTree {
    /// The directory, if it is part of the state. Its times are multiples of `resolution`, in nanoseconds.
    pub(crate) fn preopen(&self, resolution: u64) -> Option<Arc<Preopen>> {
        let tree = Tree::Memory(self.memory()?.fs(resolution));
        Some(Arc::new(Preopen { name: self.name.clone(), access: Access::ReadWrite, tree }))
    }

    fn memory(&self) -> Option<&SavedMemory> {
        match &self.contents {
            Contents::Memory(memory) => Some(memory),
            Contents::Image(_) => None,
        }
    }

    /// Fails if the directory is an image, and what is given by its name is something else.
    pub(crate) fn check_image(&self, given: Option<&Preopen>) -> Result<(), StateError> {
        let Contents::Image(hash) = self.contents else { return Ok(()) };
        match given.map(|preopen| &preopen.tree) {
            Some(Tree::Image(fs)) if *fs.hash() == hash => Ok(()),
            Some(Tree::Image(fs)) => {
                Err(StateError::WrongImage { name: self.name.clone(), needed: hash, given: *fs.hash() })
            }
            Some(Tree::Host(_) | Tree::Memory(_)) | None => {
                Err(StateError::MissingImage { name: self.name.clone(), needed: hash })
            }
        }
    }
}
