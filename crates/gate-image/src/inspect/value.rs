//! Values as text.

use gate_compiler::Value;
use serde::Serialize;

/// A value as text: exact, so that it can be told from every other value of its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueView {
    /// Its type: `i32`, `i64`, `f32`, `f64`, `v128`, `funcref`, `externref`, `exnref`.
    #[serde(rename = "type")]
    pub ty: String,
    /// The value. Integers are signed; floats that are no numbers have their bits (`nan:0x7fc00000`); vectors are
    /// hexadecimal, lane 0 last; references are `null`, `function 3`, `extern 3` or
    /// `exception 3`.
    pub value: String,
}

impl From<Value> for ValueView {
    fn from(value: Value) -> Self {
        Self { ty: value.ty().to_string(), value: text(value) }
    }
}

fn text(value: Value) -> String {
    match value {
        Value::I32(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        Value::F32(bits) if f32::from_bits(bits).is_nan() => format!("nan:{bits:#010x}"),
        Value::F32(bits) => format!("{:?}", f32::from_bits(bits)),
        Value::F64(bits) if f64::from_bits(bits).is_nan() => format!("nan:{bits:#018x}"),
        Value::F64(bits) => format!("{:?}", f64::from_bits(bits)),
        Value::V128(v) => format!("{v:#034x}"),
        Value::FuncRef(Some(function)) => format!("function {function}"),
        Value::ExternRef(Some(number)) => format!("extern {number}"),
        Value::ExnRef(Some(number)) => format!("exception {number}"),
        Value::FuncRef(None) | Value::ExternRef(None) | Value::ExnRef(None) => "null".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact() {
        for (value, expected) in [
            (Value::I32(-1), "-1"),
            (Value::I64(i64::MIN), "-9223372036854775808"),
            (Value::F32(0x3dcc_cccd), "0.1"),
            (Value::F32(0xffc0_0001), "nan:0xffc00001"),
            (Value::F64((-0.0f64).to_bits()), "-0.0"),
            (Value::F64(f64::INFINITY.to_bits()), "inf"),
            (Value::F64(0x7ff8_0000_0000_0000), "nan:0x7ff8000000000000"),
            (Value::V128(0x10), "0x00000000000000000000000000000010"),
            (Value::FuncRef(Some(3)), "function 3"),
            (Value::ExternRef(None), "null"),
        ] {
            assert_eq!(text(value), expected);
        }
        let view = ValueView::from(Value::F64(0x3ff0_0000_0000_0000));
        assert_eq!((view.ty.as_str(), view.value.as_str()), ("f64", "1.0"));
    }
}
