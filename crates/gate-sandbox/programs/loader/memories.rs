//! Mapping linear memories: from the state file, and where they are copied on write, from the base file.

use crate::Result;
use crate::map::{READ_WRITE, map};
use crate::request::Request;
use core::sync::atomic::{AtomicU8, Ordering};
use gate_wire::MEMORY_RESERVATION;
use gate_wire::cow::{CHUNK_SIZE, CHUNKS_OFFSET, ChunkState, first_chunk};
use gate_wire::load::{LoadFailure, MemoryMap};
use sys::memory::{
    FilePart, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ,
};

/// The table of chunks.
#[derive(Clone, Copy)]
pub(crate) struct Chunks(&'static [AtomicU8]);

impl Chunks {
    /// A memory's part of the table.
    fn of(self, memories: &[MemoryMap], index: usize) -> &'static [AtomicU8] {
        let range = first_chunk(memories, index) as usize..first_chunk(memories, index + 1) as usize;
        self.0.get(range).unwrap_or(&[])
    }

    /// Number of places where neighbours are mapped from different files.
    pub(crate) fn borders(self, memories: &[MemoryMap]) -> u64 {
        let is_border = |(a, b): (&AtomicU8, &AtomicU8)| is_base(a) != is_base(b);
        let of_memory = |i| {
            let chunks = self.of(memories, i);
            chunks.iter().zip(chunks.iter().skip(1)).filter(|&pair| is_border(pair)).count() as u64
        };
        (0..memories.len()).map(of_memory).sum()
    }
}

fn is_base(state: &AtomicU8) -> bool {
    state.load(Ordering::Relaxed) == ChunkState::Base as u8
}

/// Maps the table of chunks.
pub(crate) fn map_chunks(request: &Request) -> Result<Chunks> {
    let load = &request.load;
    let count = first_chunk(request.memories(), request.memories().len());
    if count == 0 {
        return Ok(Chunks(&[]));
    }
    let part = FilePart { fd: request.state_fd, offset: CHUNKS_OFFSET };
    let flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
    map(load.chunks_addr, request.chunks_space(), READ_WRITE, flags, Some(part))
        .map_err(|_| LoadFailure::MapBase)?;
    let table = core::ptr::with_exposed_provenance::<AtomicU8>(load.chunks_addr as usize);
    // SAFETY: has just been mapped, and stays. Atomic bytes may change at any time.
    Ok(Chunks(unsafe { core::slice::from_raw_parts(table, count as usize) }))
}

/// Maps the base file's memories where rt copies from.
pub(crate) fn map_bases(request: &Request) -> Result<()> {
    let mut addr = request.load.base_addr;
    for memory in request.memories() {
        if memory.base_size > 0 {
            let part = FilePart { fd: request.base_fd, offset: memory.base_offset };
            // Private, because what is shared could be made writable.
            let flags = MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
            map(addr, memory.base_size, PROT_READ, flags, Some(part)).map_err(|_| LoadFailure::MapBase)?;
        }
        addr += MEMORY_RESERVATION;
    }
    Ok(())
}

/// How much of memory 0 is mapped together with what is before it. Nearly always it follows in the file as it
/// does in memory: then one mapping will do.
pub(crate) fn merged_size(request: &Request) -> u64 {
    let load = &request.load;
    let end = load.state_offset + load.stack_size + load.instance_size;
    let first = request.memories().first().filter(|m| m.offset == end && m.base_size == 0);
    if request.is_export() { 0 } else { first.map_or(0, |m| m.size) }
}

/// Maps all memories within their reservations.
pub(crate) fn map_memories(request: &Request, chunks: Option<Chunks>) -> Result<()> {
    let mut addr = request.load.context_addr();
    let mut done = merged_size(request);
    for (i, memory) in request.memories().iter().enumerate() {
        if let Some(chunks) = chunks {
            done += map_copied(request, memory, addr, chunks.of(request.memories(), i))?;
        }
        let part = |start| Some(FilePart { fd: request.state_fd, offset: memory.offset + start });
        if memory.size > done {
            map(addr + done, memory.size - done, READ_WRITE, MAP_SHARED | MAP_FIXED, part(done))
                .map_err(|_| LoadFailure::MapMemory)?;
        }
        if memory.max > memory.size {
            // The rest is made accessible when the memory grows.
            let rest = memory.max - memory.size;
            map(addr + memory.size, rest, PROT_NONE, MAP_SHARED | MAP_FIXED, part(memory.size))
                .map_err(|_| LoadFailure::MapMemory)?;
        }
        addr += MEMORY_RESERVATION;
        done = 0;
    }
    Ok(())
}

/// Maps the part of a memory that is copied on write: neighbours from the same file together. Gives the size of what
/// is mapped; chunks of the state file at the end are left to be mapped together with the rest of the memory.
fn map_copied(request: &Request, memory: &MemoryMap, addr: u64, mut chunks: &[AtomicU8]) -> Result<u64> {
    let mut start = 0;
    while let Some(from_base) = chunks.first().map(is_base) {
        let count = chunks.iter().take_while(|state| is_base(state) == from_base).count();
        let Some((run, rest)) = chunks.split_at_checked(count) else { break };
        chunks = rest;
        let size = run.len() as u64 * CHUNK_SIZE;
        if !from_base {
            // Also what the host has replaced is mapped now.
            run.iter().for_each(|state| state.store(ChunkState::Own as u8, Ordering::Relaxed));
            if rest.is_empty() {
                break;
            }
        }
        let (fd, offset, prot, flags) = if from_base {
            (request.base_fd, memory.base_offset, PROT_READ, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED)
        } else {
            (request.state_fd, memory.offset, READ_WRITE, MAP_SHARED | MAP_FIXED)
        };
        let part = FilePart { fd, offset: offset + start };
        map(addr + start, size, prot, flags, Some(part)).map_err(|_| LoadFailure::MapChunk)?;
        start += size;
    }
    Ok(start)
}
