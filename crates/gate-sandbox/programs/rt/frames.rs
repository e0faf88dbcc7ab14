//! The frames file: written by a program that is exported, read by one that is resumed.

use crate::context::{ContextAddr, pointer};
use crate::data;
use core::ops::Range;
use core::sync::atomic::{Ordering, compiler_fence};
use gate_wire::context::Unwinding;
use gate_wire::frames::{FRAMES_COMPLETE, FRAMES_GUARD, FRAMES_START, FramesHeader};
use gate_wire::load::LoadFailure;
use sys::process::exit;

/// Tells compiled code whether it is to write frames down, and where to read or write them.
pub(crate) fn prepare(context: ContextAddr) {
    let first = if file().is_empty() { 0 } else { file().start + FRAMES_START };
    let (unwinding, dump_next, resume_next) = match data::is_export() {
        true => (Unwinding::Stop as u32, first, 0),
        false => (Unwinding::No as u32, 0, first),
    };
    let fields = context.ptr();
    // SAFETY: the context is there.
    unsafe {
        (*fields).unwinding = unwinding;
        (*fields).dump_next = dump_next;
        (*fields).resume_next = resume_next;
    }
}

/// The outermost function of a program that is exported has returned.
pub(crate) fn complete(context: ContextAddr) -> ! {
    // SAFETY: the context is there.
    let (unwinding, end) = unsafe { ((*context.ptr()).unwinding, (*context.ptr()).dump_next) };
    let (file, start) = (file(), file().start + FRAMES_START);
    if unwinding != Unwinding::Stop as u32 || end <= start || end > file.end {
        exit(LoadFailure::Export as i32);
    }
    let header = pointer::<FramesHeader>(file.start);
    // SAFETY: the file has been mapped writable. Its state comes last.
    unsafe {
        (&raw mut (*header).size).write_volatile(end - start);
        compiler_fence(Ordering::SeqCst);
        (&raw mut (*header).state).write_volatile(FRAMES_COMPLETE);
    }
    exit(0)
}

/// A program that is exported has faulted at this address.
pub(crate) fn faulted(addr: u64) -> ! {
    let end = file().end;
    let is_full = (end..end + FRAMES_GUARD).contains(&addr);
    exit(if is_full { LoadFailure::FramesFull } else { LoadFailure::Export } as i32)
}

/// Where the file is. Empty if there is none.
fn file() -> Range<u64> {
    let handover = data::handover();
    // SAFETY: the loader has written it.
    let (addr, size) = unsafe { ((*handover).frames_addr, (*handover).frames_size) };
    addr..addr + size
}
