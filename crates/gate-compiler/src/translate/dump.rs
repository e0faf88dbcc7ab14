//! The writing down of frames.
//!
//! A function has many places where it may have to write down its frame, and most of a frame is the same at many of them:
//! so the code for it is emitted when all of these are known. Dumps that store the same locals, and operands of the same types,
//! become one, which is told the code offset and those values that differ. So the code is small, and does not use a value in many
//! places, which the register allocator would take for a reason to have it in a register. Of others that have a run of values in common,
//! the code that stores the run becomes one, a *tail*, which is told where in the frame the run begins. A value that is stored by two
//! dumps is defined on all ways to both, so that it is there also where the ways have met.

mod sharing;

use super::emit::Emitter;
use super::signature::ADDRESS;
use crate::value::ValType;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, SourceLoc, Value, types};
use gate_wire::context_offset;
use sharing::Tails;
use std::ops::Range;

/// How many dumps share code at most. Not all of them, because computing the dominator of a block
/// takes a walk from each of its predecessors up to where these meet.
pub(super) const DUMPS_PER_LEAVE: usize = 64;

/// Size of what precedes the values of a frame: function index and code offset.
pub(super) const HEAD_SIZE: u32 = 8;

/// A value of a frame.
pub(super) type Slot = (Value, ValType);

/// A value of a frame, and the size of its slot.
type SizedSlot = (Value, u32);

/// Dumps of a function.
#[derive(Default)]
pub(super) struct Dumps {
    /// Those whose code has not been emitted.
    pending: Vec<Dump>,
    /// Where control goes after frames have been written down.
    leave: Vec<Block>,
    /// Number of ways there.
    left: usize,
}

/// A frame that is to be written down.
struct Dump {
    /// An empty block.
    block: Block,
    /// The code offset.
    offset: u64,
    /// The locals that are stored first.
    locals: Vec<u32>,
    slots: Vec<SizedSlot>,
}

/// Code that dumps of the same shape share.
struct Shared {
    /// Where it is, if more than one dump does. Its first parameter is the code offset.
    block: Option<Block>,
    /// Positions of the values that are further parameters.
    params: Vec<usize>,
    slots: Vec<SizedSlot>,
}

impl Emitter<'_> {
    /// Writes down a frame in a block which is empty so far, and leaves the function. The values are those of some locals, and then
    /// others. The code is emitted at last.
    pub(super) fn dump_later(&mut self, block: Block, offset: u64, locals: Vec<u32>, slots: &[Slot]) {
        let slots = slots.iter().map(|&(value, ty)| (value, ty.slot_size())).collect();
        self.dumps.pending.push(Dump { block, offset, locals, slots });
    }

    /// Writes down a frame, in the current block, and leaves the function.
    pub(super) fn dump(&mut self, offset: u64, slots: &[Slot]) {
        let slots: Vec<_> = slots.iter().map(|&(value, ty)| (value, ty.slot_size())).collect();
        let offset = self.ins().iconst(types::I32, offset as i64);
        self.write_down(&slots, offset, None);
    }

    /// Emits the code of dumps. To be called when all other code has been emitted.
    pub(super) fn finish_dumps(&mut self, results: &[ValType]) {
        self.builder.set_srcloc(SourceLoc::default());
        let mut dumps = std::mem::take(&mut self.dumps.pending);
        for (value, _) in dumps.iter_mut().flat_map(|dump| &mut dump.slots) {
            *value = self.builder.func.dfg.resolve_aliases(*value);
        }
        let groups = sharing::groups(&dumps, &self.builder.func.dfg);
        let shared: Vec<_> = groups.iter().map(|group| self.share(&dumps, group)).collect();
        let tails = Tails::new(shared.iter().map(|shared| &shared.slots[..]).collect());
        let tail_blocks: Vec<_> = tails.iter().map(|_| self.create_cold_block()).collect();
        let tail = |index| tails.of(index).map(|(run, tail)| (run, tail_blocks[tail]));
        for (index, (group, code)) in groups.iter().zip(&shared).enumerate() {
            for dump in group.iter().map(|&member| &dumps[member]) {
                self.builder.switch_to_block(dump.block);
                let offset = self.ins().iconst(types::I32, dump.offset as i64);
                match code.block {
                    None => self.write_down(&code.slots, offset, tail(index)),
                    Some(block) => {
                        let values = code.params.iter().map(|&position| dump.slots[position].0);
                        let args: Vec<_> =
                            std::iter::once(offset).chain(values).map(BlockArg::from).collect();
                        self.ins().jump(block, &args);
                    }
                }
            }
            if let Some(block) = code.block {
                self.switch_to_sealed(block);
                let offset = self.builder.block_params(block)[0];
                self.write_down(&code.slots, offset, tail(index));
            }
        }
        for (slots, block) in tails.iter().zip(tail_blocks) {
            let [start, offset, end] =
                [ADDRESS, types::I32, ADDRESS].map(|ty| self.builder.append_block_param(block, ty));
            self.switch_to_sealed(block);
            self.store_slots(start, 0, slots);
            self.leave(offset, end);
        }
        self.finish_leaves(results);
    }

    /// Makes room for the code that some dumps of the same shape share.
    fn share(&mut self, dumps: &[Dump], group: &[usize]) -> Shared {
        let [first, others @ ..] = group else { unreachable!("groups are not empty") };
        let mut slots = dumps[*first].slots.clone();
        if others.is_empty() {
            return Shared { block: None, params: Vec::new(), slots };
        }
        let block = self.create_cold_block();
        self.builder.append_block_param(block, types::I32);
        let mut params = Vec::new();
        for (position, slot) in slots.iter_mut().enumerate() {
            if others.iter().any(|&other| dumps[other].slots[position] != *slot) {
                let ty = self.builder.func.dfg.value_type(slot.0);
                slot.0 = self.builder.append_block_param(block, ty);
                params.push(position);
            }
        }
        Shared { block: Some(block), params, slots }
    }

    /// Writes down a frame: all of it, or all but a run of values, which the code at the block given with it stores.
    fn write_down(&mut self, slots: &[SizedSlot], offset: Value, tail: Option<(Range<usize>, Block)>) {
        let frame = self.load_context(ADDRESS, context_offset!(dump_next));
        let end = HEAD_SIZE + size(slots);
        match tail {
            None => {
                self.store_slots(frame, HEAD_SIZE, slots);
                let end = self.ins().iadd_imm_s(frame, i64::from(end));
                self.leave(offset, end);
            }
            Some((run, block)) => {
                let start = HEAD_SIZE + size(&slots[..run.start]);
                self.store_slots(frame, HEAD_SIZE, &slots[..run.start]);
                let behind = start + size(&slots[run.clone()]);
                self.store_slots(frame, behind, &slots[run.end..]);
                let start = self.ins().iadd_imm_s(frame, i64::from(start));
                let end = self.ins().iadd_imm_s(frame, i64::from(end));
                self.ins().jump(block, &[start.into(), offset.into(), end.into()]);
            }
        }
    }

    /// Stores values one after the other.
    fn store_slots(&mut self, address: Value, mut offset: u32, slots: &[SizedSlot]) {
        let flags = self.access.frames;
        for &(value, size) in slots {
            self.ins().store(flags, value, address, offset as i32);
            offset += size;
        }
    }

    /// Leaves the function, given the code offset and the frame's end.
    fn leave(&mut self, offset: Value, end: Value) {
        let full = self.dumps.left.is_multiple_of(DUMPS_PER_LEAVE);
        self.dumps.left += 1;
        if full {
            let block = self.create_cold_block();
            self.builder.append_block_param(block, types::I32);
            self.builder.append_block_param(block, ADDRESS);
            self.dumps.leave.push(block);
        }
        let block = *self.dumps.leave.last().expect("the first one finds it full");
        self.ins().jump(block, &[BlockArg::from(offset), end.into()]);
    }

    fn finish_leaves(&mut self, results: &[ValType]) {
        for block in std::mem::take(&mut self.dumps.leave) {
            self.switch_to_sealed(block);
            let &[offset, end] = self.builder.block_params(block) else {
                unreachable!("the block has been given two parameters")
            };
            let flags = self.access.frames;
            let frame = self.load_context(ADDRESS, context_offset!(dump_next));
            let function = self.function;
            let function = self.ins().iconst(types::I32, i64::from(function));
            self.ins().store(flags, function, frame, 0);
            self.ins().store(flags, offset, frame, 4);
            self.store_context(end, context_offset!(dump_next));
            let zeros: Vec<_> = results.iter().map(|&ty| self.constant(ty, 0)).collect();
            self.ins().return_(&zeros);
        }
    }
}

fn size(slots: &[SizedSlot]) -> u32 {
    slots.iter().map(|&(_, size)| size).sum()
}
