//! Entry points of the functions that compiled code calls, and the safepoint.

use crate::context::ContextAddr;
use crate::{bulk, host_call};
use core::arch::{asm, global_asm};
use gate_wire::context::{ExitKind, RtFunction};
use gate_wire::context_offset;
use gate_wire::trap::TrapId;

/// Entry points note who called, for traps; then they go on in Rust.
macro_rules! entry_points {
    ($($name:ident => $function:path,)*) => {
        global_asm!(
            ".text",
            $(
                concat!("rt_", stringify!($name), ":"),
                "mov rax, [rsp]",
                "mov [rdi + {pc}], rax",
                "mov [rdi + {fp}], rbp",
                concat!("jmp {", stringify!($name), "}"),
            )*
            pc = const context_offset!(rt_pc),
            fp = const context_offset!(rt_fp),
            $($name = sym $function,)*
        );
    };
}

entry_points! {
    host_call => host_call::host_call,
    memory_grow => bulk::memory_grow,
    memory_fill => bulk::memory_fill,
    memory_copy => bulk::memory_copy,
    memory_init => bulk::memory_init,
    table_grow => bulk::table_grow,
    table_fill => bulk::table_fill,
    table_copy => bulk::table_copy,
    table_init => bulk::table_init,
    trap => trap,
}

// The safepoint preserves all registers: general purpose ones and the 128 bits of the vector registers that
// compiled code uses. They are on the program's stack while the program is frozen; `safepoint_return` goes on from
// there.
global_asm!(
    ".text",
    "rt_safepoint:",
    "push rax",
    "mov rax, [rsp + 8]",
    "mov [rdi + {pc}], rax",
    "mov [rdi + {fp}], rbp",
    "push rbx",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push rbp",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 256",
    "movups [rsp], xmm0",
    "movups [rsp + 16], xmm1",
    "movups [rsp + 32], xmm2",
    "movups [rsp + 48], xmm3",
    "movups [rsp + 64], xmm4",
    "movups [rsp + 80], xmm5",
    "movups [rsp + 96], xmm6",
    "movups [rsp + 112], xmm7",
    "movups [rsp + 128], xmm8",
    "movups [rsp + 144], xmm9",
    "movups [rsp + 160], xmm10",
    "movups [rsp + 176], xmm11",
    "movups [rsp + 192], xmm12",
    "movups [rsp + 208], xmm13",
    "movups [rsp + 224], xmm14",
    "movups [rsp + 240], xmm15",
    "mov rsi, rsp",
    "call {stop}",
    "ud2",
    "safepoint_return:",
    // If the suspension came together with the end of the stack, this is what the check was about.
    "mov rdi, [rsp + 256 + 9 * 8]",
    "cmp rsp, [rdi + {stack_low}]",
    "jb {exhausted}",
    "movups xmm0, [rsp]",
    "movups xmm1, [rsp + 16]",
    "movups xmm2, [rsp + 32]",
    "movups xmm3, [rsp + 48]",
    "movups xmm4, [rsp + 64]",
    "movups xmm5, [rsp + 80]",
    "movups xmm6, [rsp + 96]",
    "movups xmm7, [rsp + 112]",
    "movups xmm8, [rsp + 128]",
    "movups xmm9, [rsp + 144]",
    "movups xmm10, [rsp + 160]",
    "movups xmm11, [rsp + 176]",
    "movups xmm12, [rsp + 192]",
    "movups xmm13, [rsp + 208]",
    "movups xmm14, [rsp + 224]",
    "movups xmm15, [rsp + 240]",
    "add rsp, 256",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rbp",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rbx",
    "pop rax",
    "ret",
    pc = const context_offset!(rt_pc),
    fp = const context_offset!(rt_fp),
    stack_low = const context_offset!(stack_low),
    stop = sym stop_at_safepoint,
    exhausted = sym stack_exhausted,
);

/// Freezes the program if that was asked for; else the stack is at its end.
extern "C" fn stop_at_safepoint(context: ContextAddr, sp: u64) -> ! {
    if !context.is_suspension_requested() {
        stack_exhausted(context);
    }
    // SAFETY: the context is there.
    unsafe { (*context.ptr()).frozen_sp = sp };
    context.stop_with(ExitKind::Frozen, 0)
}

extern "C" fn stack_exhausted(context: ContextAddr) -> ! {
    context.trap(TrapId::CallStackExhausted)
}

extern "C" fn trap(context: ContextAddr, trap: u32) -> ! {
    context.trap_number(trap)
}

/// Tells compiled code where the functions are.
pub(crate) fn fill_functions(context: ContextAddr) {
    let mut addrs = [0u64; RtFunction::COUNT];
    macro_rules! set {
        ($($function:ident = $symbol:literal;)*) => {
            $(
                // SAFETY: only calculates an address.
                unsafe {
                    asm!(concat!("lea {}, [rip + ", $symbol, "]"), out(reg) addrs[RtFunction::$function as usize],
                        options(pure, nomem, nostack, preserves_flags));
                }
            )*
        };
    }
    set! {
        Safepoint = "rt_safepoint";
        HostCall = "rt_host_call";
        MemoryGrow = "rt_memory_grow";
        MemoryFill = "rt_memory_fill";
        MemoryCopy = "rt_memory_copy";
        MemoryInit = "rt_memory_init";
        TableGrow = "rt_table_grow";
        TableFill = "rt_table_fill";
        TableCopy = "rt_table_copy";
        TableInit = "rt_table_init";
        Trap = "rt_trap";
    }
    // SAFETY: the context is there.
    unsafe { (*context.ptr()).rt = addrs };
}
