//! Arguments and expected results of scripts.

use gate_compiler::Value;
use std::fmt;
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Const, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// What a result must be.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    /// Exactly this.
    Value(Value),
    /// A float whose bits are like that.
    F32(Bits),
    /// A float whose bits are like that.
    F64(Bits),
    /// A vector whose lanes are such floats, lane 0 first.
    Lanes { width: u32, lanes: Vec<Bits> },
    /// Any reference to a function.
    AnyFunction,
    /// Any reference from the host.
    AnyExtern,
    /// A null of any type.
    AnyNull,
    /// One of these.
    Either(Vec<Pattern>),
}

/// What the bits of a float must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bits {
    Exactly(u64),
    /// A NaN with only the payload's most significant bit set, of any sign.
    CanonicalNan,
    /// A NaN with the payload's most significant bit set, and others, of any sign.
    ArithmeticNan,
}

impl Pattern {
    pub(crate) fn matches(&self, value: Value) -> bool {
        match (self, value) {
            (Self::Value(expected), value) => *expected == value,
            (Self::F32(bits), Value::F32(value)) => bits.matches(value.into(), 32),
            (Self::F64(bits), Value::F64(value)) => bits.matches(value, 64),
            (Self::Lanes { width, lanes }, Value::V128(value)) => {
                let mask = (1 << width) - 1;
                let lane = |number: usize| ((value >> (number as u32 * width)) & mask) as u64;
                lanes.iter().enumerate().all(|(number, bits)| bits.matches(lane(number), *width))
            }
            (Self::AnyFunction, Value::FuncRef(Some(_))) | (Self::AnyExtern, Value::ExternRef(Some(_))) => {
                true
            }
            (Self::AnyNull, Value::FuncRef(None) | Value::ExternRef(None) | Value::ExnRef(None)) => true,
            (Self::Either(patterns), value) => patterns.iter().any(|pattern| pattern.matches(value)),
            _ => false,
        }
    }
}

impl Bits {
    fn matches(self, value: u64, width: u32) -> bool {
        let (sign, quiet_nan) = match width {
            32 => (1 << 31, 0x7fc0_0000),
            _ => (1 << 63, 0x7ff8_0000_0000_0000),
        };
        match self {
            Self::Exactly(expected) => value == expected,
            Self::CanonicalNan => value & !sign == quiet_nan,
            Self::ArithmeticNan => value & quiet_nan == quiet_nan,
        }
    }
}

/// Something in a script that is not of WebAssembly 2.0.
#[derive(Debug)]
pub(crate) struct Unsupported(pub(crate) String);

pub(crate) fn argument(arg: &WastArg<'_>) -> Result<Value, Unsupported> {
    let WastArg::Core(arg) = arg else { return Err(unsupported(arg)) };
    Ok(match arg {
        WastArgCore::I32(value) => Value::I32(*value),
        WastArgCore::I64(value) => Value::I64(*value),
        WastArgCore::F32(value) => Value::F32(value.bits),
        WastArgCore::F64(value) => Value::F64(value.bits),
        WastArgCore::V128(value) => Value::V128(vector(value)),
        WastArgCore::RefNull(ty) => null(ty)?,
        WastArgCore::RefExtern(value) => Value::ExternRef(Some(*value)),
        WastArgCore::RefHost(_) => return Err(unsupported(arg)),
    })
}

pub(crate) fn pattern(result: &WastRet<'_>) -> Result<Pattern, Unsupported> {
    match result {
        WastRet::Core(result) => core_pattern(result),
        _ => Err(unsupported(result)),
    }
}

fn core_pattern(result: &WastRetCore<'_>) -> Result<Pattern, Unsupported> {
    Ok(match result {
        WastRetCore::I32(value) => Pattern::Value(Value::I32(*value)),
        WastRetCore::I64(value) => Pattern::Value(Value::I64(*value)),
        WastRetCore::F32(value) => Pattern::F32(f32_bits(value)),
        WastRetCore::F64(value) => Pattern::F64(f64_bits(value)),
        WastRetCore::V128(value) => vector_pattern(value),
        WastRetCore::RefNull(Some(ty)) => Pattern::Value(null(ty)?),
        WastRetCore::RefNull(None) => Pattern::AnyNull,
        WastRetCore::RefExtern(Some(value)) => Pattern::Value(Value::ExternRef(Some(*value))),
        WastRetCore::RefExtern(None) => Pattern::AnyExtern,
        WastRetCore::RefFunc(None) => Pattern::AnyFunction,
        WastRetCore::Either(cases) => {
            Pattern::Either(cases.iter().map(core_pattern).collect::<Result<_, _>>()?)
        }
        _ => return Err(unsupported(result)),
    })
}

fn null(ty: &HeapType<'_>) -> Result<Value, Unsupported> {
    match ty {
        HeapType::Abstract { shared: false, ty: AbstractHeapType::Func } => Ok(Value::FuncRef(None)),
        HeapType::Abstract { shared: false, ty: AbstractHeapType::Extern } => Ok(Value::ExternRef(None)),
        HeapType::Abstract { shared: false, ty: AbstractHeapType::Exn } => Ok(Value::ExnRef(None)),
        HeapType::Concrete(_) => Ok(Value::FuncRef(None)),
        _ => Err(unsupported(ty)),
    }
}

fn vector(value: &V128Const) -> u128 {
    u128::from_le_bytes(value.to_le_bytes())
}

fn vector_pattern(pattern: &V128Pattern) -> Pattern {
    let exact = |value: V128Const| Pattern::Value(Value::V128(vector(&value)));
    match pattern {
        V128Pattern::I8x16(lanes) => exact(V128Const::I8x16(*lanes)),
        V128Pattern::I16x8(lanes) => exact(V128Const::I16x8(*lanes)),
        V128Pattern::I32x4(lanes) => exact(V128Const::I32x4(*lanes)),
        V128Pattern::I64x2(lanes) => exact(V128Const::I64x2(*lanes)),
        V128Pattern::F32x4(lanes) => {
            Pattern::Lanes { width: 32, lanes: lanes.iter().map(f32_bits).collect() }
        }
        V128Pattern::F64x2(lanes) => {
            Pattern::Lanes { width: 64, lanes: lanes.iter().map(f64_bits).collect() }
        }
    }
}

fn f32_bits(pattern: &NanPattern<F32>) -> Bits {
    match pattern {
        NanPattern::CanonicalNan => Bits::CanonicalNan,
        NanPattern::ArithmeticNan => Bits::ArithmeticNan,
        NanPattern::Value(value) => Bits::Exactly(value.bits.into()),
    }
}

fn f64_bits(pattern: &NanPattern<F64>) -> Bits {
    match pattern {
        NanPattern::CanonicalNan => Bits::CanonicalNan,
        NanPattern::ArithmeticNan => Bits::ArithmeticNan,
        NanPattern::Value(value) => Bits::Exactly(value.bits),
    }
}

fn unsupported(what: impl fmt::Debug) -> Unsupported {
    Unsupported(format!("{what:?}"))
}

#[test]
fn patterns_tell_nans_apart() {
    let canonical = Pattern::F32(Bits::CanonicalNan);
    assert!(canonical.matches(Value::F32(0x7fc0_0000)) && canonical.matches(Value::F32(0xffc0_0000)));
    assert!(!canonical.matches(Value::F32(0x7fc0_0001)) && !canonical.matches(Value::F32(0x7f80_0000)));
    let arithmetic = Pattern::F64(Bits::ArithmeticNan);
    assert!(arithmetic.matches(Value::F64(0xfff8_0000_0000_0001)));
    assert!(!arithmetic.matches(Value::F64(0x7ff0_0000_0000_0001)));
    assert!(!arithmetic.matches(Value::F32(0x7fc0_0000)));
    let lanes = Pattern::Lanes { width: 64, lanes: vec![Bits::Exactly(7), Bits::CanonicalNan] };
    assert!(lanes.matches(Value::V128(0x7ff8_0000_0000_0000_0000_0000_0000_0007)));
    assert!(!lanes.matches(Value::V128(0x7ff8_0000_0000_0000_0000_0000_0000_0008)));
}
