//! Checks in code that goes on for long without loops.
//!
//! A program must be able to stop soon, wherever it is. Loops have checks, and most functions have them at their entries. What is
//! left are functions of many instructions or calls in a row: those are checked every so many instructions. Where
//! depends on the module alone, so that a frame which was written down there can be read in any text.

use crate::breakpoints::is_bulk;
use crate::callgraph::{CallGraph, LIGHT_INSTRUCTIONS};
use wasmparser::Operator;

/// Counts instructions of a function that control can get to, in the order of the code. Functions that the call graph takes for
/// light never come to an end of a stretch, since they have no more instructions, and none that counts for more.
pub(crate) struct Stretch<'a> {
    graph: &'a CallGraph,
    /// Instructions since the last check.
    length: u32,
}

impl<'a> Stretch<'a> {
    pub(crate) fn new(graph: &'a CallGraph) -> Self {
        Self { graph, length: 0 }
    }

    /// Whether there is a check before the next instruction. To be asked once for each, if control can get to it.
    pub(crate) fn ends_before(&mut self, op: &Operator<'_>) -> bool {
        if let Operator::Loop { .. } = op {
            // It has a check.
            self.length = 0;
            return false;
        }
        let ends = self.length >= LIGHT_INSTRUCTIONS
            && !matches!(
                op,
                Operator::End
                    | Operator::Else
                    | Operator::Catch { .. }
                    | Operator::CatchAll
                    | Operator::Delegate { .. }
            );
        if ends {
            self.length = 0;
        }
        self.length = self.length.saturating_add(self.weight(op));
        ends
    }

    /// How many instructions it counts for.
    fn weight(&self, op: &Operator<'_>) -> u32 {
        match *op {
            Operator::Call { function_index } => self.graph.unchecked_instructions(function_index).max(1),
            Operator::CallIndirect { .. } => 1,
            Operator::TableGrow { .. } => LIGHT_INSTRUCTIONS,
            _ if is_bulk(op) => LIGHT_INSTRUCTIONS,
            _ => 1,
        }
    }
}
