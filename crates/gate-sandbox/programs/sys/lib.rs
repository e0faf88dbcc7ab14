//! System calls for the static programs, without a C library.
//!
//! | module | what |
//! |---|---|
//! | [`arch`] | what depends on the processor |
//! | [`number`] | numbers and flags of the kernel's interface |
//! | [`fd`] | descriptors: sockets, event queue, polling |
//! | [`process`] | attributes, limits and signals of processes |
//! | [`memory`] | mappings |

#![no_std]

pub mod arch;
pub mod fd;
pub mod memory;
pub mod number;
pub mod process;

/// A system call's error number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u32);

/// What a system call gives.
pub type Result<T> = core::result::Result<T, Errno>;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    arch::abort()
}
