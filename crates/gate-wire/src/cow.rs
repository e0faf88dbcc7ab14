//! Memories that are copied on write.
//!
//! Any number of instances can share the memories of one *base file*, which nobody changes any more. Chunks are mapped from it read-only
//! until the program writes to them: then rt copies the chunk to the instance's own state file, and maps it from there,
//! shared. The *table of chunks*, part of the state file, tells which file has each chunk. So the state is always
//! complete in files, whenever the program stops, and chunks that were only read cost nothing.
//!
//! The table has a byte for each chunk of each memory's part that has a base, memory after memory: one of
//! [`ChunkState`]. It is written by the untrusted process, and concerns only what that process sees.

use crate::load::MemoryMap;

/// Size of a chunk in bytes: a WebAssembly page, so that memories consist of whole ones.
pub const CHUNK_SIZE: u64 = crate::WASM_PAGE_SIZE;

/// Where in the state file the table of chunks is.
pub const CHUNKS_OFFSET: u64 = 4 << 30;

/// Number of the state file among a program process's descriptors, if its memories are copied on write. Otherwise that file
/// is closed.
pub const STATE_FD: i32 = 1;

/// Which file has a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ChunkState {
    /// The base file.
    Base = 0,
    /// The state file.
    Own = 1,
    /// The state file since the host has written there; but the program has the base mapped still. rt maps such chunks when
    /// [`Context::chunks_replaced`](crate::context::Context::chunks_replaced) says so.
    Replaced = 2,
}

/// Index in the table of a memory's first chunk. With the number of memories it is the table's size.
pub fn first_chunk(memories: &[MemoryMap], memory: usize) -> u64 {
    memories.iter().take(memory).map(|memory| memory.base_size / CHUNK_SIZE).sum()
}
