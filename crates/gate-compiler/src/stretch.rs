//! How many instructions are executed between checks.
//!
//! A program must be able to stop soon, wherever it is. Loops have checks, and most functions have them at their entries. What is
//! left are functions of many instructions or calls in a row: those are checked every so many instructions. Where
//! depends on the module alone, so that a frame which was written down there can be read in any text.

use crate::breakpoints::is_bulk;
use crate::callgraph::{CallGraph, LIGHT_INSTRUCTIONS};
use wasmparser::Operator;

/// A loop that has so many instructions without a check before it has a check of its own.
const MAX_BEFORE_LOOP: u32 = LIGHT_INSTRUCTIONS / 4;

/// The longest way to a place in a function's code: numbers of instructions.
///
/// Functions that the call graph takes for light never come to an end of a stretch, since they have no more instructions, and none that
/// counts for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Since the last check, or the last loop's header: most loops have one there.
    since_loop: u32,
    /// Since the last check.
    since_check: u32,
}

impl Stretch {
    /// Two ways meet.
    pub(crate) fn meet(self, other: Self) -> Self {
        Self {
            since_loop: self.since_loop.max(other.since_loop),
            since_check: self.since_check.max(other.since_check),
        }
    }

    /// Whether there is a check before the next instruction.
    pub(crate) fn ends_before(self, op: &Operator<'_>) -> bool {
        self.since_loop >= LIGHT_INSTRUCTIONS
            && !matches!(
                op,
                Operator::End
                    | Operator::Else
                    | Operator::Loop { .. }
                    | Operator::Catch { .. }
                    | Operator::CatchAll
                    | Operator::Delegate { .. }
            )
    }

    /// Whether the next instruction, which begins a loop, needs a check whatever is in the loop.
    pub(crate) fn is_long(self) -> bool {
        self.since_check > MAX_BEFORE_LOOP
    }

    /// There is a check.
    pub(crate) fn check(&mut self) {
        *self = Self::default();
    }

    /// A function with a check at its entry is called. It may execute many instructions after that.
    pub(crate) fn call_checked(&mut self) {
        self.since_check = 0;
    }

    /// A loop begins, which may have a check.
    pub(crate) fn begin_loop(&mut self) {
        self.since_loop = 0;
    }

    /// An instruction is executed.
    pub(crate) fn pass(&mut self, op: &Operator<'_>, graph: &CallGraph) {
        let weight = match *op {
            Operator::Call { function_index } => graph.unchecked_instructions(function_index).max(1),
            Operator::TableGrow { .. } => LIGHT_INSTRUCTIONS,
            _ if is_bulk(op) => LIGHT_INSTRUCTIONS,
            _ => 1,
        };
        self.since_loop = self.since_loop.saturating_add(weight);
        self.since_check = self.since_check.saturating_add(weight);
    }
}
