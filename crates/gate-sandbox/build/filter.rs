//! The system calls that a running program has.

use crate::arch::Arch;
use gate_wire::cow::STATE_FD;
use gate_wire::load::{CALL_FD, STATE_FILE_STRIDE};
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
/// With `mapping`, the memories in the state file can be mapped, readable and writable.
fn build(arch: &Arch, mapping: bool) -> Result<BpfProgram, Box<dyn Error>> {
    let socket = || SeccompCondition::new(0, Dword, Eq, CALL_FD as u64);
    let no_other_bits = SeccompCondition::new(2, Qword, MaskedEq(!PROT_READ_WRITE), 0)?;
    let harmless_clock = SeccompCondition::new(0, Dword, Le, LAST_CLOCK)?;
    let numbers = &arch.numbers;
    let mut rules = vec![
        (numbers.read, vec![SeccompRule::new(vec![socket()?])?]),
        (numbers.write, vec![SeccompRule::new(vec![socket()?])?]),
        (numbers.mprotect, vec![SeccompRule::new(vec![no_other_bits])?]),
        (numbers.clock_gettime, vec![SeccompRule::new(vec![harmless_clock])?]),
        (numbers.rt_sigreturn, vec![]),
        (numbers.exit_group, vec![]),
    ];
    if mapping {
        let memories_only = vec![
            SeccompCondition::new(2, Qword, Eq, PROT_READ_WRITE)?,
            SeccompCondition::new(3, Qword, Eq, MAP_SHARED_FIXED)?,
            SeccompCondition::new(4, Dword, Eq, STATE_FD as u64)?,
            SeccompCondition::new(5, Qword, Ge, STATE_FILE_STRIDE)?,
        ];
        rules.push((numbers.mmap, vec![SeccompRule::new(memories_only)?]));
    }
    let allowed: Vec<u32> = rules.iter().map(|(number, _)| *number as u32).collect();
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch.seccomp,
    )?;
    let mut program = kill_early(allowed);
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// Kills what has a number in the widest gap between those that are allowed, or above all of them.
///
/// The kernel tries a new filter with every number there is, to find out which need no filtering. This makes nearly
/// all of that short, and with it the start of every program.
fn kill_early(mut allowed: Vec<u32>) -> BpfProgram {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_GREATER: u16 = 0x25;
    const JUMP_IF_NOT_LESS: u16 = 0x35;
    const RETURN: u16 = 0x06;
    /// Where the number is in the kernel's description of a call.
    const NUMBER_OFFSET: u32 = 0;

    allowed.sort_unstable();
    let last = allowed.last().copied().unwrap_or(0);
    let gap = allowed.array_windows().max_by_key(|[below, above]| above - below);
    let [below, above] = gap.copied().unwrap_or([last, last]);
    vec![
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: NUMBER_OFFSET },
        sock_filter { code: JUMP_IF_GREATER, jt: 2, jf: 0, k: last },
        sock_filter { code: JUMP_IF_NOT_LESS, jt: 2, jf: 0, k: above },
        sock_filter { code: JUMP_IF_GREATER, jt: 0, jf: 1, k: below },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: u32::from(SeccompAction::KillProcess) },
    ]
}

/// The filters as Rust source.
pub(crate) fn source(arch: &Arch) -> Result<String, Box<dyn Error>> {
    let mut source = String::new();
    for (name, mapping) in [("FILTER", false), ("FILTER_WITH_MAPPING", true)] {
        writeln!(source, "const {name}: &[Instruction] = &[")?;
        for i in build(arch, mapping)? {
            writeln!(
                source,
                "    Instruction {{ code: {}, if_true: {}, if_false: {}, operand: {} }},",
                i.code, i.jt, i.jf, i.k
            )?;
        }
        source.push_str("];\n");
    }
    Ok(source)
}
