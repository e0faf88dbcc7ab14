//! The state file, and where in it things are.
//!
//! The order is that of the address space: stack, instance region, linear memories. See
//! [`gate_wire::context`].

use crate::error::{ImageError, ProgramError};
use crate::memfd;
use gate_compiler::ModuleInfo;
use gate_wire::context::{Context, MemoryDesc};
use gate_wire::load::{MAX_MEMORIES, MemoryMap};
use gate_wire::{PAGE_SIZE, WASM_PAGE_SIZE};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Greatest size of a 32-bit linear memory, in WebAssembly pages.
const MAX_MEMORY_PAGES: u64 = 65536;

/// State of an instance.
#[derive(Debug)]
pub(crate) struct State {
    file: OwnedFd,
    pub(crate) stack_size: u64,
    pub(crate) instance_size: u64,
    pub(crate) memories: Vec<MemoryPlace>,
}

/// A linear memory in the state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryPlace {
    /// Where it starts in the file.
    pub(crate) offset: u64,
    /// Initial size in bytes.
    pub(crate) min: u64,
    /// Greatest size in bytes: so much is reserved in the file.
    pub(crate) max: u64,
    /// Where its [`MemoryDesc`] is in the file.
    pub(crate) desc_offset: u64,
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
        let context = stack_size + instance_size;
        let mut memories = Vec::with_capacity(info.memories.len());
        let mut offset = context;
        for (memory, max) in info.memories.iter().zip(memory_sizes(info, max_memory)?) {
            let distance = u64::from(memory.desc_distance);
            if distance > instance_size || distance < size_of::<MemoryDesc>() as u64 {
                return Err(ImageError::image("place of a memory descriptor").into());
            }
            let min = memory.min_pages * WASM_PAGE_SIZE;
            memories.push(MemoryPlace { offset, min, max, desc_offset: context - distance });
            offset += max;
        }
        let file = memfd::create_sized("gate-state", offset)?;
        Ok(Self { file, stack_size, instance_size, memories })
    }

    /// Offset in the file of what is so many bytes below the context address.
    pub(crate) fn below_context(&self, distance: u64) -> u64 {
        self.stack_size + self.instance_size - distance
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
        let map = |place: &MemoryPlace| MemoryMap {
            size: place.min,
            max: place.max,
            offset: place.offset,
            base_size: 0,
        };
        self.memories.iter().map(map).collect()
    }

    /// What a process maps of the memories, as they are now.
    pub(crate) fn memory_maps(&self) -> Result<Vec<MemoryMap>, Errno> {
        (0..self.memories.len())
            .map(|index| {
                let place = &self.memories[index];
                Ok(MemoryMap {
                    size: self.memory_size(index)?,
                    max: place.max,
                    offset: place.offset,
                    base_size: 0,
                })
            })
            .collect()
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

impl AsFd for State {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
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
