//! Faults of the program, and requests for its suspension.

use crate::data;
use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;
use gate_wire::context::{ExitKind, ExitRecord};
use gate_wire::load::LoadFailure;
use sys::number::{nr, signal};
use sys::process::{
    self, SA_ONSTACK, SA_RESTORER, SA_SIGINFO, SigAction, exit, set_signal_action, signal_bit,
};
use sys::raw::syscall;

/// The beginning of a `siginfo_t` of a fault.
#[repr(C)]
struct SigInfo {
    numbers: [i32; 4],
    addr: u64,
}

/// The beginning of a `ucontext_t`: what precedes the registers, and the registers.
#[repr(C)]
struct UContext {
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

#[repr(C)]
struct StackT {
    sp: u64,
    flags: i32,
    size: u64,
}

global_asm!(".text", "rt_sigreturn:", "mov eax, {nr}", "syscall", "ud2", nr = const nr::RT_SIGRETURN);

/// Sets the handlers and lets the suspension signal through, which has been blocked since the process was made.
pub(crate) fn set_handlers() {
    let stack = StackT { sp: data::signal_stack_addr(), flags: 0, size: data::SIGNAL_STACK_SIZE };
    // SAFETY: the stack is nobody else's.
    if unsafe { syscall(nr::SIGALTSTACK, [(&raw const stack).expose_provenance(), 0]) }.is_err() {
        exit(LoadFailure::SetSignalStack as i32);
    }
    let faults = [signal::SIGSEGV, signal::SIGBUS, signal::SIGILL, signal::SIGFPE, signal::SIGTRAP];
    for fault in faults {
        set_handler(fault, on_fault);
    }
    set_handler(signal::SIGUSR1, on_suspend);
    if process::set_signal_mask(0).is_err() {
        exit(LoadFailure::SetSignalHandler as i32);
    }
}

type Handler = extern "C" fn(u32, &SigInfo, &mut UContext);

fn set_handler(signal: u32, handler: Handler) {
    let restorer: usize;
    // SAFETY: only calculates an address.
    unsafe {
        asm!("lea {}, [rip + rt_sigreturn]", out(reg) restorer, options(pure, nomem, nostack, preserves_flags))
    };
    // Interrupted system calls are not restarted: a suspension waits for no one.
    let action = SigAction {
        handler: handler as usize,
        flags: SA_SIGINFO | SA_ONSTACK | SA_RESTORER,
        restorer,
        mask: signal_bit(signal::SIGUSR1),
    };
    // SAFETY: the handler has a stack of its own and does only what can be done at any moment.
    if unsafe { set_signal_action(signal, &action) }.is_err() {
        exit(LoadFailure::SetSignalHandler as i32);
    }
}

/// The processor refused an instruction: that is how compiled code traps. The host tells from the place which trap it
/// was.
extern "C" fn on_fault(signal: u32, info: &SigInfo, state: &mut UContext) {
    data::context().stop(ExitRecord {
        kind: ExitKind::Faulted as u32,
        value: signal,
        pc: state.rip,
        fp: state.rbp,
        addr: info.addr,
        sp: state.rsp,
    })
}

/// The host asks for suspension: the next safepoint will notice.
extern "C" fn on_suspend(_: u32, _: &SigInfo, state: &mut UContext) {
    let context = data::context();
    context.suspend_request().store(1, Ordering::Relaxed);
    context.stack_limit().store(u64::MAX, Ordering::Relaxed);
    state.rip = crate::host_call::interrupted_pc(state.rip);
}
