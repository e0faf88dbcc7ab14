//! Faults of the program, and requests for its suspension.

use crate::arch::{self, Interrupted};
use crate::{cow, data, frames, samples, setup};
use core::sync::atomic::Ordering;
use gate_wire::context::{ExitKind, ExitRecord, RAISED};
use gate_wire::load::LoadFailure;
use sys::number::{nr, signal};
use sys::process::{
    SA_ONSTACK, SA_RESTART, SA_RESTORER, SA_SIGINFO, SIG_SETMASK, SIGSET_SIZE, SigAction, exit, signal_bit,
};

/// The beginning of a `siginfo_t` of a fault.
#[repr(C)]
struct SigInfo {
    numbers: [i32; 4],
    addr: u64,
}

#[repr(C)]
struct StackT {
    sp: u64,
    flags: i32,
    size: u64,
}

/// Sets the handlers and lets the suspension signal through, which has been blocked since the process was made.
pub(crate) fn set_handlers() {
    let stack = StackT { sp: data::signal_stack_addr(), flags: 0, size: data::SIGNAL_STACK_SIZE };
    // SAFETY: the stack is nobody else's.
    if unsafe { setup::syscall(nr::SIGALTSTACK, [(&raw const stack).expose_provenance(), 0, 0, 0]) }.is_err()
    {
        exit(LoadFailure::SetSignalStack as i32);
    }
    let faults = [signal::SIGSEGV, signal::SIGBUS, signal::SIGILL, signal::SIGFPE, signal::SIGTRAP];
    // Interrupted system calls are not restarted when the host asks for suspension: that waits for no one.
    for fault in faults {
        set_handler(fault, on_fault, 0);
    }
    set_handler(signal::SIGUSR1, on_suspend, 0);
    if samples::are_taken() {
        set_handler(signal::SIGPROF, on_timer, SA_RESTART);
    }
    let none = 0u64;
    let arguments = [SIG_SETMASK, (&raw const none).expose_provenance(), 0, SIGSET_SIZE];
    // SAFETY: the kernel reads the mask.
    if unsafe { setup::syscall(nr::RT_SIGPROCMASK, arguments) }.is_err() {
        exit(LoadFailure::SetSignalHandler as i32);
    }
}

type Handler = extern "C" fn(u32, &SigInfo, &mut Interrupted);

fn set_handler(signal: u32, handler: Handler, flags: u64) {
    let action = SigAction {
        handler: handler as usize,
        flags: SA_SIGINFO | SA_ONSTACK | SA_RESTORER | flags,
        restorer: arch::restorer(),
        mask: signal_bit(signal::SIGUSR1) | signal_bit(signal::SIGPROF),
    };
    let arguments = [signal as usize, (&raw const action).expose_provenance(), 0, SIGSET_SIZE];
    // SAFETY: the kernel reads the action. The handler has a stack of its own and does only what can be done at any moment.
    if unsafe { setup::syscall(nr::RT_SIGACTION, arguments) }.is_err() {
        exit(LoadFailure::SetSignalHandler as i32);
    }
}

/// The processor refused an instruction: that is how compiled code traps, unless it has written to what must be copied
/// first. The host tells from the place which trap it was.
extern "C" fn on_fault(signal: u32, info: &SigInfo, state: &mut Interrupted) {
    if signal == sys::number::signal::SIGSEGV && cow::copy_faulted(info.addr) {
        return;
    }
    if data::is_export() {
        frames::faulted(info.addr);
    }
    data::context().stop(ExitRecord {
        kind: ExitKind::Faulted as u32,
        value: signal,
        pc: state.pc(),
        fp: state.fp(),
        addr: info.addr,
        sp: state.sp(),
    })
}

/// The host asks for suspension: the next safepoint will notice.
extern "C" fn on_suspend(_: u32, _: &SigInfo, state: &mut Interrupted) {
    let context = data::context();
    context.suspend_request().store(RAISED, Ordering::Relaxed);
    context.stack_limit().store(u64::MAX, Ordering::Relaxed);
    state.set_pc(arch::interrupted_pc(state.pc()));
}

/// The program has used some more processor time.
extern "C" fn on_timer(_: u32, _: &SigInfo, state: &mut Interrupted) {
    samples::take(state);
}
