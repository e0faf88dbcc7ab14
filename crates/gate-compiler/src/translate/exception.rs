//! Throwing and catching exceptions.
//!
//! An exception that is thrown is record 0 of the program's exceptions (see [`ExceptionDesc`](gate_wire::context::ExceptionDesc)).
//! If the function has no handler for it, it says so in the unwinding word and returns zeros; its caller sees that where it looks
//! whether the callee has stopped. So what does not throw does nothing for exceptions, and a program cannot stop while one looks for
//! its handler.
//!
//! A handler is a block to which all places lead where something can be thrown for which it is. It compares the exception's
//! tag with those that it catches, and goes on to the next outer handler, or out of the function, if it is none of them. Values are
//! copied out of the record. Only when a reference to the exception is wanted, rt makes a record that stays.

use super::control::Kind;
use super::dump::DUMPS_PER_LEAVE;
use super::function::Translator;
use super::signature::value_type;
use crate::compiled::{Callee, ExceptionsInfo};
use crate::error::CompileError;
use crate::trap;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value, types};
use gate_wire::context::{ExceptionHead, RtFunction, Unwinding};
use gate_wire::context_offset;
use gate_wire::trap::TrapId;
use std::mem::offset_of;
use wasmparser::{Catch, Operator, TryTable};

/// Index in [`Translator::handlers`].
pub(super) type HandlerId = usize;

/// What catches exceptions.
pub(super) struct Handler {
    /// Where it begins. Filled when the code is over for which it is.
    block: Block,
    /// Blocks that lead there. Each has only so many predecessors, for the same reason as the blocks that leave functions.
    ways: Vec<Block>,
    /// Number of places that lead to one of these.
    uses: usize,
}

impl<'a> Translator<'a, '_> {
    /// Translates an instruction of exception handling, and returns whether it is one.
    pub(super) fn exception(&mut self, op: &Operator<'_>) -> Result<bool, CompileError> {
        match op {
            Operator::TryTable { try_table } => self.try_table(try_table)?,
            Operator::Throw { tag_index } => self.throw(*tag_index)?,
            Operator::ThrowRef => {
                let reference = self.pop();
                self.check_not_null(reference);
                self.throw_reference(reference);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether something that is called can end with an exception.
    pub(super) fn can_throw(&self, callee: Option<Callee>) -> bool {
        let imported = |function| function < self.env.module.imported_functions();
        let is_host = matches!(callee, Some(Callee::Function(function)) if imported(function));
        self.env.layout.exceptions.is_some() && !is_host
    }

    /// What catches exceptions at this place.
    pub(super) fn handler(&self) -> Option<HandlerId> {
        self.blocks.last().and_then(|block| block.handler)
    }

    /// The block to which an exception goes for which a handler is, or none.
    pub(super) fn exception_block(&mut self, handler: Option<HandlerId>) -> Block {
        let Some(handler) = handler else { return self.emit.pass_on_block() };
        let full = self.handlers[handler].uses.is_multiple_of(DUMPS_PER_LEAVE);
        self.handlers[handler].uses += 1;
        match self.handlers[handler].ways.last() {
            Some(&way) if !full => way,
            _ => {
                let way = self.emit.create_cold_block();
                self.handlers[handler].ways.push(way);
                way
            }
        }
    }

    pub(super) fn new_handler(&mut self) -> HandlerId {
        let block = self.emit.create_cold_block();
        self.handlers.push(Handler { block, ways: Vec::new(), uses: 0 });
        self.handlers.len() - 1
    }

    /// Goes to the beginning of a handler to which nothing will lead any more.
    pub(super) fn begin_handler(&mut self, handler: HandlerId) {
        let block = self.handlers[handler].block;
        for way in std::mem::take(&mut self.handlers[handler].ways) {
            self.emit.switch_to_sealed(way);
            self.emit.ins().jump(block, &[]);
        }
        self.emit.switch_to_sealed(block);
    }

    fn try_table(&mut self, try_table: &TryTable) -> Result<(), CompileError> {
        self.keep_operands(try_table.ty)?;
        let handler = self.new_handler();
        self.open(try_table.ty, |_, _, _| {
            Ok(Kind::TryTable { handler, catches: try_table.catches.clone() })
        })?;
        self.blocks.last_mut().expect("has been opened").handler = Some(handler);
        Ok(())
    }

    /// Fills the handler of a `try_table` block which has been closed.
    pub(super) fn finish_try_table(
        &mut self,
        handler: HandlerId,
        catches: &[Catch],
    ) -> Result<(), CompileError> {
        self.begin_handler(handler);
        for catch in catches {
            let (tag, with_reference, label) = match *catch {
                Catch::One { tag, label } => (Some(tag), false, label),
                Catch::OneRef { tag, label } => (Some(tag), true, label),
                Catch::All { label } => (None, false, label),
                Catch::AllRef { label } => (None, true, label),
            };
            let next = tag.map(|tag| self.match_tag(tag));
            let height = self.stack.len();
            let reference = self.caught(with_reference);
            self.push_values(tag);
            self.stack.extend(reference);
            let (target, args) = self.branch(label)?;
            self.emit.ins().jump(target, &args);
            self.stack.truncate(height);
            match next {
                Some(next) => self.emit.switch_to_sealed(next),
                None => return Ok(()),
            }
        }
        self.pass_exception_on(self.handler());
        Ok(())
    }

    /// Goes to another handler, or out of the function. Control is nowhere afterwards.
    pub(super) fn pass_exception_on(&mut self, handler: Option<HandlerId>) {
        let target = self.exception_block(handler);
        self.emit.ins().jump(target, &[]);
    }

    /// Goes on if the exception has the tag. Returns the block where control goes if it has not.
    pub(super) fn match_tag(&mut self, tag: u32) -> Block {
        let (matched, next) = (self.emit.create_cold_block(), self.emit.create_cold_block());
        let found = match self.record_offset(offset_of!(ExceptionHead, tag) as i32) {
            Some(offset) => self.emit.load_context(types::I32, offset),
            // There are no tags.
            None => self.emit.ins().iconst(types::I32, 0),
        };
        let is_tag = self.emit.ins().icmp_imm_u(IntCC::Equal, found, i64::from(tag) + 1);
        self.emit.ins().brif(is_tag, matched, &[], next, &[]);
        self.emit.switch_to_sealed(matched);
        next
    }

    /// Takes note that the exception has been caught. Returns a reference to it if that is wanted.
    pub(super) fn caught(&mut self, with_reference: bool) -> Option<Value> {
        let no = self.emit.ins().iconst(types::I32, Unwinding::No as i64);
        self.emit.store_context(no, context_offset!(unwinding));
        with_reference.then(|| match self.exception_desc() {
            Some(desc) => self.emit.call_rt(RtFunction::ExceptionNew, &[desc]).expect("it has a result"),
            None => self.emit.ins().iconst(types::I32, 0),
        })
    }

    /// Pushes the values of the exception, which has the tag.
    pub(super) fn push_values(&mut self, tag: Option<u32>) {
        let Some(tag) = tag else { return };
        let mut offset = size_of::<ExceptionHead>() as i32;
        for &ty in self.env.module.tag_values(tag) {
            let Some(place) = self.record_offset(offset) else { return };
            let (flags, context) = (self.emit.access.arguments, self.emit.context);
            let value = self.emit.ins().load(value_type(ty), flags, context, place);
            self.stack.push(value);
            offset += ty.slot_size() as i32;
        }
    }

    fn throw(&mut self, tag: u32) -> Result<(), CompileError> {
        let env = self.env;
        let types = env.module.tag_values(tag);
        self.charge(types.len())?;
        let values = self.stack.split_off(self.stack.len() - types.len());
        let mut offset = size_of::<ExceptionHead>() as i32;
        for (value, ty) in values.into_iter().zip(types) {
            let Some(place) = self.record_offset(offset) else { break };
            let (flags, context) = (self.emit.access.arguments, self.emit.context);
            self.emit.ins().store(flags, value, context, place);
            offset += ty.slot_size() as i32;
        }
        for (field, number) in
            [(offset_of!(ExceptionHead, tag), i64::from(tag) + 1), (offset_of!(ExceptionHead, link), 0)]
        {
            let Some(place) = self.record_offset(field as i32) else { break };
            let number = self.emit.ins().iconst(types::I32, number);
            self.emit.store_context(number, place);
        }
        self.thrown();
        Ok(())
    }

    /// Throws the exception to which a reference refers that is not null.
    pub(super) fn throw_reference(&mut self, reference: Value) {
        match self.exception_desc() {
            Some(desc) => {
                self.emit.call_rt(RtFunction::ExceptionThrow, &[desc, reference]);
                self.thrown();
            }
            None => {
                // Without tags there are no exceptions.
                self.emit.ins().trap(trap::code(TrapId::InternalError));
                self.reachable = false;
            }
        }
    }

    /// Record 0 has been filled.
    fn thrown(&mut self) {
        let exception = self.emit.ins().iconst(types::I32, Unwinding::Exception as i64);
        self.emit.store_context(exception, context_offset!(unwinding));
        self.pass_exception_on(self.handler());
        self.reachable = false;
    }

    fn exception_desc(&mut self) -> Option<Value> {
        let desc = self.exceptions()?.desc_distance;
        Some(self.emit.instance_address(desc))
    }

    /// Offset from the context address of something in record 0.
    fn record_offset(&self, offset: i32) -> Option<i32> {
        Some(offset - self.exceptions()?.distance as i32)
    }

    fn exceptions(&self) -> Option<&'a ExceptionsInfo> {
        self.env.layout.exceptions.as_ref()
    }
}
