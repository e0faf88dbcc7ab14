//! Linear memory as host functions see it.

use crate::state::State;
use gate_wire::context_offset;
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A linear memory of an instance, running or not.
///
/// Reading and writing copies. Bounds are those of the moment. While the program runs it may change the contents at the same
/// time, if it does what compiled code never does; so nothing that was read may be trusted to stay the same.
#[derive(Clone, Debug)]
pub struct GuestMemory {
    place: Option<(Arc<State>, usize)>,
    /// See [`GuestMemory::during_call`].
    size: Option<OnceLock<u64>>,
}

/// A linear memory whose program waits for a reply, so that its size stays the same. Otherwise like [`GuestMemory`].
#[derive(Clone, Copy, Debug)]
pub struct WaitingMemory<'a> {
    memory: &'a GuestMemory,
    size: u64,
}

/// Why guest memory could not be accessed.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The program gave an address or a length that is beyond its memory.
    #[error("{len} bytes at {addr:#x} are outside the memory of {size} bytes")]
    OutOfBounds {
        /// Address of the first byte.
        addr: u64,
        /// Number of bytes.
        len: u64,
        /// Size of the memory in bytes.
        size: u64,
    },
    /// The state file could not be accessed.
    #[error("access guest memory: {0}")]
    Host(#[from] io::Error),
}

impl GuestMemory {
    /// A memory of size zero, for a program which has none.
    pub const fn empty() -> Self {
        Self { place: None, size: None }
    }

    pub(crate) fn new(state: &Arc<State>, index: usize) -> Option<Self> {
        (index < state.memories.len()).then(|| Self { place: Some((Arc::clone(state), index)), size: None })
    }

    /// The same memory for the time of a host call. Its size is looked up once: meanwhile the program does not do anything, and memories
    /// do not shrink.
    pub fn during_call(&self) -> Self {
        Self { place: self.place.clone(), size: Some(OnceLock::new()) }
    }

    /// The memory as it is until the program is answered: each access needs one system call less.
    pub fn waiting(&self) -> io::Result<WaitingMemory<'_>> {
        Ok(WaitingMemory { memory: self, size: self.size()? })
    }

    /// Tells the program that the reply to its host call has been sent. That spares it the sleep if it looks for that, and is
    /// of no importance otherwise.
    pub fn announce_reply(&self) -> io::Result<()> {
        let Some((state, _)) = &self.place else { return Ok(()) };
        Ok(state.write(state.context_field(context_offset!(reply_sent)), &1u32.to_le_bytes())?)
    }

    /// Current size in bytes.
    pub fn size(&self) -> io::Result<u64> {
        let Some((state, index)) = &self.place else { return Ok(0) };
        if let Some(&size) = self.size.as_ref().and_then(OnceLock::get) {
            return Ok(size);
        }
        let size = state.memory_size(*index)?;
        Ok(self.size.as_ref().map_or(size, |known| *known.get_or_init(|| size)))
    }

    /// Copies from the memory. Nothing is copied if it is not all within bounds.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.read_within(self.size()?, addr, buf)
    }

    fn read_within(&self, size: u64, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        if let Some((state, index)) = self.locate(size, addr, buf.len() as u64)? {
            state.read_memory(index, addr, buf).map_err(io::Error::from)?;
        }
        Ok(())
    }

    /// Copies to the memory. Nothing is copied if it is not all within bounds.
    pub fn write(&self, addr: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.write_within(self.size()?, addr, bytes)
    }

    fn write_within(&self, size: u64, addr: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        if let Some((state, index)) = self.locate(size, addr, bytes.len() as u64)? {
            state.write_memory(index, addr, bytes).map_err(io::Error::from)?;
        }
        Ok(())
    }

    /// The parts which have data, ascending. What is not part of any is zero, and takes no space.
    pub fn extents(&self) -> io::Result<Vec<Range<u64>>> {
        match &self.place {
            Some((state, index)) => Ok(state.memory_extents(*index)?.collect::<Result<_, _>>()?),
            None => Ok(Vec::new()),
        }
    }

    /// Checks that so many bytes can be read and written.
    pub fn check(&self, addr: u64, len: u64) -> Result<(), MemoryError> {
        self.locate(self.size()?, addr, len).map(drop)
    }

    fn locate(&self, size: u64, addr: u64, len: u64) -> Result<Option<(&State, usize)>, MemoryError> {
        if addr.checked_add(len).is_none_or(|end| end > size) {
            return Err(MemoryError::OutOfBounds { addr, len, size });
        }
        Ok(self.place.as_ref().map(|(state, index)| (&**state, *index)))
    }
}

impl WaitingMemory<'_> {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Copies from the memory. Nothing is copied if it is not all within bounds.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read_within(self.size, addr, buf)
    }

    /// Copies to the memory. Nothing is copied if it is not all within bounds.
    pub fn write(&self, addr: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.memory.write_within(self.size, addr, bytes)
    }
}
