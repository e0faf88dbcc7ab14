//! Inodes and names, and what operations do to them. All numbers that are passed in are those of existing inodes.

use super::content::{BLOCK, Content, MAX_FILE};
use crate::abi::FileType;
use crate::errno::Errno;
use crate::node::{How, SetTime, SetTimes, Stat};
use crate::walk::{Found, Hierarchy, Last, Shape, walk};
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

/// Number of the outermost directory.
pub(super) const ROOT: u64 = 1;

/// Most names that there can be, and so most files.
pub(super) const MAX_NAMES: u64 = 65_536;

/// What a name counts for, besides its length; an inode of its own included.
const NAME_COST: u64 = 256;

/// An inode: a file, a directory or a symbolic link.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    /// Number of its names.
    pub(super) links: u32,
    /// How often it is open. It is kept until it has neither names nor is open.
    pub(super) opens: u32,
    pub(super) accessed: u64,
    pub(super) modified: u64,
    pub(super) changed: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Directory(Names),
    File(Content),
    Symlink(Vec<u8>),
}

/// Names in a directory, in the order in which they were made.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Where the directory itself is. The outermost is in itself.
    pub(super) parent: u64,
    pub(super) by_cookie: BTreeMap<u64, (Arc<[u8]>, u64)>,
    pub(super) cookies: BTreeMap<Arc<[u8]>, u64>,
    /// Cookie of the next name. Never used again, so that a program can list what it changes meanwhile.
    pub(super) next: u64,
}

impl Names {
    /// Cookies of `.` and `..` come before.
    pub(super) const FIRST: u64 = 2;

    pub(super) fn new(parent: u64) -> Self {
        Self { parent, by_cookie: BTreeMap::new(), cookies: BTreeMap::new(), next: Self::FIRST }
    }

    fn find(&self, name: &[u8]) -> Option<u64> {
        self.by_cookie.get(self.cookies.get(name)?).map(|(_, ino)| *ino)
    }

    fn insert(&mut self, name: &[u8], ino: u64) {
        let name: Arc<[u8]> = name.into();
        self.cookies.insert(Arc::clone(&name), self.next);
        self.by_cookie.insert(self.next, (name, ino));
        self.next += 1;
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some(cookie) = self.cookies.remove(name) {
            self.by_cookie.remove(&cookie);
        }
    }
}

/// All of a file system.
#[derive(Clone, Debug)]
pub(crate) struct Inodes {
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) limit: u64,
    /// How much of the limit is used.
    pub(super) used: u64,
    /// Number of names.
    pub(super) names: u64,
    pub(super) next_ino: u64,
    /// Tells the file systems of a program apart.
    pub(super) number: u32,
    pub(super) resolution: u64,
}

impl Hierarchy for Inodes {
    fn entry(&self, directory: u64, name: &[u8]) -> Option<u64> {
        match &self.inodes.get(&directory)?.kind {
            Kind::Directory(names) => names.find(name),
            Kind::File(_) | Kind::Symlink(_) => None,
        }
    }

    fn shape(&self, ino: u64) -> Shape<'_> {
        match self.inodes.get(&ino).map(|inode| &inode.kind) {
            Some(Kind::Directory(_)) => Shape::Directory,
            Some(Kind::Symlink(target)) => Shape::Symlink(target),
            Some(Kind::File(_)) | None => Shape::File,
        }
    }
}

impl Inodes {
    pub(super) fn new(limit: u64, number: u32, resolution: u64) -> Self {
        let mut this = Self {
            inodes: BTreeMap::new(),
            limit,
            used: 0,
            names: 0,
            next_ino: ROOT + 1,
            number,
            resolution,
        };
        let root = Inode { links: 1, ..this.inode(Kind::Directory(Names::new(ROOT))) };
        this.inodes.insert(ROOT, root);
        this
    }

    pub(super) fn open(&mut self, start: u64, path: &[u8], how: How) -> Result<u64, Errno> {
        let creates = how.flags.contains(OFlags::CREATE);
        let exclusive = creates && how.flags.contains(OFlags::EXCL);
        let directory = how.flags.contains(OFlags::DIRECTORY);
        if creates && directory {
            return Err(Errno::Inval);
        }
        if creates {
            // A file is not made with a slash behind it, nor where a link leads that has one.
            let name = walk(self, start, path, Last::Name)?;
            if name.slash || name.is_dots() {
                return Err(Errno::IsDir);
            }
        }
        let last = if how.follow && !exclusive { Last::Follow } else { Last::Keep };
        let found = walk(self, start, path, last)?;
        if creates && (found.slash || found.is_dots()) {
            return Err(Errno::IsDir);
        }
        let Some(ino) = found.ino else {
            return if creates {
                self.create(&found, Kind::File(Content::default()))
            } else {
                Err(Errno::NoEnt)
            };
        };
        if exclusive {
            return Err(Errno::Exist);
        }
        let truncates = how.flags.contains(OFlags::TRUNC);
        match self.shape(found.existing(self)?) {
            Shape::Directory if creates || truncates || how.writable => return Err(Errno::IsDir),
            Shape::File | Shape::Symlink(_) if directory => return Err(Errno::NotDir),
            Shape::Symlink(_) => return Err(Errno::Loop),
            Shape::File if truncates => self.set_size(ino, 0)?,
            Shape::File | Shape::Directory => {}
        }
        Ok(ino)
    }

    pub(super) fn create_directory(&mut self, start: u64, path: &[u8]) -> Result<(), Errno> {
        let found = walk(self, start, path, Last::Name)?;
        self.create(&found, Kind::Directory(Names::new(found.parent))).map(drop)
    }

    pub(super) fn symlink(&mut self, start: u64, path: &[u8], target: &[u8]) -> Result<(), Errno> {
        let found = walk(self, start, path, Last::Name)?;
        if found.slash && found.ino.is_none() {
            return Err(Errno::NoEnt);
        }
        self.create(&found, Kind::Symlink(target.to_vec())).map(drop)
    }

    pub(super) fn remove_directory(&mut self, start: u64, path: &[u8]) -> Result<(), Errno> {
        let found = walk(self, start, path, Last::Name)?;
        if found.is_dots() {
            return Err(Errno::Inval);
        }
        if !self.names_in(found.ino.ok_or(Errno::NoEnt)?)?.by_cookie.is_empty() {
            return Err(Errno::NotEmpty);
        }
        self.remove_name(&found)
    }

    pub(super) fn unlink(&mut self, start: u64, path: &[u8]) -> Result<(), Errno> {
        let found = walk(self, start, path, Last::Name)?;
        match self.shape(found.existing(self)?) {
            Shape::Directory => Err(Errno::IsDir),
            Shape::File | Shape::Symlink(_) => self.remove_name(&found),
        }
    }

    pub(super) fn link(&mut self, old: (u64, &[u8]), new: (u64, &[u8])) -> Result<(), Errno> {
        let old = walk(self, old.0, old.1, Last::Name)?;
        let new = walk(self, new.0, new.1, Last::Name)?;
        // Only directories may have a slash behind them.
        if old.slash {
            return Err(Errno::NotDir);
        }
        let ino = old.existing(self)?;
        match new.ino {
            Some(_) => return Err(Errno::Exist),
            None if new.slash => return Err(Errno::NoEnt),
            None if self.shape(ino) == Shape::Directory => return Err(Errno::Perm),
            None => {}
        }
        self.add_name(&new, ino)?;
        self.get_mut(ino)?.links += 1;
        self.touch_changed(ino);
        Ok(())
    }

    pub(super) fn rename(&mut self, old: (u64, &[u8]), new: (u64, &[u8])) -> Result<(), Errno> {
        let old = walk(self, old.0, old.1, Last::Name)?;
        let new = walk(self, new.0, new.1, Last::Name)?;
        if old.is_dots() || new.is_dots() {
            return Err(Errno::Busy);
        }
        let ino = old.existing(self)?;
        let moves_directory = self.shape(ino) == Shape::Directory;
        if moves_directory && self.is_within(new.parent, ino) {
            return Err(Errno::Inval);
        }
        if new.slash && !moves_directory {
            return Err(Errno::NotDir);
        }
        if let Some(replaced) = new.ino {
            if replaced == ino {
                return Ok(());
            }
            match (self.shape(replaced) == Shape::Directory, moves_directory) {
                (true, false) => return Err(Errno::IsDir),
                (false, true) => return Err(Errno::NotDir),
                (true, true) if !self.names_in(replaced)?.by_cookie.is_empty() => {
                    return Err(Errno::NotEmpty);
                }
                _ => {}
            }
        }
        // A longer name may be one too many.
        let (freed, cost) = (name_cost(&old.name), name_cost(&new.name));
        let replaced = if new.ino.is_some() { cost } else { 0 };
        if self.get(new.parent)?.links == 0 {
            return Err(Errno::NoEnt);
        }
        if (self.used + cost).saturating_sub(freed + replaced) > self.limit {
            return Err(Errno::NoSpc);
        }
        if new.ino.is_some() {
            self.remove_name(&new)?;
        }
        self.forget_name(&old)?;
        self.record_name(new.parent, &new.name, ino)?;
        if let Kind::Directory(names) = &mut self.get_mut(ino)?.kind {
            names.parent = new.parent;
        }
        self.touch_changed(ino);
        Ok(())
    }

    pub(super) fn read_link(&self, start: u64, path: &[u8]) -> Result<Vec<u8>, Errno> {
        match &self.get(self.locate(start, path, false)?)?.kind {
            Kind::Symlink(target) => Ok(target.clone()),
            Kind::Directory(_) | Kind::File(_) => Err(Errno::Inval),
        }
    }

    pub(super) fn locate(&self, start: u64, path: &[u8], follow: bool) -> Result<u64, Errno> {
        walk(self, start, path, if follow { Last::Follow } else { Last::Keep })?.existing(self)
    }

    pub(super) fn read(&mut self, ino: u64, buf: &mut [u8], position: u64) -> Result<usize, Errno> {
        let now = self.now();
        let inode = self.get_mut(ino)?;
        // Not at every read: at the first one after a change, as is usual elsewhere.
        if inode.accessed <= inode.modified {
            inode.accessed = now;
        }
        Ok(inode.content()?.read(buf, position))
    }

    pub(super) fn write(&mut self, ino: u64, data: &[u8], position: u64) -> Result<usize, Errno> {
        if data.is_empty() {
            return Ok(0);
        }
        let (now, room) = (self.now(), self.room());
        let inode = self.get_mut(ino)?;
        let (n, added) = inode.content()?.write(data, position, room);
        if n == 0 {
            return Err(if position >= MAX_FILE { Errno::FBig } else { Errno::NoSpc });
        }
        (inode.modified, inode.changed) = (now, now);
        self.used += added * BLOCK as u64;
        Ok(n)
    }

    pub(super) fn set_size(&mut self, ino: u64, size: u64) -> Result<(), Errno> {
        if size > MAX_FILE {
            return Err(Errno::FBig);
        }
        let now = self.now();
        let inode = self.get_mut(ino)?;
        let gone = inode.content()?.set_size(size);
        (inode.modified, inode.changed) = (now, now);
        self.used -= gone * BLOCK as u64;
        Ok(())
    }

    pub(super) fn allocate(&mut self, ino: u64, offset: u64, len: u64) -> Result<(), Errno> {
        if len == 0 {
            return Err(Errno::Inval);
        }
        let room = self.room();
        let added = self.get_mut(ino)?.content()?.allocate(offset, len, room)?;
        self.touch_changed(ino);
        self.used += added * BLOCK as u64;
        Ok(())
    }

    pub(super) fn set_times(&mut self, ino: u64, times: SetTimes) -> Result<(), Errno> {
        let now = self.now();
        let inode = self.get_mut(ino)?;
        for (time, set) in [(&mut inode.accessed, times.accessed), (&mut inode.modified, times.modified)] {
            match set {
                SetTime::Keep => {}
                SetTime::Now => *time = now,
                SetTime::At(nanos) => *time = nanos,
            }
        }
        inode.changed = now;
        Ok(())
    }

    pub(super) fn stat(&self, ino: u64) -> Result<Stat, Errno> {
        let inode = self.get(ino)?;
        let size = match &inode.kind {
            Kind::Directory(_) => 0,
            Kind::File(content) => content.size(),
            Kind::Symlink(target) => target.len() as u64,
        };
        Ok(Stat {
            // No device of the host has such a number.
            dev: 1 << 63 | u64::from(self.number),
            ino,
            ty: self.file_type(ino),
            links: inode.links.into(),
            size,
            accessed: inode.accessed,
            modified: inode.modified,
            changed: inode.changed,
        })
    }

    pub(super) fn file_type(&self, ino: u64) -> FileType {
        match self.shape(ino) {
            Shape::Directory => FileType::Directory,
            Shape::File => FileType::RegularFile,
            Shape::Symlink(_) => FileType::SymbolicLink,
        }
    }

    pub(super) fn is_directory(&self, ino: u64) -> Result<bool, Errno> {
        Ok(matches!(self.get(ino)?.kind, Kind::Directory(_)))
    }

    /// Names in a directory: `ENOTDIR` if it is none.
    pub(super) fn names_in(&self, ino: u64) -> Result<&Names, Errno> {
        match &self.get(ino)?.kind {
            Kind::Directory(names) => Ok(names),
            Kind::File(_) | Kind::Symlink(_) => Err(Errno::NotDir),
        }
    }

    pub(super) fn opened(&mut self, ino: u64) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.opens += 1;
        }
    }

    pub(super) fn closed(&mut self, ino: u64) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.opens -= 1;
        }
        self.release(ino);
    }

    /// What an inode's contents count for.
    pub(super) fn content_cost(kind: &Kind) -> u64 {
        match kind {
            Kind::Directory(_) => 0,
            Kind::File(content) => content.blocks().len() as u64 * BLOCK as u64,
            Kind::Symlink(target) => target.len() as u64,
        }
    }

    fn create(&mut self, found: &Found, kind: Kind) -> Result<u64, Errno> {
        let cost = Self::content_cost(&kind);
        if found.ino.is_none() && self.used + name_cost(&found.name) + cost > self.limit {
            return Err(Errno::NoSpc);
        }
        let ino = self.next_ino;
        self.add_name(found, ino)?;
        self.used += cost;
        self.next_ino += 1;
        let inode = Inode { links: 1, ..self.inode(kind) };
        self.inodes.insert(ino, inode);
        Ok(ino)
    }

    /// Gives an inode another name, which is not there yet.
    fn add_name(&mut self, found: &Found, ino: u64) -> Result<(), Errno> {
        if found.ino.is_some() {
            return Err(Errno::Exist);
        }
        // Nothing comes into a directory that has been removed.
        if self.get(found.parent)?.links == 0 {
            return Err(Errno::NoEnt);
        }
        if self.names == MAX_NAMES || self.used + name_cost(&found.name) > self.limit {
            return Err(Errno::NoSpc);
        }
        self.record_name(found.parent, &found.name, ino)
    }

    fn record_name(&mut self, parent: u64, name: &[u8], ino: u64) -> Result<(), Errno> {
        self.directory(parent)?.insert(name, ino);
        self.names += 1;
        self.used += name_cost(name);
        Ok(())
    }

    fn forget_name(&mut self, found: &Found) -> Result<(), Errno> {
        self.directory(found.parent)?.remove(&found.name);
        self.names -= 1;
        self.used -= name_cost(&found.name);
        Ok(())
    }

    /// Removes a name that is there, and the inode if that was the last one.
    fn remove_name(&mut self, found: &Found) -> Result<(), Errno> {
        let ino = found.ino.ok_or(Errno::NoEnt)?;
        self.forget_name(found)?;
        self.get_mut(ino)?.links -= 1;
        self.touch_changed(ino);
        self.release(ino);
        Ok(())
    }

    fn release(&mut self, ino: u64) {
        if let Some(inode) = self.inodes.get(&ino)
            && inode.links == 0
            && inode.opens == 0
        {
            self.used -= Self::content_cost(&inode.kind);
            self.inodes.remove(&ino);
        }
    }

    /// Whether a directory is `ancestor`, or somewhere in it.
    fn is_within(&self, mut directory: u64, ancestor: u64) -> bool {
        loop {
            if directory == ancestor {
                return true;
            }
            match self.names_in(directory) {
                Ok(names) if names.parent != directory => directory = names.parent,
                _ => return false,
            }
        }
    }

    /// Names in a directory, to be changed.
    fn directory(&mut self, ino: u64) -> Result<&mut Names, Errno> {
        let now = self.now();
        let inode = self.get_mut(ino)?;
        match &mut inode.kind {
            Kind::Directory(names) => {
                (inode.modified, inode.changed) = (now, now);
                Ok(names)
            }
            Kind::File(_) | Kind::Symlink(_) => Err(Errno::NotDir),
        }
    }

    fn touch_changed(&mut self, ino: u64) {
        let now = self.now();
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.changed = now;
        }
    }

    fn inode(&self, kind: Kind) -> Inode {
        let now = self.now();
        Inode { kind, links: 0, opens: 0, accessed: now, modified: now, changed: now }
    }

    fn get(&self, ino: u64) -> Result<&Inode, Errno> {
        self.inodes.get(&ino).ok_or(Errno::NoEnt)
    }

    fn get_mut(&mut self, ino: u64) -> Result<&mut Inode, Errno> {
        self.inodes.get_mut(&ino).ok_or(Errno::NoEnt)
    }

    /// How many blocks can be added.
    fn room(&self) -> u64 {
        self.limit.saturating_sub(self.used) / BLOCK as u64
    }

    fn now(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        now - now % self.resolution
    }
}

impl Inode {
    fn content(&mut self) -> Result<&mut Content, Errno> {
        match &mut self.kind {
            Kind::File(content) => Ok(content),
            Kind::Directory(_) => Err(Errno::IsDir),
            Kind::Symlink(_) => Err(Errno::Inval),
        }
    }
}

/// What a name counts for.
pub(super) fn name_cost(name: &[u8]) -> u64 {
    NAME_COST + name.len() as u64
}
