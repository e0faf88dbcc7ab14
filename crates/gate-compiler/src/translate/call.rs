//! Direct and indirect calls.

use super::function::Translator;
use super::signature::ADDRESS;
use crate::compiled::{Callee, SafepointKind};
use crate::error::CompileError;
use crate::symbol::Symbol;
use crate::trap;
use crate::value::FuncType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Inst, InstBuilder, Value, types};
use gate_wire::trap::TrapId;

/// Where an entry of the function table is.
#[derive(Clone, Copy)]
struct FunctionEntry {
    table: Value,
    address: Value,
}

impl<'a> Translator<'a, '_> {
    pub(super) fn call(&mut self, callee: u32) -> Result<(), CompileError> {
        let env = self.env;
        let ty = env.module.function_type(callee);
        let reference = self.emit.function_ref(callee, env.module.function_signature(callee), ty);
        let args = self.arguments(ty)?;
        let call = self.emit.ins().call(reference, &args);
        self.after_call(call, env.graph.reaches_safepoint(callee).then_some(Callee::Function(callee)))
    }

    pub(super) fn call_indirect(&mut self, type_index: u32, table: u32) -> Result<(), CompileError> {
        let env = self.env;
        let ty = &env.module.types[type_index as usize];
        let signature = env.module.signatures[type_index as usize];
        let index = self.pop();
        let callee = self.indirect_callee(index, table, signature);
        let reference = self.emit.signature_ref(signature, ty);
        let args = self.arguments(ty)?;
        let call = self.emit.ins().call_indirect(reference, callee, &args);
        self.after_call(call, Some(Callee::Signature(signature)))
    }

    /// The address of the function that a table element refers to, after having checked everything.
    pub(super) fn indirect_callee(&mut self, index: Value, table: u32, signature: u32) -> Value {
        let index = self.checked_table_index(index, table, TrapId::IndirectCallIndexOutOfBounds);
        let element = self.table_element(index, table);

        let entry = self.function_entry(element);
        let flags = self.emit.access.function_table;
        let found = self.emit.ins().load(types::I32, flags, entry.address, 0);
        let expected = self.emit.ins().iconst(types::I32, i64::from(signature));
        let matches = self.emit.ins().icmp(IntCC::Equal, found, expected);
        let (mismatch, hot) = (self.emit.create_cold_block(), self.emit.builder.create_block());
        self.emit.ins().brif(matches, hot, &[], mismatch, &[]);

        self.emit.switch_to_sealed(mismatch);
        self.emit.ins().trapz(element, trap::code(TrapId::IndirectCallToNull));
        self.emit.ins().trap(trap::code(TrapId::IndirectCallSignatureMismatch));

        self.emit.switch_to_sealed(hot);
        self.entry_callee(entry)
    }

    /// The address of the function to which a reference refers that is not null.
    pub(super) fn referenced_callee(&mut self, reference: Value) -> Value {
        let entry = self.function_entry(reference);
        self.entry_callee(entry)
    }

    /// What the function table says of a reference. See `link::function_table`.
    fn function_entry(&mut self, reference: Value) -> FunctionEntry {
        let table = self.emit.symbol_address(Symbol::FunctionTable);
        let offset = self.emit.ins().uextend(ADDRESS, reference);
        let offset = self.emit.ins().ishl_imm_u(offset, 3);
        FunctionEntry { table, address: self.emit.ins().iadd(table, offset) }
    }

    fn entry_callee(&mut self, entry: FunctionEntry) -> Value {
        let flags = self.emit.access.function_table;
        let distance = self.emit.ins().sload32(flags, entry.address, 4);
        self.emit.ins().iadd(entry.table, distance)
    }

    /// Pops the arguments of a call, with the context address before them.
    pub(super) fn arguments(&mut self, ty: &FuncType) -> Result<Vec<Value>, CompileError> {
        self.charge(ty.params.len() + ty.results.len())?;
        let height = self.stack.len() - ty.params.len();
        let mut args = Vec::with_capacity(1 + ty.params.len());
        args.push(self.emit.context);
        args.extend(self.stack.drain(height..));
        Ok(args)
    }

    /// Passes a safepoint if the callee can have stopped, and pushes the results.
    pub(super) fn after_call(&mut self, call: Inst, stops: Option<Callee>) -> Result<(), CompileError> {
        let mut results = self.emit.builder.inst_results(call).to_vec();
        if stops.is_some() {
            results = self.join(SafepointKind::Call, self.offset, results)?;
            let dump = if self.can_throw(stops) {
                let exception = self.exception_block(self.handler());
                self.emit.check_unwinding_or_exception(exception)
            } else {
                self.emit.check_unwinding()
            };
            self.at_safepoint(SafepointKind::Call, stops, &[], Some(dump))?;
        }
        self.stack.extend(results);
        Ok(())
    }
}
