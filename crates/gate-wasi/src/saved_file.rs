//! Files and directories as part of a program's state: to be opened again elsewhere.

use crate::StateError;
use crate::abi::Rights;
use crate::descriptors::Descriptor;
use crate::errno::Errno;
use crate::files::{Directory, File, FileOrDirectory, Preopen, Tree};
use crate::node::{How, Place};
use crate::resolve::MAX_PATH;
use crate::state::{Reader, put_bytes, put_u32, put_u64};
use crate::stream::Object;
use rustix::fs::OFlags;
use std::sync::Arc;

/// What a descriptor other than a stream stands for.
#[derive(Clone, Debug)]
pub(crate) struct SavedFile {
    rights: Rights,
    inheriting: Rights,
    pub(crate) preopen: String,
    /// Empty if it is the given directory itself, or nowhere any more.
    pub(crate) place: Place,
    kind: Kind,
    readable: bool,
    writable: bool,
    position: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Root = 0,
    Directory = 1,
    File = 2,
}

/// Added to a kind, if an inode's number takes the place of the path.
const BY_INODE: u32 = 2;

impl SavedFile {
    pub(crate) fn of_file(descriptor: &Descriptor, file: &File) -> Self {
        Self {
            rights: descriptor.rights,
            inheriting: descriptor.inheriting,
            preopen: file.preopen.name.clone(),
            place: file.node.place().unwrap_or(Place::Path(Vec::new())),
            kind: Kind::File,
            readable: file.readable,
            writable: file.writable,
            position: file.position,
        }
    }

    pub(crate) fn of_directory(descriptor: &Descriptor, directory: &Directory) -> Self {
        let (kind, place) = match directory.root {
            true => (Kind::Root, None),
            false => (Kind::Directory, directory.node.place()),
        };
        Self {
            rights: descriptor.rights,
            inheriting: descriptor.inheriting,
            preopen: directory.preopen.name.clone(),
            place: place.unwrap_or(Place::Path(Vec::new())),
            kind,
            readable: true,
            writable: false,
            position: 0,
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let (kind, path) = match &self.place {
            Place::Path(path) => (self.kind as u32, &path[..]),
            Place::Inode(_) => (self.kind as u32 + BY_INODE, &[][..]),
        };
        put_u64(out, self.rights.0);
        put_u64(out, self.inheriting.0);
        put_bytes(out, self.preopen.as_bytes());
        put_bytes(out, path);
        put_u32(out, kind);
        put_u32(out, u32::from(self.readable) | u32::from(self.writable) << 1);
        put_u64(out, self.position);
        if let Place::Inode(ino) = self.place {
            put_u64(out, ino);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (rights, inheriting) = (Rights(reader.u64()?), Rights(reader.u64()?));
        let preopen = reader.name()?;
        let path = reader.bytes()?.to_vec();
        if path.contains(&0) || path.len() >= MAX_PATH as usize {
            return Err(StateError::Invalid("a file's path contains NUL, or is too long"));
        }
        let (kind, by_inode) = match reader.u32()? {
            0 => (Kind::Root, false),
            1 => (Kind::Directory, false),
            2 => (Kind::File, false),
            3 => (Kind::Directory, true),
            4 => (Kind::File, true),
            _ => return Err(StateError::Invalid("a descriptor is neither file nor directory")),
        };
        let modes = reader.u32()?;
        let position = reader.u64()?;
        if modes > 3 || i64::try_from(position).is_err() {
            return Err(StateError::Invalid("a file has an unknown mode or an impossible position"));
        }
        let (readable, writable) = (modes & 1 != 0, modes & 2 != 0);
        if kind != Kind::File && writable {
            return Err(StateError::Invalid("a directory is open for writing"));
        }
        let place = match by_inode {
            true if !path.is_empty() => {
                return Err(StateError::Invalid("a file has both a path and a number"));
            }
            true => Place::Inode(reader.u64()?),
            false => Place::Path(path),
        };
        Ok(Self { rights, inheriting, preopen, place, kind, readable, writable, position })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.kind == Kind::Root
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind != Kind::File
    }

    /// Opens it again. No more can be done with it than before, nor than the directory's access allows here.
    pub(crate) fn open(
        &self,
        preopens: &[Arc<Preopen>],
        flags: u16,
        tolerate: bool,
    ) -> Result<Descriptor, StateError> {
        let gone = || Descriptor::new(crate::state::GONE, Object::Gone);
        let Some(preopen) = preopens.iter().find(|preopen| preopen.name == self.preopen) else {
            return match tolerate {
                true => Ok(gone()),
                false => Err(StateError::MissingDirectory(self.preopen.clone())),
            };
        };
        let opened = match self.reopen(preopen, flags) {
            Ok(opened) => opened,
            Err(_) if tolerate => return Ok(gone()),
            Err(errno) => {
                let path = match &self.place {
                    Place::Path(path) => String::from_utf8_lossy(path).into(),
                    Place::Inode(ino) => ino.to_string(),
                };
                return Err(StateError::MissingFile { directory: self.preopen.clone(), path, errno });
            }
        };
        let mut descriptor = Descriptor::of_file(opened);
        descriptor.rights = descriptor.rights.intersection(self.rights);
        descriptor.inheriting = descriptor.inheriting.intersection(self.inheriting);
        descriptor.flags = flags;
        Ok(descriptor)
    }

    fn reopen(&self, preopen: &Arc<Preopen>, fdflags: u16) -> Result<FileOrDirectory, Errno> {
        if self.kind == Kind::Root {
            return Ok(FileOrDirectory::Directory(Directory::root(Arc::clone(preopen))?));
        }
        if self.writable && preopen.access == crate::Access::ReadOnly {
            return Err(Errno::RoFs);
        }
        let how = How {
            readable: self.readable,
            writable: self.writable,
            follow: false,
            flags: if self.kind == Kind::Directory { OFlags::DIRECTORY } else { OFlags::empty() },
            fdflags,
        };
        let opened = match (&self.place, &preopen.tree) {
            (Place::Path(path), _) if path.is_empty() => return Err(Errno::NoEnt),
            (Place::Path(path), tree) => tree.folder()?.open(path, how)?,
            (Place::Inode(ino), Tree::Memory(fs)) => fs.open_inode(*ino, how)?,
            (Place::Inode(_), _) => return Err(Errno::NoEnt),
        };
        match (FileOrDirectory::new(opened, Arc::clone(preopen), how), self.kind) {
            (FileOrDirectory::File(file), Kind::File) => {
                Ok(FileOrDirectory::File(File { position: self.position, ..file }))
            }
            (directory @ FileOrDirectory::Directory(_), Kind::Directory) => Ok(directory),
            (FileOrDirectory::Directory(_), _) => Err(Errno::IsDir),
            (FileOrDirectory::File(_), _) => Err(Errno::NotDir),
        }
    }
}
