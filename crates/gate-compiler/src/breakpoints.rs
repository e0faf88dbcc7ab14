//! Instructions at which programs stop whenever they get there.

use crate::error::{CompileError, ErrorKind};
use crate::module::{Body, Module};
use std::collections::BTreeSet;
use std::ops::Range;
use wasmparser::Operator;

/// Code offsets of instructions at which programs stop.
#[derive(Clone, Copy)]
pub(crate) struct Breakpoints<'a> {
    offsets: &'a BTreeSet<u32>,
}

impl<'a> Breakpoints<'a> {
    pub(crate) fn new(offsets: &'a BTreeSet<u32>) -> Self {
        Self { offsets }
    }

    /// Checks that there is an instruction in a function at each of them.
    pub(crate) fn check(self, module: &Module<'_>) -> Result<(), CompileError> {
        let mut rest = self.offsets.iter().map(|&offset| u64::from(offset)).peekable();
        while let Some(&first) = rest.peek() {
            let body = module.bodies.partition_point(|body| body.body.range().end <= first);
            // Those next to it may be nearer.
            let bodies = &module.bodies[body.saturating_sub(1)..module.bodies.len().min(body + 2)];
            let instructions = instructions(bodies)?;
            let end = module.bodies.get(body).map_or(u64::MAX, |body| body.body.range().end);
            while let Some(breakpoint) = rest.next_if(|&offset| offset < end) {
                if instructions.binary_search(&breakpoint).is_err() {
                    return Err(not_found(breakpoint, &instructions));
                }
            }
        }
        Ok(())
    }

    /// Whether there is one at a code offset.
    pub(crate) fn contains(self, offset: u64) -> bool {
        u32::try_from(offset).is_ok_and(|offset| self.offsets.contains(&offset))
    }

    /// Whether there is one in a range of code offsets.
    pub(crate) fn any_within(self, range: Range<u64>) -> bool {
        let next = self.offsets.range(u32::try_from(range.start).unwrap_or(u32::MAX)..).next();
        next.is_some_and(|&offset| range.contains(&u64::from(offset)))
    }
}

/// Whether an instruction is a bulk operation, which can stop half-way.
pub(crate) fn is_bulk(op: &Operator<'_>) -> bool {
    matches!(
        op,
        Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
    )
}

/// Offset of the safepoint that a breakpoint at an instruction is. A call instruction has a safepoint already, with fewer
/// operands; that of the breakpoint has the offset of its second byte, where no other instruction can be.
pub(crate) fn breakpoint_offset(op: &Operator<'_>, instruction: u64) -> u64 {
    match op {
        Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. } => instruction + 1,
        _ => instruction,
    }
}

/// Offsets of all instructions of some functions.
fn instructions(bodies: &[Body<'_>]) -> Result<Vec<u64>, CompileError> {
    let mut offsets = Vec::new();
    for body in bodies {
        let mut reader = body.body.get_operators_reader()?;
        while !reader.eof() {
            offsets.push(reader.read_with_offset()?.1);
        }
    }
    Ok(offsets)
}

fn not_found(breakpoint: u64, instructions: &[u64]) -> CompileError {
    let nearest = match instructions.iter().min_by_key(|offset| offset.abs_diff(breakpoint)) {
        Some(nearest) => format!("the nearest is at {nearest:#x}"),
        None => "there is none".to_owned(),
    };
    let message = format!("breakpoint {breakpoint:#x} is not at an instruction of a function: {nearest}");
    CompileError::new(ErrorKind::Breakpoint, None, message)
}
