//! The state file, and where in it things are.
//!
//! ```text
//! CHUNKS_OFFSET            table of chunks, if memories are copied on write
//! ... STATE_FILE_STRIDE    stack and instance region; they end here
//! (i + 1) * STRIDE         linear memory i
//! ```
//!
//! So the memories have the same places whatever the sizes of stack and instance region. See [`gate_wire::context`] for the
//! order of things in memory.

use crate::error::{ImageError, ProgramError};
use crate::fork::Base;
use crate::memfd;
use gate_compiler::ModuleInfo;
use gate_wire::context::{Context, MemoryDesc};
use gate_wire::cow::CHUNKS_OFFSET;
use gate_wire::load::{MAX_MEMORIES, MemoryMap, STATE_FILE_STRIDE};
use gate_wire::{PAGE_SIZE, WASM_PAGE_SIZE};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// Greatest size of a 32-bit linear memory, in WebAssembly pages.
pub(crate) const MAX_MEMORY_PAGES: u64 = 65536;

/// Where the table of chunks ends at the latest.
const CHUNKS_END: u64 = CHUNKS_OFFSET + MAX_MEMORIES as u64 * MAX_MEMORY_PAGES;

/// Greatest size of stack and instance region together, in bytes.
pub(crate) const MAX_REGIONS: u64 = STATE_FILE_STRIDE - CHUNKS_END;

/// State of an instance.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) file: OwnedFd,
    pub(crate) stack_size: u64,
    pub(crate) instance_size: u64,
    pub(crate) memories: Vec<MemoryPlace>,
    /// What the memories are copied from when they are written to.
    pub(crate) base: Option<Arc<Base>>,
    /// Held while the host copies a chunk.
    pub(crate) copying: Mutex<()>,
    /// Its files have names. See [`storage`](crate::storage).
    pub(crate) is_stored: bool,
}

/// A linear memory in the state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryPlace {
    /// Where it starts in the file.
    pub(crate) offset: u64,
    /// Smallest size in bytes.
    pub(crate) min: u64,
    /// Greatest size in bytes: so much is reserved in the file.
    pub(crate) max: u64,
    /// Where its [`MemoryDesc`] is in the file.
    pub(crate) desc_offset: u64,
    /// So many bytes are in the base file until they are written to.
    pub(crate) base_size: u64,
    /// Where they are in that file.
    pub(crate) base_offset: u64,
    /// Index in the table of chunks of its first one.
    pub(crate) first_chunk: u64,
}

impl State {
    /// Makes a file of zeros for instances of the module.
    pub(crate) fn new(
        info: &ModuleInfo,
        stack_size: u64,
        max_memory: Option<u64>,
    ) -> Result<Self, crate::InstanceError> {
        let instance_size = u64::from(info.layout.instance_size);
        if instance_size < size_of::<Context>() as u64 || !instance_size.is_multiple_of(PAGE_SIZE) {
            return Err(ImageError::image("size of the instance region").into());
        }
        if info.memories.len() > MAX_MEMORIES {
            return Err(ImageError::image("number of memories").into());
        }
        if stack_size + instance_size > MAX_REGIONS {
            return Err(ImageError::image("size of the stack and the instance region").into());
        }
        let mut memories = Vec::with_capacity(info.memories.len());
        let mut offset = STATE_FILE_STRIDE;
        for (memory, max) in info.memories.iter().zip(memory_sizes(info, max_memory)?) {
            let distance = u64::from(memory.desc_distance);
            if distance > instance_size || distance < size_of::<MemoryDesc>() as u64 {
                return Err(ImageError::image("place of a memory descriptor").into());
            }
            let min = memory.min_pages * WASM_PAGE_SIZE;
            let desc_offset = STATE_FILE_STRIDE - distance;
            memories.push(MemoryPlace {
                offset,
                min,
                max,
                desc_offset,
                base_size: 0,
                base_offset: 0,
                first_chunk: 0,
            });
            offset += STATE_FILE_STRIDE;
        }
        let file = memfd::create_sized("gate-state", file_size(&memories))?;
        Ok(Self {
            file,
            stack_size,
            instance_size,
            memories,
            base: None,
            copying: Mutex::default(),
            is_stored: false,
        })
    }

    /// Size of the file in bytes.
    pub(crate) fn file_size(&self) -> u64 {
        file_size(&self.memories)
    }

    /// Offset in the file of the stack's lowest byte.
    pub(crate) fn stack_offset(&self) -> u64 {
        STATE_FILE_STRIDE - self.instance_size - self.stack_size
    }

    /// Offset in the file of the instance region.
    pub(crate) fn instance_offset(&self) -> u64 {
        STATE_FILE_STRIDE - self.instance_size
    }

    /// Offset in the file of what is so many bytes below the context address.
    pub(crate) fn below_context(&self, distance: u64) -> u64 {
        STATE_FILE_STRIDE - distance
    }

    /// Offset in the file of a field of the context. See [`gate_wire::context_offset`].
    pub(crate) fn context_field(&self, offset: i32) -> u64 {
        self.below_context(offset.unsigned_abs().into())
    }

    /// Fills `buf` with what is in the file at `offset`.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        memfd::read_exact(&self.file, buf, offset)
    }

    /// Writes to the file at `offset`.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        memfd::write_all(&self.file, bytes, offset)
    }

    /// What a process maps of the memories, as they are before the first run.
    pub(crate) fn initial_memory_maps(&self) -> Vec<MemoryMap> {
        self.memories.iter().map(|place| place.map(place.min)).collect()
    }

    /// What a process maps of the memories, as they are now.
    pub(crate) fn memory_maps(&self) -> Result<Vec<MemoryMap>, Errno> {
        let map = |(index, place): (usize, &MemoryPlace)| Ok(place.map(self.memory_size(index)?));
        self.memories.iter().enumerate().map(map).collect()
    }

    /// Current size of a memory in bytes.
    ///
    /// The program says how large it is, so that it is rounded and bounded to what can be true.
    pub(crate) fn memory_size(&self, index: usize) -> Result<u64, Errno> {
        let place = &self.memories[index];
        let mut size = [0; 8];
        self.read(place.desc_offset, &mut size)?;
        let size = u64::from_le_bytes(size);
        Ok((size - size % WASM_PAGE_SIZE).clamp(place.min, place.max))
    }
}

impl MemoryPlace {
    fn map(&self, size: u64) -> MemoryMap {
        MemoryMap {
            size,
            max: self.max,
            offset: self.offset,
            base_size: self.base_size,
            base_offset: self.base_offset,
        }
    }
}

impl AsFd for State {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Up to the end of the last memory. There is always room for the instance region.
pub(crate) fn file_size(memories: &[MemoryPlace]) -> u64 {
    memories.last().map_or(STATE_FILE_STRIDE, |last| last.offset + last.max)
}

/// The greatest size of each memory, in bytes.
///
/// A limit holds for all memories together: each gets its initial size, and the first ones what is left.
fn memory_sizes(info: &ModuleInfo, limit: Option<u64>) -> Result<Vec<u64>, crate::InstanceError> {
    let limit = limit.unwrap_or(u64::MAX);
    let mut left = limit;
    for (index, memory) in info.memories.iter().enumerate() {
        if memory.min_pages > MAX_MEMORY_PAGES {
            return Err(ImageError::image("initial size of a memory").into());
        }
        let minimum = memory.min_pages * WASM_PAGE_SIZE;
        left = left.checked_sub(minimum).ok_or(ProgramError::MemoryLimit {
            memory: index,
            minimum,
            available: left,
            limit,
        })?;
    }
    let sizes = info.memories.iter().map(|memory| {
        let declared = memory.max_pages.unwrap_or(MAX_MEMORY_PAGES).clamp(memory.min_pages, MAX_MEMORY_PAGES);
        let more = ((declared - memory.min_pages) * WASM_PAGE_SIZE).min(left - left % WASM_PAGE_SIZE);
        left -= more;
        memory.min_pages * WASM_PAGE_SIZE + more
    });
    Ok(sizes.collect())
}
