//! The program's table of file descriptors.
//!
//! It is kept on the host's side: the program's process has none of the descriptors itself.

use crate::abi::{FileType, Rights, fdflags};
use crate::errno::Errno;
use crate::files::{Access, Preopen};
use crate::stream::{Input, Object, Output};

/// Largest number of open descriptors.
pub(crate) const MAX_DESCRIPTORS: usize = 1024;

/// Open descriptors, by number.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    entries: Vec<Option<Descriptor>>,
}

/// An open descriptor.
#[derive(Debug)]
pub(crate) struct Descriptor {
    /// Number which the object had at first: that tells which of the program's streams it is. [`Self::FILE`] if it is none.
    pub(crate) stream: u32,
    pub(crate) object: Object,
    pub(crate) rights: Rights,
    pub(crate) inheriting: Rights,
    pub(crate) flags: u16,
}

impl Descriptor {
    pub(crate) fn new(stream: u32, object: Object) -> Self {
        let rights = Self::all_rights(&object);
        let inheriting = match object {
            Object::Listener(_) => Rights::CONNECTION,
            _ => Rights::NONE,
        };
        Self { stream, object, rights, inheriting, flags: 0 }
    }

    /// In place of a stream's number.
    pub(crate) const FILE: u32 = 3;

    /// Number of the stream of packets, whatever the number of its descriptor.
    pub(crate) const PACKETS: u32 = 5;

    /// In place of a stream's number.
    pub(crate) const LISTENER: u32 = 6;

    /// In place of a stream's number.
    pub(crate) const CONNECTION: u32 = 7;

    /// What may be done with an object as long as no right has been given up.
    pub(crate) fn all_rights(object: &Object) -> Rights {
        let allowed = |rights: Rights, preopen: &Preopen| match preopen.access {
            Access::ReadOnly => rights.without(Rights::CHANGE),
            Access::ReadWrite => rights,
        };
        let direction = match object {
            Object::Input(_) => Rights::FD_READ,
            Object::Output(_) => Rights::FD_WRITE,
            Object::File(file) => return allowed(Rights::FILE, &file.preopen),
            Object::Directory(directory) => return allowed(Rights::DIRECTORY, &directory.preopen),
            Object::Packets(_) => {
                return Rights::FD_FDSTAT_SET_FLAGS
                    .union(Rights::FD_FILESTAT_GET)
                    .union(Rights::POLL_FD_READWRITE)
                    .union(Rights::FD_READ)
                    .union(Rights::FD_WRITE);
            }
            Object::Listener(_) => return Rights::LISTENER,
            Object::Connection(_) => return Rights::CONNECTION,
            Object::Gone => return Rights::NONE,
        };
        let rights = Rights::FD_FDSTAT_SET_FLAGS
            .union(Rights::FD_DATASYNC)
            .union(Rights::FD_SYNC)
            .union(Rights::FD_FILESTAT_GET)
            .union(Rights::POLL_FD_READWRITE)
            .union(direction);
        // C libraries take a character device for a terminal if it lacks the rights to seek.
        if object.file_type() == FileType::CharacterDevice && !object.is_terminal() {
            return rights.union(Rights::FD_SEEK).union(Rights::FD_TELL);
        }
        rights
    }

    /// Whether operations fail rather than wait.
    pub(crate) fn is_nonblocking(&self) -> bool {
        self.flags & fdflags::NONBLOCK != 0
    }

    pub(crate) fn require(&self, rights: Rights) -> Result<(), Errno> {
        if self.rights.contains(rights) { Ok(()) } else { Err(Errno::NotCapable) }
    }

    /// The object as something to read from: `EBADF` if it is something else.
    pub(crate) fn input(&mut self, right: Rights) -> Result<&mut Input, Errno> {
        match &mut self.object {
            Object::Input(input) if self.rights.contains(right) => Ok(input),
            Object::Input(_) => Err(Errno::NotCapable),
            _ => Err(Errno::BadF),
        }
    }

    /// The object as something to write to: `EBADF` if it is something else.
    pub(crate) fn output(&mut self, right: Rights) -> Result<&mut Output, Errno> {
        match &mut self.object {
            Object::Output(output) if self.rights.contains(right) => Ok(output),
            Object::Output(_) => Err(Errno::NotCapable),
            _ => Err(Errno::BadF),
        }
    }
}

impl Descriptors {
    /// Adds a descriptor with the lowest number that is free.
    pub(crate) fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let free = self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len());
        if free == MAX_DESCRIPTORS {
            return Err(Errno::MFile);
        }
        if free == self.entries.len() {
            self.entries.push(None);
        }
        self.entries[free] = Some(descriptor);
        Ok(free as u32)
    }

    /// Whether no descriptor can be added.
    pub(crate) fn is_full(&self) -> bool {
        self.iter().count() == MAX_DESCRIPTORS
    }

    /// Puts a descriptor where it was in the table of a program that goes on.
    pub(crate) fn put(&mut self, fd: u32, descriptor: Descriptor) -> Result<(), Errno> {
        let index = fd as usize;
        if index >= MAX_DESCRIPTORS {
            return Err(Errno::MFile);
        }
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, || None);
        }
        self.entries[index] = Some(descriptor);
        Ok(())
    }

    /// Closes a descriptor.
    pub(crate) fn remove(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        self.entries.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::BadF)
    }

    /// Moves a descriptor in place of another one, which must be open too. Returns the one that was replaced.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<Option<Descriptor>, Errno> {
        self.get(to)?;
        self.get(from)?;
        if from == to {
            return Ok(None);
        }
        let moved = self.entries[from as usize].take();
        Ok(std::mem::replace(&mut self.entries[to as usize], moved))
    }

    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.entries.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::BadF)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Descriptor> {
        self.entries.iter_mut().flatten()
    }

    /// Open descriptors with their numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Descriptor)> {
        (0..).zip(&self.entries).filter_map(|(fd, entry)| Some((fd, entry.as_ref()?)))
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = Descriptor> {
        self.entries.into_iter().flatten()
    }

    pub(crate) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.entries.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::BadF)
    }
}
