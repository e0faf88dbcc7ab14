//! Calls to the host, and the few that need no host.

use crate::context::ContextAddr;
use crate::{arch, clock, cow, data};
use core::hint::spin_loop;
use core::sync::atomic::Ordering;
use gate_wire::call::{self, CallReply};
use gate_wire::context::{CallState, ExitKind};
use gate_wire::load::LoadFailure;
use gate_wire::wasi::WasiFunction;
use sys::number::{errno, nr};
use sys::process::exit;
use sys::{Errno, Result};

/// Moves a whole record from or to the host. `None` means that a suspension is requested and nothing was moved.
fn transfer(context: ContextAddr, number: usize, buf: &mut [u8]) -> Option<usize> {
    loop {
        // SAFETY: the kernel accesses the slice only.
        let ret = unsafe { arch::interruptible(context, number, buf.as_mut_ptr(), buf.len()) };
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
    if data::is_export() {
        exit(LoadFailure::Export as i32);
    }
    // SAFETY: the context is there, and handlers don't touch this part.
    let record = unsafe { &mut (*context.ptr()).call };

    // The call ended while the program was stopped.
    if record.state == CallState::Answered as u32 {
        record.state = CallState::Idle as u32;
        return;
    }
    if record.state == CallState::Refused as u32 {
        record.state = CallState::Idle as u32;
        context.trap_number(record.result as u32);
    }

    if record.state == CallState::Unsent as u32 {
        if let Some(result) = call_locally(context, record.func, record.args) {
            record.result = result;
            record.state = CallState::Idle as u32;
            return;
        }
        context.reply_sent().store(0, Ordering::Relaxed);
        let mut request = call::CallRequest { func: record.func, args: record.args }.encode();
        if transfer(context, nr::WRITE, &mut request).is_none() {
            return;
        }
        record.state = CallState::Sent as u32;
        look_for_reply(context);
    }

    let mut buf = [0; call::REPLY_SIZE];
    let Some(size) = transfer(context, nr::READ, &mut buf) else { return };
    cow::map_replaced(context);
    match CallReply::decode(&buf) {
        Some(CallReply::Return(value)) if size == call::REPLY_SIZE => {
            record.result = value;
            record.state = CallState::Idle as u32;
        }
        Some(CallReply::Trap(trap)) if size == call::REPLY_SIZE => context.trap_number(trap),
        _ => exit(LoadFailure::InvalidReply as i32),
    }
}

/// How often rt looks for a reply before it sleeps: for 10 to 30 microseconds, depending on the processor. Being woken takes as long.
const LOOKS: u32 = 400;

/// After so many calls at most that were waited for asleep, rt looks again.
const MAX_BLIND_CALLS: u16 = 63;

/// Waits for the reply awake, if it is likely to come at once. Where it did not, fewer and fewer calls are waited for like this.
fn look_for_reply(context: ContextAddr) {
    // SAFETY: the context is there, and handlers don't touch this part.
    let (blind, vain) = unsafe {
        let fields = context.ptr();
        (&mut (*fields).blind_calls, &mut (*fields).vain_looks)
    };
    if *blind > 0 {
        *blind -= 1;
        return;
    }
    for _ in 0..LOOKS {
        if context.reply_sent().load(Ordering::Relaxed) != 0 {
            *vain = 0;
            return;
        }
        if context.is_suspension_requested() {
            return;
        }
        spin_loop();
    }
    *vain = vain.saturating_add(1);
    *blind = MAX_BLIND_CALLS.min((1u16 << (*vain).min(15)) - 1);
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
