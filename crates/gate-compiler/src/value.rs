//! WebAssembly types and values as the layers above see them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
    /// Nullable function reference.
    FuncRef,
    /// Nullable reference to something of the host's.
    ExternRef,
}

impl ValType {
    /// Bytes that a value takes in a globals slot, an entry area slot or a dumped frame: 16 for vectors, else 8.
    pub const fn slot_size(self) -> u32 {
        match self {
            Self::V128 => 16,
            _ => 8,
        }
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::FuncRef => "funcref",
            Self::ExternRef => "externref",
        })
    }
}

/// Type of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FuncType {
    /// Parameter types.
    pub params: Vec<ValType>,
    /// Result types.
    pub results: Vec<ValType>,
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |types: &[ValType]| types.iter().map(ValType::to_string).collect::<Vec<_>>().join(" ");
        write!(f, "({}) -> ({})", list(&self.params), list(&self.results))
    }
}

/// A value. Floats are kept as bits, so that NaNs stay what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// Bits of a 32-bit float.
    F32(u32),
    /// Bits of a 64-bit float.
    F64(u64),
    /// 128-bit vector, lane 0 in the low bits.
    V128(u128),
    /// Index of a function, or null.
    FuncRef(Option<u32>),
    /// Number of something of the host's (at most `u32::MAX - 1`), or null.
    ExternRef(Option<u32>),
}

impl Value {
    /// The value's type.
    pub const fn ty(self) -> ValType {
        match self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
            Self::V128(_) => ValType::V128,
            Self::FuncRef(_) => ValType::FuncRef,
            Self::ExternRef(_) => ValType::ExternRef,
        }
    }

    /// Encodes into a slot: little-endian, zero-extended; a reference is zero for null, else its number plus one.
    pub const fn to_slot(self) -> u128 {
        match self {
            Self::I32(v) => v as u32 as u128,
            Self::I64(v) => v as u64 as u128,
            Self::F32(v) => v as u128,
            Self::F64(v) => v as u128,
            Self::V128(v) => v,
            Self::FuncRef(None) | Self::ExternRef(None) => 0,
            Self::FuncRef(Some(v)) | Self::ExternRef(Some(v)) => v as u128 + 1,
        }
    }

    /// Decodes a slot, of which only the bytes of the type count.
    pub const fn from_slot(ty: ValType, slot: u128) -> Self {
        const fn reference(slot: u128) -> Option<u32> {
            (slot as u32).checked_sub(1)
        }
        match ty {
            ValType::I32 => Self::I32(slot as i32),
            ValType::I64 => Self::I64(slot as i64),
            ValType::F32 => Self::F32(slot as u32),
            ValType::F64 => Self::F64(slot as u64),
            ValType::V128 => Self::V128(slot),
            ValType::FuncRef => Self::FuncRef(reference(slot)),
            ValType::ExternRef => Self::ExternRef(reference(slot)),
        }
    }
}
