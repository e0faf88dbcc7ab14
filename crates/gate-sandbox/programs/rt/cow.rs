//! Memories that are copied on write.
//!
//! A chunk that the program writes to for the first time is inaccessible for that: the fault's handler maps it from the
//! state file, copies what the base file has, and the instruction is executed again. That the program can
//! write to the table of chunks, and to what the loader has left, is its own affair: it only misleads itself.

use crate::arch;
use crate::context::{ContextAddr, pointer};
use crate::data;
use core::ops::Range;
use core::slice;
use core::sync::atomic::{AtomicU8, Ordering};
use gate_wire::MEMORY_RESERVATION;
use gate_wire::cow::{CHUNK_SIZE, ChunkState, STATE_FD};
use gate_wire::load::LoadFailure;
use handover::Base;
use sys::memory::{self, FilePart, MAP_FIXED, MAP_POPULATE, MAP_SHARED, PROT_READ, PROT_WRITE};
use sys::process::exit;

/// Whether any memory is copied on write.
pub(crate) fn is_enabled() -> bool {
    base_count() != 0
}

/// Makes writable what has been written to. Gives false if that is not why there was a fault.
pub(crate) fn copy_faulted(addr: u64) -> bool {
    let Some(distance) = addr.checked_sub(data::context().get()) else { return false };
    let (index, offset) = (distance / MEMORY_RESERVATION, distance % MEMORY_RESERVATION);
    let Some(memory) = Memory::new(index as usize) else { return false };
    let chunk = (offset / CHUNK_SIZE) as usize;
    match memory.chunks.get(chunk) {
        Some(state) if !is(state, ChunkState::Own) => {
            memory.take(chunk..chunk + 1);
            true
        }
        _ => false,
    }
}

/// Maps what the host has written to while the program waited for it.
pub(crate) fn map_replaced(context: ContextAddr) {
    let flag = context.chunks_replaced();
    if flag.load(Ordering::Relaxed) == 0 || !is_enabled() {
        return;
    }
    flag.store(0, Ordering::Relaxed);
    for memory in (0..base_count()).filter_map(Memory::new) {
        let mut end = 0;
        while let Some(start) = position(memory.chunks, end, |state| is(state, ChunkState::Replaced)) {
            end = position(memory.chunks, start, |state| !is(state, ChunkState::Replaced))
                .unwrap_or(memory.chunks.len());
            memory.take(start..end);
        }
    }
}

/// Index of the first one from `start` on.
fn position(chunks: &[AtomicU8], start: usize, predicate: impl Fn(&AtomicU8) -> bool) -> Option<usize> {
    chunks.get(start..)?.iter().position(predicate).map(|i| start + i)
}

fn is(chunk: &AtomicU8, state: ChunkState) -> bool {
    chunk.load(Ordering::Relaxed) == state as u8
}

/// Number of memories which may be copied on write.
fn base_count() -> usize {
    // SAFETY: the loader has written it.
    unsafe { (*data::handover()).base_count as usize }
}

fn base(index: usize) -> Option<Base> {
    // SAFETY: as above. Nothing writes there while this reference exists.
    let bases = unsafe { &(*data::handover()).bases };
    bases.get(..base_count())?.get(index).copied()
}

/// A memory of which a part is copied on write.
struct Memory {
    addr: u64,
    /// Where it is in the state file.
    offset: u64,
    /// Where the base file's is mapped.
    view: u64,
    chunks: &'static [AtomicU8],
}

impl Memory {
    fn new(index: usize) -> Option<Self> {
        let base = base(index)?;
        let chunk_count = |base: Base| (base.size / CHUNK_SIZE) as usize;
        let first_chunk: usize = (0..index).filter_map(self::base).map(chunk_count).sum();
        let reservations = index as u64 * MEMORY_RESERVATION;
        // SAFETY: the loader has written the two numbers.
        let (chunks_addr, base_addr) =
            unsafe { ((*data::handover()).chunks_addr, (*data::handover()).base_addr) };
        let table = pointer::<AtomicU8>(chunks_addr + first_chunk as u64);
        Some(Self {
            addr: data::context().get() + reservations,
            offset: base.offset,
            view: base_addr + reservations,
            // SAFETY: the table has a byte for each chunk, and stays mapped.
            chunks: unsafe { slice::from_raw_parts(table, chunk_count(base)) },
        })
    }

    /// Maps chunks from the state file, and perhaps some around them, and copies what is only in the base file.
    fn take(&self, chunks: Range<usize>) {
        let borders = borders();
        let run = run_size(*borders);
        let start = chunks.start - chunks.start % run;
        let end = chunks.end.next_multiple_of(run).min(self.chunks.len());
        let before = self.borders(start, end);

        let distance = start as u64 * CHUNK_SIZE;
        let size = (end - start) as u64 * CHUNK_SIZE;
        let part = FilePart { fd: STATE_FD, offset: self.offset + distance };
        // All pages at once: a fault for each would take about as long again.
        let flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
        // SAFETY: nothing of rt's is in a linear memory.
        if unsafe { memory::map(self.addr + distance, size, PROT_READ | PROT_WRITE, flags, Some(part)) }
            .is_err()
        {
            exit(LoadFailure::MapChunk as i32);
        }
        for (chunk, state) in self.chunks.iter().enumerate().take(end).skip(start) {
            if is(state, ChunkState::Base) {
                let distance = chunk as u64 * CHUNK_SIZE;
                let (dst, src) = (pointer(self.addr + distance), pointer(self.view + distance));
                // SAFETY: both have just been, or are, mapped.
                unsafe { arch::copy_bytes(dst, src, CHUNK_SIZE as usize) };
            }
            // Only now: if the process is killed meanwhile, the base file still has it.
            state.store(ChunkState::Own as u8, Ordering::Release);
        }
        *borders = borders.wrapping_add(self.borders(start, end)).wrapping_sub(before);
    }

    /// Number of borders at both ends of a range and in it.
    fn borders(&self, start: usize, end: usize) -> u64 {
        let is_base = |state| is(state, ChunkState::Base);
        let first = start.saturating_sub(1);
        let chunks = self.chunks.get(first..(end + 1).min(self.chunks.len())).unwrap_or(&[]);
        let pairs = chunks.iter().zip(chunks.iter().skip(1));
        pairs.filter(|&(a, b)| is_base(a) != is_base(b)).count() as u64
    }
}

/// Number of places where neighbouring chunks are mapped from different files.
fn borders() -> &'static mut u64 {
    // SAFETY: only one piece of code uses it, which is not interrupted by itself.
    unsafe { &mut (*data::handover()).borders }
}

/// How many chunks are taken at a time: the more, the more mappings there are, because the kernel has a limit of 65,530
/// for each process. Each time adds two at most, and there are at most so many times for each of the larger
/// sizes as it has runs in all memories.
fn run_size(borders: u64) -> usize {
    match borders {
        ..16_384 => 1,
        ..32_768 => 16,
        ..49_152 => 256,
        _ => (u32::MAX as u64 / CHUNK_SIZE + 1) as usize,
    }
}
