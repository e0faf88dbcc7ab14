//! The older encoding of exception handling: `try` with `catch`, `catch_all` or `delegate`, and `rethrow`.
//!
//! Compilers emitted it before there was a standard one. Here `catch` is an inner part of the block. An exception that is thrown
//! again has a reference while it is handled; that is kept in a local of the function's which the module does not know, behind
//! its own ones.

use super::control::Kind;
use super::exception::HandlerId;
use super::function::Translator;
use crate::error::CompileError;
use cranelift_codegen::ir::Block;
use wasmparser::{BlockType, Operator};

impl Translator<'_, '_> {
    /// Translates an instruction of the older encoding, and returns whether it is one.
    pub(super) fn legacy_exception(&mut self, op: &Operator<'_>) -> Result<bool, CompileError> {
        match *op {
            Operator::Try { blockty } => self.legacy_try(blockty)?,
            Operator::Catch { tag_index } => self.catch(Some(tag_index))?,
            Operator::CatchAll => self.catch(None)?,
            Operator::Delegate { relative_depth } => self.delegate(relative_depth)?,
            Operator::Rethrow { relative_depth } => {
                let index = self.blocks.len() - 1 - relative_depth as usize;
                let Kind::Catch { caught: Some(local), .. } = self.blocks[index].kind else {
                    return Err(CompileError::internal(format!(
                        "function {}: the exception is not known that is thrown again",
                        self.emit.function
                    )));
                };
                let reference = self.local(local)?;
                self.throw_reference(reference);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn legacy_try(&mut self, ty: BlockType) -> Result<(), CompileError> {
        self.keep_operands(ty)?;
        let handler = self.new_handler();
        self.open(ty, |_, _, _| Ok(Kind::Try { handler }))?;
        self.blocks.last_mut().expect("has been opened").handler = Some(handler);
        Ok(())
    }

    /// Begins the part of a `try` block that handles exceptions with a tag, or all. Wherever exceptions can come from, control is
    /// taken to get here.
    pub(super) fn catch(&mut self, tag: Option<u32>) -> Result<(), CompileError> {
        self.fall_through();
        let own_locals = self.validator.len_locals();
        let number = self.next_caught;
        self.next_caught += 1;
        let caught = (number < self.caught).then_some(own_locals + number);
        let outer = self.blocks.iter().nth_back(1).and_then(|block| block.handler);
        let block = self.blocks.last_mut().expect("validated");
        block.handler = outer;
        let height = block.height;
        let kind = std::mem::replace(&mut block.kind, Kind::Catch { dispatch: None, caught });
        match kind {
            Kind::Try { handler } => self.begin_handler(handler),
            Kind::Catch { dispatch: Some(dispatch), .. } => self.emit.switch_to_sealed(dispatch),
            _ => unreachable!("validated"),
        }
        self.stack.truncate(height);
        let next = tag.map(|tag| self.match_tag(tag));
        if let Kind::Catch { dispatch, .. } = &mut self.blocks.last_mut().expect("validated").kind {
            *dispatch = next;
        }
        let reference = self.caught(caught.is_some());
        if let (Some(local), Some(reference)) = (caught, reference) {
            self.set_local(local, reference)?;
        }
        self.push_values(tag);
        self.reachable = true;
        Ok(())
    }

    /// Ends a `try` block. Exceptions go to what catches those of an enclosing block.
    pub(super) fn delegate(&mut self, depth: u32) -> Result<(), CompileError> {
        let index = self.blocks.len() - 2 - depth as usize;
        let handler = self.blocks[index].handler;
        let block = self.blocks.last_mut().expect("validated");
        let Kind::Try { handler: own } = std::mem::replace(&mut block.kind, Kind::Block) else {
            unreachable!("validated")
        };
        self.fall_through();
        self.finish_try(own, handler);
        self.end()
    }

    /// Fills the handler of a `try` block which catches nothing. Control is nowhere afterwards.
    pub(super) fn finish_try(&mut self, handler: HandlerId, other: Option<HandlerId>) {
        self.begin_handler(handler);
        self.pass_exception_on(other);
    }

    /// Passes an exception on for which there is no `catch`.
    pub(super) fn finish_catches(&mut self, dispatch: Option<Block>) {
        if let Some(dispatch) = dispatch {
            self.emit.switch_to_sealed(dispatch);
            self.pass_exception_on(self.handler());
        }
    }
}
