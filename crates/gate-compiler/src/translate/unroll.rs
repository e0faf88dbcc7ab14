//! Small loops, translated several times in a row.
//!
//! A loop's header is a safepoint, and what that costs in each round shows where a round is a few instructions. So the
//! body of a small innermost loop is repeated: a branch back to the loop goes on with the next copy, and from the
//! last one to the header. Only there is the request flag tested. Copies have no safepoints of their own, and frames
//! know nothing of them.

use super::Env;
use super::control::Kind;
use super::function::Translator;
use crate::breakpoints::is_bulk;
use crate::error::CompileError;
use cranelift_codegen::ir::Block;
use cranelift_frontend::FunctionBuilder;
use wasmparser::{BinaryReader, Operator, OperatorsReader};

/// Number of instructions that do something in a loop that is repeated.
const MAX_INSTRUCTIONS: u32 = 14;

/// Number of such instructions in all copies of a loop, if there are more than two.
const MAX_COPIED: u32 = 16;

/// Number of copies of a loop.
const MAX_COPIES: u32 = 4;

/// Copies of a loop's body that are still to be translated.
pub(super) struct Copies<'a> {
    /// What follows the instruction that opened the loop.
    body: BinaryReader<'a>,
    left: u32,
}

impl<'a> Copies<'a> {
    /// Of a loop with the given body, which more code can follow. None if it is not to be repeated.
    pub(super) fn of_loop(env: &Env<'_>, body: BinaryReader<'a>) -> Option<Self> {
        let left = copies(env, body.clone())?.checked_sub(1)?;
        (left > 0).then_some(Self { body, left })
    }
}

/// How often the body of a loop is worth translating, if it can be repeated.
fn copies(env: &Env<'_>, body: BinaryReader<'_>) -> Option<u32> {
    let mut reader = OperatorsReader::new(body);
    let (mut instructions, mut depth) = (0, 1);
    while depth > 0 {
        if reader.eof() {
            return None;
        }
        let (op, offset) = reader.read_with_offset().ok()?;
        if env.breakpoints.contains(offset) {
            return None;
        }
        match op {
            Operator::Call { function_index } if !env.graph.reaches_safepoint(function_index) => {
                // What it takes to pass arguments.
                instructions += 8;
            }
            // What is a safepoint or leads to one.
            Operator::Loop { .. }
            | Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
            | Operator::Try { .. }
            | Operator::TryTable { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::Rethrow { .. } => return None,
            op if is_bulk(&op) => return None,
            Operator::Block { .. } => depth += 1,
            Operator::If { .. } => {
                depth += 1;
                instructions += 1;
            }
            Operator::End => depth -= 1,
            Operator::LocalGet { .. }
            | Operator::LocalSet { .. }
            | Operator::LocalTee { .. }
            | Operator::I32Const { .. }
            | Operator::I64Const { .. }
            | Operator::Drop
            | Operator::Nop
            | Operator::Else => {}
            Operator::BrTable { targets } => instructions += targets.len().saturating_add(1),
            _ => instructions += 1,
        }
        if instructions > MAX_INSTRUCTIONS {
            return None;
        }
    }
    Some((MAX_COPIED / instructions.max(1)).clamp(2, MAX_COPIES))
}

/// A copy that is to be translated next.
pub(super) struct Copy<'a> {
    body: BinaryReader<'a>,
    /// Code offset of the loop's end.
    end: u64,
}

impl Translator<'_, '_> {
    /// At the end of a copy of a loop's body, begins the next one, if there is one to be and something gets there.
    pub(super) fn begin_copy(&mut self) -> bool {
        let block = self.blocks.last_mut().expect("validated");
        let (params, height) = (block.params, block.height);
        let Kind::Loop { header, again, branched: branched @ true, copies: Some(copies) } = &mut block.kind
        else {
            return false;
        };
        let Some(left) = copies.left.checked_sub(1) else { return false };
        copies.left = left;
        *branched = false;
        let builder = &mut self.emit.builder;
        let this = *again;
        *again = if left == 0 { *header } else { copy_of_header(builder, *header, params) };
        self.copy = Some(Copy { body: copies.body.clone(), end: self.offset });

        self.emit.switch_to_sealed(this);
        self.stack.truncate(height);
        self.stack.extend(self.emit.builder.block_params(this));
        self.reachable = true;
        true
    }

    /// Translates the copies that have begun. The code has been validated.
    pub(super) fn copies(&mut self) -> Result<(), CompileError> {
        while let Some(copy) = self.copy.take() {
            let mut reader = OperatorsReader::new(copy.body);
            loop {
                let (op, offset) = reader.read_with_offset()?;
                self.translate(&op, offset)?;
                if offset == copy.end {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// A block with the same parameters as a loop's header has. The front end may have added others to those for locals.
pub(super) fn copy_of_header(builder: &mut FunctionBuilder<'_>, header: Block, params: usize) -> Block {
    let copy = builder.create_block();
    for index in 0..params {
        let ty = builder.func.dfg.value_type(builder.block_params(header)[index]);
        builder.append_block_param(copy, ty);
    }
    copy
}
