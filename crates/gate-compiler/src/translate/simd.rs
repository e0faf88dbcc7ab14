//! Instructions on 128-bit vectors.

mod float;
mod integer;
mod lanes;
mod memory;
mod relaxed;

use super::numeric::operands::Operands;
use cranelift_codegen::ir::{MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;
use wasmparser::{MemArg, Operator};

/// Checks an access to a linear memory and addresses it.
///
/// Arguments are the index operand, the instruction's immediate and the number of bytes that are accessed; results
/// are base, offset and flags for a Cranelift load or store instruction.
pub(super) type Address<'a> =
    dyn FnMut(&mut FunctionBuilder<'_>, Value, &MemArg, u32) -> (Value, i32, MemFlagsData) + 'a;

/// Translates `op` if it is an instruction on vectors, and returns whether it is.
///
/// Operands are popped from `stack`, results pushed to it.
pub(super) fn translate(
    op: &Operator<'_>,
    builder: &mut FunctionBuilder<'_>,
    stack: &mut Vec<Value>,
    memory: &mut Address<'_>,
) -> bool {
    let strict = relaxed::strict(op);
    let op = strict.as_ref().unwrap_or(op);
    let mut ops = Operands { builder, stack };
    memory::translate(op, &mut ops, memory)
        || lanes::translate(op, &mut ops)
        || integer::translate(op, &mut ops)
        || float::translate(op, &mut ops)
        || relaxed::translate(op, &mut ops)
}

/// Whether an instruction is a relaxed one.
pub(super) fn is_relaxed(op: &Operator<'_>) -> bool {
    relaxed::is_relaxed(op)
}

/// Defines a function that translates operators by one Cranelift instruction each, on operands of the given lanes.
macro_rules! instructions {
    ($name:ident, pop2: $($instruction:ident { $($operator:ident: $lanes:ident)* })*) => {
        fn $name(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
            match op {
                $($(Operator::$operator => {
                    let (x, y) = ops.pop2_lanes(types::$lanes);
                    let result = ops.ins().$instruction(x, y);
                    ops.push_lanes(result);
                })*)*
                _ => return false,
            }
            true
        }
    };
    ($name:ident, pop: $($instruction:ident { $($operator:ident: $lanes:ident)* })*) => {
        fn $name(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
            match op {
                $($(Operator::$operator => {
                    let x = ops.pop_lanes(types::$lanes);
                    let result = ops.ins().$instruction(x);
                    ops.push_lanes(result);
                })*)*
                _ => return false,
            }
            true
        }
    };
}

/// Defines a function that translates comparisons of operands with the given lanes: the result's lanes are all ones
/// or all zeros.
macro_rules! comparisons {
    ($name:ident, $compare:ident: $($condition:path { $($operator:ident: $lanes:ident)* })*) => {
        fn $name(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
            match op {
                $($(Operator::$operator => {
                    let (x, y) = ops.pop2_lanes(types::$lanes);
                    let result = ops.ins().$compare($condition, x, y);
                    ops.push_lanes(result);
                })*)*
                _ => return false,
            }
            true
        }
    };
}

use {comparisons, instructions};
