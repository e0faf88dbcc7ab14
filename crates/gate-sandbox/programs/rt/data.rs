//! The pages behind the image: the signal stack, and above it what signal handlers start from.

use crate::context::{ContextAddr, pointer};
use core::arch::asm;
use gate_wire::load::RT_DATA_SIZE;

struct Data {
    context: ContextAddr,
}

/// Space for [`Data`], which keeps the signal stack aligned.
const RESERVED: u64 = 64;

/// Where the signal stack begins: right behind the image.
pub(crate) fn signal_stack_addr() -> u64 {
    let addr;
    // SAFETY: only calculates an address; the linker script defines the symbol.
    unsafe {
        asm!("lea {}, [rip + __image_end]", out(reg) addr, options(pure, nomem, nostack, preserves_flags))
    };
    addr
}

pub(crate) const SIGNAL_STACK_SIZE: u64 = RT_DATA_SIZE - RESERVED;

fn data() -> *mut Data {
    pointer(signal_stack_addr() + SIGNAL_STACK_SIZE)
}

/// Lets handlers know where the context is.
pub(crate) fn set_context(context: ContextAddr) {
    // SAFETY: the loader has mapped the data, and nothing else is there.
    unsafe { data().write(Data { context }) };
}

/// Where the context is.
pub(crate) fn context() -> ContextAddr {
    // SAFETY: set before the first handler.
    unsafe { (*data()).context }
}
