//! Instructions on integer lanes.

use super::{Operands, comparisons, instructions};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, types};
use wasmparser::Operator;

pub(super) fn translate(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    binary(op, ops)
        || comparison(op, ops)
        || shift(op, ops)
        || unary(op, ops)
        || extended_multiplication(op, ops)
        || extended_addition(op, ops)
}

instructions! { binary, pop2:
    iadd { I8x16Add: I8X16 I16x8Add: I16X8 I32x4Add: I32X4 I64x2Add: I64X2 }
    isub { I8x16Sub: I8X16 I16x8Sub: I16X8 I32x4Sub: I32X4 I64x2Sub: I64X2 }
    imul { I16x8Mul: I16X8 I32x4Mul: I32X4 I64x2Mul: I64X2 }
    sadd_sat { I8x16AddSatS: I8X16 I16x8AddSatS: I16X8 }
    uadd_sat { I8x16AddSatU: I8X16 I16x8AddSatU: I16X8 }
    ssub_sat { I8x16SubSatS: I8X16 I16x8SubSatS: I16X8 }
    usub_sat { I8x16SubSatU: I8X16 I16x8SubSatU: I16X8 }
    smin { I8x16MinS: I8X16 I16x8MinS: I16X8 I32x4MinS: I32X4 }
    umin { I8x16MinU: I8X16 I16x8MinU: I16X8 I32x4MinU: I32X4 }
    smax { I8x16MaxS: I8X16 I16x8MaxS: I16X8 I32x4MaxS: I32X4 }
    umax { I8x16MaxU: I8X16 I16x8MaxU: I16X8 I32x4MaxU: I32X4 }
    avg_round { I8x16AvgrU: I8X16 I16x8AvgrU: I16X8 }
    sqmul_round_sat { I16x8Q15MulrSatS: I16X8 }
    snarrow { I8x16NarrowI16x8S: I16X8 I16x8NarrowI32x4S: I32X4 }
    unarrow { I8x16NarrowI16x8U: I16X8 I16x8NarrowI32x4U: I32X4 }
}

instructions! { unary, pop:
    iabs { I8x16Abs: I8X16 I16x8Abs: I16X8 I32x4Abs: I32X4 I64x2Abs: I64X2 }
    ineg { I8x16Neg: I8X16 I16x8Neg: I16X8 I32x4Neg: I32X4 I64x2Neg: I64X2 }
    popcnt { I8x16Popcnt: I8X16 }
    swiden_low { I16x8ExtendLowI8x16S: I8X16 I32x4ExtendLowI16x8S: I16X8 I64x2ExtendLowI32x4S: I32X4 }
    uwiden_low { I16x8ExtendLowI8x16U: I8X16 I32x4ExtendLowI16x8U: I16X8 I64x2ExtendLowI32x4U: I32X4 }
    swiden_high { I16x8ExtendHighI8x16S: I8X16 I32x4ExtendHighI16x8S: I16X8 I64x2ExtendHighI32x4S: I32X4 }
    uwiden_high { I16x8ExtendHighI8x16U: I8X16 I32x4ExtendHighI16x8U: I16X8 I64x2ExtendHighI32x4U: I32X4 }
}

comparisons! { comparison, icmp:
    IntCC::Equal { I8x16Eq: I8X16 I16x8Eq: I16X8 I32x4Eq: I32X4 I64x2Eq: I64X2 }
    IntCC::NotEqual { I8x16Ne: I8X16 I16x8Ne: I16X8 I32x4Ne: I32X4 I64x2Ne: I64X2 }
    IntCC::SignedLessThan { I8x16LtS: I8X16 I16x8LtS: I16X8 I32x4LtS: I32X4 I64x2LtS: I64X2 }
    IntCC::UnsignedLessThan { I8x16LtU: I8X16 I16x8LtU: I16X8 I32x4LtU: I32X4 }
    IntCC::SignedGreaterThan { I8x16GtS: I8X16 I16x8GtS: I16X8 I32x4GtS: I32X4 I64x2GtS: I64X2 }
    IntCC::UnsignedGreaterThan { I8x16GtU: I8X16 I16x8GtU: I16X8 I32x4GtU: I32X4 }
    IntCC::SignedLessThanOrEqual { I8x16LeS: I8X16 I16x8LeS: I16X8 I32x4LeS: I32X4 I64x2LeS: I64X2 }
    IntCC::UnsignedLessThanOrEqual { I8x16LeU: I8X16 I16x8LeU: I16X8 I32x4LeU: I32X4 }
    IntCC::SignedGreaterThanOrEqual { I8x16GeS: I8X16 I16x8GeS: I16X8 I32x4GeS: I32X4 I64x2GeS: I64X2 }
    IntCC::UnsignedGreaterThanOrEqual { I8x16GeU: I8X16 I16x8GeU: I16X8 I32x4GeU: I32X4 }
}

/// Shifts of all lanes by one scalar amount, which Cranelift masks to the lanes' width as WebAssembly does.
macro_rules! shifts {
    ($($instruction:ident { $($operator:ident: $lanes:ident)* })*) => {
        fn shift(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
            match op {
                $($(Operator::$operator => {
                    let amount = ops.pop();
                    let x = ops.pop_lanes(types::$lanes);
                    let result = ops.ins().$instruction(x, amount);
                    ops.push_lanes(result);
                })*)*
                _ => return false,
            }
            true
        }
    };
}

shifts! {
    ishl { I8x16Shl: I8X16 I16x8Shl: I16X8 I32x4Shl: I32X4 I64x2Shl: I64X2 }
    sshr { I8x16ShrS: I8X16 I16x8ShrS: I16X8 I32x4ShrS: I32X4 I64x2ShrS: I64X2 }
    ushr { I8x16ShrU: I8X16 I16x8ShrU: I16X8 I32x4ShrU: I32X4 I64x2ShrU: I64X2 }
}

/// Multiplications of the low or high lanes into lanes of twice the width. Cranelift knows the pattern.
macro_rules! extended_multiplications {
    ($($widen:ident { $($operator:ident: $lanes:ident)* })*) => {
        fn extended_multiplication(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
            match op {
                $($(Operator::$operator => {
                    let (x, y) = ops.pop2_lanes(types::$lanes);
                    let x = ops.ins().$widen(x);
                    let y = ops.ins().$widen(y);
                    let result = ops.ins().imul(x, y);
                    ops.push_lanes(result);
                })*)*
                _ => return false,
            }
            true
        }
    };
}

extended_multiplications! {
    swiden_low { I16x8ExtMulLowI8x16S: I8X16 I32x4ExtMulLowI16x8S: I16X8 I64x2ExtMulLowI32x4S: I32X4 }
    uwiden_low { I16x8ExtMulLowI8x16U: I8X16 I32x4ExtMulLowI16x8U: I16X8 I64x2ExtMulLowI32x4U: I32X4 }
    swiden_high { I16x8ExtMulHighI8x16S: I8X16 I32x4ExtMulHighI16x8S: I16X8 I64x2ExtMulHighI32x4S: I32X4 }
    uwiden_high { I16x8ExtMulHighI8x16U: I8X16 I32x4ExtMulHighI16x8U: I16X8 I64x2ExtMulHighI32x4U: I32X4 }
}

/// Sums of neighbouring lanes (or, for the dot product, of their products) in lanes of twice the width.
fn extended_addition(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    use Operator::*;
    let (low, high) = match op {
        I16x8ExtAddPairwiseI8x16S | I32x4ExtAddPairwiseI16x8S => {
            let narrow = if matches!(op, I16x8ExtAddPairwiseI8x16S) { types::I8X16 } else { types::I16X8 };
            let x = ops.pop_lanes(narrow);
            (ops.ins().swiden_low(x), ops.ins().swiden_high(x))
        }
        I16x8ExtAddPairwiseI8x16U | I32x4ExtAddPairwiseI16x8U => {
            let narrow = if matches!(op, I16x8ExtAddPairwiseI8x16U) { types::I8X16 } else { types::I16X8 };
            let x = ops.pop_lanes(narrow);
            (ops.ins().uwiden_low(x), ops.ins().uwiden_high(x))
        }
        I32x4DotI16x8S => {
            let (x, y) = ops.pop2_lanes(types::I16X8);
            let (x_low, y_low) = (ops.ins().swiden_low(x), ops.ins().swiden_low(y));
            let (x_high, y_high) = (ops.ins().swiden_high(x), ops.ins().swiden_high(y));
            (ops.ins().imul(x_low, y_low), ops.ins().imul(x_high, y_high))
        }
        _ => return false,
    };
    let result = ops.ins().iadd_pairwise(low, high);
    ops.push_lanes(result);
    true
}
