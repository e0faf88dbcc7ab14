//! x86-64.

use super::Entry;
use core::arch::{asm, global_asm};

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

global_asm!(".text", "loader_syscall:", "syscall", "ret");

/// Address of a system call instruction and a return.
pub(crate) fn syscall_addr() -> u64 {
    let addr;
    // SAFETY: only calculates an address.
    unsafe {
        asm!("lea {}, [rip + loader_syscall]", out(reg) addr, options(pure, nomem, nostack, preserves_flags))
    };
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
            "jmp {rt}",
            rt = in(reg) entry.rt_addr,
            in("rdi") entry.context_addr,
            in("rdx") entry.start,
            in("rcx") entry.entry,
            in("r8") u64::from(entry.thaw),
            in("r9") entry.stack_end,
            options(noreturn),
        )
    }
}
