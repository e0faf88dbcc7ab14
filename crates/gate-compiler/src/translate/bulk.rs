//! Operations on many bytes or elements.
//!
//! rt does a bounded amount of work at a time and says how much remains. If any does, the program can stop with the
//! operands moved on; going on is executing the instruction again with these.

use super::function::Translator;
use super::memory64;
use super::signature::value_type;
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
    /// The work is done upwards; the second operand, which has this type, stays.
    Fill(ValType),
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
            Operator::MemoryFill { mem } => self.repeat(Fill(ValType::I32), |t, [dst, value, len]| {
                let (desc, base) = (t.memory_desc(mem), t.memory_base(mem));
                let (dst, len) = (t.extend(dst), t.extend(len));
                t.emit.call_rt(RtFunction::MemoryFill, &[desc, base, dst, value, len]).expect("has a result")
            })?,
            Operator::MemoryCopy { dst_mem, src_mem } => self.repeat(Copy, |t, operands| {
                let [dst, src, len] = operands.map(|operand| t.extend(operand));
                let (dst_desc, dst_base) = (t.memory_desc(dst_mem), t.memory_base(dst_mem));
                let (src_desc, src_base) = (t.memory_desc(src_mem), t.memory_base(src_mem));
                let args = [dst_desc, dst_base, src_desc, src_base, dst, src, len];
                t.emit.call_rt_by_address(RtFunction::MemoryCopy, &args)
            })?,
            Operator::MemoryInit { data_index, mem } => self.repeat(Init, |t, operands| {
                let [dst, src, len] = operands.map(|operand| t.extend(operand));
                let (desc, base) = (t.memory_desc(mem), t.memory_base(mem));
                let length = t.env.layout.data_lengths[data_index as usize];
                let (segment, length) = t.segment(Symbol::Data(data_index), length);
                let args = [desc, base, segment, length, dst, src, len];
                t.emit.call_rt_by_address(RtFunction::MemoryInit, &args)
            })?,
            Operator::TableFill { table } => {
                let ty = self.env.layout.tables[table as usize].ty;
                self.repeat(Fill(ty), |t, [dst, value, len]| {
                    let desc = t.table_desc(table);
                    let [dst, len] =
                        [dst, len].map(|operand| memory64::narrowed(&mut t.emit.builder, operand));
                    t.emit.call_rt(RtFunction::TableFill, &[desc, dst, value, len]).expect("has a result")
                })?;
            }
            Operator::TableCopy { dst_table, src_table } => self.repeat(Copy, |t, operands| {
                let [dst, src, len] = operands.map(|operand| t.extend(operand));
                let (dst_desc, src_desc) = (t.table_desc(dst_table), t.table_desc(src_table));
                t.emit.call_rt_by_address(RtFunction::TableCopy, &[dst_desc, src_desc, dst, src, len])
            })?,
            Operator::TableInit { elem_index, table } => self.repeat(Init, |t, operands| {
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

    /// Pops three operands and calls rt with them until nothing remains to be done.
    fn repeat(
        &mut self,
        progress: Progress,
        call: impl FnOnce(&mut Self, [Value; 3]) -> Value,
    ) -> Result<(), CompileError> {
        let (dst, src, len) = self.pop3();
        let mut own = [dst, src, len].map(|operand| match memory64::is_wide(&self.emit.builder, operand) {
            true => ValType::I64,
            false => ValType::I32,
        });
        if let Progress::Fill(ty) = progress {
            own[1] = ty;
        }
        let operands = self.join(SafepointKind::Instruction, self.offset, vec![dst, src, len])?;
        let again = self.emit.builder.create_block();
        for ty in own {
            self.emit.builder.append_block_param(again, value_type(ty));
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
        let wide_len = self.extend(len);
        let moved = self.emit.ins().isub(wide_len, remaining);
        let moved = match progress {
            Progress::Fill(_) | Progress::Init => moved,
            Progress::Copy => {
                let (dst, src) = (self.extend(dst), self.extend(src));
                let upwards = self.emit.ins().icmp(IntCC::UnsignedLessThanOrEqual, dst, src);
                let zero = self.emit.ins().iconst(types::I64, 0);
                self.emit.ins().select(upwards, moved, zero)
            }
        };
        let dst = self.advance(dst, moved);
        let src = match progress {
            Progress::Fill(_) => src,
            Progress::Init | Progress::Copy => self.advance(src, moved),
        };
        let len = match own[2] {
            ValType::I64 => remaining,
            _ => self.emit.ins().ireduce(types::I32, remaining),
        };
        let operands = [dst, src, len];
        let dump = self.emit.stop_if_requested(again, &operands);
        self.emit.builder.seal_block(again);
        self.emit.switch_to_sealed(done);
        let own: Vec<_> = operands.into_iter().zip(own).collect();
        self.at_safepoint(SafepointKind::Instruction, None, &own, Some(dump))
    }

    /// Adds a number of 64 bits to an address. It does not exceed the address's type.
    fn advance(&mut self, address: Value, distance: Value) -> Value {
        let ty = self.emit.builder.func.dfg.value_type(address);
        let distance = if ty == types::I64 { distance } else { self.emit.ins().ireduce(ty, distance) };
        self.emit.ins().iadd(address, distance)
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

    /// An operand with 64 bits.
    pub(super) fn extend(&mut self, value: Value) -> Value {
        match memory64::is_wide(&self.emit.builder, value) {
            true => value,
            false => self.emit.ins().uextend(types::I64, value),
        }
    }
}
