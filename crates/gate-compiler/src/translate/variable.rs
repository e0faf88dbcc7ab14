//! Locals and globals.

use super::function::{Translator, too_complex};
use super::signature::value_type;
use crate::error::{CompileError, ErrorKind};
use crate::value::ValType;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::Variable;

/// A function's locals.
#[derive(Default)]
pub(super) struct Locals {
    locals: Vec<Local>,
    /// How many more entries the front end's tables may get.
    entries: usize,
}

struct Local {
    variable: Variable,
    ty: ValType,
    /// Number of blocks that the front end's table of this variable has room for.
    blocks: usize,
}

/// The front end has a table for each variable with an entry of 4 bytes for each block, up to the last in which the
/// variable appears.
const MAX_ENTRIES: usize = 1 << 28;

impl Locals {
    pub(super) fn ty(&self, local: u32) -> ValType {
        self.locals[local as usize].ty
    }
}

impl Translator<'_, '_> {
    /// Declares all locals: those that the validator knows, and those that keep exceptions which are thrown again.
    pub(super) fn declare_locals(&mut self) -> Result<(), CompileError> {
        self.locals.entries = MAX_ENTRIES * self.slack;
        for index in 0..self.validator.len_locals() {
            let ty = self.validator.get_local_type(index).and_then(|ty| self.env.module.value_type(ty));
            let ty = ty.ok_or_else(|| {
                let message = format!("function {}: unsupported type of local {index}", self.emit.function);
                CompileError::new(ErrorKind::Unsupported, self.offset, message)
            })?;
            self.note_type(Some(ty));
            let variable = self.emit.builder.declare_var(value_type(ty));
            self.locals.locals.push(Local { variable, ty, blocks: 0 });
        }
        for _ in 0..self.caught {
            let variable = self.emit.builder.declare_var(value_type(ValType::ExnRef));
            self.locals.locals.push(Local { variable, ty: ValType::ExnRef, blocks: 0 });
        }
        Ok(())
    }

    /// Gives all locals their first values: those which are given with their indices, ascending, and zeros.
    pub(super) fn define_locals(&mut self, values: impl IntoIterator<Item = (u32, Value)>) {
        let mut values = values.into_iter().peekable();
        let mut zero: Option<(ValType, Value)> = None;
        for index in 0..self.locals.locals.len() {
            let Local { variable, ty, .. } = self.locals.locals[index];
            let value = match values.next_if(|&(local, _)| local as usize == index) {
                Some((_, value)) => value,
                None => match zero {
                    Some((of, value)) if of == ty => value,
                    _ => zero.insert((ty, self.emit.constant(ty, 0))).1,
                },
            };
            self.emit.builder.def_var(variable, value);
        }
    }

    /// The type of a local, if there is such a local.
    pub(super) fn local_type(&self, local: u32) -> Option<ValType> {
        self.locals.locals.get(local as usize).map(|local| local.ty)
    }

    pub(super) fn local(&mut self, local: u32) -> Result<Value, CompileError> {
        let variable = self.variable(local)?;
        Ok(self.emit.builder.use_var(variable))
    }

    pub(super) fn set_local(&mut self, local: u32, value: Value) -> Result<(), CompileError> {
        let variable = self.variable(local)?;
        self.emit.builder.def_var(variable, value);
        Ok(())
    }

    fn variable(&mut self, local: u32) -> Result<Variable, CompileError> {
        let blocks = self.emit.builder.func.dfg.num_blocks();
        let local = &mut self.locals.locals[local as usize];
        if let Some(more) = blocks.checked_sub(local.blocks) {
            local.blocks = blocks;
            self.locals.entries = self
                .locals
                .entries
                .checked_sub(more)
                .ok_or_else(|| too_complex(self.emit.function, self.offset))?;
        }
        Ok(local.variable)
    }

    pub(super) fn global_get(&mut self, global: u32) {
        let info = self.env.layout.globals[global as usize];
        let value = if info.mutable {
            let (flags, context) = (self.emit.access.globals, self.emit.context);
            self.emit.ins().load(value_type(info.ty), flags, context, -(info.distance as i32))
        } else {
            let bits = self.env.module.globals[global as usize].initial.bits();
            self.emit.constant(info.ty, bits)
        };
        self.stack.push(value);
    }

    pub(super) fn global_set(&mut self, global: u32) {
        let info = self.env.layout.globals[global as usize];
        let value = self.pop();
        let (flags, context) = (self.emit.access.globals, self.emit.context);
        self.emit.ins().store(flags, value, context, -(info.distance as i32));
    }
}
