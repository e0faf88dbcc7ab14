//! Tables and references.

use super::function::Translator;
use super::signature::ADDRESS;
use crate::trap;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use gate_wire::context::{RtFunction, TableDesc};
use gate_wire::trap::TrapId;
use std::mem::offset_of;
use wasmparser::Operator;

impl Translator<'_, '_> {
    /// Translates an instruction on a table or reference, and returns whether it is one.
    pub(super) fn table(&mut self, op: &Operator<'_>) -> bool {
        match *op {
            Operator::RefNull { .. } => {
                let null = self.emit.ins().iconst(types::I32, 0);
                self.stack.push(null);
            }
            Operator::RefIsNull => {
                let value = self.pop();
                let null = self.emit.ins().icmp_imm_u(IntCC::Equal, value, 0);
                let null = self.emit.ins().uextend(types::I32, null);
                self.stack.push(null);
            }
            Operator::RefFunc { function_index } => {
                let reference = self.emit.ins().iconst(types::I32, i64::from(function_index) + 1);
                self.stack.push(reference);
            }
            Operator::TableGet { table } => {
                let index = self.pop();
                let index = self.check_table_index(index, table, TrapId::TableAccessOutOfBounds);
                let element = self.table_element(index, table);
                self.stack.push(element);
            }
            Operator::TableSet { table } => {
                let (index, value) = self.pop2();
                let index = self.check_table_index(index, table, TrapId::TableAccessOutOfBounds);
                let address = self.table_element_address(index);
                let (flags, offset) = (self.emit.access.tables, self.table_offset(table));
                self.emit.ins().store(flags, value, address, offset);
            }
            Operator::TableSize { table } => {
                let size = self.table_size(table);
                self.stack.push(size);
            }
            Operator::TableGrow { table } => {
                let (value, delta) = self.pop2();
                let desc = self.table_desc(table);
                let size = self.emit.call_rt(RtFunction::TableGrow, &[desc, delta, value]);
                self.stack.extend(size);
            }
            _ => return false,
        }
        true
    }

    /// The current number of elements.
    pub(super) fn table_size(&mut self, table: u32) -> Value {
        let info = self.env.layout.tables[table as usize];
        if info.min == info.max {
            self.emit.ins().iconst(types::I32, i64::from(info.min))
        } else {
            let offset = offset_of!(TableDesc, size) as i32 - info.desc_distance as i32;
            self.emit.load_context(types::I32, offset)
        }
    }

    /// Loads an element whose index has been checked.
    pub(super) fn table_element(&mut self, index: Value, table: u32) -> Value {
        let address = self.table_element_address(index);
        let flags = self.emit.access.tables;
        let offset = self.table_offset(table);
        self.emit.ins().load(types::I32, flags, address, offset)
    }

    pub(super) fn table_desc(&mut self, table: u32) -> Value {
        self.emit.instance_address(self.env.layout.tables[table as usize].desc_distance)
    }

    /// Traps if the index is out of bounds. Returns the index to be used: zero if the processor executes what follows
    /// although it is out of bounds, because it has guessed that the check would pass.
    pub(super) fn check_table_index(&mut self, index: Value, table: u32, trap: TrapId) -> Value {
        let size = self.table_size(table);
        let outside = self.emit.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, size);
        self.emit.ins().trapnz(outside, trap::code(trap));
        let zero = self.emit.ins().iconst(types::I32, 0);
        self.emit.ins().select_spectre_guard(outside, zero, index)
    }

    /// The address to which a table's offset is to be added.
    fn table_element_address(&mut self, index: Value) -> Value {
        let index = self.emit.ins().uextend(ADDRESS, index);
        let offset = self.emit.ins().ishl_imm_u(index, 2);
        let context = self.emit.context;
        self.emit.ins().iadd(context, offset)
    }

    fn table_offset(&self, table: u32) -> i32 {
        -(self.env.layout.tables[table as usize].distance as i32)
    }
}
