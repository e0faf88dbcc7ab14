//! What depends on the processor.
//!
//! Each architecture has a module of the same face: rt's first instruction (in assembly: it calls what is in
//! [`start`](crate::start)), entry points of the functions that compiled code calls, system calls that a suspension interrupts,
//! where the kernel leaves the registers of what a signal has interrupted, addresses of rt's own, and the fastest ways to
//! copy and fill.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::*;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;
