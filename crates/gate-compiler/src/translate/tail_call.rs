//! Tail calls: the callee's frame takes the place of the caller's.
//!
//! No safepoint follows such a call, because nothing of the function does: a program that stops in the callee goes on there, and
//! returns to the function which this one would have returned to. The callee's check at its entry, or what is behind that, is
//! where a cycle of tail calls stops; see [`callgraph`](crate::callgraph).
//!
//! The frame of a *resume body* is left in the same way. That body takes no arguments, and a callee's may need space
//! on the stack; Cranelift's `Tail` convention has each function make room for those of its tail callees before it starts.

use super::function::Translator;
use crate::error::CompileError;
use crate::value::{FuncType, ValType};
use cranelift_codegen::ir::{InstBuilder, Value};
use wasmparser::Operator;

/// Tail calls of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TailCalls {
    /// Whether there are any.
    pub(crate) any: bool,
    /// Bytes of stack which the function has more than its frame at the most, for its callees' arguments.
    pub(crate) arguments_size: u32,
}

impl TailCalls {
    fn add(&mut self, ty: &FuncType) {
        self.any = true;
        // Some are in registers.
        let size = ty.params.iter().map(|ty| if *ty == ValType::V128 { 16 } else { 8 }).sum();
        self.arguments_size = self.arguments_size.max(size);
    }
}

impl Translator<'_, '_> {
    /// Translates a tail call, and returns whether it is one.
    pub(super) fn tail_call(&mut self, op: &Operator<'_>) -> Result<bool, CompileError> {
        let env = self.env;
        match *op {
            Operator::ReturnCall { function_index } => {
                let ty = env.module.function_type(function_index);
                let signature = env.module.function_signature(function_index);
                let reference = self.emit.function_ref(function_index, signature, ty);
                let args = self.arguments(ty)?;
                self.emit.ins().return_call(reference, &args);
                self.tail_calls.add(ty);
            }
            Operator::ReturnCallIndirect { type_index, table_index } => {
                let ty = &env.module.types[type_index as usize];
                let signature = env.module.signatures[type_index as usize];
                let index = self.pop();
                let callee = self.indirect_callee(index, table_index, signature);
                self.tail_call_address(ty, signature, callee)?;
            }
            Operator::ReturnCallRef { type_index } => {
                let ty = &env.module.types[type_index as usize];
                let signature = env.module.signatures[type_index as usize];
                let reference = self.pop();
                self.check_not_null(reference);
                let callee = self.referenced_callee(reference);
                self.tail_call_address(ty, signature, callee)?;
            }
            _ => return Ok(false),
        }
        self.reachable = false;
        Ok(true)
    }

    fn tail_call_address(
        &mut self,
        ty: &FuncType,
        signature: u32,
        callee: Value,
    ) -> Result<(), CompileError> {
        let reference = self.emit.signature_ref(signature, ty);
        let args = self.arguments(ty)?;
        self.emit.ins().return_call_indirect(reference, callee, &args);
        self.tail_calls.add(ty);
        Ok(())
    }
}
