//! What goes along with a program that is suspended: arguments, environment, descriptors, input that was read ahead,
//! and how long it has waited.
//!
//! The streams themselves stay: where the program goes on, it gets that host's. The layout, in which everything is
//! little-endian:
//!
//! | size | what |
//! |---|---|
//! | 4 | version: 1 |
//! | 4, *n* | size of all arguments, and the arguments, each ending with NUL |
//! | 4, *n* | the environment likewise |
//! | 4 | number of open descriptors; of each: |
//! | 4 | - its number |
//! | 4 | - the number that its stream had at first: 0, 1, 2 |
//! | 4 | - its flags (`fdflags`) |
//! | 8 | - rights which were given up |
//! | 4, *n* | - size of what was read ahead, and the bytes |
//! | 4 | - 1 if the end was read after these, else 0 |
//! | 4 | 1 if the program is waiting in `poll_oneoff`, else 0; if it is: |
//! | 16 | - arguments of the call |
//! | 8 | - what its monotonic clock showed when the wait began, in nanoseconds |

use crate::WasiCtx;
use crate::abi::{Rights, fdflags};
use crate::descriptors::Descriptor;
use crate::memory::CHUNK_SIZE;
use crate::poll::Wait;
use crate::process::Strings;
use crate::stream::{Object, ReadAhead};

const VERSION: u32 = 1;

/// Number of streams that a program has at first.
const STREAMS: u32 = 3;

/// Why a state cannot be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
        put_u32(&mut out, VERSION);
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
                Object::Output(_) => (&[][..], false),
            };
            put_bytes(&mut out, ahead);
            put_u32(&mut out, end.into());
        }
        put_u32(&mut out, self.wait.is_some().into());
        if let Some(wait) = &self.wait {
            wait.args.iter().for_each(|&arg| put_u32(&mut out, arg));
            put_u64(&mut out, wait.began);
        }
        out
    }

    /// Takes over what [`WasiCtx::save`] has given, which may come from anywhere. The program gets the arguments and the
    /// environment that it had, and this context's streams in place of those which it had.
    ///
    /// To be called before any call is made. If it fails, the context is as it was.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        let state = State::decode(state)?;
        for saved in &state.descriptors {
            if !self.descriptors.iter().any(|(_, descriptor)| descriptor.stream == saved.stream) {
                return Err(StateError::Invalid("a stream is closed here already"));
            }
        }
        let mut streams: Vec<Descriptor> = std::mem::take(&mut self.descriptors).into_iter().collect();
        for saved in state.descriptors {
            let Some(index) = streams.iter().position(|d| d.stream == saved.stream) else { continue };
            let Descriptor { stream, mut object, inheriting, .. } = streams.swap_remove(index);
            if let Object::Input(input) = &mut object {
                input.set_ahead(saved.ahead);
            }
            let rights = Descriptor::all_rights(&object).without(saved.given_up);
            let descriptor = Descriptor { stream, object, rights, inheriting, flags: saved.flags };
            // The number was checked when the state was read.
            let _ = self.descriptors.put(saved.fd, descriptor);
        }
        self.args = state.args;
        self.environ = state.environ;
        self.wait = state.wait;
        Ok(())
    }
}

/// A state that has been read and found to be possible.
struct State {
    args: Strings,
    environ: Strings,
    descriptors: Vec<SavedDescriptor>,
    wait: Option<Wait>,
}

struct SavedDescriptor {
    fd: u32,
    stream: u32,
    flags: u16,
    given_up: Rights,
    ahead: ReadAhead,
}

impl State {
    fn decode(state: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader { rest: state };
        match reader.u32()? {
            VERSION => {}
            version => return Err(StateError::Version(version)),
        }
        let args = reader.strings()?;
        let environ = reader.strings()?;
        if environ.iter().any(|variable| variable.iter().position(|&b| b == b'=').unwrap_or(0) == 0) {
            return Err(StateError::Invalid("an environment variable has no name or no value"));
        }
        let count = reader.u32()?;
        if count > STREAMS {
            return Err(StateError::Invalid("there are too many descriptors"));
        }
        let mut descriptors: Vec<SavedDescriptor> = Vec::new();
        for _ in 0..count {
            let descriptor = reader.descriptor()?;
            if descriptors.iter().any(|d| d.fd >= descriptor.fd || d.stream == descriptor.stream) {
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
        if !reader.rest.is_empty() {
            return Err(StateError::Trailing);
        }
        Ok(Self { args, environ, descriptors, wait })
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn descriptor(&mut self) -> Result<SavedDescriptor, StateError> {
        let (fd, stream) = (self.u32()?, self.u32()?);
        // Descriptors are never made, only closed and moved over each other.
        if fd >= STREAMS || stream >= STREAMS {
            return Err(StateError::Invalid("a descriptor's number is too large"));
        }
        let flags = u16::try_from(self.u32()?).unwrap_or(u16::MAX);
        if flags & !(fdflags::APPEND | fdflags::NONBLOCK) != 0 {
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
        Ok(SavedDescriptor { fd, stream, flags, given_up, ahead: ReadAhead::new(bytes.to_vec(), end) })
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

    fn u32(&mut self) -> Result<u32, StateError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, StateError> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], StateError> {
        let size = self.u32()? as usize;
        let (bytes, rest) = self.rest.split_at_checked(size).ok_or(StateError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(StateError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// What is put has been checked to have a size of 32 bits, or is small.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}
