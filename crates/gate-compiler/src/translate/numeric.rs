//! Instructions on scalar numbers.

pub(super) mod operands;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;
use operands::Operands;
use wasmparser::Operator;

/// Translates `op` if it is an instruction on scalar numbers, and returns whether it is.
///
/// Operands are popped from `stack`, results pushed to it.
pub(super) fn translate(
    op: &Operator<'_>,
    builder: &mut FunctionBuilder<'_>,
    stack: &mut Vec<Value>,
) -> bool {
    let mut ops = Operands { builder, stack };
    constant(op, &mut ops)
        || binary(op, &mut ops)
        || integer_comparison(op, &mut ops)
        || unary(op, &mut ops)
        || float_comparison(op, &mut ops)
        || conversion(op, &mut ops)
}

fn constant(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    let value = match *op {
        // An immediate holds the bits of its type, zero-extended.
        Operator::I32Const { value } => ops.ins().iconst(types::I32, i64::from(value.cast_unsigned())),
        Operator::I64Const { value } => ops.ins().iconst(types::I64, value),
        Operator::F32Const { value } => ops.ins().f32const(Ieee32::with_bits(value.bits())),
        Operator::F64Const { value } => ops.ins().f64const(Ieee64::with_bits(value.bits())),
        _ => return false,
    };
    ops.push(value);
    true
}

/// Defines a function that translates operators by one Cranelift instruction each.
macro_rules! instructions {
    ($name:ident, pop2: $($instruction:ident { $($operator:ident)* })*) => {
        fn $name(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
            match op {
                $($(Operator::$operator)|* => {
                    let (x, y) = ops.pop2();
                    let result = ops.ins().$instruction(x, y);
                    ops.push(result);
                })*
                _ => return false,
            }
            true
        }
    };
    ($name:ident, pop: $($instruction:ident { $($operator:ident)* })*) => {
        fn $name(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
            match op {
                $($(Operator::$operator)|* => {
                    let x = ops.pop();
                    let result = ops.ins().$instruction(x);
                    ops.push(result);
                })*
                _ => return false,
            }
            true
        }
    };
    ($name:ident, pop as type: $($instruction:ident { $($operator:ident: $ty:ident)* })*) => {
        fn $name(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
            match op {
                $($(Operator::$operator => {
                    let x = ops.pop();
                    let result = ops.ins().$instruction(types::$ty, x);
                    ops.push(result);
                })*)*
                _ => return false,
            }
            true
        }
    };
}

// Cranelift masks shift amounts as WebAssembly does, and its divisions trap as WebAssembly's do:
// the remainder of the least integer by -1 is 0.
instructions! { binary, pop2:
    iadd { I32Add I64Add }
    isub { I32Sub I64Sub }
    imul { I32Mul I64Mul }
    sdiv { I32DivS I64DivS }
    udiv { I32DivU I64DivU }
    srem { I32RemS I64RemS }
    urem { I32RemU I64RemU }
    band { I32And I64And }
    bor { I32Or I64Or }
    bxor { I32Xor I64Xor }
    ishl { I32Shl I64Shl }
    sshr { I32ShrS I64ShrS }
    ushr { I32ShrU I64ShrU }
    rotl { I32Rotl I64Rotl }
    rotr { I32Rotr I64Rotr }
    fadd { F32Add F64Add }
    fsub { F32Sub F64Sub }
    fmul { F32Mul F64Mul }
    fdiv { F32Div F64Div }
    fmin { F32Min F64Min }
    fmax { F32Max F64Max }
    fcopysign { F32Copysign F64Copysign }
}

instructions! { unary, pop:
    clz { I32Clz I64Clz }
    ctz { I32Ctz I64Ctz }
    popcnt { I32Popcnt I64Popcnt }
    fabs { F32Abs F64Abs }
    fneg { F32Neg F64Neg }
    ceil { F32Ceil F64Ceil }
    floor { F32Floor F64Floor }
    trunc { F32Trunc F64Trunc }
    nearest { F32Nearest F64Nearest }
    sqrt { F32Sqrt F64Sqrt }
}

fn integer_comparison(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    use Operator::*;
    let condition = match op {
        I32Eqz | I64Eqz => {
            let x = ops.pop();
            let result = ops.ins().icmp_imm_u(IntCC::Equal, x, 0);
            ops.push_bool(result);
            return true;
        }
        I32Eq | I64Eq => IntCC::Equal,
        I32Ne | I64Ne => IntCC::NotEqual,
        I32LtS | I64LtS => IntCC::SignedLessThan,
        I32LtU | I64LtU => IntCC::UnsignedLessThan,
        I32GtS | I64GtS => IntCC::SignedGreaterThan,
        I32GtU | I64GtU => IntCC::UnsignedGreaterThan,
        I32LeS | I64LeS => IntCC::SignedLessThanOrEqual,
        I32LeU | I64LeU => IntCC::UnsignedLessThanOrEqual,
        I32GeS | I64GeS => IntCC::SignedGreaterThanOrEqual,
        I32GeU | I64GeU => IntCC::UnsignedGreaterThanOrEqual,
        _ => return false,
    };
    let (x, y) = ops.pop2();
    let result = ops.ins().icmp(condition, x, y);
    ops.push_bool(result);
    true
}

fn float_comparison(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    use Operator::*;
    // NotEqual holds if an operand is a NaN, the others don't.
    let condition = match op {
        F32Eq | F64Eq => FloatCC::Equal,
        F32Ne | F64Ne => FloatCC::NotEqual,
        F32Lt | F64Lt => FloatCC::LessThan,
        F32Gt | F64Gt => FloatCC::GreaterThan,
        F32Le | F64Le => FloatCC::LessThanOrEqual,
        F32Ge | F64Ge => FloatCC::GreaterThanOrEqual,
        _ => return false,
    };
    let (x, y) = ops.pop2();
    let result = ops.ins().fcmp(condition, x, y);
    ops.push_bool(result);
    true
}

fn conversion(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    convert(op, ops) || reinterpret(op, ops) || extend_sign(op, ops)
}

// The conversions to integers trap unless they saturate: on a NaN as a bad conversion, else as an overflow.
instructions! { convert, pop as type:
    ireduce { I32WrapI64: I32 }
    sextend { I64ExtendI32S: I64 }
    uextend { I64ExtendI32U: I64 }
    fcvt_to_sint { I32TruncF32S: I32 I32TruncF64S: I32 I64TruncF32S: I64 I64TruncF64S: I64 }
    fcvt_to_uint { I32TruncF32U: I32 I32TruncF64U: I32 I64TruncF32U: I64 I64TruncF64U: I64 }
    fcvt_to_sint_sat { I32TruncSatF32S: I32 I32TruncSatF64S: I32 I64TruncSatF32S: I64 I64TruncSatF64S: I64 }
    fcvt_to_uint_sat { I32TruncSatF32U: I32 I32TruncSatF64U: I32 I64TruncSatF32U: I64 I64TruncSatF64U: I64 }
    fcvt_from_sint { F32ConvertI32S: F32 F32ConvertI64S: F32 F64ConvertI32S: F64 F64ConvertI64S: F64 }
    fcvt_from_uint { F32ConvertI32U: F32 F32ConvertI64U: F32 F64ConvertI32U: F64 F64ConvertI64U: F64 }
    fdemote { F32DemoteF64: F32 }
    fpromote { F64PromoteF32: F64 }
}

fn reinterpret(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    let ty = match op {
        Operator::I32ReinterpretF32 => types::I32,
        Operator::I64ReinterpretF64 => types::I64,
        Operator::F32ReinterpretI32 => types::F32,
        Operator::F64ReinterpretI64 => types::F64,
        _ => return false,
    };
    let x = ops.pop();
    let result = ops.ins().bitcast(ty, MemFlagsData::new(), x);
    ops.push(result);
    true
}

fn extend_sign(op: &Operator<'_>, ops: &mut Operands<'_, '_>) -> bool {
    let (from, to) = match op {
        Operator::I32Extend8S => (types::I8, types::I32),
        Operator::I32Extend16S => (types::I16, types::I32),
        Operator::I64Extend8S => (types::I8, types::I64),
        Operator::I64Extend16S => (types::I16, types::I64),
        Operator::I64Extend32S => (types::I32, types::I64),
        _ => return false,
    };
    let x = ops.pop();
    let low = ops.ins().ireduce(from, x);
    let result = ops.ins().sextend(to, low);
    ops.push(result);
    true
}
