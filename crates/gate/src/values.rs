//! Arguments and results of functions as text.

use anyhow::{Result, anyhow, bail, ensure};
use gate_compiler::{FuncType, ValType, Value};

/// Parses arguments by the types of a function's parameters.
pub(crate) fn parse_args(name: &str, ty: &FuncType, args: &[String]) -> Result<Vec<Value>> {
    ensure!(
        args.len() == ty.params.len(),
        "function {name:?} has type {ty} and takes {} arguments, but got {}",
        ty.params.len(),
        args.len()
    );
    let parse = |(index, (&ty, text)): (usize, (&ValType, &String))| {
        parse_value(ty, text).ok_or_else(|| {
            anyhow!("argument {} of function {name:?}: {text:?} is not a value of type {ty}", index + 1)
        })
    };
    ty.params.iter().zip(args).enumerate().map(parse).collect()
}

/// A line for each result.
pub(crate) fn print_results(results: &[Value]) -> String {
    results.iter().map(|&value| format_value(value) + "\n").collect()
}

fn parse_value(ty: ValType, text: &str) -> Option<Value> {
    Some(match ty.general() {
        ValType::I32 => Value::I32(parse_integer(text, 32)? as i32),
        ValType::I64 => Value::I64(parse_integer(text, 64)? as i64),
        ValType::F32 => Value::F32(text.parse::<f32>().ok()?.to_bits()),
        ValType::F64 => Value::F64(text.parse::<f64>().ok()?.to_bits()),
        ValType::V128 => Value::V128(parse_unsigned(text)?),
        ValType::FuncRef if text == "null" => Value::FuncRef(None),
        ValType::ExternRef if text == "null" => Value::ExternRef(None),
        ValType::ExnRef if text == "null" => Value::ExnRef(None),
        _ => return None,
    })
}

/// Signed or unsigned, as the program may mean either.
fn parse_integer(text: &str, bits: u32) -> Option<u128> {
    match text.strip_prefix('-') {
        Some(text) => parse_unsigned(text).filter(|&n| n <= 1 << (bits - 1)).map(u128::wrapping_neg),
        None => parse_unsigned(text).filter(|&n| n < 1 << bits),
    }
}

fn parse_unsigned(text: &str) -> Option<u128> {
    // The parsers would accept a second sign.
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u128::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

fn format_value(value: Value) -> String {
    match value {
        Value::I32(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        Value::F32(bits) => f32::from_bits(bits).to_string(),
        Value::F64(bits) => f64::from_bits(bits).to_string(),
        Value::V128(v) => v.to_string(),
        Value::FuncRef(Some(index)) => format!("function {index}"),
        Value::ExternRef(Some(number)) => format!("extern {number}"),
        Value::ExnRef(Some(number)) => format!("exception {number}"),
        Value::FuncRef(None) | Value::ExternRef(None) | Value::ExnRef(None) => "null".into(),
    }
}

/// Says which functions there are, for errors.
pub(crate) fn list_names(names: &[&str]) -> String {
    const MOST: usize = 12;
    if names.is_empty() {
        return "it exports no functions".into();
    }
    let shown = names.iter().take(MOST).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => format!("it exports {shown}"),
        more => format!("it exports {shown} and {more} more"),
    }
}

/// Fails unless the type is that of a WASI command's entry function.
pub(crate) fn check_command(name: &str, ty: &FuncType) -> Result<()> {
    if !ty.params.is_empty() || !ty.results.is_empty() {
        bail!("wrong entry signature: {name:?} has type {ty} where () -> () is expected");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(ty: ValType, text: &str) -> Option<Value> {
        parse_value(ty, text)
    }

    #[test]
    fn integers_are_signed_or_unsigned() {
        assert_eq!(parse(ValType::I32, "-1"), Some(Value::I32(-1)));
        assert_eq!(parse(ValType::I32, "4294967295"), Some(Value::I32(-1)));
        assert_eq!(parse(ValType::I32, "-2147483648"), Some(Value::I32(i32::MIN)));
        assert_eq!(parse(ValType::I32, "0xff"), Some(Value::I32(255)));
        assert_eq!(parse(ValType::I64, "-9223372036854775808"), Some(Value::I64(i64::MIN)));
        assert_eq!(parse(ValType::I64, "18446744073709551615"), Some(Value::I64(-1)));
        for bad in ["", "-", "+1", "--1", "1.0", "4294967296", "-2147483649", "0x", "0x+1", "x", "1 "] {
            assert_eq!(parse(ValType::I32, bad), None, "{bad}");
        }
    }

    #[test]
    fn other_types() {
        assert_eq!(parse(ValType::F32, "0.5"), Some(Value::F32(0.5f32.to_bits())));
        assert_eq!(parse(ValType::F64, "-inf"), Some(Value::F64(f64::NEG_INFINITY.to_bits())));
        assert_eq!(parse(ValType::V128, "0x10"), Some(Value::V128(16)));
        assert_eq!(parse(ValType::FuncRef, "null"), Some(Value::FuncRef(None)));
        assert_eq!(parse(ValType::ExternRef, "0"), None);
    }

    #[test]
    fn results_are_a_line_each() {
        let results =
            [Value::I32(-1), Value::F64(0.1f64.to_bits()), Value::FuncRef(Some(3)), Value::ExternRef(None)];
        assert_eq!(print_results(&results), "-1\n0.1\nfunction 3\nnull\n");
    }

    #[test]
    fn the_number_of_arguments_is_checked() {
        let ty = FuncType { params: vec![ValType::I32], results: vec![] };
        let err = parse_args("f", &ty, &[]).unwrap_err().to_string();
        assert_eq!(err, "function \"f\" has type (i32) -> () and takes 1 arguments, but got 0");
        let err = parse_args("f", &ty, &["a".into()]).unwrap_err().to_string();
        assert_eq!(err, "argument 1 of function \"f\": \"a\" is not a value of type i32");
    }
}
