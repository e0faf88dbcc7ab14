//! What depends on the processor: the loader's first instruction, the jump to rt, and
//! what rt uses until the loader is gone.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{enter_rt, syscall_addr};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{enter_rt, syscall_addr};

/// How rt begins.
pub(crate) struct Entry {
    pub(crate) rt_addr: u64,
    pub(crate) context_addr: u64,
    /// Address of the start function's trampoline, or zero.
    pub(crate) start: u64,
    /// Address of the entry function's trampoline, or zero.
    pub(crate) entry: u64,
    /// Whether to go on where the program was frozen.
    pub(crate) thaw: bool,
    pub(crate) stack_end: u64,
}
