//! The load request: received, and checked as far as this process's safety and clear errors need it.

use crate::Result;
use gate_wire::load::{ADDRESS_RANGE, CALL_FD, LoadFailure, LoadRequest, MAX_MEMORIES, MemoryMap, NO_ENTRY};
use gate_wire::{MEMORY_RESERVATION, PAGE_SIZE};
use sys::fd;

pub(crate) struct Request {
    pub(crate) load: LoadRequest,
    memories: [MemoryMap; MAX_MEMORIES],
    memory_count: usize,
    pub(crate) text_fd: i32,
    pub(crate) state_fd: i32,
}

impl Request {
    pub(crate) fn memories(&self) -> &[MemoryMap] {
        self.memories.get(..self.memory_count).unwrap_or(&[])
    }

    /// Address space for the state, but for the guard page.
    pub(crate) fn state_space(&self) -> u64 {
        self.load.stack_size + self.load.instance_size + self.memories().len() as u64 * MEMORY_RESERVATION
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
    let &[text_fd, state_fd] = message.fds() else { return Err(LoadFailure::MissingDescriptors) };
    let request = Request { load, memories, memory_count, text_fd, state_fd };
    if is_valid(&request) { Ok(request) } else { Err(LoadFailure::InvalidRequest) }
}

fn is_valid(request: &Request) -> bool {
    /// More than all of the address range: sums of a few sizes below this don't wrap.
    const SIZE_LIMIT: u64 = 1 << 47;
    let load = &request.load;
    let page = |n: u64| n.is_multiple_of(PAGE_SIZE) && n < SIZE_LIMIT;
    let code = |offset: u64| offset == NO_ENTRY || offset < load.text_size;
    let numbers =
        [load.rt_addr, load.text_addr, load.text_size, load.state_addr, load.stack_size, load.instance_size];
    let memory = |m: &MemoryMap| {
        page(m.size) && page(m.max) && page(m.offset) && m.size <= m.max && m.max < MEMORY_RESERVATION
    };
    numbers.into_iter().all(page)
        && request.memories().iter().all(memory)
        && load.text_size > 0
        && load.stack_size > 0
        && load.instance_size > 0
        && load.time_resolution > 0
        && code(load.start)
        && code(load.entry)
        && is_within_range(load.text_addr, load.text_size)
        && is_within_range(load.state_addr, request.state_space())
        && load.state_addr - ADDRESS_RANGE.start >= PAGE_SIZE
}

pub(crate) fn is_within_range(addr: u64, size: u64) -> bool {
    addr >= ADDRESS_RANGE.start && addr + size <= ADDRESS_RANGE.end
}
