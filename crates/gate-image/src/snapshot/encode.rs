//! Parts of modules, as bytes.

use crate::leb;
use gate_compiler::{HeapType, ModuleInfo, RefType, ValType, Value};

/// Numbers of sections.
pub(super) mod section {
    pub(in crate::snapshot) const CUSTOM: u8 = 0;
    pub(in crate::snapshot) const TABLE: u8 = 4;
    pub(in crate::snapshot) const MEMORY: u8 = 5;
    pub(in crate::snapshot) const GLOBAL: u8 = 6;
    pub(in crate::snapshot) const START: u8 = 8;
    pub(in crate::snapshot) const ELEMENT: u8 = 9;
    pub(in crate::snapshot) const CODE: u8 = 10;
    pub(in crate::snapshot) const DATA: u8 = 11;
    pub(in crate::snapshot) const DATA_COUNT: u8 = 12;

    /// Place of a section in the order which is prescribed for all but custom ones.
    pub(in crate::snapshot) fn rank(id: u8) -> Option<u8> {
        const ORDER: [u8; 13] =
            [1, 2, 3, TABLE, MEMORY, 13, GLOBAL, 7, START, ELEMENT, DATA_COUNT, CODE, DATA];
        ORDER.iter().position(|&other| other == id).map(|rank| rank as u8)
    }
}

/// Instructions of constant expressions.
pub(super) mod opcode {
    pub(in crate::snapshot) const END: u8 = 0x0b;
    pub(in crate::snapshot) const GLOBAL_GET: u8 = 0x23;
    pub(in crate::snapshot) const I32_CONST: u8 = 0x41;
    pub(in crate::snapshot) const I64_CONST: u8 = 0x42;
    pub(in crate::snapshot) const F32_CONST: u8 = 0x43;
    pub(in crate::snapshot) const F64_CONST: u8 = 0x44;
    pub(in crate::snapshot) const REF_NULL: u8 = 0xd0;
    pub(in crate::snapshot) const REF_FUNC: u8 = 0xd2;
    pub(in crate::snapshot) const SIMD: u8 = 0xfd;
    pub(in crate::snapshot) const V128_CONST: u8 = 0x0c;
}

/// The encoded type, as one of those which take a byte.
pub(super) fn type_byte(ty: ValType) -> u8 {
    match ty.general() {
        ValType::I32 => 0x7f,
        ValType::I64 => 0x7e,
        ValType::F32 => 0x7d,
        ValType::F64 => 0x7c,
        ValType::V128 => 0x7b,
        ValType::FuncRef => 0x70,
        ValType::ExternRef => 0x6f,
        ValType::ExnRef | ValType::Ref(_) => 0x69,
    }
}

/// The type that is encoded so.
pub(super) fn type_of_byte(byte: u8) -> Option<ValType> {
    use ValType::*;
    [I32, I64, F32, F64, V128, FuncRef, ExternRef, ExnRef].into_iter().find(|&ty| type_byte(ty) == byte)
}

/// First bytes of types of references, for those that can be null and others, which tell what is referred to.
pub(super) const REFERENCE: [u8; 2] = [0x63, 0x64];

/// Precedes a table's type if its elements have a first value.
pub(super) const INITIALISED: [u8; 2] = [0x40, 0x00];

/// Appends a type of a module's.
pub(super) fn push_type(buf: &mut Vec<u8>, ty: ValType, info: &ModuleInfo) {
    match ty {
        ValType::Ref(RefType { nullable, .. }) => {
            buf.push(REFERENCE[usize::from(!nullable)]);
            push_heap_type(buf, ty, info);
        }
        _ => buf.push(type_byte(ty)),
    }
}

/// Appends what references of a type refer to.
fn push_heap_type(buf: &mut Vec<u8>, ty: ValType, info: &ModuleInfo) {
    match ty {
        ValType::Ref(RefType { heap: HeapType::Signature(number), .. }) => {
            let signature = info.signatures.get(number as usize);
            leb::push_signed(buf, signature.map_or(0, |signature| signature.type_index.into()));
        }
        _ => buf.push(type_byte(ty)),
    }
}

/// Appends a constant expression for a value of a type of the module's.
pub(super) fn push_typed_constant(buf: &mut Vec<u8>, value: Value, ty: ValType, info: &ModuleInfo) {
    match value {
        Value::FuncRef(None) | Value::ExternRef(_) | Value::ExnRef(_) => {
            buf.push(opcode::REF_NULL);
            push_heap_type(buf, ty, info);
            buf.push(opcode::END);
        }
        _ => push_constant(buf, value),
    }
}

/// Appends a constant expression. References to something of the host's, or to exceptions, cannot be
/// expressed; they become null.
pub(super) fn push_constant(buf: &mut Vec<u8>, value: Value) {
    match value {
        Value::I32(v) => {
            buf.push(opcode::I32_CONST);
            leb::push_signed(buf, v.into());
        }
        Value::I64(v) => {
            buf.push(opcode::I64_CONST);
            leb::push_signed(buf, v);
        }
        Value::F32(bits) => {
            buf.push(opcode::F32_CONST);
            buf.extend_from_slice(&bits.to_le_bytes());
        }
        Value::F64(bits) => {
            buf.push(opcode::F64_CONST);
            buf.extend_from_slice(&bits.to_le_bytes());
        }
        Value::V128(bits) => {
            buf.extend([opcode::SIMD, opcode::V128_CONST]);
            buf.extend_from_slice(&bits.to_le_bytes());
        }
        Value::FuncRef(Some(function)) => {
            buf.push(opcode::REF_FUNC);
            leb::push(buf, function.into());
        }
        Value::FuncRef(None) | Value::ExternRef(_) | Value::ExnRef(_) => {
            buf.extend([opcode::REF_NULL, type_byte(value.ty())])
        }
    }
    buf.push(opcode::END);
}

/// Set in what precedes size bounds if there is an upper one.
pub(super) const LIMITS_MAX: u8 = 1;

/// Set in what precedes size bounds if addresses are 64-bit.
pub(super) const LIMITS_64: u8 = 4;

/// Appends size bounds.
pub(super) fn push_limits(buf: &mut Vec<u8>, min: u64, max: Option<u64>, is_64: bool) {
    let flag = |set, flag| if set { flag } else { 0 };
    buf.push(flag(max.is_some(), LIMITS_MAX) | flag(is_64, LIMITS_64));
    leb::push(buf, min);
    if let Some(max) = max {
        leb::push(buf, max);
    }
}

/// Appends the offset of a segment as a constant expression.
pub(super) fn push_offset(buf: &mut Vec<u8>, offset: u64, is_64: bool) {
    let offset = match is_64 {
        true => Value::I64(offset.cast_signed()),
        false => Value::I32((offset as u32).cast_signed()),
    };
    push_constant(buf, offset);
}

/// Appends a section.
pub(super) fn push_section(buf: &mut Vec<u8>, id: u8, contents: &[u8]) {
    buf.push(id);
    leb::push(buf, contents.len() as u64);
    buf.extend_from_slice(contents);
}

/// Appends the beginning of a custom section, which has so many bytes behind its name.
pub(super) fn push_custom_header(buf: &mut Vec<u8>, name: &str, size: u64) {
    buf.push(section::CUSTOM);
    leb::push(buf, leb::size(name.len() as u64) as u64 + name.len() as u64 + size);
    leb::push(buf, name.len() as u64);
    buf.extend_from_slice(name.as_bytes());
}
