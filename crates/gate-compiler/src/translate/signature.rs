//! Types of values and functions as Cranelift has them.

use crate::value::{FuncType, ValType};
use cranelift_codegen::ir::{AbiParam, ArgumentPurpose, Signature, Type, types};
use cranelift_codegen::isa::CallConv;
use gate_wire::context::RtFunction;

/// Addresses.
pub(super) const ADDRESS: Type = types::I64;

/// The type of a value. References are numbers as in tables; vectors are always sixteen bytes.
pub(super) fn value_type(ty: ValType) -> Type {
    match ty {
        ValType::I32 | ValType::FuncRef | ValType::ExternRef | ValType::ExnRef | ValType::Ref(_) => {
            types::I32
        }
        ValType::I64 => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => types::I8X16,
    }
}

/// The signature of a WebAssembly function: the context address comes first.
pub(super) fn wasm_signature(ty: &FuncType) -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.push(AbiParam::special(ADDRESS, ArgumentPurpose::VMContext));
    signature.params.extend(ty.params.iter().map(|&ty| AbiParam::new(value_type(ty))));
    signature.returns.extend(ty.results.iter().map(|&ty| AbiParam::new(value_type(ty))));
    signature
}

/// The signature of a function body that goes on with a frame, given the results of the function.
pub(super) fn resume_signature(results: &[ValType]) -> Signature {
    wasm_signature(&FuncType { params: Vec::new(), results: results.to_vec() })
}

/// The signature of a trampoline.
pub(super) fn trampoline_signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.push(AbiParam::new(ADDRESS));
    signature
}

/// Whether an rt function is passed the context address. The others find it themselves.
pub(super) fn takes_context(function: RtFunction) -> bool {
    !matches!(function, RtFunction::Safepoint | RtFunction::Breakpoint)
}

/// The signature of an rt function.
pub(super) fn rt_signature(function: RtFunction) -> Signature {
    use types::{I32, I64};
    let (params, result): (&[Type], _) = match function {
        RtFunction::Safepoint | RtFunction::Breakpoint | RtFunction::HostCall => (&[], None),
        RtFunction::MemoryGrow => (&[I64, I32, I64], Some(I64)),
        RtFunction::MemoryFill => (&[I64, I64, I64, I32, I64], Some(I64)),
        RtFunction::MemoryCopy | RtFunction::MemoryInit | RtFunction::TableCopy | RtFunction::TableInit => {
            (&[I64], Some(I64))
        }
        RtFunction::TableGrow => (&[I64, I32, I32], Some(I32)),
        RtFunction::TableFill => (&[I64, I32, I32, I32], Some(I64)),
        RtFunction::Trap => (&[I32], None),
        RtFunction::ExceptionNew => (&[I64], Some(I32)),
        RtFunction::ExceptionThrow => (&[I64, I32], None),
    };
    let mut signature = Signature::new(match takes_context(function) {
        true => CallConv::SystemV,
        // So that hot code around it keeps its registers.
        false => CallConv::PreserveAll,
    });
    if takes_context(function) {
        signature.params.push(AbiParam::new(ADDRESS));
    }
    signature.params.extend(params.iter().map(|&ty| AbiParam::new(ty)));
    signature.returns.extend(result.map(AbiParam::new));
    signature
}
