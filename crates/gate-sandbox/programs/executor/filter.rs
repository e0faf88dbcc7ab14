//! The system calls that remain to programs. The build script makes the filter, by the rules in its own `filter.rs`.

use sys::Result;
use sys::arch::syscall;
use sys::number::nr;

/// An instruction of the kernel's classic packet filter machine.
#[repr(C)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    instructions: *const Instruction,
}

// FILTER.
include!(env!("GATE_FILTER"));

/// Forbids all system calls but those which a running program needs, and those of this program and the loader, whose
/// processes inherit this. There is no way back.
pub(crate) fn install() -> Result<()> {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    let program = Program { len: FILTER.len() as u16, instructions: FILTER.as_ptr() };
    // SAFETY: the kernel reads the filter.
    unsafe { syscall(nr::SECCOMP, [SECCOMP_SET_MODE_FILTER, 0, (&raw const program).expose_provenance()]) }
        .map(drop)
}
