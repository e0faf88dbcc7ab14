//! What depends on the processor: the executor's first instruction, and making a process that borrows the stack.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::clone_and_run;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::clone_and_run;
