//! Instructions on floating point lanes.

use super::{Operands, comparisons, instructions};
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{ConstantData, InstBuilder, Type, Value, types};
use wasmparser::Operator;

pub(super) fn translate(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    binary(op, ops)
        || unary(op, ops)
        || comparison(op, ops)
        || pseudo_extremum(op, ops)
        || from_integers(op, ops)
        || to_integers(op, ops)
}

instructions! { binary, pop2:
    fadd { F32x4Add: F32X4 F64x2Add: F64X2 }
    fsub { F32x4Sub: F32X4 F64x2Sub: F64X2 }
    fmul { F32x4Mul: F32X4 F64x2Mul: F64X2 }
    fdiv { F32x4Div: F32X4 F64x2Div: F64X2 }
    fmin { F32x4Min: F32X4 F64x2Min: F64X2 }
    fmax { F32x4Max: F32X4 F64x2Max: F64X2 }
}

instructions! { unary, pop:
    fabs { F32x4Abs: F32X4 F64x2Abs: F64X2 }
    fneg { F32x4Neg: F32X4 F64x2Neg: F64X2 }
    sqrt { F32x4Sqrt: F32X4 F64x2Sqrt: F64X2 }
    ceil { F32x4Ceil: F32X4 F64x2Ceil: F64X2 }
    floor { F32x4Floor: F32X4 F64x2Floor: F64X2 }
    trunc { F32x4Trunc: F32X4 F64x2Trunc: F64X2 }
    nearest { F32x4Nearest: F32X4 F64x2Nearest: F64X2 }
    fvdemote { F32x4DemoteF64x2Zero: F64X2 }
    fvpromote_low { F64x2PromoteLowF32x4: F32X4 }
}

comparisons! { comparison, fcmp:
    FloatCC::Equal { F32x4Eq: F32X4 F64x2Eq: F64X2 }
    FloatCC::NotEqual { F32x4Ne: F32X4 F64x2Ne: F64X2 }
    FloatCC::LessThan { F32x4Lt: F32X4 F64x2Lt: F64X2 }
    FloatCC::GreaterThan { F32x4Gt: F32X4 F64x2Gt: F64X2 }
    FloatCC::LessThanOrEqual { F32x4Le: F32X4 F64x2Le: F64X2 }
    FloatCC::GreaterThanOrEqual { F32x4Ge: F32X4 F64x2Ge: F64X2 }
}

/// The pseudo-minimum is `y < x ? y : x`, the pseudo-maximum `x < y ? y : x`: the first operand if one of them is a
/// NaN or if they are equal.
fn pseudo_extremum(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    let (lanes, minimum) = match op {
        Operator::F32x4PMin => (types::F32X4, true),
        Operator::F64x2PMin => (types::F64X2, true),
        Operator::F32x4PMax => (types::F32X4, false),
        Operator::F64x2PMax => (types::F64X2, false),
        _ => return false,
    };
    let (x, y) = ops.pop2_lanes(lanes);
    let (less, greater) = if minimum { (y, x) } else { (x, y) };
    let choose_y = ops.ins().fcmp(FloatCC::LessThan, less, greater);
    let choose_y = ops.cast(lanes, choose_y);
    let result = ops.ins().bitselect(choose_y, y, x);
    ops.push_lanes(result);
    true
}

fn from_integers(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    let x = match op {
        Operator::F32x4ConvertI32x4S
        | Operator::F32x4ConvertI32x4U
        | Operator::F64x2ConvertLowI32x4S
        | Operator::F64x2ConvertLowI32x4U => ops.pop_lanes(types::I32X4),
        _ => return false,
    };
    let result = match op {
        Operator::F32x4ConvertI32x4S => ops.ins().fcvt_from_sint(types::F32X4, x),
        Operator::F32x4ConvertI32x4U => ops.ins().fcvt_from_uint(types::F32X4, x),
        Operator::F64x2ConvertLowI32x4S => {
            let low = ops.ins().swiden_low(x);
            ops.ins().fcvt_from_sint(types::F64X2, low)
        }
        _ => {
            let low = ops.ins().uwiden_low(x);
            ops.ins().fcvt_from_uint(types::F64X2, low)
        }
    };
    ops.push_lanes(result);
    true
}

fn to_integers(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    let result = match op {
        Operator::I32x4TruncSatF32x4S => {
            let x = ops.pop_lanes(types::F32X4);
            ops.ins().fcvt_to_sint_sat(types::I32X4, x)
        }
        Operator::I32x4TruncSatF32x4U => {
            let x = ops.pop_lanes(types::F32X4);
            ops.ins().fcvt_to_uint_sat(types::I32X4, x)
        }
        // Saturating to 64 bits and then to 32 is saturating to 32; Cranelift knows the pattern.
        Operator::I32x4TruncSatF64x2SZero => {
            let x = ops.pop_lanes(types::F64X2);
            let wide = ops.ins().fcvt_to_sint_sat(types::I64X2, x);
            let zero = zeros(ops, types::I64X2);
            ops.ins().snarrow(wide, zero)
        }
        Operator::I32x4TruncSatF64x2UZero => {
            let x = ops.pop_lanes(types::F64X2);
            let wide = ops.ins().fcvt_to_uint_sat(types::I64X2, x);
            let zero = zeros(ops, types::I64X2);
            ops.ins().uunarrow(wide, zero)
        }
        _ => return false,
    };
    ops.push_lanes(result);
    true
}

fn zeros(ops: &mut Operands<'_, '_>, lanes: Type) -> Value {
    let constant = ops.builder.func.dfg.constants.insert(ConstantData::from(&[0; 16][..]));
    ops.ins().vconst(lanes, constant)
}
