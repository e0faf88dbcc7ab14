//! x86-64.

use crate::spawn::CloneArgs;
use core::arch::{asm, global_asm};
use sys::number::nr;
use sys::{Errno, Result};

global_asm!(
    ".section .text.start, \"ax\"",
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
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
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") nr::CLONE3 => ret,
            in("rdi") &raw const *args,
            in("rsi") size_of::<CloneArgs>(),
            // Those that the system call keeps: it overwrites some of those that are merely declared as clobbered, and an
            // input without a name may be in any of them.
            in("r12") pointer,
            in("r13") child,
            clobber_abi("C"),
        );
    }
    if ret < 0 { Err(Errno(ret.unsigned_abs() as u32)) } else { Ok(ret as u32) }
}
