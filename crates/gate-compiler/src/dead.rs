//! Code where control cannot get.

use wasmparser::Operator;

/// Keeps count of the blocks that begin in such code and are open. Returns whether an instruction concerns another block: its end, or
/// where its next part begins.
pub(crate) fn concerns_live_block(op: &Operator<'_>, dead_blocks: &mut u32) -> bool {
    match op {
        Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::If { .. }
        | Operator::Try { .. }
        | Operator::TryTable { .. } => *dead_blocks += 1,
        Operator::End | Operator::Delegate { .. } if *dead_blocks > 0 => *dead_blocks -= 1,
        Operator::End
        | Operator::Delegate { .. }
        | Operator::Catch { .. }
        | Operator::CatchAll
        | Operator::Else => return *dead_blocks == 0,
        _ => {}
    }
    false
}
