//! The system calls that remain. The build script makes the filter, by the rules in its own `filter.rs`.

use gate_wire::load::LoadFailure;
use sys::arch::syscall;
use sys::number::nr;
use sys::process::exit;

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

// FILTER, and FILTER_WITH_MAPPING.
include!(env!("GATE_FILTER"));

/// Forbids all system calls but those which a program process goes on to need. There is no way back.
pub(crate) fn install(with_mapping: bool) {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    let filter = if with_mapping { FILTER_WITH_MAPPING } else { FILTER };
    let program = Program { len: filter.len() as u16, instructions: filter.as_ptr() };
    // SAFETY: the kernel reads the filter.
    let result = unsafe {
        syscall(nr::SECCOMP, [SECCOMP_SET_MODE_FILTER, 0, (&raw const program).expose_provenance()])
    };
    if result.is_err() {
        exit(LoadFailure::InstallFilter as i32);
    }
}
