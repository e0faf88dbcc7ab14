//! From the loader to the program, and back when it returns.

use crate::context::ContextAddr;
use crate::{arch, data, frames, samples, setup, signals};
use core::sync::atomic::Ordering;
use gate_wire::PAGE_SIZE;
use gate_wire::context::{ExitKind, ExitRecord, Unwinding};
use gate_wire::load::{ADDRESS_RANGE, LoadFailure, SETUP_RANGE};
use gate_wire::trap::TrapId;
use sys::number::nr;
use sys::process::exit;

/// Makes the process what a program may have.
pub(crate) extern "C" fn prepare(context: ContextAddr) {
    let fields = context.ptr();
    // SAFETY: the context is there, and no handler is set yet.
    let stack_low = unsafe {
        (*fields).exit = ExitRecord { kind: ExitKind::None as u32, value: 0, pc: 0, fp: 0, addr: 0, sp: 0 };
        (*fields).rt = arch::function_addrs();
        (*fields).frozen_sp = 0;
        (*fields).blind_calls = 0;
        (*fields).vain_looks = 0;
        (*fields).stack_low
    };
    context.suspend_request().store(0, Ordering::Relaxed);
    context.stack_limit().store(stack_low, Ordering::Relaxed);
    // The loader has mapped them.
    context.chunks_replaced().store(0, Ordering::Relaxed);
    frames::prepare(context);

    // From here on a request for suspension is noticed, even one that came earlier.
    signals::set_handlers();
    samples::start();
    unmap_all_else();
}

/// The start or entry function has returned. If that is what the program has been started for, it ends here.
pub(crate) extern "C" fn function_returned(context: ContextAddr) {
    if data::is_export() {
        frames::complete(context);
    }
    // SAFETY: the context is there.
    if unsafe { (*context.ptr()).unwinding } == Unwinding::Exception as u32 {
        let trap = TrapId::UncaughtException as u32;
        context.stop_with(ExitKind::Trapped, trap);
    }
}

/// Nothing is left to be called.
pub(crate) extern "C" fn returned(context: ContextAddr) -> ! {
    context.stop_with(ExitKind::Returned, 0)
}

/// Unmaps what is not the program's: the loader, the stack which the kernel gave it with all that was on it, and
/// the kernel's time functions. Everything of the program's is in the range.
fn unmap_all_else() {
    unmap(0, SETUP_RANGE.start);
    unmap(SETUP_RANGE.end, ADDRESS_RANGE.start);
    unmap(ADDRESS_RANGE.end, arch::ADDRESS_SPACE_END);
    // The last one, because it is what makes the others possible.
    if setup::unmap_loader().is_err() {
        exit(LoadFailure::Unmap as i32);
    }
}

/// Unmaps what is in a range, but for what the kernel has sealed: it does so with its time functions if it
/// is configured to, and then refuses the range as a whole.
fn unmap(start: u64, end: u64) {
    let size = end - start;
    // SAFETY: nothing there is used any more.
    if unsafe { setup::syscall(nr::MUNMAP, [start as usize, size as usize, 0, 0]) }.is_ok() {
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
