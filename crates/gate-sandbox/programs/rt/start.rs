//! From the loader to the program, and back when it returns.

use crate::context::ContextAddr;
use crate::functions::fill_functions;
use crate::{data, filter, signals};
use core::arch::global_asm;
use core::sync::atomic::Ordering;
use gate_wire::PAGE_SIZE;
use gate_wire::context::{ExitKind, ExitRecord};
use gate_wire::context_offset;
use gate_wire::load::{ADDRESS_RANGE, LoadFailure};
use sys::memory;
use sys::process::exit;

// The loader jumps to the first instruction with: rdi = context address, rsi = state address, rdx and rcx =
// addresses of the start and entry trampolines or zero, r8 = whether to thaw, r9 = end of the stack.
//
// The base frame is the 32 bytes at the end of the stack: context address, code to call next, code to call after
// that, zero. Below it is the return address of the call, the only address of rt's in a frozen stack; it is
// written anew when the program goes on, because rt is somewhere else then.
//
// A zero frame pointer marks the outermost frame.
global_asm!(
    ".section .text.start, \"ax\"",
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "test r8, r8",
    "jnz 2f",
    "xor eax, eax",
    "lea rsp, [r9 - 32]",
    "test rdx, rdx",
    "cmovz rdx, rcx",
    "cmovz rcx, rax",
    "mov [rsp], rdi",
    "mov [rsp + 8], rdx",
    "mov [rsp + 16], rcx",
    "mov [rsp + 24], rax",
    "call {prepare}",
    "3:",
    "mov rdi, [rsp]",
    "mov rax, [rsp + 8]",
    "mov rcx, [rsp + 16]",
    "mov [rsp + 8], rcx",
    "mov qword ptr [rsp + 16], 0",
    "xor ebp, ebp",
    "test rax, rax",
    "jz 5f",
    "call rax",
    "4:",
    "jmp 3b",
    "5:",
    "call {returned}",
    "ud2",
    // Thaw. Preparations need some stack below what is frozen.
    "2:",
    "lea rax, [rip + 4b]",
    "mov [r9 - 40], rax",
    "mov rbx, [rdi + {frozen_sp}]",
    "lea rsp, [rbx - 256]",
    "and rsp, -16",
    "call {prepare}",
    "mov rsp, rbx",
    "jmp safepoint_return",
    prepare = sym prepare,
    returned = sym returned,
    frozen_sp = const context_offset!(frozen_sp),
);

/// Makes the process what a program may have.
extern "C" fn prepare(context: ContextAddr) {
    unmap_all_else();
    data::set_context(context);
    fill_functions(context);

    let fields = context.ptr();
    // SAFETY: the context is there, and no handler is set yet.
    let stack_low = unsafe {
        (*fields).exit = ExitRecord { kind: ExitKind::None as u32, value: 0, pc: 0, fp: 0, addr: 0, sp: 0 };
        (*fields).frozen_sp = 0;
        (*fields).stack_low
    };
    context.suspend_request().store(0, Ordering::Relaxed);
    context.stack_limit().store(stack_low, Ordering::Relaxed);

    // From here on a request for suspension is noticed, even one that came earlier.
    signals::set_handlers();
    filter::install();
}

/// The entry function has returned, or there is none.
extern "C" fn returned(context: ContextAddr) -> ! {
    context.stop_with(ExitKind::Returned, 0)
}

/// End of the address space that the kernel gives to processes which don't ask for more.
const ADDRESS_SPACE_END: u64 = (1 << 47) - PAGE_SIZE;

/// Unmaps what is not the program's: the loader, the stack which the kernel gave it with all that was on it, and
/// the kernel's time functions. Everything of the program's is in the range.
fn unmap_all_else() {
    unmap(0, ADDRESS_RANGE.start);
    unmap(ADDRESS_RANGE.end, ADDRESS_SPACE_END);
}

/// Unmaps what is in a range, but for what the kernel has sealed: it does so with its time functions if it
/// is configured to, and then refuses the range as a whole.
fn unmap(start: u64, end: u64) {
    let size = end - start;
    // SAFETY: nothing there is used any more.
    if unsafe { memory::unmap(start, size) }.is_ok() {
        return;
    }
    if size > PAGE_SIZE {
        let middle = start + (size / 2 / PAGE_SIZE) * PAGE_SIZE;
        unmap(start, middle);
        unmap(middle, end);
    } else if start < PAGE_SIZE {
        // The first page cannot be mapped: so it is not a matter of seals.
        exit(LoadFailure::Unmap as i32);
    }
}
