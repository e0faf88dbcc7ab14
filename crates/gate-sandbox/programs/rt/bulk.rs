//! Growth of linear memories and tables, and operations on ranges of them.
//!
//! A call does a bounded amount of work, so that a suspension need not wait for gigabytes.

use crate::arch;
use crate::context::{ContextAddr, pointer};
use gate_wire::WASM_PAGE_SIZE;
use gate_wire::context::{MemoryDesc, TableDesc};
use gate_wire::trap::TrapId;
use sys::memory::{self, PROT_READ, PROT_WRITE};

/// Greatest number of bytes that a call writes.
const MAX_BYTES: u64 = 1 << 20;
const ELEMENT_SIZE: u64 = size_of::<u32>() as u64;
const MAX_ELEMENTS: u64 = MAX_BYTES / ELEMENT_SIZE;

/// By how many elements a table can grow at once, unless they are null. It cannot be done in parts, and must not take long.
const MAX_GROWTH: u32 = 2 << 20;

/// Which part of a range to do first.
struct Part {
    /// Start within the range.
    start: u64,
    len: u64,
    /// What remains of the range after that.
    rest: u64,
}

impl Part {
    fn upward(len: u64, max: u64) -> Self {
        let part = len.min(max);
        Self { start: 0, len: part, rest: len - part }
    }

    fn downward(len: u64, max: u64) -> Self {
        let Self { len, rest, .. } = Self::upward(len, max);
        Self { start: rest, len, rest }
    }

    /// For a copy within one memory or table, so that what is overwritten has been copied before.
    fn of_copy(dst: u64, src: u64, len: u64, max: u64) -> Self {
        if dst <= src { Self::upward(len, max) } else { Self::downward(len, max) }
    }
}

fn is_within(start: u64, len: u64, size: u64) -> bool {
    start.checked_add(len).is_some_and(|end| end <= size)
}

pub(crate) extern "C" fn memory_grow(
    context: ContextAddr,
    desc: &mut MemoryDesc,
    index: u32,
    pages: u64,
) -> i64 {
    let Some(new_size) = pages.checked_mul(WASM_PAGE_SIZE).and_then(|delta| desc.size.checked_add(delta))
    else {
        return -1;
    };
    if new_size > desc.max {
        return -1;
    }
    let old_size = desc.size;
    if new_size > old_size {
        let addr = context.memory_addr(index) + old_size;
        // SAFETY: adds accesses.
        if unsafe { memory::protect(addr, new_size - old_size, PROT_READ | PROT_WRITE) }.is_err() {
            return -1;
        }
        desc.size = new_size;
    }
    (old_size / WASM_PAGE_SIZE) as i64
}

pub(crate) extern "C" fn memory_fill(
    context: ContextAddr,
    desc: &MemoryDesc,
    base: u64,
    dst: u64,
    byte: u32,
    len: u64,
) -> u64 {
    if !is_within(dst, len, desc.size) {
        context.trap(TrapId::MemoryAccessOutOfBounds);
    }
    let part = Part::upward(len, MAX_BYTES);
    // SAFETY: within the memory.
    unsafe { arch::fill_bytes(pointer(base + dst), byte as u8, part.len as usize) };
    part.rest
}

pub(crate) extern "C" fn memory_copy(context: ContextAddr, args: &[u64; 7]) -> u64 {
    let [dst_desc, dst_base, src_desc, src_base, dst, src, len] = *args;
    if !is_within(dst, len, memory(dst_desc).size) || !is_within(src, len, memory(src_desc).size) {
        context.trap(TrapId::MemoryAccessOutOfBounds);
    }
    let part = Part::of_copy(dst, src, len, MAX_BYTES);
    // SAFETY: within the memories.
    unsafe {
        arch::copy_bytes(
            pointer(dst_base + dst + part.start),
            pointer(src_base + src + part.start),
            part.len as usize,
        );
    }
    part.rest
}

pub(crate) extern "C" fn memory_init(context: ContextAddr, args: &[u64; 7]) -> u64 {
    let [dst_desc, dst_base, segment, segment_len, dst, src, len] = *args;
    if !is_within(dst, len, memory(dst_desc).size) || !is_within(src, len, segment_len) {
        context.trap(TrapId::MemoryAccessOutOfBounds);
    }
    let part = Part::upward(len, MAX_BYTES);
    // SAFETY: within the memory and the segment.
    unsafe { arch::copy_bytes(pointer(dst_base + dst), pointer(segment + src), part.len as usize) };
    part.rest
}

pub(crate) extern "C" fn table_grow(
    context: ContextAddr,
    desc: &mut TableDesc,
    delta: u32,
    value: u32,
) -> i32 {
    let old_size = desc.size;
    let Some(new_size) = old_size.checked_add(delta).filter(|&size| size <= desc.max) else { return -1 };
    if value != 0 {
        if delta > MAX_GROWTH {
            return -1;
        }
        let addr = element_addr(context, desc, u64::from(old_size));
        // SAFETY: within the space reserved for the table.
        unsafe { arch::fill_elements(pointer(addr), value, delta as usize) };
    }
    // What was never used is null.
    desc.size = new_size;
    old_size as i32
}

pub(crate) extern "C" fn table_fill(
    context: ContextAddr,
    desc: &TableDesc,
    dst: u32,
    value: u32,
    len: u32,
) -> u64 {
    let (dst, len) = (u64::from(dst), u64::from(len));
    if !is_within(dst, len, u64::from(desc.size)) {
        context.trap(TrapId::TableAccessOutOfBounds);
    }
    let part = Part::upward(len, MAX_ELEMENTS);
    // SAFETY: within the table.
    unsafe { arch::fill_elements(pointer(element_addr(context, desc, dst)), value, part.len as usize) };
    part.rest
}

pub(crate) extern "C" fn table_copy(context: ContextAddr, args: &[u64; 5]) -> u64 {
    let [dst_desc, src_desc, dst, src, len] = *args;
    let (dst_desc, src_desc) = (table(dst_desc), table(src_desc));
    if !is_within(dst, len, u64::from(dst_desc.size)) || !is_within(src, len, u64::from(src_desc.size)) {
        context.trap(TrapId::TableAccessOutOfBounds);
    }
    let part = Part::of_copy(dst, src, len, MAX_ELEMENTS);
    // SAFETY: within the tables.
    unsafe {
        arch::copy_bytes(
            pointer(element_addr(context, dst_desc, dst + part.start)),
            pointer(element_addr(context, src_desc, src + part.start)),
            (part.len * ELEMENT_SIZE) as usize,
        );
    }
    part.rest
}

pub(crate) extern "C" fn table_init(context: ContextAddr, args: &[u64; 6]) -> u64 {
    let [desc, segment, segment_len, dst, src, len] = *args;
    let desc = table(desc);
    if !is_within(dst, len, u64::from(desc.size)) || !is_within(src, len, segment_len) {
        context.trap(TrapId::TableAccessOutOfBounds);
    }
    let part = Part::upward(len, MAX_ELEMENTS);
    // SAFETY: within the table and the segment.
    unsafe {
        arch::copy_bytes(
            pointer(element_addr(context, desc, dst)),
            pointer(segment + src * ELEMENT_SIZE),
            (part.len * ELEMENT_SIZE) as usize,
        );
    }
    part.rest
}

fn memory<'a>(desc: u64) -> &'a MemoryDesc {
    // SAFETY: compiled code passes the address of a descriptor in the instance region.
    unsafe { &*pointer(desc) }
}

fn table<'a>(desc: u64) -> &'a TableDesc {
    // SAFETY: as above.
    unsafe { &*pointer(desc) }
}

fn element_addr(context: ContextAddr, desc: &TableDesc, index: u64) -> u64 {
    context.get() - desc.distance + index * ELEMENT_SIZE
}
