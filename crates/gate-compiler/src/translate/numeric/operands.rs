//! The operand stack, as the translation of single instructions uses it.

use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::{FuncInstBuilder, FunctionBuilder};

/// Pops operands from and pushes results to the stack of a function under translation.
///
/// A WebAssembly vector is always an `I8X16` on the stack. Validation has made sure that what an instruction pops
/// is there and has its type.
pub(in crate::translate) struct Operands<'a, 'f> {
    pub(in crate::translate) builder: &'a mut FunctionBuilder<'f>,
    pub(in crate::translate) stack: &'a mut Vec<Value>,
}

impl<'f> Operands<'_, 'f> {
    pub(in crate::translate) fn ins<'s>(&'s mut self) -> FuncInstBuilder<'s, 'f> {
        self.builder.ins()
    }

    pub(in crate::translate) fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    pub(in crate::translate) fn pop(&mut self) -> Value {
        self.stack.pop().expect("validated code does not pop from an empty stack")
    }

    /// Pops the operands of a binary instruction, in the order in which they were pushed.
    pub(in crate::translate) fn pop2(&mut self) -> (Value, Value) {
        let y = self.pop();
        let x = self.pop();
        (x, y)
    }

    /// Pushes the zero or one that a comparison made as an `I8`.
    pub(in crate::translate) fn push_bool(&mut self, value: Value) {
        let value = self.ins().uextend(types::I32, value);
        self.push(value);
    }

    /// Pops a vector with the given lanes.
    pub(in crate::translate) fn pop_lanes(&mut self, lanes: Type) -> Value {
        let value = self.pop();
        self.cast(lanes, value)
    }

    /// Pops the two vectors of a binary instruction, in the order in which they were pushed.
    pub(in crate::translate) fn pop2_lanes(&mut self, lanes: Type) -> (Value, Value) {
        let y = self.pop_lanes(lanes);
        let x = self.pop_lanes(lanes);
        (x, y)
    }

    /// Pushes a vector, whatever its lanes.
    pub(in crate::translate) fn push_lanes(&mut self, value: Value) {
        let value = self.cast(types::I8X16, value);
        self.push(value);
    }

    /// The same 128 bits with other lanes; lane 0 is always in the low bits.
    pub(in crate::translate) fn cast(&mut self, lanes: Type, value: Value) -> Value {
        if self.builder.func.dfg.value_type(value) == lanes {
            return value;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.ins().bitcast(lanes, flags, value)
    }
}
