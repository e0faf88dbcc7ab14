//! Files and directories as part of a program's state: by name, to be opened again elsewhere.

use crate::StateError;
use crate::abi::Rights;
use crate::descriptors::Descriptor;
use crate::errno::Errno;
use crate::files::{Directory, File, How, Opened, Preopen};
use crate::resolve::MAX_PATH;
use crate::state::{Reader, put_bytes, put_u32, put_u64};
use crate::stream::Object;
use rustix::fs::OFlags;
use std::sync::Arc;

/// What a descriptor other than a stream stands for.
pub(crate) struct SavedFile {
    rights: Rights,
    inheriting: Rights,
    preopen: String,
    path: Vec<u8>,
    kind: Kind,
    readable: bool,
    writable: bool,
    position: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root = 0,
    Directory = 1,
    File = 2,
}

impl SavedFile {
    pub(crate) fn of_file(descriptor: &Descriptor, file: &File) -> Self {
        Self {
            rights: descriptor.rights,
            inheriting: descriptor.inheriting,
            preopen: file.preopen.name.clone(),
            path: file.path().unwrap_or_default(),
            kind: Kind::File,
            readable: file.readable,
            writable: file.writable,
            position: file.position,
        }
    }

    pub(crate) fn of_directory(descriptor: &Descriptor, directory: &Directory) -> Self {
        let (kind, path) = match directory.root {
            true => (Kind::Root, Vec::new()),
            false => (Kind::Directory, directory.path().unwrap_or_default()),
        };
        Self {
            rights: descriptor.rights,
            inheriting: descriptor.inheriting,
            preopen: directory.preopen.name.clone(),
            path,
            kind,
            readable: true,
            writable: false,
            position: 0,
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.rights.0);
        put_u64(out, self.inheriting.0);
        put_bytes(out, self.preopen.as_bytes());
        put_bytes(out, &self.path);
        put_u32(out, self.kind as u32);
        put_u32(out, u32::from(self.readable) | u32::from(self.writable) << 1);
        put_u64(out, self.position);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (rights, inheriting) = (Rights(reader.u64()?), Rights(reader.u64()?));
        let invalid = |_| StateError::Invalid("a directory's name is not UTF-8");
        let preopen = String::from_utf8(reader.bytes()?.to_vec()).map_err(invalid)?;
        let path = reader.bytes()?.to_vec();
        if path.contains(&0) || path.len() >= MAX_PATH as usize {
            return Err(StateError::Invalid("a file's path contains NUL, or is too long"));
        }
        let kind = match reader.u32()? {
            0 => Kind::Root,
            1 => Kind::Directory,
            2 => Kind::File,
            _ => return Err(StateError::Invalid("a descriptor is neither file nor directory")),
        };
        let modes = reader.u32()?;
        let position = reader.u64()?;
        if modes > 3 || i64::try_from(position).is_err() {
            return Err(StateError::Invalid("a file has an unknown mode or an impossible position"));
        }
        let (readable, writable) = (modes & 1 != 0, modes & 2 != 0);
        Ok(Self { rights, inheriting, preopen, path, kind, readable, writable, position })
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
                let path = String::from_utf8_lossy(&self.path).into();
                return Err(StateError::MissingFile { directory: self.preopen.clone(), path, errno });
            }
        };
        let mut descriptor = Descriptor::of_file(opened);
        descriptor.rights = descriptor.rights.intersection(self.rights);
        descriptor.inheriting = descriptor.inheriting.intersection(self.inheriting);
        descriptor.flags = flags;
        Ok(descriptor)
    }

    fn reopen(&self, preopen: &Arc<Preopen>, fdflags: u16) -> Result<Opened, Errno> {
        if self.kind == Kind::Root {
            return Ok(Opened::Directory(Directory::root(Arc::clone(preopen))?));
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
        let path = if self.path.is_empty() { return Err(Errno::NoEnt) } else { &self.path };
        match (Opened::open(preopen, &preopen.fd, path, how)?, self.kind) {
            (Opened::File(file), Kind::File) => Ok(Opened::File(File { position: self.position, ..file })),
            (Opened::Directory(directory), Kind::Directory) => Ok(Opened::Directory(directory)),
            (Opened::Directory(_), _) => Err(Errno::IsDir),
            (Opened::File(_), _) => Err(Errno::NotDir),
        }
    }
}
