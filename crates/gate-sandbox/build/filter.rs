//! The system calls that a running program has.

use crate::arch::Arch;
use gate_wire::cow::STATE_FD;
use gate_wire::load::{CALL_FD, SETUP_RANGE, STATE_FILE_STRIDE};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, Ge, Le, MaskedEq};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, sock_filter};
use std::error::Error;
use std::fmt::Write;

/// Greatest number of a clock that tells about nothing else than the time and this process.
const LAST_CLOCK: u64 = 3;

const PROT_READ_WRITE: u64 = 3;
/// With all pages present at once.
const MAP_SHARED_FIXED: u64 = 0x8011;

/// Everything that is not in the list kills the process: also what comes by another way than the architecture's
/// ordinary one, such as the 32-bit and x32 ways of x86-64, which have another architecture or other numbers.
///
/// Executor and loader have the same filter, because installing one takes longer than all else that a program process does
/// to become one. They may do more, and are told by where they are: when a program runs, the loader has been unmapped, and
/// nothing can be executable in its place.
///
/// Two calls come to nothing where they are not needed. The loader is unmapped by rt, because it cannot unmap itself:
/// doing so again changes nothing. The memories in the state file can be mapped, readable and writable; where they
/// are not copied on write there is no such descriptor.
fn build(arch: &Arch) -> Result<BpfProgram, Box<dyn Error>> {
    let socket = || SeccompCondition::new(0, Dword, Eq, CALL_FD as u64);
    let no_other_bits = SeccompCondition::new(2, Qword, MaskedEq(!PROT_READ_WRITE), 0)?;
    let harmless_clock = SeccompCondition::new(0, Dword, Le, LAST_CLOCK)?;
    let memories_only = vec![
        SeccompCondition::new(2, Qword, Eq, PROT_READ_WRITE)?,
        SeccompCondition::new(3, Qword, Eq, MAP_SHARED_FIXED)?,
        SeccompCondition::new(4, Dword, Eq, STATE_FD as u64)?,
        SeccompCondition::new(5, Qword, Ge, STATE_FILE_STRIDE)?,
    ];
    let loader_only = vec![
        SeccompCondition::new(0, Qword, Eq, SETUP_RANGE.start)?,
        SeccompCondition::new(1, Qword, Eq, SETUP_RANGE.end - SETUP_RANGE.start)?,
    ];
    let numbers = &arch.numbers;
    let rules = [
        (numbers.read, vec![SeccompRule::new(vec![socket()?])?]),
        (numbers.write, vec![SeccompRule::new(vec![socket()?])?]),
        (numbers.mmap, vec![SeccompRule::new(memories_only)?]),
        (numbers.mprotect, vec![SeccompRule::new(vec![no_other_bits])?]),
        (numbers.munmap, vec![SeccompRule::new(loader_only)?]),
        (numbers.clock_gettime, vec![SeccompRule::new(vec![harmless_clock])?]),
        (numbers.rt_sigreturn, vec![]),
        (numbers.exit_group, vec![]),
    ];
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch.seccomp,
    )?;
    except_in_setup(BpfProgram::try_from(filter)?)
}

/// Lets code in [`SETUP_RANGE`] do what the filter would kill it for, unless that comes by a way of another architecture.
fn except_in_setup(mut program: BpfProgram) -> Result<BpfProgram, Box<dyn Error>> {
    const LOAD_WORD: u16 = 0x20;
    const JUMP: u16 = 0x05;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_NOT_LESS: u16 = 0x35;
    const RETURN: u16 = 0x06;
    /// Where the address is in the kernel's description of a call, which is little-endian.
    const ADDR_OFFSET: u32 = 8;
    /// The first instructions look at the architecture: load it, jump over the next one, kill.
    const PROLOGUE: usize = 3;
    let kill = u32::from(SeccompAction::KillProcess);
    let (start, end) = (u32::try_from(SETUP_RANGE.start)?, u32::try_from(SETUP_RANGE.end)?);

    let is_kill = |i: &sock_filter| i.code == RETURN && i.k == kill;
    if program.get(PROLOGUE - 1).is_none_or(|i| !is_kill(i)) {
        return Err("the filter does not begin with the architecture".into());
    }
    let length = program.len();
    for (place, instruction) in program.iter_mut().enumerate().skip(PROLOGUE) {
        if is_kill(instruction) {
            *instruction = sock_filter { code: JUMP, jt: 0, jf: 0, k: u32::try_from(length - place - 1)? };
        }
    }
    program.extend([
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: ADDR_OFFSET + 4 },
        sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 4, k: 0 },
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: ADDR_OFFSET },
        sock_filter { code: JUMP_IF_NOT_LESS, jt: 0, jf: 2, k: start },
        sock_filter { code: JUMP_IF_NOT_LESS, jt: 1, jf: 0, k: end },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: u32::from(SeccompAction::Allow) },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: kill },
    ]);
    Ok(program)
}

/// The filter as Rust source.
pub(crate) fn source(arch: &Arch) -> Result<String, Box<dyn Error>> {
    let mut source = String::from("const FILTER: &[Instruction] = &[\n");
    for i in build(arch)? {
        writeln!(
            source,
            "    Instruction {{ code: {}, if_true: {}, if_false: {}, operand: {} }},",
            i.code, i.jt, i.jf, i.k
        )?;
    }
    source.push_str("];\n");
    Ok(source)
}
