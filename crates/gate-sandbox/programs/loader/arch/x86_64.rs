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
