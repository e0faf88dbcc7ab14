//! The way in at a safepoint, and the reading of frames.
//!
//! A *resume body* is a function's body once more, entered at one of its safepoints instead of its start. It is translated
//! like any other, but nothing leads to its start, so that Cranelift leaves out what is reached only from there; and
//! the block that loads the frame leads to where the program goes on. What both ways define has to be joined there:
//!
//! - Locals are variables, which the front end takes care of. Those that are not in the frame are dead, hence zero.
//! - Operands above those of the innermost open block become parameters of the block in which the ways join. A
//!   loop's parameters are parameters of its header already: a loop is entered there, which keeps it
//!   reducible, and makes it as fast as it was.
//! - Other operands stay untouched below open blocks. There the values of both ways meet at every end and header
//!   of these blocks, so they would have to be parameters of all of them. They are kept in memory
//!   instead, from the start of the block above them to its end: the number of loads and stores is that of the operands. Such
//!   operands are rare, and the code in the block does not use them.

use super::dump::Slot;
use super::emit::Emitter;
use super::function::Translator;
use super::signature::{ADDRESS, resume_signature, value_type};
use crate::compiled::{Callee, Safepoint, SafepointKind};
use crate::error::CompileError;
use crate::symbol::Symbol;
use crate::value::ValType;
use cranelift_codegen::ir::{
    Block, BlockArg, Inst, InstBuilder, StackSlot, StackSlotData, StackSlotKind, Value, types,
};
use gate_wire::context_offset;
use std::collections::HashSet;
use wasmparser::{BlockType, FunctionBody, Operator};

/// Where a resume body is entered.
pub(super) struct Resume<'a> {
    point: &'a Safepoint,
    /// Block in which the frame is loaded. Filled when the translation gets to the safepoint.
    load: Block,
    entered: bool,
    /// Code offsets of the blocks which are open at the safepoint.
    enclosing: HashSet<u64>,
    /// Numbers of operands below each of those which are open now.
    heights: Vec<usize>,
    /// Where operands below open blocks are kept.
    slot: Option<StackSlot>,
    /// Where in it each operand is, and its size.
    offsets: Vec<i32>,
    size: u32,
}

impl<'a> Resume<'a> {
    /// Prepares for entering a body, which is valid, at a safepoint.
    pub(super) fn new(
        point: &'a Safepoint,
        body: &FunctionBody<'_>,
        load: Block,
    ) -> Result<Self, CompileError> {
        let (mut offsets, mut size) = (Vec::with_capacity(point.operands.len()), 0);
        for ty in &point.operands {
            offsets.push(size as i32);
            size += ty.slot_size();
        }
        let enclosing = enclosing_blocks(body, point)?;
        Ok(Self { point, load, entered: false, enclosing, heights: Vec::new(), slot: None, offsets, size })
    }

    /// Number of operands which are kept in memory.
    fn kept(&self) -> usize {
        self.heights.last().copied().unwrap_or(0)
    }

    fn unexpected(&self, what: &str) -> CompileError {
        let Safepoint { function, code_offset, .. } = self.point;
        CompileError::internal(format!(
            "function {function}: the safepoint at {code_offset:#x} is not that of this module: {what}"
        ))
    }
}

/// Offsets of the blocks which are open at a safepoint.
fn enclosing_blocks(body: &FunctionBody<'_>, point: &Safepoint) -> Result<HashSet<u64>, CompileError> {
    let point_offset = u64::from(point.code_offset);
    let mut open = Vec::new();
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let (op, offset) = reader.read_with_offset()?;
        let is_point = offset == point_offset && point.kind == SafepointKind::Loop;
        if offset >= point_offset && !is_point {
            break;
        }
        match op {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Try { .. }
            | Operator::TryTable { .. } => open.push(offset),
            Operator::End | Operator::Delegate { .. } => drop(open.pop()),
            _ => {}
        }
    }
    Ok(open.into_iter().collect())
}

impl Translator<'_, '_> {
    /// Whether the body is entered at this instruction's safepoint of this kind.
    pub(super) fn enters(&self, kind: SafepointKind, offset: u64) -> bool {
        self.resume.as_ref().is_some_and(|resume| {
            resume.point.kind == kind && u64::from(resume.point.code_offset) == offset && !resume.entered
        })
    }

    /// If the body is entered here, joins the way in with the way that gets here. Operands are those on the stack, and then
    /// `own`. Returns what `own` is afterwards.
    ///
    /// At a call, its results are not yet on the stack, and `own` are these.
    pub(super) fn join(
        &mut self,
        kind: SafepointKind,
        offset: u64,
        own: Vec<Value>,
    ) -> Result<Vec<Value>, CompileError> {
        if !self.enters(kind, offset) {
            return Ok(own);
        }
        let kept = self.kept_operands();
        let values: Vec<_> = self.stack[kept..].iter().chain(&own).copied().collect();
        let join = self.emit.builder.create_block();
        for &value in &values {
            let ty = self.emit.builder.func.dfg.value_type(value);
            self.emit.builder.append_block_param(join, ty);
        }
        let args: Vec<_> = values.into_iter().map(BlockArg::from).collect();
        self.emit.ins().jump(join, &args);
        self.enter(join)?;
        self.emit.switch_to_sealed(join);
        let params = self.emit.builder.block_params(join);
        let (operands, own) = params.split_at(params.len() - own.len());
        self.stack.truncate(kept);
        self.stack.extend(operands);
        Ok(own.to_vec())
    }

    /// Loads the frame, and goes to a block with the operands that are not kept in memory, and the results of the call.
    /// Control is nowhere afterwards.
    pub(super) fn enter(&mut self, target: Block) -> Result<(), CompileError> {
        let Some(resume) = &mut self.resume else { return Ok(()) };
        resume.entered = true;
        let (load, point, kept) = (resume.load, resume.point, resume.kept());
        self.emit.builder.switch_to_block(load);
        let (mut operands, end) = self.load_frame(point)?;
        if point.kind == SafepointKind::Call {
            let results = match point.callee {
                Some(Callee::Function(callee)) => self.env.module.checked_function_type(callee),
                Some(Callee::Signature(number)) => self.env.module.signature_type(number),
                None => None,
            };
            let results = results.ok_or_else(|| self.unexpected("no such callee"))?;
            let call = self.emit.call_resumed(end, &results.results);
            operands.extend(self.emit.builder.inst_results(call));
        }
        if operands.len() < kept {
            return Err(self.unexpected("number of operands"));
        }
        for (index, &value) in operands[..kept].iter().enumerate() {
            self.keep_operand(index, value)?;
        }
        let operands = &operands[kept..];
        let func = &self.emit.builder.func;
        let params = func.dfg.block_params(target).iter();
        if !params
            .map(|&param| func.dfg.value_type(param))
            .eq(operands.iter().map(|&v| func.dfg.value_type(v)))
        {
            return Err(self.unexpected("types of operands"));
        }
        let args: Vec<_> = operands.iter().map(|&value| BlockArg::from(value)).collect();
        self.emit.ins().jump(target, &args);
        Ok(())
    }

    /// Loads a frame in the current block: gives the locals their values, and returns the operands, and the address where the
    /// frame ends.
    pub(super) fn load_frame(&mut self, point: &Safepoint) -> Result<(Vec<Value>, Value), CompileError> {
        if point.locals.iter().any(|&(local, ty)| self.local_type(local) != Some(ty)) {
            return Err(self.unexpected("types of locals"));
        }
        let types = point.locals.iter().map(|&(_, ty)| ty).chain(point.operands.iter().copied());
        let (mut values, end) = self.emit.load_frame(types);
        let operands = values.split_off(point.locals.len());
        self.define_locals(point.locals.iter().map(|&(local, _)| local).zip(values));
        Ok((operands, end))
    }

    /// Checks that the body has been entered.
    pub(super) fn check_entered(&self) -> Result<(), CompileError> {
        match &self.resume {
            Some(resume) if !resume.entered => Err(resume.unexpected("nothing stops there")),
            _ => Ok(()),
        }
    }

    /// Number of operands which are kept in memory: the lowest.
    pub(super) fn kept_operands(&self) -> usize {
        self.resume.as_ref().map_or(0, Resume::kept)
    }

    /// To be called before this instruction opens a block with the topmost operands as parameters: keeps those below in
    /// memory if the body is entered in the block.
    pub(super) fn keep_operands(&mut self, ty: BlockType) -> Result<(), CompileError> {
        let offset = self.offset;
        if self.resume.as_ref().is_some_and(|resume| resume.enclosing.contains(&offset)) {
            let height = self.stack.len() - self.block_type(ty).0.len();
            for index in self.kept_operands()..height {
                self.keep_operand(index, self.stack[index])?;
            }
            self.resume.as_mut().expect("has been found").heights.push(height);
        }
        Ok(())
    }

    /// To be called after the block that was opened at an offset has ended, and control has got behind it if it can:
    /// takes the operands from memory that are no longer below a block.
    pub(super) fn take_back_operands(&mut self, opened: u64, reachable: bool) {
        let Some(resume) = self.resume.as_mut().filter(|resume| resume.enclosing.contains(&opened)) else {
            return;
        };
        let height = resume.heights.pop().expect("pushed when the block was opened");
        if reachable {
            for index in self.kept_operands()..height {
                self.stack[index] = self.kept_operand(index);
            }
        }
    }

    /// Replaces operands that are kept in memory, in the current block.
    pub(super) fn load_kept_operands(&mut self, operands: &mut [Slot]) {
        for (index, (value, _)) in operands.iter_mut().enumerate().take(self.kept_operands()) {
            *value = self.kept_operand(index);
        }
    }

    fn keep_operand(&mut self, index: usize, value: Value) -> Result<(), CompileError> {
        let (slot, offset, ty) =
            self.operand_place(index).ok_or_else(|| self.unexpected("number of operands"))?;
        if self.emit.builder.func.dfg.value_type(value) != value_type(ty) {
            return Err(self.unexpected("types of operands"));
        }
        let flags = self.emit.access.operands;
        let address = self.emit.ins().stack_addr(ADDRESS, slot, offset);
        self.emit.ins().store(flags, value, address, 0);
        Ok(())
    }

    fn kept_operand(&mut self, index: usize) -> Value {
        let (slot, offset, ty) = self.operand_place(index).expect("the operand has been kept");
        let flags = self.emit.access.operands;
        let address = self.emit.ins().stack_addr(ADDRESS, slot, offset);
        self.emit.ins().load(value_type(ty), flags, address, 0)
    }

    /// Where an operand is kept.
    fn operand_place(&mut self, index: usize) -> Option<(StackSlot, i32, ValType)> {
        let resume = self.resume.as_mut()?;
        let (&offset, &ty) = (resume.offsets.get(index)?, resume.point.operands.get(index)?);
        let (builder, size) = (&mut self.emit.builder, resume.size);
        let slot = *resume.slot.get_or_insert_with(|| {
            builder.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4))
        });
        Some((slot, offset, ty))
    }

    fn unexpected(&self, what: &str) -> CompileError {
        match &self.resume {
            Some(resume) => resume.unexpected(what),
            None => CompileError::internal(format!("function {}: {what}", self.emit.function)),
        }
    }
}

impl Emitter<'_> {
    /// Loads the values of the next frame. Also returns the address where the frame ends.
    pub(super) fn load_frame(&mut self, types: impl Iterator<Item = ValType>) -> (Vec<Value>, Value) {
        let flags = self.access.frames;
        let frame = self.load_context(ADDRESS, context_offset!(resume_next));
        // The word that has led here comes first.
        let mut size = 8;
        let mut values = Vec::new();
        for ty in types {
            values.push(self.ins().load(value_type(ty), flags, frame, size));
            size += ty.slot_size() as i32;
        }
        let end = self.ins().iadd_imm_s(frame, i64::from(size));
        self.store_context(end, context_offset!(resume_next));
        (values, end)
    }

    /// Calls the resume body of the frame at an address. It has the given results.
    pub(super) fn call_resumed(&mut self, frame: Value, results: &[ValType]) -> Inst {
        let flags = self.access.frames;
        let word = self.ins().load(types::I64, flags, frame, 0);
        let functions = self.symbol_address(Symbol::FunctionTable);
        let callee = self.ins().iadd(functions, word);
        let signature = self.builder.import_signature(resume_signature(results));
        let context = self.context;
        self.ins().call_indirect(signature, callee, &[context])
    }
}
