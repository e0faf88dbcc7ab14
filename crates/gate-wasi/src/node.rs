//! What files and directories can do, wherever they are: on the host, in memory, or in an image.
//!
//! [`path`](crate::path) and [`file_ops`](crate::file_ops) know no more than this about them. Rights are checked before.

use crate::abi::FileType;
use crate::errno::Errno;
use rustix::fs::{Advice, OFlags};
use std::any::Any;
use std::fmt;

/// What is known about a file or directory. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) ty: FileType,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
    pub(crate) changed: u64,
}

/// What becomes of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetTime {
    Keep,
    Now,
    /// Nanoseconds since 1970.
    At(u64),
}

/// What becomes of the times of access and of modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetTimes {
    pub(crate) accessed: SetTime,
    pub(crate) modified: SetTime,
}

/// How to open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) follow: bool,
    /// `O_CREAT` and the like.
    pub(crate) flags: OFlags,
    /// Flags of the descriptor.
    pub(crate) fdflags: u16,
}

/// What was opened.
#[derive(Debug)]
pub(crate) enum Opened {
    File(Box<dyn RegularFile>),
    Directory(Box<dyn Folder>),
}

/// By what an open file or directory is found again when the program goes on elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Path in the directory that the program was given.
    Path(Vec<u8>),
    /// Number of an inode of the program's own.
    Inode(u64),
}

/// An entry of a directory.
pub(crate) struct Entry<'a> {
    /// Where listing goes on after it.
    pub(crate) next: u64,
    pub(crate) ino: u64,
    pub(crate) ty: FileType,
    pub(crate) name: &'a [u8],
}

/// An open file or directory.
pub(crate) trait Node: Any + fmt::Debug + Send + Sync {
    fn stat(&self) -> Result<Stat, Errno>;
    fn set_times(&self, times: SetTimes) -> Result<(), Errno>;
    /// Forces what was written onto the device; with `data`, not what is merely known about the file.
    fn sync(&self, data: bool) -> Result<(), Errno>;
    /// `None` if it is not in the given directory any more.
    fn place(&self) -> Option<Place>;
}

/// An open regular file. Whether it may be read or written the caller knows.
pub(crate) trait RegularFile: Node {
    /// Reads; zero bytes are the end.
    fn read_at(&self, buf: &mut [u8], position: u64) -> Result<usize, Errno>;
    fn write_at(&self, data: &[u8], position: u64) -> Result<usize, Errno>;
    /// Writes at the end, wherever that is by now. Returns how much, and where the end is then.
    fn append(&self, data: &[u8]) -> Result<(usize, u64), Errno>;
    fn set_size(&self, size: u64) -> Result<(), Errno>;
    fn allocate(&self, offset: u64, len: u64) -> Result<(), Errno>;
    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Errno>;
}

/// An open directory. Paths are not empty, contain no NUL, and are shorter than [`MAX_PATH`](crate::resolve::MAX_PATH).
///
/// No path leads out of the directory from which it begins: that is `EPERM`.
pub(crate) trait Folder: Node {
    fn open(&self, path: &[u8], how: How) -> Result<Opened, Errno>;
    /// Lists entries from the given cookie on, until `each` returns false or there are no more. `.` and `..` are 0 and 1,
    /// both the directory itself: what lies above does not concern the program.
    fn list(&mut self, cookie: u64, each: &mut dyn FnMut(&Entry<'_>) -> bool) -> Result<(), Errno>;
    fn stat_at(&self, path: &[u8], follow: bool) -> Result<Stat, Errno>;
    fn set_times_at(&self, path: &[u8], follow: bool, times: SetTimes) -> Result<(), Errno>;
    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, Errno>;
    fn create_directory(&self, path: &[u8]) -> Result<(), Errno>;
    fn remove_directory(&self, path: &[u8]) -> Result<(), Errno>;
    fn unlink(&self, path: &[u8]) -> Result<(), Errno>;
    /// Makes a symbolic link, whose target is not absolute.
    fn symlink(&self, target: &[u8], path: &[u8]) -> Result<(), Errno>;
    /// Gives a file another name. Symbolic links are not followed for it.
    fn link(&self, old: &[u8], to: &dyn Folder, new: &[u8]) -> Result<(), Errno>;
    fn rename(&self, old: &[u8], to: &dyn Folder, new: &[u8]) -> Result<(), Errno>;
}

/// The other directory of an operation on two, which must be of the same kind: `EXDEV` if it is not.
pub(crate) fn same_kind<T: Folder>(folder: &dyn Folder) -> Result<&T, Errno> {
    let any: &dyn Any = folder;
    any.downcast_ref().ok_or(Errno::XDev)
}

/// Lists `.` and `..`, as far as they are asked for. False if that is enough.
pub(crate) fn list_dots(ino: u64, cookie: u64, each: &mut dyn FnMut(&Entry<'_>) -> bool) -> bool {
    [(0, &b"."[..]), (1, b"..")]
        .into_iter()
        .filter(|&(number, _)| number >= cookie)
        .all(|(number, name)| each(&Entry { next: number + 1, ino, ty: FileType::Directory, name }))
}
