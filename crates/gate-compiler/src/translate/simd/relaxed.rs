//! Relaxed instructions, each with the one result that the deterministic profile of WebAssembly 3.0 allows.
//!
//! Many are other instructions by another name. Multiplication and addition are rounded separately.

use super::super::numeric::operands::Operands;
use cranelift_codegen::ir::{InstBuilder, types};
use wasmparser::Operator;

/// Whether an operator is a relaxed one.
pub(super) fn is_relaxed(op: &Operator<'_>) -> bool {
    use Operator::*;
    let is_dot = matches!(op, I16x8RelaxedDotI8x16I7x16S | I32x4RelaxedDotI8x16I7x16AddS);
    is_dot || multiplies_and_adds(op) || strict(op).is_some()
}

/// The instruction that does the same.
pub(super) fn strict(op: &Operator<'_>) -> Option<Operator<'static>> {
    use Operator::*;
    Some(match op {
        I8x16RelaxedSwizzle => I8x16Swizzle,
        I32x4RelaxedTruncF32x4S => I32x4TruncSatF32x4S,
        I32x4RelaxedTruncF32x4U => I32x4TruncSatF32x4U,
        I32x4RelaxedTruncF64x2SZero => I32x4TruncSatF64x2SZero,
        I32x4RelaxedTruncF64x2UZero => I32x4TruncSatF64x2UZero,
        I8x16RelaxedLaneselect | I16x8RelaxedLaneselect | I32x4RelaxedLaneselect | I64x2RelaxedLaneselect => {
            V128Bitselect
        }
        F32x4RelaxedMin => F32x4Min,
        F32x4RelaxedMax => F32x4Max,
        F64x2RelaxedMin => F64x2Min,
        F64x2RelaxedMax => F64x2Max,
        I16x8RelaxedQ15mulrS => I16x8Q15MulrSatS,
        _ => return None,
    })
}

/// Translates an instruction that is not another one by another name.
pub(super) fn translate(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    use Operator::*;
    match op {
        F32x4RelaxedMadd | F32x4RelaxedNmadd => multiply_and_add(ops, types::F32X4, op),
        F64x2RelaxedMadd | F64x2RelaxedNmadd => multiply_and_add(ops, types::F64X2, op),
        I16x8RelaxedDotI8x16I7x16S => {
            let (x, y) = ops.pop2_lanes(types::I8X16);
            let result = dot(ops, x, y);
            ops.push_lanes(result);
        }
        I32x4RelaxedDotI8x16I7x16AddS => {
            let addend = ops.pop_lanes(types::I32X4);
            let (x, y) = ops.pop2_lanes(types::I8X16);
            let products = dot(ops, x, y);
            let low = ops.ins().swiden_low(products);
            let high = ops.ins().swiden_high(products);
            let sums = ops.ins().iadd_pairwise(low, high);
            let result = ops.ins().iadd(sums, addend);
            ops.push_lanes(result);
        }
        _ => return false,
    }
    true
}

fn multiplies_and_adds(op: &Operator<'_>) -> bool {
    use Operator::*;
    matches!(op, F32x4RelaxedMadd | F32x4RelaxedNmadd | F64x2RelaxedMadd | F64x2RelaxedNmadd)
}

fn multiply_and_add(ops: &mut Operands<'_, '_>, lanes: cranelift_codegen::ir::Type, op: &Operator<'_>) {
    let addend = ops.pop_lanes(lanes);
    let (x, y) = ops.pop2_lanes(lanes);
    let x = match op {
        Operator::F32x4RelaxedNmadd | Operator::F64x2RelaxedNmadd => ops.ins().fneg(x),
        _ => x,
    };
    let product = ops.ins().fmul(x, y);
    let result = ops.ins().fadd(product, addend);
    ops.push_lanes(result);
}

/// Products of signed bytes, of which neighbours are added with saturation.
fn dot(
    ops: &mut Operands<'_, '_>,
    x: cranelift_codegen::ir::Value,
    y: cranelift_codegen::ir::Value,
) -> cranelift_codegen::ir::Value {
    let (x_low, y_low) = (ops.ins().swiden_low(x), ops.ins().swiden_low(y));
    let (x_high, y_high) = (ops.ins().swiden_high(x), ops.ins().swiden_high(y));
    let low = ops.ins().imul(x_low, y_low);
    let high = ops.ins().imul(x_high, y_high);
    // As 32-bit numbers, the sums of neighbours are exact.
    let sums = |ops: &mut Operands<'_, '_>, products| {
        let low = ops.ins().swiden_low(products);
        let high = ops.ins().swiden_high(products);
        ops.ins().iadd_pairwise(low, high)
    };
    let (low, high) = (sums(ops, low), sums(ops, high));
    ops.ins().snarrow(low, high)
}
