//! Evaluates constant expressions.
//!
//! Nothing that a constant expression can read depends on the instance, because only functions can be imported.

use crate::error::{CompileError, ErrorKind};
use crate::features::Features;
use crate::module::Global;
use wasmparser::{ConstExpr, Operator};

/// The value of a constant expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Const(u128);

impl Const {
    /// The value as it is in a slot, see [`Value::to_slot`](crate::Value::to_slot).
    pub(crate) fn bits(self) -> u128 {
        self.0
    }
}

/// Evaluates an expression that has been validated, and adds the features that it uses.
pub(crate) fn evaluate(
    expr: &ConstExpr<'_>,
    globals: &[Global],
    features: &mut Features,
) -> Result<Const, CompileError> {
    let mut stack: Vec<u128> = Vec::new();
    let mut reader = expr.get_operators_reader();
    loop {
        let (op, offset) = reader.read_with_offset()?;
        let mut binary = |f: fn(u64, u64) -> u64| {
            let y = stack.pop().unwrap_or_default() as u64;
            let x = stack.pop().unwrap_or_default() as u64;
            u128::from(f(x, y))
        };
        // The low half of a 64-bit result is the 32-bit one.
        let low = |bits: u128| u128::from(bits as u32);
        match op {
            // Globals cannot be imported.
            Operator::GlobalGet { .. } => features.const_globals = true,
            Operator::I32Add
            | Operator::I32Sub
            | Operator::I32Mul
            | Operator::I64Add
            | Operator::I64Sub
            | Operator::I64Mul => features.extended_const = true,
            _ => {}
        }
        let value = match op {
            Operator::I32Const { value } => u128::from(value.cast_unsigned()),
            Operator::I64Const { value } => u128::from(value.cast_unsigned()),
            Operator::F32Const { value } => u128::from(value.bits()),
            Operator::F64Const { value } => u128::from(value.bits()),
            Operator::V128Const { value } => value.i128().cast_unsigned(),
            Operator::RefNull { .. } => 0,
            Operator::RefFunc { function_index } => u128::from(function_index) + 1,
            Operator::GlobalGet { global_index } => match globals.get(global_index as usize) {
                Some(global) => global.initial.0,
                None => return Err(not_constant(offset)),
            },
            Operator::I32Add => low(binary(u64::wrapping_add)),
            Operator::I32Sub => low(binary(u64::wrapping_sub)),
            Operator::I32Mul => low(binary(u64::wrapping_mul)),
            Operator::I64Add => binary(u64::wrapping_add),
            Operator::I64Sub => binary(u64::wrapping_sub),
            Operator::I64Mul => binary(u64::wrapping_mul),
            Operator::End => return stack.pop().map(Const).ok_or_else(|| not_constant(offset)),
            _ => return Err(not_constant(offset)),
        };
        stack.push(value);
    }
}

fn not_constant(offset: u64) -> CompileError {
    CompileError::new(ErrorKind::Unsupported, offset, "unsupported instruction in a constant expression")
}
