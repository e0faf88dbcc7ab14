//! Calls to the host, and the few that need no host.

use crate::clock;
use crate::context::ContextAddr;
use core::arch::{asm, global_asm};
use gate_wire::call::{self, CallReply};
use gate_wire::context::{CallState, ExitKind};
use gate_wire::context_offset;
use gate_wire::load::{CALL_FD, LoadFailure};
use gate_wire::wasi::WasiFunction;
use sys::number::{errno, nr};
use sys::process::exit;
use sys::{Errno, Result};

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
unsafe fn interruptible(context: ContextAddr, number: usize, buf: *mut u8, size: usize) -> isize {
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

/// Moves a whole record from or to the host. `None` means that a suspension is requested and nothing was moved.
fn transfer(context: ContextAddr, number: usize, buf: &mut [u8]) -> Option<usize> {
    loop {
        // SAFETY: the kernel accesses the slice only.
        let ret = unsafe { interruptible(context, number, buf.as_mut_ptr(), buf.len()) };
        let result: Result<usize> =
            if ret < 0 { Err(Errno(ret.unsigned_abs() as u32)) } else { Ok(ret as usize) };
        match result {
            Ok(size) if size > 0 => return Some(size),
            Err(Errno(errno::EINTR)) if context.is_suspension_requested() => return None,
            Err(Errno(errno::EINTR)) => {}
            _ => exit(LoadFailure::HostGone as i32),
        }
    }
}

/// Makes the call in the context, or goes on with it.
pub(crate) extern "C" fn host_call(context: ContextAddr) {
    // SAFETY: the context is there, and handlers don't touch this part.
    let record = unsafe { &mut (*context.ptr()).call };

    if record.state == CallState::Unsent as u32 {
        if let Some(result) = call_locally(context, record.func, record.args) {
            record.result = result;
            record.state = CallState::Idle as u32;
            return;
        }
        let mut request = call::CallRequest { func: record.func, args: record.args }.encode();
        if transfer(context, nr::WRITE, &mut request).is_none() {
            return;
        }
        record.state = CallState::Sent as u32;
    }

    let mut buf = [0; call::REPLY_SIZE];
    let Some(size) = transfer(context, nr::READ, &mut buf) else { return };
    match CallReply::decode(&buf) {
        Some(CallReply::Return(value)) if size == call::REPLY_SIZE => {
            record.result = value;
            record.state = CallState::Idle as u32;
        }
        Some(CallReply::Trap(trap)) if size == call::REPLY_SIZE => context.trap_number(trap),
        _ => exit(LoadFailure::InvalidReply as i32),
    }
}

/// Makes a call which needs no host. `None` means that it does.
fn call_locally(context: ContextAddr, func: u32, args: [u64; 12]) -> Option<u64> {
    let [arg0, arg1, arg2, ..] = args;
    match WasiFunction::from_number(func)? {
        WasiFunction::ClockTimeGet => Some(clock::time_get(context, arg0 as u32, arg2 as u32)),
        WasiFunction::ClockResGet => Some(clock::res_get(context, arg0 as u32, arg1 as u32)),
        WasiFunction::SchedYield => Some(0),
        WasiFunction::ProcExit => context.stop_with(ExitKind::Terminated, arg0 as u32),
        _ => None,
    }
}
