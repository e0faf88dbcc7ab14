//! What goes along with a program that is suspended: arguments, environment, descriptors, input that was read ahead,
//! and how long it has waited.
//!
//! The streams themselves stay: where the program goes on, it gets that host's. Files and directories of the host stay too:
//! they are opened again, below the directories that the program is given there. File systems in memory go along. The layout, in
//! which everything is little-endian:
//!
//! | size | what |
//! |---|---|
//! | 4 | version: 1; 2 if there are descriptors which are no streams; 3 if there are directories in memory; 4 if there are images or sockets |
//! | 4, *n* | size of all arguments, and the arguments, each ending with NUL |
//! | 4, *n* | the environment likewise |
//! | 4 | number of open descriptors; of each: |
//! | 4 | - its number |
//! | 4 | - the number that its stream had at first: 0, 1, 2; 3 for a file or directory, 4 for what was missing; 5 for packets; 6 for a listener; 7 for a connection |
//! | 4 | - its flags (`fdflags`) |
//! | 8 | - rights which were given up |
//! | 4, *n* | - size of what was read ahead, and the bytes |
//! | 4 | - 1 if the end was read after these, else 0 |
//! | | - if it is a file or directory: |
//! | 8, 8 | -- its rights, and those of what is opened through it |
//! | 4, *n* | -- the name of the directory that the program was given |
//! | 4, *n* | -- its path in that directory; empty if it is that directory itself, or nowhere any more |
//! | 4 | -- 0 for the given directory itself, 1 for one below it, 2 for a file; 3 and 4 for those in memory |
//! | 4 | -- 1 if it can be read from, plus 2 if it can be written to |
//! | 8 | -- position in the file |
//! | 8 | -- for 3 and 4, the number of its inode |
//! | | - if it is a listener: |
//! | 4 | -- which one, in the order in which they were given to the program, from 0 on |
//! | 8 | -- rights which connections have that are accepted from it |
//! | 4 | 1 if the program is waiting in `poll_oneoff`, else 0; if it is: |
//! | 16 | - arguments of the call |
//! | 8 | - what its monotonic clock showed when the wait began, in nanoseconds |
//! | | from version 3 on: directories that are not the host's ([`saved_tree`](crate::saved_tree)) |

use crate::WasiCtx;
use crate::abi::{Rights, fdflags};
use crate::descriptors::{Descriptor, MAX_DESCRIPTORS};
use crate::errno::Errno;
use crate::files::{Preopen, Tree};
use crate::memory::CHUNK_SIZE;
use crate::poll::Wait;
use crate::process::Strings;
use crate::saved_file::SavedFile;
use crate::saved_tree::{self, SavedTree};
use crate::socket::Connection;
use crate::stream::{Object, ReadAhead};
use std::sync::Arc;

const STREAMS_ONLY: u32 = 1;
const HOST_FILES: u32 = 2;
const MEMORY: u32 = 3;
const VERSION: u32 = 4;

/// Number of streams that a program has at first.
const STREAMS: u32 = Descriptor::FILE;

/// What is in a stream's place if a file was missing already.
pub(crate) const GONE: u32 = 4;

/// Why a state cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It was saved by a later version, or is something else altogether.
    #[error("state of version {0} is not supported")]
    Version(u32),
    /// It is shorter than it says.
    #[error("it ends too early")]
    Truncated,
    /// Something comes after its end.
    #[error("something follows its end")]
    Trailing,
    /// The program had a directory which it is not given here.
    #[error("the program needs a directory by the name {0:?}")]
    MissingDirectory(String),
    /// A file or directory that the program had open is not there, or is something else, or cannot be opened.
    #[error(
        "{path:?} in the directory {directory:?}, which the program has open, cannot be opened again: {errno}"
    )]
    MissingFile {
        /// The program's name of the directory that it was given.
        directory: String,
        /// Path in it. Empty if the file had been deleted or moved out when the program was suspended.
        path: String,
        /// Why.
        errno: Errno,
    },
    /// The program had an image which it is not given here.
    #[error("the program needs the image with the BLAKE3 hash {} by the name {name:?}", hex(.needed))]
    MissingImage {
        /// The program's name of the directory.
        name: String,
        /// BLAKE3 of the file.
        needed: [u8; 32],
    },
    /// The program had another image.
    #[error("the image by the name {name:?} has the BLAKE3 hash {}, but the program needs the one with {}", hex(.given), hex(.needed))]
    WrongImage {
        /// The program's name of the directory.
        name: String,
        /// BLAKE3 of the file that it had.
        needed: [u8; 32],
        /// BLAKE3 of the file that it is given here.
        given: [u8; 32],
    },
    /// The program had a listener which it is not given here.
    #[error("the program needs {0} listener(s), in the order in which it had them")]
    MissingListener(u32),
    /// More listeners are given here than the program has.
    #[error("the program has {0} listener(s), and is given more")]
    UnusedListener(u32),
    /// A directory is given here which the program does not have.
    #[error("the program has no directory by the name {0:?}")]
    UnusedDirectory(String),
    /// Something in it cannot be so.
    #[error("{0}")]
    Invalid(&'static str),
}

impl WasiCtx {
    /// What has to be known to let the program go on elsewhere. Streams, clocks and the source of random bytes are not
    /// part of it.
    ///
    /// To be called when the program is suspended; [`WasiCtx::flush`] before that if streams keep something back.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let trees = saved_tree::trees(&self.descriptors);
        let version = match self.descriptors.iter().all(|(_, d)| d.stream < STREAMS) {
            true => STREAMS_ONLY,
            false
                if saved_tree::has_images(&trees)
                    || self.descriptors.iter().any(|(_, d)| is_socket(d.stream)) =>
            {
                VERSION
            }
            false if trees.is_empty() => HOST_FILES,
            false => MEMORY,
        };
        put_u32(&mut out, version);
        put_bytes(&mut out, self.args.bytes());
        put_bytes(&mut out, self.environ.bytes());
        put_u32(&mut out, self.descriptors.iter().count() as u32);
        for (fd, descriptor) in self.descriptors.iter() {
            put_u32(&mut out, fd);
            put_u32(&mut out, descriptor.stream);
            put_u32(&mut out, descriptor.flags.into());
            put_u64(&mut out, Descriptor::all_rights(&descriptor.object).without(descriptor.rights).0);
            let (ahead, end) = match &descriptor.object {
                Object::Input(input) => (input.ahead().rest(), input.ahead().has_end()),
                _ => (&[][..], false),
            };
            put_bytes(&mut out, ahead);
            put_u32(&mut out, end.into());
            match &descriptor.object {
                Object::File(file) => SavedFile::of_file(descriptor, file).put(&mut out),
                Object::Directory(directory) => SavedFile::of_directory(descriptor, directory).put(&mut out),
                Object::Listener(listener) => {
                    put_u32(&mut out, listener.number);
                    put_u64(&mut out, descriptor.inheriting.0);
                }
                Object::Input(_)
                | Object::Output(_)
                | Object::Packets(_)
                | Object::Connection(_)
                | Object::Gone => {}
            }
        }
        put_u32(&mut out, self.wait.is_some().into());
        if let Some(wait) = &self.wait {
            wait.args.iter().for_each(|&arg| put_u32(&mut out, arg));
            put_u64(&mut out, wait.began);
        }
        if version >= MEMORY {
            saved_tree::put(&trees, &mut out);
        }
        out
    }

    /// Takes over what [`WasiCtx::save`] has given, which may come from anywhere. The program gets the arguments and the
    /// environment that it had, and this context's streams in place of those which it had.
    ///
    /// To be called before any call is made. If it fails, the context is as it was.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        self.restore_from(&SavedState::decode(state)?)
    }

    /// Like [`WasiCtx::restore`], with what has been read already.
    pub fn restore_from(&mut self, state: &SavedState) -> Result<(), StateError> {
        for saved in &state.descriptors {
            if saved.stream < STREAMS && !self.descriptors.iter().any(|(_, d)| d.stream == saved.stream) {
                return Err(StateError::Invalid("a stream is closed here already"));
            }
        }
        let given = self.preopens();
        let own = state.trees.iter().filter_map(|tree| tree.preopen(self.clocks.resolution()));
        let mut preopens: Vec<_> = own.chain(given.iter().cloned()).collect();
        for tree in &state.trees {
            match tree.check_image(given.iter().find(|p| p.name == tree.name).map(|p| &**p)) {
                Err(_) if self.tolerates_missing => preopens.retain(|p| p.name != tree.name),
                result => result?,
            }
        }
        self.check_listeners(state)?;
        let mut files = Vec::new();
        for saved in &state.descriptors {
            if let Some(file) = &saved.file {
                files.push(file.open(&preopens, saved.flags, self.tolerates_missing)?);
            }
        }
        let is_used = |name: &str| state.files().any(|file| file.preopen == name);
        let is_own =
            |name: &str| preopens.iter().any(|p| p.name == name && matches!(p.tree, Tree::Memory(_)));
        if let Some(unused) = given.iter().find(|p| !is_used(&p.name) || is_own(&p.name)) {
            return Err(StateError::UnusedDirectory(unused.name.clone()));
        }
        let mut files = files.into_iter();
        let mut streams: Vec<Descriptor> = std::mem::take(&mut self.descriptors).into_iter().collect();
        for saved in &state.descriptors {
            let descriptor = if saved.file.is_some() {
                let Some(descriptor) = files.next() else { continue };
                descriptor
            } else if saved.stream == GONE {
                gone()
            } else {
                if saved.stream == Descriptor::CONNECTION {
                    let lost = Object::Connection(Connection::lost());
                    streams.push(Descriptor::new(Descriptor::CONNECTION, lost));
                }
                let is_it = |d: &Descriptor| match &d.object {
                    Object::Listener(listener) => saved.listener_number() == Some(listener.number),
                    _ => d.stream == saved.stream,
                };
                // Of streams it was checked that they are there. Listeners may not be if that is tolerated, and packets where
                // programs have no services.
                let Some(index) = streams.iter().position(is_it) else {
                    let _ = self.descriptors.put(saved.fd, gone());
                    continue;
                };
                let Descriptor { stream, mut object, mut inheriting, .. } = streams.swap_remove(index);
                if let Some(listener) = saved.listener {
                    inheriting = inheriting.intersection(listener.inheriting);
                }
                if let Object::Input(input) = &mut object {
                    input.set_ahead(saved.ahead.clone());
                }
                let rights = Descriptor::all_rights(&object).without(saved.given_up);
                Descriptor { stream, object, rights, inheriting, flags: saved.flags }
            };
            // The number was checked when the state was read.
            let _ = self.descriptors.put(saved.fd, descriptor);
        }
        self.args = state.args.clone();
        self.environ = state.environ.clone();
        self.wait = state.wait;
        Ok(())
    }

    /// Fails if listeners are missing, or there are too many. Those that the program has closed do not matter.
    fn check_listeners(&self, state: &SavedState) -> Result<(), StateError> {
        let given = self.descriptors.iter().filter(|(_, d)| d.stream == Descriptor::LISTENER).count();
        let numbers = state.descriptors.iter().filter_map(SavedDescriptor::listener_number);
        let needed = numbers.map(|number| number + 1).max().unwrap_or(0);
        if given > needed as usize {
            return Err(StateError::UnusedListener(needed));
        }
        if given < needed as usize && !self.tolerates_missing {
            return Err(StateError::MissingListener(needed));
        }
        Ok(())
    }

    /// Directories that were given.
    fn preopens(&self) -> Vec<Arc<Preopen>> {
        let given = self.descriptors.iter().filter_map(|(_, descriptor)| match &descriptor.object {
            Object::Directory(directory) if directory.root => Some(Arc::clone(&directory.preopen)),
            _ => None,
        });
        given.collect()
    }
}

/// In place of a file that is missing.
fn gone() -> Descriptor {
    Descriptor::new(GONE, Object::Gone)
}

/// Whether there is but one descriptor of it.
fn is_single(stream: u32) -> bool {
    stream < STREAMS || stream == Descriptor::PACKETS || stream == Descriptor::LISTENER
}

fn is_socket(stream: u32) -> bool {
    stream == Descriptor::LISTENER || stream == Descriptor::CONNECTION
}

fn hex(hash: &[u8; 32]) -> blake3::Hash {
    blake3::Hash::from_bytes(*hash)
}

/// A state that has been read and found to be possible. Any number of programs can go on from it: what it has of file systems in
/// memory they share, until they write to it.
#[derive(Clone)]
pub struct SavedState {
    args: Strings,
    environ: Strings,
    descriptors: Vec<SavedDescriptor>,
    wait: Option<Wait>,
    trees: Vec<SavedTree>,
}

#[derive(Clone)]
struct SavedDescriptor {
    fd: u32,
    stream: u32,
    flags: u16,
    given_up: Rights,
    ahead: ReadAhead,
    file: Option<SavedFile>,
    listener: Option<SavedListener>,
}

#[derive(Clone, Copy)]
struct SavedListener {
    number: u32,
    inheriting: Rights,
}

impl SavedDescriptor {
    fn listener_number(&self) -> Option<u32> {
        self.listener.map(|listener| listener.number)
    }
}

impl SavedState {
    /// Reads what [`WasiCtx::save`] has given, which may come from anywhere.
    pub fn decode(state: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader { rest: state };
        let version = reader.u32()?;
        let max = match version {
            STREAMS_ONLY => STREAMS,
            HOST_FILES | MEMORY | VERSION => MAX_DESCRIPTORS as u32,
            version => return Err(StateError::Version(version)),
        };
        let args = reader.strings()?;
        let environ = reader.strings()?;
        if environ.iter().any(|variable| variable.iter().position(|&b| b == b'=').unwrap_or(0) == 0) {
            return Err(StateError::Invalid("an environment variable has no name or no value"));
        }
        let count = reader.u32()?;
        if count > max {
            return Err(StateError::Invalid("there are too many descriptors"));
        }
        let mut descriptors: Vec<SavedDescriptor> = Vec::new();
        for _ in 0..count {
            let descriptor = reader.descriptor(version)?;
            if descriptors.iter().any(|d| {
                d.fd >= descriptor.fd
                    || d.stream == descriptor.stream
                        && is_single(d.stream)
                        && d.listener_number() == descriptor.listener_number()
            }) {
                return Err(StateError::Invalid("descriptors are not in order, or share a stream"));
            }
            descriptors.push(descriptor);
        }
        let wait = match reader.bool()? {
            true => Some(Wait {
                args: [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?],
                began: reader.u64()?,
            }),
            false => None,
        };
        let trees = match version >= MEMORY {
            true => saved_tree::decode(&mut reader, version == VERSION)?,
            false => Vec::new(),
        };
        if !reader.rest.is_empty() {
            return Err(StateError::Trailing);
        }
        let state = Self { args, environ, descriptors, wait, trees };
        saved_tree::check(&state.trees, state.files())?;
        Ok(state)
    }

    fn files(&self) -> impl Iterator<Item = &SavedFile> {
        self.descriptors.iter().filter_map(|descriptor| descriptor.file.as_ref())
    }
}

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn descriptor(&mut self, version: u32) -> Result<SavedDescriptor, StateError> {
        let (fd, stream) = (self.u32()?, self.u32()?);
        let (max_fd, max_stream) = match version {
            // Streams are never made, only closed and moved over each other.
            STREAMS_ONLY => (STREAMS - 1, STREAMS - 1),
            VERSION => (MAX_DESCRIPTORS as u32 - 1, Descriptor::CONNECTION),
            _ => (MAX_DESCRIPTORS as u32 - 1, Descriptor::PACKETS),
        };
        if fd > max_fd || stream > max_stream {
            return Err(StateError::Invalid("a descriptor's number is too large"));
        }
        let flags = u16::try_from(self.u32()?).unwrap_or(u16::MAX);
        let allowed = match stream {
            Descriptor::FILE | GONE => fdflags::ALL,
            _ => fdflags::APPEND | fdflags::NONBLOCK,
        };
        if flags & !allowed != 0 {
            return Err(StateError::Invalid("a descriptor has unknown flags"));
        }
        let given_up = Rights(self.u64()?);
        let bytes = self.bytes()?;
        let end = self.bool()?;
        if bytes.len() > CHUNK_SIZE {
            return Err(StateError::Invalid("too much was read ahead"));
        }
        if stream != 0 && (end || !bytes.is_empty()) {
            return Err(StateError::Invalid("something was read ahead from an output"));
        }
        let file = if stream == Descriptor::FILE { Some(SavedFile::decode(self)?) } else { None };
        let listener = match stream == Descriptor::LISTENER {
            true => Some(SavedListener { number: self.u32()?, inheriting: Rights(self.u64()?) }),
            false => None,
        };
        if listener.is_some_and(|listener| listener.number >= MAX_DESCRIPTORS as u32) {
            return Err(StateError::Invalid("a listener's number is too large"));
        }
        let ahead = ReadAhead::new(bytes.to_vec(), end);
        Ok(SavedDescriptor { fd, stream, flags, given_up, ahead, file, listener })
    }

    fn strings(&mut self) -> Result<Strings, StateError> {
        let bytes = self.bytes()?;
        let strings: Vec<Vec<u8>> = match bytes.split_last() {
            None => Vec::new(),
            Some((0, strings)) => strings.split(|&b| b == 0).map(<[u8]>::to_vec).collect(),
            Some(_) => return Err(StateError::Invalid("a string does not end with NUL")),
        };
        Strings::new(&strings).ok_or(StateError::Invalid("strings are too large"))
    }

    fn bool(&mut self) -> Result<bool, StateError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(StateError::Invalid("a truth value is neither 0 nor 1")),
        }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, StateError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, StateError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], StateError> {
        let size = self.u32()? as usize;
        let (bytes, rest) = self.rest.split_at_checked(size).ok_or(StateError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Name of a directory that the program was given.
    pub(crate) fn name(&mut self) -> Result<String, StateError> {
        let invalid = |_| StateError::Invalid("a directory's name is not UTF-8");
        String::from_utf8(self.bytes()?.to_vec()).map_err(invalid)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(StateError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// What is put has been checked to have a size of 32 bits, or is small.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}
