//! The writing down of frames.
//!
//! A function has many places where it may have to write down its frame, and most of a frame is the same at many of them:
//! so the code for it is emitted when all of these are known. Dumps that store the same values at the same places become
//! one, which is told the code offset. Of others that have a run of values in common, the code that stores the run becomes one, a
//! *tail*, which is told where in the frame the run begins. A value that is stored by two dumps is defined on all ways to both, so that
//! it is there also where the ways have met.

use super::emit::Emitter;
use super::signature::ADDRESS;
use crate::value::ValType;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, SourceLoc, Value, types};
use gate_wire::context_offset;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// How many dumps share code at most. Not all of them, because computing the dominator of a block
/// takes a walk from each of its predecessors up to where these meet.
pub(super) const DUMPS_PER_LEAVE: usize = 64;

/// So many values in a row at least are a tail. It takes a few instructions to go there.
const MIN_TAIL: usize = 5;

/// With how many other dumps and tails a dump is compared.
const COMPARED: usize = 8;

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
    slots: Vec<SizedSlot>,
}

impl Emitter<'_> {
    /// Writes down a frame in a block which is empty so far, and leaves the function. The code is emitted at last.
    pub(super) fn dump_later(&mut self, block: Block, offset: u64, slots: &[Slot]) {
        let slots = slots.iter().map(|&(value, ty)| (value, ty.slot_size())).collect();
        self.dumps.pending.push(Dump { block, offset, slots });
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
        let plan = Plan::new(&dumps);
        let tails: Vec<_> = plan.tails.iter().map(|_| self.create_cold_block()).collect();
        let shared: Vec<_> =
            plan.copies.iter().map(|&copies| (copies > 1).then(|| self.create_cold_block())).collect();
        for (index, dump) in dumps.iter().enumerate() {
            self.builder.switch_to_block(dump.block);
            let offset = self.ins().iconst(types::I32, dump.offset as i64);
            if let Some(block) = shared[plan.firsts[index]] {
                self.ins().jump(block, &[offset.into()]);
            } else {
                self.write_down(&dump.slots, offset, plan.tail(index, &tails));
            }
        }
        for (index, block) in shared.into_iter().enumerate() {
            let Some(block) = block else { continue };
            let offset = self.builder.append_block_param(block, types::I32);
            self.switch_to_sealed(block);
            self.write_down(&dumps[index].slots, offset, plan.tail(index, &tails));
        }
        for (tail, block) in plan.tails.iter().zip(tails) {
            let [start, offset, end] =
                [ADDRESS, types::I32, ADDRESS].map(|ty| self.builder.append_block_param(block, ty));
            self.switch_to_sealed(block);
            self.store_slots(start, 0, &dumps[tail.dump].slots[tail.range.clone()]);
            self.leave(offset, end);
        }
        self.finish_leaves(results);
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

/// What dumps have in common.
#[derive(Default)]
struct Plan {
    /// Of each dump the first one that stores the same, itself included.
    firsts: Vec<usize>,
    /// How many dumps store the same as each, itself included, if it is the first one. Else zero.
    copies: Vec<usize>,
    /// Of each first dump the run that a tail stores, and the tail.
    runs: Vec<Option<(Range<usize>, usize)>>,
    tails: Vec<Tail>,
}

/// Values that several dumps have in a row.
struct Tail {
    /// One of the dumps, and where it has them.
    dump: usize,
    range: Range<usize>,
    users: usize,
}

/// What a dump is compared with.
#[derive(Clone, Copy)]
enum Candidate {
    /// A dump without a tail.
    Dump(usize),
    Tail(usize),
}

impl Plan {
    fn new(dumps: &[Dump]) -> Self {
        let mut plan = Self { runs: vec![None; dumps.len()], ..Self::default() };
        plan.copies = vec![0; dumps.len()];
        let mut known: HashMap<&[SizedSlot], usize> = HashMap::new();
        let mut positions = Positions::default();
        let mut recent: VecDeque<Candidate> = VecDeque::new();
        for (index, dump) in dumps.iter().enumerate() {
            let first = known.entry(&dump.slots).or_insert(index);
            if plan.copies[*first] == DUMPS_PER_LEAVE {
                *first = index;
            }
            plan.firsts.push(*first);
            plan.copies[*first] += 1;
            if *first == index && dump.slots.len() >= MIN_TAIL {
                plan.look_for_run(dumps, index, &mut positions, &mut recent);
                recent.truncate(COMPARED);
            }
        }
        plan
    }

    fn look_for_run(
        &mut self,
        dumps: &[Dump],
        index: usize,
        positions: &mut Positions,
        recent: &mut VecDeque<Candidate>,
    ) {
        let slots = &dumps[index].slots;
        positions.set(slots);
        let runs = recent.iter().enumerate().map(|(place, &candidate)| match candidate {
            // Looking through one that is much larger would take long for what there is to gain.
            Candidate::Dump(other) if dumps[other].slots.len() / 4 > slots.len() => (place, (0..0, 0..0)),
            Candidate::Dump(other) => (place, positions.longest_run(slots, &dumps[other].slots)),
            Candidate::Tail(tail) => {
                let Tail { dump, range, users } = &self.tails[tail];
                let whole = &dumps[*dump].slots[range.clone()];
                if *users == DUMPS_PER_LEAVE || whole.len() > slots.len() {
                    return (place, (0..0, 0..0));
                }
                let (run, theirs) = positions.longest_run(slots, whole);
                (place, if run.len() == whole.len() { (run, theirs) } else { (0..0, 0..0) })
            }
        });
        let best = runs.max_by_key(|(place, (run, _))| (run.len(), std::cmp::Reverse(*place)));
        let Some((place, (run, theirs))) = best.filter(|(_, (run, _))| run.len() >= MIN_TAIL) else {
            recent.push_front(Candidate::Dump(index));
            return;
        };
        let tail = match recent.remove(place).expect("it has been compared") {
            Candidate::Tail(tail) => tail,
            Candidate::Dump(other) => {
                self.tails.push(Tail { dump: other, range: theirs.clone(), users: 1 });
                self.runs[other] = Some((theirs, self.tails.len() - 1));
                self.tails.len() - 1
            }
        };
        self.tails[tail].users += 1;
        self.runs[index] = Some((run, tail));
        recent.push_front(Candidate::Tail(tail));
    }

    /// The run of a dump's values which a tail stores, and the tail's block.
    fn tail(&self, dump: usize, blocks: &[Block]) -> Option<(Range<usize>, Block)> {
        self.runs[dump].clone().map(|(run, tail)| (run, blocks[tail]))
    }
}

/// Where values are in a dump.
#[derive(Default)]
struct Positions(HashMap<SizedSlot, usize>);

impl Positions {
    fn set(&mut self, slots: &[SizedSlot]) {
        self.0.clear();
        self.0.extend(slots.iter().enumerate().map(|(position, &slot)| (slot, position)));
    }

    /// The longest run that the dump has in common with others: where in the dump, and where there.
    fn longest_run(&self, slots: &[SizedSlot], others: &[SizedSlot]) -> (Range<usize>, Range<usize>) {
        let mut best = (0..0, 0..0);
        let mut next = 0;
        while next < others.len() {
            let start = next;
            next += 1;
            let Some(&position) = self.0.get(&others[start]) else { continue };
            while next < others.len() && slots.get(position + next - start) == Some(&others[next]) {
                next += 1;
            }
            if next - start > best.1.len() {
                best = (position..position + next - start, start..next);
            }
        }
        best
    }
}
