//! AArch64.

use crate::spawn::CloneArgs;
use core::arch::{asm, global_asm};
use sys::number::nr;
use sys::{Errno, Result};

global_asm!(
    ".section .text.start, \"ax\"",
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "bl {main}",
    "udf #0",
    main = sym crate::main,
);

/// Makes a process that calls `child` with the pointer. Gives its id.
///
/// # Safety
///
/// It must be a process that borrows this one's memory while this one stands still. `child` must not return, and do
/// with the pointer only what can be done with it.
pub(crate) unsafe fn clone_and_run(
    args: &CloneArgs,
    child: unsafe extern "C" fn(*mut u32) -> !,
    pointer: *mut u32,
) -> Result<u32> {
    let ret: isize;
    // SAFETY: the new process runs on this stack, but only below the current stack pointer, where nothing is kept as the
    // compiler knows of the call. Whatever it writes to memory is declared by the absence of `nomem`.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x0, x20",
            "blr x21",
            "udf #0",
            "2:",
            in("x8") nr::CLONE3,
            inlateout("x0") &raw const *args => ret,
            in("x1") size_of::<CloneArgs>(),
            // An input without a name may be in one of those that are merely declared as clobbered.
            in("x20") pointer,
            in("x21") child,
            clobber_abi("C"),
        );
    }
    if ret < 0 { Err(Errno(ret.unsigned_abs() as u32)) } else { Ok(ret as u32) }
}
