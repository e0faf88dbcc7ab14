//! x86-64, with the System V calling convention.

mod copy;

pub(crate) use copy::{copy_bytes, fill_bytes, fill_elements};

use crate::context::ContextAddr;
use crate::{bulk, data, exceptions, functions, host_call, start};
use core::arch::{asm, global_asm};
use gate_wire::PAGE_SIZE;
use gate_wire::context::{FrozenBy, RtFunction};
use gate_wire::context_offset;
use gate_wire::load::CALL_FD;
use sys::number::{errno, nr};

/// End of the address space that the kernel gives to processes which don't ask for more.
pub(crate) const ADDRESS_SPACE_END: u64 = (1 << 47) - PAGE_SIZE;

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
    "push rax",
    "call rt_forget",
    "pop rax",
    "call rax",
    "4:",
    "mov rdi, [rsp]",
    "call {function_returned}",
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
    prepare = sym start::prepare,
    function_returned = sym start::function_returned,
    returned = sym start::returned,
    frozen_sp = const context_offset!(frozen_sp),
);

// What Rust code leaves in the registers that it need not preserve are addresses, of rt and of the stack. A program has no
// business with them, and compiled code that reads a register too many should find nothing there. The
// result, in rax, and the context address, in rdi, are not touched.
global_asm!(
    ".text",
    "rt_forget:",
    "xor ecx, ecx",
    "xor edx, edx",
    "xor esi, esi",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "xor r10d, r10d",
    "xor r11d, r11d",
    "xorps xmm0, xmm0",
    "xorps xmm1, xmm1",
    "xorps xmm2, xmm2",
    "xorps xmm3, xmm3",
    "xorps xmm4, xmm4",
    "xorps xmm5, xmm5",
    "xorps xmm6, xmm6",
    "xorps xmm7, xmm7",
    "xorps xmm8, xmm8",
    "xorps xmm9, xmm9",
    "xorps xmm10, xmm10",
    "xorps xmm11, xmm11",
    "xorps xmm12, xmm12",
    "xorps xmm13, xmm13",
    "xorps xmm14, xmm14",
    "xorps xmm15, xmm15",
    "ret",
);

/// Entry points note who called, for traps; then they go on in Rust, and forget what that leaves in registers.
macro_rules! entry_points {
    ($($name:ident => $function:path,)*) => {
        global_asm!(
            ".text",
            $(
                concat!("rt_", stringify!($name), ":"),
                "mov rax, [rsp]",
                "mov [rdi + {pc}], rax",
                "mov [rdi + {fp}], rbp",
                "sub rsp, 8",
                concat!("call {", stringify!($name), "}"),
                "add rsp, 8",
                "xor edi, edi",
                "jmp rt_forget",
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
    "mov rax, [rsp]",
    "mov [rdi + {pc}], rax",
    "mov [rdi + {fp}], rbp",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "mov rdx, rsp",
    "call {new_reference}",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
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
    "push rax",
    "mov eax, {breakpoint}",
    "jmp 2f",
    "rt_safepoint:",
    "push rax",
    "mov eax, {suspension}",
    "2:",
    "push rbx",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push rbp",
    "mov rdi, [rip + __image_end + {context}]",
    "mov rbx, [rsp + 56]",
    "mov [rdi + {pc}], rbx",
    "mov [rdi + {fp}], rbp",
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
    "mov edx, eax",
    "call {stop}",
    "ud2",
    "safepoint_return:",
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
    context = const data::CONTEXT_ADDR_OFFSET,
    pc = const context_offset!(rt_pc),
    fp = const context_offset!(rt_fp),
    breakpoint = const FrozenBy::Breakpoint as u32,
    suspension = const FrozenBy::Suspension as u32,
    stop = sym functions::stop_at_safepoint,
);

/// Addresses of the functions that compiled code calls.
pub(crate) fn function_addrs() -> [u64; RtFunction::COUNT] {
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
    // SAFETY: the caller's promise. The call is made in a function of its own, so that nothing is kept below the
    // stack pointer.
    unsafe {
        asm!("call {}", in(reg) instruction, inlateout("rax") number => ret, in("rdi") args[0], in("rsi") args[1],
            in("rdx") args[2], in("r10") args[3], out("rcx") _, out("r11") _);
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
    "mov r8, rdi",
    "mov eax, esi",
    "mov edi, {fd}",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "rt_interruptible_begin:",
    "cmp dword ptr [r8 + {suspend_request}], 0",
    "jne rt_interruptible_interrupted",
    "syscall",
    "rt_interruptible_end:",
    "ret",
    "rt_interruptible_interrupted:",
    "mov rax, -{eintr}",
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
        asm!("call rt_interruptible", in("rdi") context.get(), in("rsi") number, in("rdx") buf, in("rcx") size,
            lateout("rax") ret, clobber_abi("C"));
    }
    ret
}

/// Where the suspension handler returns to, given what it interrupted.
pub(crate) fn interrupted_pc(pc: u64) -> u64 {
    let (begin, end, interrupted): (u64, u64, u64);
    // SAFETY: only calculates addresses.
    unsafe {
        asm!(
            "lea {}, [rip + rt_interruptible_begin]",
            "lea {}, [rip + rt_interruptible_end]",
            "lea {}, [rip + rt_interruptible_interrupted]",
            out(reg) begin, out(reg) end, out(reg) interrupted, options(pure, nomem, nostack, preserves_flags)
        );
    }
    if (begin..end).contains(&pc) { interrupted } else { pc }
}

global_asm!(".text", "rt_sigreturn:", "mov eax, {nr}", "syscall", "ud2", nr = const nr::RT_SIGRETURN);

/// Where signal handlers return to.
pub(crate) fn restorer() -> usize {
    let addr;
    // SAFETY: only calculates an address.
    unsafe {
        asm!("lea {}, [rip + rt_sigreturn]", out(reg) addr, options(pure, nomem, nostack, preserves_flags))
    };
    addr
}

/// What a signal has interrupted, as the kernel has left it: the beginning of a `ucontext_t`, which is what precedes the
/// registers, and the registers.
#[repr(C)]
pub(crate) struct Interrupted {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    r8_to_r15: [u64; 8],
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
}

impl Interrupted {
    /// Changes where it goes on.
    pub(crate) fn set_pc(&mut self, pc: u64) {
        self.rip = pc;
    }

    pub(crate) fn pc(&self) -> u64 {
        self.rip
    }

    pub(crate) fn sp(&self) -> u64 {
        self.rsp
    }

    pub(crate) fn fp(&self) -> u64 {
        self.rbp
    }
}

/// Where the image ends.
pub(crate) fn image_end() -> u64 {
    let addr;
    // SAFETY: only calculates an address; the linker script defines the symbol.
    unsafe {
        asm!("lea {}, [rip + __image_end]", out(reg) addr, options(pure, nomem, nostack, preserves_flags))
    };
    addr
}
