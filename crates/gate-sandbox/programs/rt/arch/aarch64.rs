//! AArch64, with the procedure call standard's calling convention.

mod copy;

pub(crate) use copy::{copy_bytes, fill_bytes, fill_elements};

use crate::context::ContextAddr;
use crate::{bulk, data, exceptions, functions, host_call, start};
use core::arch::{asm, global_asm};
use gate_wire::context::{FrozenBy, RtFunction};
use gate_wire::context_offset;
use gate_wire::load::CALL_FD;
use sys::number::{errno, nr};

/// End of the address space that the kernel gives to processes which don't ask for more.
pub(crate) const ADDRESS_SPACE_END: u64 = 1 << 48;

// The loader jumps to the first instruction with: x0 = context address, x2 and x3 = addresses of the start and entry
// trampolines or zero, x4 = whether to thaw, x5 = end of the stack.
//
// The base frame is the 32 bytes at the end of the stack: context address, code to call next, code to call after
// that, zero. Below it is the frame record of the trampoline, with the return address of the call, the only address of rt's in a
// frozen stack; it is written anew when the program goes on, because rt is somewhere else then.
//
// A zero frame pointer marks the outermost frame.
global_asm!(
    ".section .text.start, \"ax\"",
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "cbnz x4, 2f",
    "sub sp, x5, #32",
    "cmp x2, #0",
    "csel x2, x3, x2, eq",
    "csel x3, xzr, x3, eq",
    "stp x0, x2, [sp]",
    "stp x3, xzr, [sp, #16]",
    "bl {prepare}",
    "3:",
    "ldp x0, x9, [sp]",
    "ldr x10, [sp, #16]",
    "stp x10, xzr, [sp, #8]",
    "mov x29, xzr",
    "cbz x9, 5f",
    "mov x20, x9",
    "bl rt_forget",
    "blr x20",
    "4:",
    "ldr x0, [sp]",
    "bl {function_returned}",
    "b 3b",
    "5:",
    "bl {returned}",
    "udf #0",
    // Thaw. Preparations need some stack below what is frozen.
    "2:",
    "adr x9, 4b",
    "str x9, [x5, #-40]",
    "ldr x19, [x0, #{frozen_sp}]",
    "sub x9, x19, #256",
    "and sp, x9, #-16",
    "bl {prepare}",
    "mov sp, x19",
    "b safepoint_return",
    prepare = sym start::prepare,
    function_returned = sym start::function_returned,
    returned = sym start::returned,
    frozen_sp = const context_offset!(frozen_sp),
);

// What Rust code leaves in the registers that it need not preserve are addresses, of rt and of the stack. A program has no
// business with them, and compiled code that reads a register too many should find nothing there. x0, the result or the
// context address, is not touched.
global_asm!(
    ".text",
    "rt_forget:",
    "mov x1, xzr",
    "mov x2, xzr",
    "mov x3, xzr",
    "mov x4, xzr",
    "mov x5, xzr",
    "mov x6, xzr",
    "mov x7, xzr",
    "mov x8, xzr",
    "mov x9, xzr",
    "mov x10, xzr",
    "mov x11, xzr",
    "mov x12, xzr",
    "mov x13, xzr",
    "mov x14, xzr",
    "mov x15, xzr",
    "mov x16, xzr",
    "mov x17, xzr",
    "ret",
);

/// Entry points note who called, for traps; then they go on in Rust, and forget what that leaves in registers.
macro_rules! entry_points {
    ($($name:ident => $function:path,)*) => {
        global_asm!(
            ".text",
            $(
                concat!("rt_", stringify!($name), ":"),
                "str x30, [x0, #{pc}]",
                "str x29, [x0, #{fp}]",
                "str x30, [sp, #-16]!",
                concat!("bl {", stringify!($name), "}"),
                "ldr x30, [sp], #16",
                "b rt_forget",
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
    trap => functions::trap,
    exception_throw => exceptions::throw_reference,
}

// Registers that calls preserve can hold references to exceptions.
global_asm!(
    ".text",
    "rt_exception_new:",
    "str x30, [x0, #{pc}]",
    "str x29, [x0, #{fp}]",
    "sub sp, sp, #96",
    "stp x19, x20, [sp]",
    "stp x21, x22, [sp, #16]",
    "stp x23, x24, [sp, #32]",
    "stp x25, x26, [sp, #48]",
    "stp x27, x28, [sp, #64]",
    "stp x29, x30, [sp, #80]",
    "mov x2, sp",
    "bl {new_reference}",
    "ldp x29, x30, [sp, #80]",
    "add sp, sp, #96",
    "ret",
    pc = const context_offset!(rt_pc),
    fp = const context_offset!(rt_fp),
    new_reference = sym exceptions::new_reference,
);

// The safepoint and the breakpoint preserve all registers: general purpose ones and the 128 bits of the vector
// registers that compiled code uses. They are on the program's stack while the program is frozen; `safepoint_return`
// goes on from there.
global_asm!(
    ".text",
    "rt_breakpoint:",
    "sub sp, sp, #768",
    "stp x0, x1, [sp]",
    "mov w1, #{breakpoint}",
    "b 2f",
    "rt_safepoint:",
    "sub sp, sp, #768",
    "stp x0, x1, [sp]",
    "mov w1, #{suspension}",
    "2:",
    "stp x2, x3, [sp, #16]",
    "stp x4, x5, [sp, #32]",
    "stp x6, x7, [sp, #48]",
    "stp x8, x9, [sp, #64]",
    "stp x10, x11, [sp, #80]",
    "stp x12, x13, [sp, #96]",
    "stp x14, x15, [sp, #112]",
    "stp x16, x17, [sp, #128]",
    "stp x18, x19, [sp, #144]",
    "stp x20, x21, [sp, #160]",
    "stp x22, x23, [sp, #176]",
    "stp x24, x25, [sp, #192]",
    "stp x26, x27, [sp, #208]",
    "stp x28, x29, [sp, #224]",
    "str x30, [sp, #240]",
    "stp q0, q1, [sp, #256]",
    "stp q2, q3, [sp, #288]",
    "stp q4, q5, [sp, #320]",
    "stp q6, q7, [sp, #352]",
    "stp q8, q9, [sp, #384]",
    "stp q10, q11, [sp, #416]",
    "stp q12, q13, [sp, #448]",
    "stp q14, q15, [sp, #480]",
    "stp q16, q17, [sp, #512]",
    "stp q18, q19, [sp, #544]",
    "stp q20, q21, [sp, #576]",
    "stp q22, q23, [sp, #608]",
    "stp q24, q25, [sp, #640]",
    "stp q26, q27, [sp, #672]",
    "stp q28, q29, [sp, #704]",
    "stp q30, q31, [sp, #736]",
    "adr x0, __image_end",
    "ldr x0, [x0, #{context}]",
    "str x30, [x0, #{pc}]",
    "str x29, [x0, #{fp}]",
    "mov w2, w1",
    "mov x1, sp",
    "bl {stop}",
    "udf #0",
    "safepoint_return:",
    "ldp q0, q1, [sp, #256]",
    "ldp q2, q3, [sp, #288]",
    "ldp q4, q5, [sp, #320]",
    "ldp q6, q7, [sp, #352]",
    "ldp q8, q9, [sp, #384]",
    "ldp q10, q11, [sp, #416]",
    "ldp q12, q13, [sp, #448]",
    "ldp q14, q15, [sp, #480]",
    "ldp q16, q17, [sp, #512]",
    "ldp q18, q19, [sp, #544]",
    "ldp q20, q21, [sp, #576]",
    "ldp q22, q23, [sp, #608]",
    "ldp q24, q25, [sp, #640]",
    "ldp q26, q27, [sp, #672]",
    "ldp q28, q29, [sp, #704]",
    "ldp q30, q31, [sp, #736]",
    "ldp x0, x1, [sp]",
    "ldp x2, x3, [sp, #16]",
    "ldp x4, x5, [sp, #32]",
    "ldp x6, x7, [sp, #48]",
    "ldp x8, x9, [sp, #64]",
    "ldp x10, x11, [sp, #80]",
    "ldp x12, x13, [sp, #96]",
    "ldp x14, x15, [sp, #112]",
    "ldp x16, x17, [sp, #128]",
    "ldp x18, x19, [sp, #144]",
    "ldp x20, x21, [sp, #160]",
    "ldp x22, x23, [sp, #176]",
    "ldp x24, x25, [sp, #192]",
    "ldp x26, x27, [sp, #208]",
    "ldp x28, x29, [sp, #224]",
    "ldr x30, [sp, #240]",
    "add sp, sp, #768",
    "ret",
    context = const data::CONTEXT_ADDR_OFFSET,
    pc = const context_offset!(rt_pc),
    fp = const context_offset!(rt_fp),
    breakpoint = const FrozenBy::Breakpoint as u32,
    suspension = const FrozenBy::Suspension as u32,
    stop = sym functions::stop_at_safepoint,
);

/// Address of a label in assembly.
macro_rules! addr_of_label {
    ($label:literal) => {{
        let addr: u64;
        // SAFETY: only calculates an address, which is near.
        unsafe {
            asm!(concat!("adr {}, ", $label), out(reg) addr, options(pure, nomem, nostack, preserves_flags));
        }
        addr
    }};
}

/// Addresses of the functions that compiled code calls.
pub(crate) fn function_addrs() -> [u64; RtFunction::COUNT] {
    let mut addrs = [0u64; RtFunction::COUNT];
    macro_rules! set {
        ($($function:ident = $symbol:literal;)*) => {
            $(addrs[RtFunction::$function as usize] = addr_of_label!($symbol);)*
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
        Breakpoint = "rt_breakpoint";
        ExceptionNew = "rt_exception_new";
        ExceptionThrow = "rt_exception_throw";
    }
    addrs
}

/// A system call by an instruction at another address, which a return follows.
///
/// # Safety
///
/// There must be one, and the call must be sound with these arguments.
pub(crate) unsafe fn syscall_at(instruction: u64, number: usize, args: [usize; 4]) -> isize {
    let ret;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("blr {}", in(reg) instruction, in("x8") number, inlateout("x0") args[0] => ret, in("x1") args[1],
            in("x2") args[2], in("x3") args[3], out("lr") _);
    }
    ret
}

// extern "C" fn(context address, system call, buffer, size) -> result or negative error number.
//
// Reads from or writes to the call socket, unless a suspension is requested. A request that comes after the test
// and before the system call would otherwise be noticed only when the host answers: that is why the handler
// moves the program counter from anywhere between the two labels to the third one.
global_asm!(
    ".text",
    "rt_interruptible:",
    "mov x9, x0",
    "mov x8, x1",
    "mov w0, #{fd}",
    "mov x1, x2",
    "mov x2, x3",
    "rt_interruptible_begin:",
    "ldr w10, [x9, #{suspend_request}]",
    "cbnz w10, rt_interruptible_interrupted",
    "svc #0",
    "rt_interruptible_end:",
    "ret",
    "rt_interruptible_interrupted:",
    "mov x0, #-{eintr}",
    "ret",
    fd = const CALL_FD,
    suspend_request = const context_offset!(suspend_request),
    eintr = const errno::EINTR,
);

/// The above. The symbol is called directly because an external declaration would be called through a table.
///
/// # Safety
///
/// The kernel must be free to access the buffer.
pub(crate) unsafe fn interruptible(context: ContextAddr, number: usize, buf: *mut u8, size: usize) -> isize {
    let ret;
    // SAFETY: called as it wants to be; the rest is the caller's promise.
    unsafe {
        asm!("bl rt_interruptible", inlateout("x0") context.get() => ret, in("x1") number, in("x2") buf,
            in("x3") size, clobber_abi("C"));
    }
    ret
}

/// Where the suspension handler returns to, given what it interrupted.
pub(crate) fn interrupted_pc(pc: u64) -> u64 {
    let (begin, end) = (addr_of_label!("rt_interruptible_begin"), addr_of_label!("rt_interruptible_end"));
    if (begin..end).contains(&pc) { addr_of_label!("rt_interruptible_interrupted") } else { pc }
}

global_asm!(".text", "rt_sigreturn:", "mov x8, #{nr}", "svc #0", "udf #0", nr = const nr::RT_SIGRETURN);

/// Where signal handlers return to.
pub(crate) fn restorer() -> usize {
    addr_of_label!("rt_sigreturn") as usize
}

/// What a signal has interrupted, as the kernel has left it: the beginning of a `ucontext_t`, which is what precedes the
/// registers, and the registers.
#[repr(C)]
pub(crate) struct Interrupted {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    /// The signal mask, room for a larger one, and what aligns the rest.
    mask: [u64; 17],
    fault_addr: u64,
    x0_to_x28: [u64; 29],
    x29: u64,
    x30: u64,
    sp: u64,
    pc: u64,
}

const _: () = assert!(core::mem::offset_of!(Interrupted, fault_addr) == 176);

impl Interrupted {
    /// Changes where it goes on.
    pub(crate) fn set_pc(&mut self, pc: u64) {
        self.pc = pc;
    }

    pub(crate) fn pc(&self) -> u64 {
        self.pc
    }

    pub(crate) fn sp(&self) -> u64 {
        self.sp
    }

    pub(crate) fn fp(&self) -> u64 {
        self.x29
    }
}

/// Where the image ends.
pub(crate) fn image_end() -> u64 {
    addr_of_label!("__image_end")
}
