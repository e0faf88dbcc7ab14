//! Typed references to functions, and references that are not null.
//!
//! A reference is the function's index plus one, whatever its type. Its function has the type that the validator says, so a call
//! has nothing to check but null.

use super::function::Translator;
use crate::compiled::Callee;
use crate::error::CompileError;
use crate::trap;
use cranelift_codegen::ir::{InstBuilder, Value};
use gate_wire::trap::TrapId;
use wasmparser::Operator;

impl Translator<'_, '_> {
    /// Translates an instruction on typed references, and returns whether it is one.
    pub(super) fn reference(&mut self, op: &Operator<'_>) -> Result<bool, CompileError> {
        match *op {
            Operator::CallRef { type_index } => self.call_ref(type_index)?,
            Operator::RefAsNonNull => {
                let reference = self.top(1)[0];
                self.check_not_null(reference);
            }
            Operator::BrOnNull { relative_depth } => {
                let reference = self.pop();
                let (target, args) = self.branch(relative_depth)?;
                let next = self.emit.builder.create_block();
                self.emit.ins().brif(reference, next, &[], target, &args);
                self.emit.switch_to_sealed(next);
                self.stack.push(reference);
            }
            Operator::BrOnNonNull { relative_depth } => {
                let reference = self.top(1)[0];
                let (target, args) = self.branch(relative_depth)?;
                let next = self.emit.builder.create_block();
                self.emit.ins().brif(reference, target, &args, next, &[]);
                self.emit.switch_to_sealed(next);
                self.pop();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn call_ref(&mut self, type_index: u32) -> Result<(), CompileError> {
        let env = self.env;
        let ty = &env.module.types[type_index as usize];
        let signature = env.module.signatures[type_index as usize];
        let reference = self.pop();
        // Even if its type says that it is not: a local which has no value yet is null when a program goes on.
        self.check_not_null(reference);
        let callee = self.referenced_callee(reference);
        let signature_ref = self.emit.signature_ref(signature, ty);
        let args = self.arguments(ty)?;
        let call = self.emit.ins().call_indirect(signature_ref, callee, &args);
        self.after_call(call, Some(Callee::Signature(signature)))
    }

    /// Traps if a reference is null.
    pub(super) fn check_not_null(&mut self, reference: Value) {
        self.emit.ins().trapz(reference, trap::code(TrapId::NullReference));
    }
}
