//! Mapping text, state and rt.

use crate::Result;
use crate::request::{Request, is_within_range};
use gate_wire::context::{Context, STACK_RESERVE};
use gate_wire::load::{LoadFailure, RT_DATA_SIZE, RT_FD};
use gate_wire::{MEMORY_RESERVATION, PAGE_SIZE};
use sys::memory::{
    self, FilePart, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_EXEC,
    PROT_NONE, PROT_READ, PROT_WRITE,
};

/// Size of rt's image: the build script knows it.
const RT_SIZE: u64 = decimal(env!("GATE_RT_SIZE"));

const READ_WRITE: usize = PROT_READ | PROT_WRITE;
const READ_EXEC: usize = PROT_READ | PROT_EXEC;

pub(crate) fn map_all(request: &Request) -> Result<()> {
    map_state(request)?;
    map_code(request)?;
    fill_context(request);
    Ok(())
}

fn map_state(request: &Request) -> Result<()> {
    let load = &request.load;
    // The page below is inaccessible, as a guard below the stack.
    let flags = MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    map(load.state_addr - PAGE_SIZE, PAGE_SIZE + request.state_space(), PROT_NONE, flags, None)
        .map_err(|_| LoadFailure::Reserve)?;

    let part = |offset| Some(FilePart { fd: request.state_fd, offset });
    let flags = MAP_SHARED | MAP_FIXED;
    let base_size = load.stack_size + load.instance_size;
    // Memory 0 nearly always follows in the file as it does in memory: then one mapping will do.
    let merged = request.memories().first().filter(|m| m.offset == base_size).map_or(0, |m| m.size);
    map(load.state_addr, base_size + merged, READ_WRITE, flags, part(0))
        .map_err(|_| LoadFailure::MapState)?;

    let mut addr = load.context_addr();
    let mut done = merged;
    for memory in request.memories() {
        if memory.size > done {
            map(addr, memory.size, READ_WRITE, flags, part(memory.offset))
                .map_err(|_| LoadFailure::MapMemory)?;
        }
        if memory.max > memory.size {
            // The rest is made accessible when the memory grows.
            map(
                addr + memory.size,
                memory.max - memory.size,
                PROT_NONE,
                flags,
                part(memory.offset + memory.size),
            )
            .map_err(|_| LoadFailure::MapMemory)?;
        }
        addr += MEMORY_RESERVATION;
        done = 0;
    }
    Ok(())
}

fn map_code(request: &Request) -> Result<()> {
    let load = &request.load;
    if !is_within_range(load.rt_addr, RT_SIZE + RT_DATA_SIZE) {
        return Err(LoadFailure::InvalidRequest);
    }
    let part = |fd| Some(FilePart { fd, offset: 0 });
    let flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
    map(load.text_addr, load.text_size, READ_EXEC, flags, part(request.text_fd))
        .map_err(|_| LoadFailure::MapText)?;
    map(load.rt_addr, RT_SIZE, READ_EXEC, flags, part(RT_FD)).map_err(|_| LoadFailure::MapRt)?;
    map(load.rt_addr + RT_SIZE, RT_DATA_SIZE, READ_WRITE, flags, None).map_err(|_| LoadFailure::MapRtData)
}

fn map(addr: u64, size: u64, prot: usize, flags: usize, file: Option<FilePart>) -> sys::Result<()> {
    // SAFETY: MAP_FIXED is used only within the reservation, of which no reference exists.
    unsafe { memory::map(addr, size, prot, flags, file) }.map(drop)
}

/// What the request says about the context; rt does the rest.
fn fill_context(request: &Request) {
    let load = &request.load;
    let addr = load.context_addr() as usize - size_of::<Context>();
    let context = core::ptr::with_exposed_provenance_mut::<Context>(addr);
    // SAFETY: the instance region has just been mapped; it is page-aligned, larger than a context, and any
    // bytes are a valid one.
    let context = unsafe { &mut *context };
    context.monotonic_origin = load.monotonic_origin;
    context.time_resolution = load.time_resolution;
    context.stack_low = load.state_addr + STACK_RESERVE.min(load.stack_size);
}

const fn decimal(digits: &str) -> u64 {
    let mut number = 0;
    let mut rest = digits.as_bytes();
    while let Some((digit, tail)) = rest.split_first() {
        number = number * 10 + (*digit - b'0') as u64;
        rest = tail;
    }
    number
}
