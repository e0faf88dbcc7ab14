//! Paths in trees of inodes that are Gate's own: what the kernel does for directories of the host.

use crate::errno::Errno;

/// Longest name of a file.
pub(crate) const MAX_NAME: usize = 255;

/// How many symbolic links a path can lead through.
const MAX_LINKS: u32 = 40;

/// A tree of inodes, by number.
pub(crate) trait Hierarchy {
    /// What a directory has by that name.
    fn entry(&self, directory: u64, name: &[u8]) -> Option<u64>;
    fn shape(&self, ino: u64) -> Shape<'_>;
}

/// What path lookup has to know about an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape<'a> {
    Directory,
    File,
    Symlink(&'a [u8]),
}

/// What becomes of a symbolic link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Follow,
    /// It is meant itself, unless a slash follows.
    Keep,
    /// The name itself is meant: it is made, removed or changed.
    Name,
}

/// The end of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) parent: u64,
    /// The last name, which may be `.` or `..`.
    pub(crate) name: Vec<u8>,
    pub(crate) ino: Option<u64>,
    /// Whether a slash follows: it must be a directory.
    pub(crate) slash: bool,
}

impl Found {
    /// What is there.
    pub(crate) fn existing(&self, tree: &impl Hierarchy) -> Result<u64, Errno> {
        let ino = self.ino.ok_or(Errno::NoEnt)?;
        if self.slash && tree.shape(ino) != Shape::Directory { Err(Errno::NotDir) } else { Ok(ino) }
    }

    /// Whether the path ends with a name that directories have by themselves.
    pub(crate) fn is_dots(&self) -> bool {
        self.name == b"." || self.name == b".."
    }
}

/// Looks a path up from a directory, which it does not leave: that is `EPERM`.
pub(crate) fn walk(tree: &impl Hierarchy, start: u64, path: &[u8], last: Last) -> Result<Found, Errno> {
    if path.starts_with(b"/") {
        return Err(Errno::Perm);
    }
    let mut parents = vec![start];
    let mut rest = Vec::new();
    let mut slash = path.ends_with(b"/");
    let mut links = 0;
    push(&mut rest, path);
    loop {
        let (Some(name), Some(&here)) = (rest.pop(), parents.last()) else { return Err(Errno::NoEnt) };
        let is_last = rest.is_empty();
        let ino = match name.as_slice() {
            b"." => Some(here),
            b".." => {
                parents.pop();
                Some(*parents.last().ok_or(Errno::Perm)?)
            }
            name if name.len() > MAX_NAME => return Err(Errno::NameTooLong),
            name => tree.entry(here, name),
        };
        let is_dots = name == b"." || name == b"..";
        let Some(ino) = ino else {
            return match is_last {
                true => Ok(Found { parent: here, name, ino: None, slash }),
                false => Err(Errno::NoEnt),
            };
        };
        match tree.shape(ino) {
            Shape::Symlink(target) if !is_last || last == Last::Follow || last == Last::Keep && slash => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::Loop);
                }
                if target.starts_with(b"/") {
                    return Err(Errno::Perm);
                }
                slash |= is_last && target.ends_with(b"/");
                push(&mut rest, target);
            }
            _ if is_last => return Ok(Found { parent: here, name, ino: Some(ino), slash }),
            Shape::Directory if is_dots => {}
            Shape::Directory => parents.push(ino),
            Shape::File | Shape::Symlink(_) => return Err(Errno::NotDir),
        }
    }
}

/// Puts the names of a path in front of others, which are last to first.
fn push(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    rest.extend(path.split(|&b| b == b'/').filter(|name| !name.is_empty()).rev().map(<[u8]>::to_vec));
}
