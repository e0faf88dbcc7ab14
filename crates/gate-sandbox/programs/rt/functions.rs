//! Safepoints and traps: the simplest of the functions that compiled code calls.

use crate::context::ContextAddr;
use gate_wire::context::{ExitKind, FrozenBy};
use gate_wire::trap::TrapId;

/// Freezes the program if that was asked for, or it is at a breakpoint; else the stack is at its end. Compiled code that had both
/// reasons to come here comes again when it goes on.
pub(crate) extern "C" fn stop_at_safepoint(context: ContextAddr, sp: u64, reason: u32) -> ! {
    if reason == FrozenBy::Suspension as u32 && !context.is_suspension_requested() {
        context.trap(TrapId::CallStackExhausted);
    }
    // SAFETY: the context is there.
    unsafe { (*context.ptr()).frozen_sp = sp };
    context.stop_with(ExitKind::Frozen, reason)
}

pub(crate) extern "C" fn trap(context: ContextAddr, trap: u32) -> ! {
    context.trap_number(trap)
}
