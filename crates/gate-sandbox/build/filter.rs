//! The system calls that a running program has.

use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, Le, MaskedEq};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, sock_filter,
};
use std::error::Error;
use std::fmt::Write;

/// Numbers of x86-64 system calls, which need not be those of the machine that compiles.
mod number {
    pub(super) const READ: i64 = 0;
    pub(super) const WRITE: i64 = 1;
    pub(super) const MPROTECT: i64 = 10;
    pub(super) const RT_SIGRETURN: i64 = 15;
    pub(super) const CLOCK_GETTIME: i64 = 228;
    pub(super) const EXIT_GROUP: i64 = 231;
}

/// The call socket is the only descriptor.
const CALL_FD: u64 = 0;

/// Greatest number of a clock that tells about nothing else than the time and this process.
const LAST_CLOCK: u64 = 3;

const PROT_READ_WRITE: u64 = 3;

/// Everything that is not in the list kills the process: also what comes by the 32-bit and x32 ways, which have
/// another architecture or other numbers.
fn build() -> Result<BpfProgram, Box<dyn Error>> {
    let socket = || SeccompCondition::new(0, Dword, Eq, CALL_FD);
    let no_other_bits = SeccompCondition::new(2, Qword, MaskedEq(!PROT_READ_WRITE), 0)?;
    let harmless_clock = SeccompCondition::new(0, Dword, Le, LAST_CLOCK)?;
    let rules = [
        (number::READ, vec![SeccompRule::new(vec![socket()?])?]),
        (number::WRITE, vec![SeccompRule::new(vec![socket()?])?]),
        (number::MPROTECT, vec![SeccompRule::new(vec![no_other_bits])?]),
        (number::CLOCK_GETTIME, vec![SeccompRule::new(vec![harmless_clock])?]),
        (number::RT_SIGRETURN, vec![]),
        (number::EXIT_GROUP, vec![]),
    ];
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?;
    let mut program = kill_above(number::EXIT_GROUP as u32);
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// Kills what has a greater number than this.
///
/// The kernel tries a new filter with every number there is, to find out which need no filtering: this makes half
/// of that short, and with it the start of every program.
fn kill_above(number: u32) -> BpfProgram {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_GREATER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    /// Where the number is in the kernel's description of a call.
    const NUMBER_OFFSET: u32 = 0;
    vec![
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: NUMBER_OFFSET },
        sock_filter { code: JUMP_IF_GREATER, jt: 0, jf: 1, k: number },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: u32::from(SeccompAction::KillProcess) },
    ]
}

/// The filter as an array expression in Rust.
pub(crate) fn source() -> Result<String, Box<dyn Error>> {
    let mut source = String::from("[\n");
    for i in build()? {
        writeln!(
            source,
            "    Instruction {{ code: {}, if_true: {}, if_false: {}, operand: {} }},",
            i.code, i.jt, i.jf, i.k
        )?;
    }
    source.push_str("]\n");
    Ok(source)
}
