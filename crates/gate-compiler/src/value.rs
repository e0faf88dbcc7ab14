//! WebAssembly types and values as the layers above see them.

use gate_wire::context::EXCEPTION_REFERENCE;
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
    /// Nullable reference to an exception.
    ExnRef,
    /// Reference of a type that is more precise than these three.
    Ref(RefType),
}

/// Type of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RefType {
    /// What it refers to.
    pub heap: HeapType,
    /// Whether it can be null.
    pub nullable: bool,
}

/// What a reference refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeapType {
    /// A function of any type.
    Func,
    /// Something of the host's.
    Extern,
    /// An exception.
    Exn,
    /// A function of the type with this index in [`Maps::signatures`](crate::Maps::signatures).
    Signature(u32),
}

impl ValType {
    /// The type of a reference.
    pub const fn reference(ty: RefType) -> Self {
        match (ty.heap, ty.nullable) {
            (HeapType::Func, true) => Self::FuncRef,
            (HeapType::Extern, true) => Self::ExternRef,
            (HeapType::Exn, true) => Self::ExnRef,
            _ => Self::Ref(ty),
        }
    }

    /// The type as one of a reference, if it is one.
    pub const fn as_reference(self) -> Option<RefType> {
        let heap = match self {
            Self::FuncRef => HeapType::Func,
            Self::ExternRef => HeapType::Extern,
            Self::ExnRef => HeapType::Exn,
            Self::Ref(ty) => return Some(ty),
            _ => return None,
        };
        Some(RefType { heap, nullable: true })
    }

    /// The type of the values that are like those of this type, without what is said about these values more precisely: what
    /// [`Value::ty`] tells.
    pub const fn general(self) -> Self {
        match self.as_reference() {
            Some(RefType { heap: HeapType::Func | HeapType::Signature(_), .. }) => Self::FuncRef,
            Some(RefType { heap: HeapType::Extern, .. }) => Self::ExternRef,
            Some(RefType { heap: HeapType::Exn, .. }) => Self::ExnRef,
            None => self,
        }
    }

    /// Whether a value is of this type, if the function or exception to which it may refer is.
    pub const fn admits(self, value: Value) -> bool {
        let kind = matches!(
            (self.general(), value),
            (Self::I32, Value::I32(_))
                | (Self::I64, Value::I64(_))
                | (Self::F32, Value::F32(_))
                | (Self::F64, Value::F64(_))
                | (Self::V128, Value::V128(_))
                | (Self::FuncRef, Value::FuncRef(_))
                | (Self::ExternRef, Value::ExternRef(_))
                | (Self::ExnRef, Value::ExnRef(_))
        );
        let null = matches!(value, Value::FuncRef(None) | Value::ExternRef(None) | Value::ExnRef(None));
        kind && !(null && matches!(self, Self::Ref(RefType { nullable: false, .. })))
    }

    /// Whether each value of this type is one of another type.
    pub fn is_subtype(self, other: Self) -> bool {
        let (Some(this), Some(that)) = (self.as_reference(), other.as_reference()) else {
            return self == other;
        };
        let heap = this.heap == that.heap
            || matches!((this.heap, that.heap), (HeapType::Signature(_), HeapType::Func));
        heap && (that.nullable || !this.nullable)
    }

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
        if let Self::Ref(RefType { heap, nullable }) = self {
            let null = if *nullable { "null " } else { "" };
            return match heap {
                HeapType::Func => write!(f, "(ref {null}func)"),
                HeapType::Extern => write!(f, "(ref {null}extern)"),
                HeapType::Exn => write!(f, "(ref {null}exn)"),
                HeapType::Signature(number) => write!(f, "(ref {null}${number})"),
            };
        }
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::FuncRef => "funcref",
            Self::ExternRef => "externref",
            Self::ExnRef | Self::Ref(_) => "exnref",
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

impl FuncType {
    /// Whether what a function of this type returns can be taken for what one of another type does.
    pub fn returns_for(&self, other: &Self) -> bool {
        self.results.len() == other.results.len()
            && self.results.iter().zip(&other.results).all(|(this, that)| this.is_subtype(*that))
    }
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
    /// Number of an exception (from 1 on, see [`ExceptionDesc`](gate_wire::context::ExceptionDesc)), or null.
    ExnRef(Option<u32>),
}

impl Value {
    /// The value's type, as precisely as the value tells.
    pub const fn ty(self) -> ValType {
        match self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
            Self::V128(_) => ValType::V128,
            Self::FuncRef(_) => ValType::FuncRef,
            Self::ExternRef(_) => ValType::ExternRef,
            Self::ExnRef(_) => ValType::ExnRef,
        }
    }

    /// Encodes into a slot: little-endian, zero-extended; a reference is zero for null, else its number plus one, or plus
    /// [`EXCEPTION_REFERENCE`] if it refers to an exception.
    pub const fn to_slot(self) -> u128 {
        match self {
            Self::I32(v) => v as u32 as u128,
            Self::I64(v) => v as u64 as u128,
            Self::F32(v) => v as u128,
            Self::F64(v) => v as u128,
            Self::V128(v) => v,
            Self::FuncRef(None) | Self::ExternRef(None) | Self::ExnRef(None) => 0,
            Self::FuncRef(Some(v)) | Self::ExternRef(Some(v)) => v as u128 + 1,
            Self::ExnRef(Some(v)) => EXCEPTION_REFERENCE.wrapping_add(v) as u128,
        }
    }

    /// Decodes a slot, of which only the bytes of the type count.
    pub const fn from_slot(ty: ValType, slot: u128) -> Self {
        const fn reference(slot: u128) -> Option<u32> {
            (slot as u32).checked_sub(1)
        }
        match ty.general() {
            ValType::I32 => Self::I32(slot as i32),
            ValType::I64 => Self::I64(slot as i64),
            ValType::F32 => Self::F32(slot as u32),
            ValType::F64 => Self::F64(slot as u64),
            ValType::V128 => Self::V128(slot),
            ValType::FuncRef => Self::FuncRef(reference(slot)),
            ValType::ExternRef => Self::ExternRef(reference(slot)),
            ValType::ExnRef | ValType::Ref(_) => match slot as u32 {
                0 => Self::ExnRef(None),
                reference => Self::ExnRef(Some(reference.wrapping_sub(EXCEPTION_REFERENCE))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtypes() {
        let typed = |heap, nullable| ValType::reference(RefType { heap, nullable });
        let signature = HeapType::Signature(3);
        for (this, other, expected) in [
            (ValType::I32, ValType::I32, true),
            (ValType::I32, ValType::I64, false),
            (ValType::FuncRef, ValType::FuncRef, true),
            (ValType::FuncRef, ValType::ExternRef, false),
            (typed(signature, true), ValType::FuncRef, true),
            (typed(signature, false), typed(HeapType::Func, false), true),
            (typed(signature, true), typed(HeapType::Func, false), false),
            (typed(signature, false), typed(signature, true), true),
            (typed(signature, true), typed(signature, false), false),
            (typed(signature, true), typed(HeapType::Signature(4), true), false),
            (ValType::FuncRef, typed(signature, true), false),
            (ValType::FuncRef, ValType::I32, false),
        ] {
            assert_eq!(this.is_subtype(other), expected, "{this} {other}");
        }
    }
}
