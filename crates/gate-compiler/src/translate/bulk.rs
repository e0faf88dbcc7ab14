//! Operations on many bytes or elements.
//!
//! rt does a bounded amount of work at a time and says how much remains. If any does, the program can stop with the
//! operands moved on; going on is executing the instruction again with these.

use super::function::Translator;
use crate::compiled::SafepointKind;
use crate::error::CompileError;
use crate::symbol::Symbol;
use crate::value::ValType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value, types};
use gate_wire::context::RtFunction;
use wasmparser::Operator;

/// What becomes of the first two operands (destination, and source or value) when some of the work is done.
#[derive(Clone, Copy)]
enum Progress {
    /// The work is done upwards; the second operand stays.
    Fill,
    /// The work is done upwards.
    Init,
    /// The work is done upwards if the destination is not above the source, else downwards.
    Copy,
}

impl Translator<'_, '_> {
    /// Translates a bulk instruction, and returns whether it is one.
    pub(super) fn bulk(&mut self, op: &Operator<'_>) -> Result<bool, CompileError> {
        use Progress::{Copy, Fill, Init};
        match *op {
            Operator::MemoryFill { mem } => self.repeat(Fill, ValType::I32, |t, [dst, value, len]| {
                let (desc, base) = (t.memory_desc(mem), t.memory_base(mem));
                let (dst, len) = (t.extend(dst), t.extend(len));
                t.emit.call_rt(RtFunction::MemoryFill, &[desc, base, dst, value, len]).expect("has a result")
            })?,
            Operator::MemoryCopy { dst_mem, src_mem } => self.repeat(Copy, ValType::I32, |t, operands| {
                let [dst, src, len] = operands.map(|operand| t.extend(operand));
                let (dst_desc, dst_base) = (t.memory_desc(dst_mem), t.memory_base(dst_mem));
                let (src_desc, src_base) = (t.memory_desc(src_mem), t.memory_base(src_mem));
                let args = [dst_desc, dst_base, src_desc, src_base, dst, src, len];
                t.emit.call_rt_by_address(RtFunction::MemoryCopy, &args)
            })?,
            Operator::MemoryInit { data_index, mem } => self.repeat(Init, ValType::I32, |t, operands| {
                let [dst, src, len] = operands.map(|operand| t.extend(operand));
                let (desc, base) = (t.memory_desc(mem), t.memory_base(mem));
                let length = t.env.layout.data_lengths[data_index as usize];
                let (segment, length) = t.segment(Symbol::Data(data_index), length);
                let args = [desc, base, segment, length, dst, src, len];
                t.emit.call_rt_by_address(RtFunction::MemoryInit, &args)
            })?,
            Operator::TableFill { table } => {
                let ty = self.env.layout.tables[table as usize].ty;
                self.repeat(Fill, ty, |t, [dst, value, len]| {
                    let desc = t.table_desc(table);
                    t.emit.call_rt(RtFunction::TableFill, &[desc, dst, value, len]).expect("has a result")
                })?;
            }
            Operator::TableCopy { dst_table, src_table } => {
                self.repeat(Copy, ValType::I32, |t, operands| {
                    let [dst, src, len] = operands.map(|operand| t.extend(operand));
                    let (dst_desc, src_desc) = (t.table_desc(dst_table), t.table_desc(src_table));
                    t.emit.call_rt_by_address(RtFunction::TableCopy, &[dst_desc, src_desc, dst, src, len])
                })?
            }
            Operator::TableInit { elem_index, table } => self.repeat(Init, ValType::I32, |t, operands| {
                let [dst, src, len] = operands.map(|operand| t.extend(operand));
                let desc = t.table_desc(table);
                let length = t.env.layout.element_lengths[elem_index as usize];
                let (segment, length) = t.segment(Symbol::Elements(elem_index), length);
                t.emit.call_rt_by_address(RtFunction::TableInit, &[desc, segment, length, dst, src, len])
            })?,
            Operator::DataDrop { data_index } => {
                self.drop_segment(self.env.layout.data_lengths[data_index as usize]);
            }
            Operator::ElemDrop { elem_index } => {
                self.drop_segment(self.env.layout.element_lengths[elem_index as usize]);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Pops three operands and calls rt with them until nothing remains to be done. `second` is the type of the second
    /// operand.
    fn repeat(
        &mut self,
        progress: Progress,
        second: ValType,
        call: impl FnOnce(&mut Self, [Value; 3]) -> Value,
    ) -> Result<(), CompileError> {
        let (dst, src, len) = self.pop3();
        let operands = self.join(SafepointKind::Instruction, self.offset, vec![dst, src, len])?;
        let again = self.emit.builder.create_block();
        for _ in 0..3 {
            self.emit.builder.append_block_param(again, types::I32);
        }
        let args: Vec<_> = operands.into_iter().map(BlockArg::from).collect();
        self.emit.ins().jump(again, &args);
        self.emit.builder.switch_to_block(again);
        let &[dst, src, len] = self.emit.builder.block_params(again) else {
            unreachable!("the block has been given three parameters")
        };
        let remaining = call(self, [dst, src, len]);
        let (more, done) = (self.emit.create_cold_block(), self.emit.builder.create_block());
        self.emit.ins().brif(remaining, more, &[], done, &[]);

        self.emit.switch_to_sealed(more);
        let remaining = self.emit.ins().ireduce(types::I32, remaining);
        let moved = self.emit.ins().isub(len, remaining);
        let moved = match progress {
            Progress::Fill | Progress::Init => moved,
            Progress::Copy => {
                let upwards = self.emit.ins().icmp(IntCC::UnsignedLessThanOrEqual, dst, src);
                let zero = self.emit.ins().iconst(types::I32, 0);
                self.emit.ins().select(upwards, moved, zero)
            }
        };
        let dst = self.emit.ins().iadd(dst, moved);
        let src = match progress {
            Progress::Fill => src,
            Progress::Init | Progress::Copy => self.emit.ins().iadd(src, moved),
        };
        let operands = [dst, src, remaining];
        let dump = self.emit.stop_if_requested(again, &operands);
        self.emit.builder.seal_block(again);
        self.emit.switch_to_sealed(done);
        let [dst, src, len] = operands;
        let own = [(dst, ValType::I32), (src, second), (len, ValType::I32)];
        self.at_safepoint(SafepointKind::Instruction, None, &own, dump)
    }

    /// Address and current length of a segment, which is empty if it has been used at instantiation.
    fn segment(&mut self, symbol: Symbol, length: Option<u32>) -> (Value, Value) {
        match length {
            Some(distance) => {
                let address = self.emit.symbol_address(symbol);
                let length = self.emit.load_context(types::I32, -(distance as i32));
                (address, self.extend(length))
            }
            None => {
                let zero = self.emit.ins().iconst(types::I64, 0);
                (zero, zero)
            }
        }
    }

    fn drop_segment(&mut self, length: Option<u32>) {
        if let Some(distance) = length {
            let zero = self.emit.ins().iconst(types::I32, 0);
            self.emit.store_context(zero, -(distance as i32));
        }
    }

    fn extend(&mut self, value: Value) -> Value {
        self.emit.ins().uextend(types::I64, value)
    }
}
