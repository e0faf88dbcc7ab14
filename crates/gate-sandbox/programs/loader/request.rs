//! The load request: received, and checked as far as this process's safety and clear errors need it.

use crate::Result;
use gate_wire::cow::{CHUNK_SIZE, CHUNKS_OFFSET, first_chunk};
use gate_wire::frames::FRAMES_GUARD;
use gate_wire::load::{
    ADDRESS_RANGE, CALL_FD, FLAG_COPY_ON_WRITE, FLAG_EXPORT, FLAG_THAW, LoadFailure, LoadRequest,
    MAX_MEMORIES, MemoryMap, NO_ENTRY, STATE_FILE_STRIDE,
};
use gate_wire::samples::{SAMPLES_OFFSET, SAMPLES_SIZE};
use gate_wire::{MEMORY_RESERVATION, PAGE_SIZE};
use sys::fd;

pub(crate) struct Request {
    pub(crate) load: LoadRequest,
    memories: [MemoryMap; MAX_MEMORIES],
    memory_count: usize,
    pub(crate) text_fd: i32,
    pub(crate) state_fd: i32,
    /// Meaningless without additional text.
    pub(crate) extension_fd: i32,
    /// Meaningless without a frames file.
    pub(crate) frames_fd: i32,
    /// Meaningless without copy-on-write memories.
    pub(crate) base_fd: i32,
}

impl Request {
    pub(crate) fn memories(&self) -> &[MemoryMap] {
        self.memories.get(..self.memory_count).unwrap_or(&[])
    }

    pub(crate) fn is_export(&self) -> bool {
        self.load.flags & FLAG_EXPORT != 0
    }

    /// Whether there is something to copy. While exporting there are no memories.
    pub(crate) fn copies_on_write(&self) -> bool {
        self.load.flags & FLAG_COPY_ON_WRITE != 0 && !self.is_export()
    }

    /// Address space for the state, but for the guard page.
    pub(crate) fn state_space(&self) -> u64 {
        self.load.stack_size + self.load.instance_size + self.memory_space()
    }

    /// Address space for the frames, with a guard if they are written. Zero if there are none.
    pub(crate) fn frames_space(&self) -> u64 {
        self.load.frames_size + if self.is_export() { FRAMES_GUARD } else { 0 }
    }

    /// Size of the table of chunks, rounded up to what can be mapped.
    pub(crate) fn chunks_space(&self) -> u64 {
        first_chunk(self.memories(), self.memories().len()).next_multiple_of(PAGE_SIZE)
    }

    /// Address space for all memories.
    pub(crate) fn memory_space(&self) -> u64 {
        self.memories().len() as u64 * MEMORY_RESERVATION
    }
}

/// Waits for the request: so does a process that is prepared in advance.
pub(crate) fn receive() -> Result<Request> {
    let mut buf = [0; LoadRequest::MAX_SIZE];
    let message =
        fd::receive(CALL_FD, &mut buf, fd::MSG_CMSG_CLOEXEC).map_err(|_| LoadFailure::ReceiveRequest)?;
    if message.size == 0 {
        return Err(LoadFailure::HostGone);
    }
    let bytes = buf.get(..message.size).filter(|_| !message.truncated).ok_or(LoadFailure::InvalidRequest)?;
    let mut memories = [MemoryMap::default(); MAX_MEMORIES];
    let (load, memory_count) =
        LoadRequest::decode(bytes, &mut memories).ok_or(LoadFailure::InvalidRequest)?;
    let [text_fd, state_fd, extension_fd, frames_fd, base_fd] = descriptors(&load, message.fds())?;
    let request =
        Request { load, memories, memory_count, text_fd, state_fd, extension_fd, frames_fd, base_fd };
    if is_valid(&request) { Ok(request) } else { Err(LoadFailure::InvalidRequest) }
}

/// Tells apart the descriptors of text, state, additional text, frames and base. There must be as many as the request
/// says.
fn descriptors(load: &LoadRequest, fds: &[i32]) -> Result<[i32; 5]> {
    let is_there =
        [true, true, load.extension_size != 0, load.frames_size != 0, load.flags & FLAG_COPY_ON_WRITE != 0];
    let mut rest = fds.iter();
    let mut descriptors = [-1; 5];
    for (descriptor, _) in descriptors.iter_mut().zip(is_there).filter(|(_, is_there)| *is_there) {
        *descriptor = *rest.next().ok_or(LoadFailure::MissingDescriptors)?;
    }
    if rest.next().is_some() { Err(LoadFailure::MissingDescriptors) } else { Ok(descriptors) }
}

/// More than all of the address range: sums of a few sizes below this don't wrap.
const SIZE_LIMIT: u64 = 1 << 47;

fn is_page(n: u64) -> bool {
    n.is_multiple_of(PAGE_SIZE) && n < SIZE_LIMIT
}

fn is_valid(request: &Request) -> bool {
    let load = &request.load;
    let code = |offset: u64| offset == NO_ENTRY || offset < load.text_size;
    let numbers = [
        load.rt_addr,
        load.text_addr,
        load.text_size,
        load.extension_size,
        load.state_addr,
        load.state_offset,
        load.stack_size,
        load.instance_size,
    ];
    numbers.into_iter().all(is_page)
        && request.memories().iter().all(is_valid_memory)
        && load.text_size > load.extension_size
        && load.stack_size > 0
        && load.instance_size > 0
        && load.time_resolution > 0
        && code(load.start)
        && code(load.entry)
        && is_within_range(load.text_addr, load.text_size)
        && is_within_range(load.state_addr, request.state_space())
        && load.state_addr - ADDRESS_RANGE.start >= PAGE_SIZE
        && are_valid_flags(load.flags)
        && are_valid_frames(request)
        && are_valid_bases(request)
        && are_valid_samples(request)
}

fn is_valid_memory(memory: &MemoryMap) -> bool {
    is_page(memory.size)
        && is_page(memory.max)
        && is_page(memory.offset)
        && is_page(memory.base_offset)
        && memory.size <= memory.max
        && memory.max < MEMORY_RESERVATION
}

fn are_valid_flags(flags: u32) -> bool {
    flags & !(FLAG_THAW | FLAG_EXPORT | FLAG_COPY_ON_WRITE) == 0
        && (flags & FLAG_EXPORT == 0 || flags & FLAG_THAW != 0)
}

/// The frames file, if there is one, and there must be one to write to.
fn are_valid_frames(request: &Request) -> bool {
    let load = &request.load;
    if load.frames_size == 0 {
        return !request.is_export();
    }
    is_page(load.frames_addr)
        && is_page(load.frames_size)
        && is_within_range(load.frames_addr, request.frames_space())
}

/// What is needed for memories that are copied on write, if they are.
fn are_valid_bases(request: &Request) -> bool {
    let load = &request.load;
    if load.flags & FLAG_COPY_ON_WRITE == 0 {
        return request.memories().iter().all(|memory| memory.base_size == 0);
    }
    // rt cannot map what is before the memories.
    let memory = |memory: &MemoryMap| {
        memory.base_size.is_multiple_of(CHUNK_SIZE)
            && memory.base_size <= memory.size
            && memory.offset >= STATE_FILE_STRIDE
    };
    request.memories().iter().all(memory)
        && is_page(load.chunks_addr)
        && is_page(load.base_addr)
        && is_within_range(load.chunks_addr, request.chunks_space())
        && is_within_range(load.base_addr, request.memory_space())
        && load.state_offset >= CHUNKS_OFFSET + request.chunks_space()
}

/// A place for samples, if any are taken.
fn are_valid_samples(request: &Request) -> bool {
    let load = &request.load;
    load.sample_interval == 0
        || is_page(load.samples_addr)
            && is_within_range(load.samples_addr, SAMPLES_SIZE)
            && load.state_offset >= SAMPLES_OFFSET + SAMPLES_SIZE
}

pub(crate) fn is_within_range(addr: u64, size: u64) -> bool {
    addr >= ADDRESS_RANGE.start && addr + size <= ADDRESS_RANGE.end
}
