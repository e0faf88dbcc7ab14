//! Mapping text, state, frames and rt.

use crate::Result;
use crate::arch;
use crate::memories::{self, Chunks};
use crate::request::{Request, is_within_range};
use gate_wire::PAGE_SIZE;
use gate_wire::context::{Context, STACK_RESERVE};
use gate_wire::load::{LoadFailure, MAX_MEMORIES, RT_DATA_SIZE, RT_FD};
use gate_wire::samples::{SAMPLES_OFFSET, SAMPLES_SIZE};
use handover::{Base, Handover};
use sys::memory::{
    self, FilePart, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_EXEC,
    PROT_NONE, PROT_READ, PROT_WRITE,
};

/// Size of rt's image: the build script knows it.
const RT_SIZE: u64 = decimal(env!("GATE_RT_SIZE"));

pub(crate) const READ_WRITE: usize = PROT_READ | PROT_WRITE;
const READ_EXEC: usize = PROT_READ | PROT_EXEC;

pub(crate) fn map_all(request: &Request) -> Result<()> {
    map_state(request)?;
    map_frames(request)?;
    let chunks = if request.copies_on_write() {
        let chunks = memories::map_chunks(request)?;
        memories::map_bases(request)?;
        Some(chunks)
    } else {
        None
    };
    if !request.is_export() {
        memories::map_memories(request, chunks)?;
    }
    map_samples(request)?;
    map_code(request)?;
    fill_context(request);
    fill_handover(request, chunks);
    Ok(())
}

/// Reserves all address space of the state, and maps stack and instance region.
fn map_state(request: &Request) -> Result<()> {
    let load = &request.load;
    // The page below is inaccessible, as a guard below the stack.
    let flags = MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    map(load.state_addr - PAGE_SIZE, PAGE_SIZE + request.state_space(), PROT_NONE, flags, None)
        .map_err(|_| LoadFailure::Reserve)?;

    let sharing = if request.is_export() { MAP_PRIVATE } else { MAP_SHARED };
    let size = load.stack_size + load.instance_size + memories::merged_size(request);
    let part = FilePart { fd: request.state_fd, offset: load.state_offset };
    map(load.state_addr, size, READ_WRITE, sharing | MAP_FIXED, Some(part)).map_err(|_| LoadFailure::MapState)
}

/// Frames are written by a program that is exported, and else only read.
fn map_frames(request: &Request) -> Result<()> {
    let load = &request.load;
    if load.frames_size == 0 {
        return Ok(());
    }
    let reserve = MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    let (prot, sharing) =
        if request.is_export() { (READ_WRITE, MAP_SHARED) } else { (PROT_READ, MAP_PRIVATE) };
    let part = FilePart { fd: request.frames_fd, offset: 0 };
    map(load.frames_addr, request.frames_space(), PROT_NONE, reserve, None)
        .and_then(|()| map(load.frames_addr, load.frames_size, prot, sharing | MAP_FIXED, Some(part)))
        .map_err(|_| LoadFailure::MapFrames)
}

fn map_samples(request: &Request) -> Result<()> {
    let load = &request.load;
    if load.sample_interval == 0 {
        return Ok(());
    }
    let part = FilePart { fd: request.state_fd, offset: SAMPLES_OFFSET };
    map(load.samples_addr, SAMPLES_SIZE, READ_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, Some(part))
        .map_err(|_| LoadFailure::MapSamples)
}

fn map_code(request: &Request) -> Result<()> {
    let load = &request.load;
    if !is_within_range(load.rt_addr, RT_SIZE + RT_DATA_SIZE) {
        return Err(LoadFailure::InvalidRequest);
    }
    let part = |fd| Some(FilePart { fd, offset: 0 });
    let flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
    let size = load.text_size - load.extension_size;
    map(load.text_addr, size, READ_EXEC, flags, part(request.text_fd)).map_err(|_| LoadFailure::MapText)?;
    if load.extension_size > 0 {
        map(load.text_addr + size, load.extension_size, READ_EXEC, flags, part(request.extension_fd))
            .map_err(|_| LoadFailure::MapText)?;
    }
    map(load.rt_addr, RT_SIZE, READ_EXEC, flags, part(RT_FD)).map_err(|_| LoadFailure::MapRt)?;
    map(load.rt_addr + RT_SIZE, RT_DATA_SIZE, READ_WRITE, flags, None).map_err(|_| LoadFailure::MapRtData)
}

pub(crate) fn map(
    addr: u64,
    size: u64,
    prot: usize,
    flags: usize,
    file: Option<FilePart>,
) -> sys::Result<()> {
    // SAFETY: MAP_FIXED is used only within reservations, of which no reference exists.
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

/// What rt needs besides.
fn fill_handover(request: &Request, chunks: Option<Chunks>) {
    let load = &request.load;
    let addr = load.rt_addr + RT_SIZE + handover::OFFSET;
    let handover = core::ptr::with_exposed_provenance_mut::<Handover>(addr as usize);
    // SAFETY: rt's data has just been mapped; it has aligned space for this, and any bytes are valid.
    let handover = unsafe { &mut *handover };
    handover.context_addr = load.context_addr();
    handover.syscall_addr = arch::syscall_addr();
    handover.flags = load.flags;
    handover.frames_addr = load.frames_addr;
    handover.frames_size = load.frames_size;
    handover.samples_addr = load.samples_addr;
    handover.sample_interval = load.sample_interval;
    handover.stack = [load.state_addr, load.state_addr + load.stack_size];
    handover.text = [load.text_addr, load.text_addr + load.text_size];
    if let Some(chunks) = chunks {
        handover.base_count = request.memories().len().min(MAX_MEMORIES) as u32;
        handover.chunks_addr = load.chunks_addr;
        handover.base_addr = load.base_addr;
        handover.borders = chunks.borders(request.memories());
        for (base, memory) in handover.bases.iter_mut().zip(request.memories()) {
            *base = Base { size: memory.base_size, offset: memory.offset };
        }
    }
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
