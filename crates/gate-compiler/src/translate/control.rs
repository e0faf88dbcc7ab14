//! Blocks, loops and branches.

use super::exception::HandlerId;
use super::function::Translator;
use super::signature::value_type;
use super::unroll::{Copies, copy_of_header};
use crate::compiled::SafepointKind;
use crate::dead::concerns_live_block;
use crate::error::CompileError;
use crate::value::ValType;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, JumpTableData, Value};
use std::borrow::Cow;
use wasmparser::{BlockType, BrTable, Catch, Operator};

/// A block of WebAssembly that is open.
pub(super) struct ControlBlock<'a> {
    pub(super) kind: Kind<'a>,
    /// Where control goes on after the end. Its parameters are the results.
    end: Block,
    /// Whether anything goes to the end.
    end_reachable: bool,
    pub(super) params: usize,
    results: usize,
    /// Number of operands below the parameters.
    pub(super) height: usize,
    /// Code offset of the instruction that opened it.
    opened: u64,
    /// What catches exceptions in it.
    pub(super) handler: Option<HandlerId>,
}

pub(super) enum Kind<'a> {
    Block,
    Loop {
        header: Block,
        /// Where branches to the loop go: to its header, or to the next copy of its body.
        again: Block,
        /// Whether there has been one.
        branched: bool,
        copies: Option<Copies<'a>>,
    },
    If {
        /// Where control goes if the condition is false.
        alternative: Block,
        params: Vec<Value>,
    },
    TryTable {
        handler: HandlerId,
        catches: Vec<Catch>,
    },
    /// A `try` of the older encoding, before its first `catch` or `catch_all`.
    Try {
        handler: HandlerId,
    },
    /// Behind that.
    Catch {
        /// Where an exception goes for which there was no `catch` yet.
        dispatch: Option<Block>,
        /// The local that keeps the exception.
        caught: Option<u32>,
    },
}

impl<'a> Translator<'a, '_> {
    /// Opens the block that is the function's body.
    pub(super) fn open_body(&mut self) {
        let end = self.block_with_params(&self.ty.results);
        let results = self.ty.results.len();
        self.blocks.push(ControlBlock {
            kind: Kind::Block,
            end,
            end_reachable: false,
            params: 0,
            results,
            height: 0,
            opened: self.offset,
            handler: None,
        });
    }

    /// Translates a control instruction, and returns whether it is one.
    pub(super) fn control(&mut self, op: &Operator<'_>) -> Result<bool, CompileError> {
        match *op {
            Operator::Block { blockty } => {
                self.keep_operands(blockty)?;
                self.open(blockty, |_, _, _| Ok(Kind::Block))?;
            }
            Operator::Loop { blockty } => {
                self.keep_operands(blockty)?;
                let copies = self.loop_body.take().and_then(|body| Copies::of_loop(self.env, body));
                self.open_loop(blockty, copies)?;
            }
            Operator::If { blockty } => {
                let condition = self.pop();
                self.keep_operands(blockty)?;
                let alternative = self.emit.builder.create_block();
                let consequent = self.emit.builder.create_block();
                self.emit.ins().brif(condition, consequent, &[], alternative, &[]);
                self.emit.switch_to_sealed(consequent);
                self.emit.builder.seal_block(alternative);
                self.open(blockty, |translator, params, _| {
                    let params = translator.stack[translator.stack.len() - params..].to_vec();
                    Ok(Kind::If { alternative, params })
                })?;
            }
            Operator::Else => self.alternative(),
            Operator::End => self.end()?,
            Operator::Br { relative_depth } => {
                let (target, args) = self.branch(relative_depth)?;
                self.emit.ins().jump(target, &args);
                self.reachable = false;
            }
            Operator::BrIf { relative_depth } => {
                let condition = self.pop();
                let (target, args) = self.branch(relative_depth)?;
                let next = self.emit.builder.create_block();
                self.emit.ins().brif(condition, target, &args, next, &[]);
                self.emit.switch_to_sealed(next);
            }
            Operator::BrTable { ref targets } => self.branch_table(targets)?,
            Operator::Return => {
                let results = self.top(self.ty.results.len()).to_vec();
                self.charge(results.len())?;
                self.emit.ins().return_(&results);
                self.reachable = false;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Keeps track of blocks where control cannot get.
    pub(super) fn dead_operator(&mut self, op: &Operator<'_>) -> Result<(), CompileError> {
        if !concerns_live_block(op, &mut self.dead_blocks) {
            return Ok(());
        }
        match op {
            Operator::End => self.end()?,
            Operator::Delegate { relative_depth } => self.delegate(*relative_depth)?,
            Operator::Catch { tag_index } => self.catch(Some(*tag_index))?,
            Operator::CatchAll => self.catch(None)?,
            Operator::Else => self.alternative(),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn open(
        &mut self,
        ty: BlockType,
        kind: impl FnOnce(&mut Self, usize, &[ValType]) -> Result<Kind<'a>, CompileError>,
    ) -> Result<(), CompileError> {
        let (params, results) = self.block_type(ty);
        self.charge(params.len() + results.len())?;
        let kind = kind(self, params.len(), &params)?;
        let end = self.block_with_params(&results);
        let height = self.stack.len() - params.len();
        self.blocks.push(ControlBlock {
            kind,
            end,
            end_reachable: false,
            params: params.len(),
            results: results.len(),
            height,
            opened: self.offset,
            handler: self.handler(),
        });
        Ok(())
    }

    /// Opens a loop. Its header is left unsealed, because there will be branches to it.
    fn open_loop(&mut self, ty: BlockType, copies: Option<Copies<'a>>) -> Result<(), CompileError> {
        self.open(ty, |translator, params, types| {
            let header = translator.block_with_params(types);
            let height = translator.stack.len() - params;
            let args = block_args(&translator.stack[height..]);
            translator.emit.ins().jump(header, &args);
            if translator.enters(SafepointKind::Loop, translator.offset) {
                translator.enter(header)?;
            }
            translator.emit.builder.switch_to_block(header);
            translator.stack.truncate(height);
            translator.stack.extend(translator.emit.builder.block_params(header));
            let again = match copies {
                Some(_) => copy_of_header(&mut translator.emit.builder, header, params),
                None => header,
            };
            Ok(Kind::Loop { header, again, branched: false, copies })
        })?;
        let is_checked = self.unchecked_loops.binary_search(&self.offset).is_err();
        let dump = is_checked.then(|| self.emit.check_loop());
        self.at_safepoint(SafepointKind::Loop, None, &[], dump)
    }

    fn alternative(&mut self) {
        let block = self.blocks.last_mut().expect("validated");
        let kind = std::mem::replace(&mut block.kind, Kind::Block);
        let Kind::If { alternative, params } = kind else { unreachable!("validated") };
        self.fall_through();
        let height = self.blocks.last().expect("validated").height;
        self.stack.truncate(height);
        self.stack.extend(params);
        self.emit.builder.switch_to_block(alternative);
        self.reachable = true;
    }

    pub(super) fn end(&mut self) -> Result<(), CompileError> {
        self.fall_through();
        if self.begin_copy() {
            return Ok(());
        }
        let block = self.blocks.pop().expect("validated");
        let mut end_reachable = block.end_reachable;
        match block.kind {
            Kind::TryTable { handler, catches } => self.finish_try_table(handler, &catches)?,
            Kind::Try { handler } => self.finish_try(handler, self.handler()),
            Kind::Catch { dispatch, .. } => self.finish_catches(dispatch),
            Kind::Block => {}
            Kind::Loop { header, .. } => self.emit.builder.seal_block(header),
            Kind::If { alternative, params } => {
                // Without an alternative, the parameters are the results.
                self.emit.builder.switch_to_block(alternative);
                self.emit.ins().jump(block.end, &block_args(&params));
                end_reachable = true;
            }
        }
        self.stack.truncate(block.height);
        self.reachable = end_reachable;
        if end_reachable {
            self.emit.switch_to_sealed(block.end);
            self.take_back_operands(block.opened, true);
            self.stack.extend(self.emit.builder.block_params(block.end));
            if self.blocks.is_empty() {
                let results = std::mem::take(&mut self.stack);
                self.emit.ins().return_(&results);
                self.reachable = false;
            }
        } else {
            self.take_back_operands(block.opened, false);
        }
        Ok(())
    }

    /// Goes to the end of the block if control gets here.
    pub(super) fn fall_through(&mut self) {
        if self.reachable {
            let block = self.blocks.last_mut().expect("validated");
            block.end_reachable = true;
            let (end, results) = (block.end, block.results);
            let args = block_args(self.top(results));
            self.emit.ins().jump(end, &args);
            self.reachable = false;
        }
    }

    /// Where a branch goes, with which arguments.
    pub(super) fn branch(&mut self, depth: u32) -> Result<(Block, Vec<BlockArg>), CompileError> {
        let index = self.blocks.len() - 1 - depth as usize;
        let block = &mut self.blocks[index];
        let (target, args) = match &mut block.kind {
            Kind::Loop { again, branched, .. } => {
                *branched = true;
                (*again, block.params)
            }
            _ => {
                block.end_reachable = true;
                (block.end, block.results)
            }
        };
        self.charge(args)?;
        Ok((target, block_args(self.top(args))))
    }

    fn branch_table(&mut self, targets: &BrTable<'_>) -> Result<(), CompileError> {
        let index = self.pop();
        let mut calls = Vec::with_capacity(targets.len() as usize);
        for depth in targets.targets().chain([Ok(targets.default())]) {
            let (target, args) = self.branch(depth?)?;
            calls.push(self.emit.builder.func.dfg.block_call(target, &args));
        }
        let default = calls.pop().expect("the default target has been pushed");
        let table = self.emit.builder.create_jump_table(JumpTableData::new(default, &calls));
        self.emit.ins().br_table(index, table);
        self.reachable = false;
        Ok(())
    }

    /// The topmost operands.
    pub(super) fn top(&self, count: usize) -> &[Value] {
        &self.stack[self.stack.len() - count..]
    }

    pub(super) fn block_with_params(&mut self, types: &[ValType]) -> Block {
        let block = self.emit.builder.create_block();
        for &ty in types {
            self.emit.builder.append_block_param(block, value_type(ty));
        }
        block
    }

    pub(super) fn block_type(&self, ty: BlockType) -> (Cow<'a, [ValType]>, Cow<'a, [ValType]>) {
        match ty {
            BlockType::Empty => (Cow::Borrowed(&[]), Cow::Borrowed(&[])),
            BlockType::Type(ty) => {
                // References of a type which is not supported cannot be made, so that nothing ever has them.
                let ty = self.env.module.value_type(ty).unwrap_or(ValType::ExternRef);
                (Cow::Borrowed(&[]), Cow::Owned(vec![ty]))
            }
            BlockType::FuncType(index) => {
                let ty = &self.env.module.types[index as usize];
                (Cow::Borrowed(&ty.params), Cow::Borrowed(&ty.results))
            }
        }
    }
}

pub(super) fn block_args(values: &[Value]) -> Vec<BlockArg> {
    values.iter().map(|&value| BlockArg::from(value)).collect()
}
