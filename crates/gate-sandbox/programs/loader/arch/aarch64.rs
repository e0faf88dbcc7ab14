//! AArch64.

use super::Entry;
use core::arch::{asm, global_asm};

global_asm!(
    ".section .text.start, \"ax\"",
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "bl {main}",
    "udf #0",
    main = sym crate::main,
);

global_asm!(".text", "loader_syscall:", "svc #0", "ret");

/// Address of a system call instruction and a return.
pub(crate) fn syscall_addr() -> u64 {
    let addr;
    // SAFETY: only calculates an address.
    unsafe { asm!("adr {}, loader_syscall", out(reg) addr, options(pure, nomem, nostack, preserves_flags)) };
    addr
}

/// Jumps to rt, which does not come back.
///
/// # Safety
///
/// Everything must be mapped as rt expects it.
pub(crate) unsafe fn enter_rt(entry: &Entry) -> ! {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "br {rt}",
            rt = in(reg) entry.rt_addr,
            in("x0") entry.context_addr,
            in("x2") entry.start,
            in("x3") entry.entry,
            in("x4") u64::from(entry.thaw),
            in("x5") entry.stack_end,
            options(noreturn),
        )
    }
}
