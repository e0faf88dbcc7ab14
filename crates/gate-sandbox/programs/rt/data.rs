//! The pages behind the image: the signal stack, and above it what the loader has left.

use crate::arch;
use crate::context::{ContextAddr, pointer};
use core::mem::offset_of;
use gate_wire::load::FLAG_EXPORT;
use handover::Handover;

/// Where the signal stack begins: right behind the image.
pub(crate) fn signal_stack_addr() -> u64 {
    arch::image_end()
}

pub(crate) const SIGNAL_STACK_SIZE: u64 = handover::OFFSET;

/// Where the context address is, counted from the image's end.
pub(crate) const CONTEXT_ADDR_OFFSET: u64 = handover::OFFSET + offset_of!(Handover, context_addr) as u64;

/// What the loader has left. Signal handlers write to some of its fields.
pub(crate) fn handover() -> *mut Handover {
    pointer(signal_stack_addr() + handover::OFFSET)
}

/// Where the context is.
pub(crate) fn context() -> ContextAddr {
    // SAFETY: the loader has written it.
    ContextAddr::new(unsafe { (*handover()).context_addr })
}

/// Whether the program has been started only to write down its frames.
pub(crate) fn is_export() -> bool {
    // SAFETY: as above.
    unsafe { (*handover()).flags & FLAG_EXPORT != 0 }
}
