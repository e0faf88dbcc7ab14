//! System calls that only the preparation makes: the filter knows them by where the loader is.

use crate::{arch, data};
use gate_wire::load::SETUP_RANGE;
use sys::{Errno, Result, memory};

/// A system call, made by an instruction of the loader's.
///
/// # Safety
///
/// As [`sys::arch::syscall`]'s, and the loader must not have been unmapped.
pub(crate) unsafe fn syscall(number: usize, args: [usize; 4]) -> Result<()> {
    // SAFETY: the loader has written it.
    let instruction = unsafe { (*data::handover()).syscall_addr };
    // SAFETY: the caller's promise.
    let ret = unsafe { arch::syscall_at(instruction, number, args) };
    if ret < 0 { Err(Errno(ret.unsigned_abs() as u32)) } else { Ok(()) }
}

/// Unmaps the loader. Only the calls that the program has are left.
pub(crate) fn unmap_loader() -> Result<()> {
    // SAFETY: nothing there is used any more.
    unsafe { memory::unmap(SETUP_RANGE.start, SETUP_RANGE.end - SETUP_RANGE.start) }
}
