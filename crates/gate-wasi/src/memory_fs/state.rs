//! File systems in memory as part of a program's state.
//!
//! | size | what |
//! |---|---|
//! | 8 | size limit |
//! | 4 | number among those of the program |
//! | 8 | number of the next inode |
//! | 4 | number of inodes; of each, ascending by number: |
//! | 8 | - its number; that of the outermost directory is 1 |
//! | 8, 8, 8 | - times of access, modification and change, in nanoseconds since 1970 |
//! | 4 | - 0 for a directory, 1 for a file, 2 for a symbolic link |
//! | | - of a directory: |
//! | 8 | -- cookie of the next name |
//! | 4 | -- number of names; of each, ascending by cookie: |
//! | 8, (4, *n*), 8 | --- cookie, name, number of the inode |
//! | | - of a file: |
//! | 8 | -- its size |
//! | 4 | -- number of blocks that are not holes; of each, ascending by number: |
//! | 8, 4096 | --- number, contents |
//! | 4, *n* | - of a symbolic link: its target |
//!
//! What has no name is an open file or an empty directory. Everything else is in the outermost directory, exactly once if it is a
//! directory.

use super::content::Content;
use super::tree::{Inode, Inodes, Kind, MAX_NAMES, Names, ROOT, name_cost};
use super::{MAX_TOTAL, MemoryFs};
use crate::StateError;
use crate::resolve::MAX_PATH;
use crate::state::{Reader, put_bytes, put_u32, put_u64};
use crate::walk::MAX_NAME;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A file system that was read. Copies of it share contents.
#[derive(Clone, Debug)]
pub(crate) struct SavedMemory(Inodes);

impl MemoryFs {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let inodes = self.lock();
        put_u64(out, inodes.limit);
        put_u32(out, inodes.number);
        put_u64(out, inodes.next_ino);
        put_u32(out, inodes.inodes.len() as u32);
        for (&ino, inode) in &inodes.inodes {
            put_u64(out, ino);
            for time in [inode.accessed, inode.modified, inode.changed] {
                put_u64(out, time);
            }
            match &inode.kind {
                Kind::Directory(names) => {
                    put_u32(out, 0);
                    put_u64(out, names.next);
                    put_u32(out, names.by_cookie.len() as u32);
                    for (&cookie, (name, ino)) in &names.by_cookie {
                        put_u64(out, cookie);
                        put_bytes(out, name);
                        put_u64(out, *ino);
                    }
                }
                Kind::File(content) => {
                    put_u32(out, 1);
                    put_u64(out, content.size());
                    put_u32(out, content.blocks().len() as u32);
                    for (&index, block) in content.blocks() {
                        put_u64(out, index);
                        out.extend_from_slice(&block[..]);
                    }
                }
                Kind::Symlink(target) => {
                    put_u32(out, 2);
                    put_bytes(out, target);
                }
            }
        }
    }
}

impl SavedMemory {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let invalid = |what| Err(StateError::Invalid(what));
        let (limit, number, next_ino) = (reader.u64()?, reader.u32()?, reader.u64()?);
        if limit > MAX_TOTAL {
            return invalid("a file system in memory is too large");
        }
        let mut inodes = Inodes::new(limit, number, 1);
        inodes.inodes.clear();
        inodes.next_ino = next_ino;
        for _ in 0..reader.u32()? {
            let ino = reader.u64()?;
            if ino < ROOT
                || ino >= next_ino
                || inodes.inodes.last_key_value().is_some_and(|(&last, _)| last >= ino)
            {
                return invalid("inodes are not in order");
            }
            let inode = decode_inode(reader, ino)?;
            inodes.used += Inodes::content_cost(&inode.kind);
            inodes.inodes.insert(ino, inode);
        }
        connect(&mut inodes)?;
        if inodes.used > limit || inodes.names > MAX_NAMES || next_ino > u64::MAX / 2 {
            return invalid("a file system in memory has more in it than it may");
        }
        Ok(Self(inodes))
    }

    /// What it may grow to.
    pub(crate) fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Number among the file systems of the program.
    pub(crate) fn number(&self) -> u32 {
        self.0.number
    }

    /// Whether it is the file or empty directory of that number. With `directory`, whether it is a directory.
    pub(crate) fn has(&self, ino: u64, directory: bool) -> bool {
        self.0.is_directory(ino) == Ok(directory)
            && self.0.file_type(ino) != crate::abi::FileType::SymbolicLink
    }

    /// Inodes that no name leads to. They have to be open.
    pub(crate) fn nameless(&self) -> impl Iterator<Item = u64> {
        self.0.inodes.iter().filter(|(_, inode)| inode.links == 0).map(|(&ino, _)| ino)
    }

    /// A file system of one program. Its times are multiples of `resolution`, in nanoseconds.
    pub(crate) fn fs(&self, resolution: u64) -> Arc<MemoryFs> {
        let mut inodes = self.0.clone();
        inodes.resolution = resolution;
        MemoryFs::of(inodes)
    }
}

fn decode_inode(reader: &mut Reader<'_>, ino: u64) -> Result<Inode, StateError> {
    let (accessed, modified, changed) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let kind = match reader.u32()? {
        0 => Kind::Directory(decode_names(reader, ino)?),
        1 => Kind::File(decode_content(reader)?),
        2 => {
            let target = reader.bytes()?.to_vec();
            if target.is_empty()
                || target.len() >= MAX_PATH as usize
                || target[0] == b'/'
                || target.contains(&0)
            {
                return Err(StateError::Invalid("the target of a symbolic link cannot be one"));
            }
            Kind::Symlink(target)
        }
        _ => return Err(StateError::Invalid("an inode is of an unknown kind")),
    };
    Ok(Inode { kind, links: 0, opens: 0, accessed, modified, changed })
}

fn decode_names(reader: &mut Reader<'_>, ino: u64) -> Result<Names, StateError> {
    let mut names = Names::new(ino);
    names.next = reader.u64()?;
    if names.next < Names::FIRST || names.next > u64::MAX / 2 {
        return Err(StateError::Invalid("a directory has had too many names"));
    }
    for _ in 0..reader.u32()? {
        let (cookie, name, ino) = (reader.u64()?, reader.bytes()?, reader.u64()?);
        let last = names.by_cookie.last_key_value().map_or(Names::FIRST - 1, |(&last, _)| last);
        if cookie <= last || cookie >= names.next {
            return Err(StateError::Invalid("names in a directory are not in order"));
        }
        let possible = !matches!(name, b"" | b"." | b"..") && name.len() <= MAX_NAME;
        if !possible || name.iter().any(|&b| b == b'/' || b == 0) {
            return Err(StateError::Invalid("a name in a directory cannot be one"));
        }
        let name: Arc<[u8]> = name.into();
        if names.cookies.insert(Arc::clone(&name), cookie).is_some() {
            return Err(StateError::Invalid("a directory has two of the same name"));
        }
        names.by_cookie.insert(cookie, (name, ino));
    }
    Ok(names)
}

fn decode_content(reader: &mut Reader<'_>) -> Result<Content, StateError> {
    let size = reader.u64()?;
    let mut blocks = BTreeMap::new();
    for _ in 0..reader.u32()? {
        let index = reader.u64()?;
        if blocks.last_key_value().is_some_and(|(&last, _)| last >= index) {
            return Err(StateError::Invalid("blocks of a file are not in order"));
        }
        blocks.insert(index, Arc::new(reader.array()?));
    }
    Content::new(size, blocks).ok_or(StateError::Invalid("a file is too large, or has blocks behind its end"))
}

/// Counts links, tells directories where they are, and looks whether all is one tree.
fn connect(inodes: &mut Inodes) -> Result<(), StateError> {
    let invalid = |what| Err(StateError::Invalid(what));
    if !inodes.is_directory(ROOT).unwrap_or(false) {
        return invalid("a file system in memory has no directory");
    }
    let mut links: BTreeMap<u64, u32> = BTreeMap::from([(ROOT, 1)]);
    let mut reached = BTreeSet::from([ROOT]);
    let mut parents = Vec::new();
    let (mut used, mut count) = (0, 0);
    let mut todo = vec![ROOT];
    while let Some(directory) = todo.pop() {
        let Ok(names) = inodes.names_in(directory) else { continue };
        for (name, ino) in names.by_cookie.values() {
            let Ok(is_directory) = inodes.is_directory(*ino) else {
                return invalid("a name leads to no inode");
            };
            used += name_cost(name);
            count += 1;
            // There are not so many names.
            *links.entry(*ino).or_default() += 1;
            if is_directory {
                if !reached.insert(*ino) {
                    return invalid("a directory has several names");
                }
                parents.push((*ino, directory));
                todo.push(*ino);
            }
        }
    }
    inodes.used += used;
    inodes.names = count;
    for (&ino, inode) in &mut inodes.inodes {
        inode.links = links.get(&ino).copied().unwrap_or(0);
        match &inode.kind {
            Kind::Directory(names) if inode.links == 0 && !names.by_cookie.is_empty() => {
                return invalid("a directory that has been removed is not empty");
            }
            Kind::Symlink(_) if inode.links == 0 => return invalid("a symbolic link has no name"),
            _ => {}
        }
    }
    for (ino, parent) in parents {
        if let Some(Inode { kind: Kind::Directory(names), .. }) = inodes.inodes.get_mut(&ino) {
            names.parent = parent;
        }
    }
    Ok(())
}
