//! Frames: what is in them, and where.

use super::dump::{HEAD_SIZE, Slot};
use super::function::{Translator, too_complex};
use super::signature::value_type;
use crate::breakpoints::{breakpoint_offset, is_bulk};
use crate::compiled::{Callee, Safepoint, SafepointKind};
use crate::error::CompileError;
use crate::value::ValType;
use cranelift_codegen::ir::Block;
use gate_wire::frames::FRAMES_GUARD;
use std::ops::Range;
use wasmparser::Operator;

impl Translator<'_, '_> {
    /// Writes down the frame in the cold block `dump`, and records the safepoint. Operands are those on the stack, and
    /// then `own`. Control is afterwards where it was before. Without `dump`, the program never stops there, but one that has stopped there
    /// elsewhere can go on.
    ///
    /// To be called when the instruction has been validated and has popped its own operands; once for each safepoint
    /// that the scan for liveness finds, in the same order.
    pub(super) fn at_safepoint(
        &mut self,
        kind: SafepointKind,
        callee: Option<Callee>,
        own: &[Slot],
        dump: Option<Block>,
    ) -> Result<(), CompileError> {
        let live = self.liveness.next(self.offset).ok_or_else(|| {
            CompileError::internal(format!(
                "function {}: safepoint at {:#x} was not expected",
                self.emit.function, self.offset
            ))
        })?;
        self.frame_values = self
            .frame_values
            .checked_sub(live.len() + self.stack.len() + own.len())
            .ok_or_else(|| too_complex(self.emit.function, self.offset))?;

        let locals = self.live_locals(kind, live);
        let mut operands = self.typed_stack()?;
        operands.extend(own);
        let types = locals.iter().map(|&(_, ty)| ty).chain(operands.iter().map(|&(_, ty)| ty));
        let size: u64 = types.map(|ty| u64::from(ty.slot_size())).sum();
        if u64::from(HEAD_SIZE) + size > FRAMES_GUARD {
            return Err(too_complex(self.emit.function, self.offset));
        }
        if let Some(dump) = dump {
            // Locals are here what they are there, since the check is all that is in between.
            if self.kept_operands() == 0 {
                let slots = self.slots(&locals, &operands)?;
                let locals = locals.iter().map(|&(local, _)| local).collect();
                self.emit.dump_later(dump, self.offset, locals, &slots);
            } else {
                let hot = self.emit.builder.current_block().expect("control is somewhere");
                self.emit.builder.switch_to_block(dump);
                self.load_kept_operands(&mut operands);
                let slots = self.slots(&locals, &operands)?;
                self.emit.dump(self.offset, &slots);
                self.emit.builder.switch_to_block(hot);
            }
        }

        let safepoint = Safepoint {
            function: self.emit.function,
            code_offset: self.offset as u32,
            kind,
            callee,
            locals,
            operands: operands.iter().map(|&(_, ty)| ty).collect(),
        };
        match self.safepoints.last() {
            // A breakpoint at the same instruction.
            Some(last) if last.code_offset == safepoint.code_offset => {
                // To the validator, what an instruction takes can be of a more precise type than to the instruction.
                let types = |point: &Safepoint| -> Vec<ValType> {
                    point.operands.iter().map(|ty| ty.general()).collect()
                };
                let same = last.kind == safepoint.kind
                    && last.callee == safepoint.callee
                    && last.locals == safepoint.locals
                    && types(last) == types(&safepoint);
                if !same {
                    let message =
                        format!("function {}: two safepoints at {:#x}", self.emit.function, self.offset);
                    return Err(CompileError::internal(message));
                }
            }
            _ => self.safepoints.push(safepoint),
        }
        Ok(())
    }

    /// Checks the request flag before an instruction is executed, which has not been validated yet.
    pub(super) fn check_stretch(&mut self, op: &Operator<'_>) -> Result<(), CompileError> {
        let instruction = self.offset;
        self.offset = breakpoint_offset(op, instruction);
        let dump = self.emit.check_loop();
        self.at_safepoint(SafepointKind::Instruction, None, &[], Some(dump))?;
        // A bulk operation has a way in of its own.
        if !is_bulk(op) {
            self.join(SafepointKind::Instruction, self.offset, Vec::new())?;
        }
        self.offset = instruction;
        Ok(())
    }

    /// Stops before an instruction is executed, which has not been validated yet. `checked` says whether there is a check at the
    /// same place.
    pub(super) fn breakpoint(&mut self, op: &Operator<'_>, checked: bool) -> Result<(), CompileError> {
        let instruction = self.offset;
        let kind = match op {
            Operator::Loop { .. } => SafepointKind::Loop,
            op if checked || is_bulk(op) => SafepointKind::Instruction,
            _ => SafepointKind::Breakpoint,
        };
        self.offset = breakpoint_offset(op, instruction);
        let dump = self.emit.stop_at_breakpoint();
        self.at_safepoint(kind, None, &[], Some(dump))?;
        if kind == SafepointKind::Breakpoint {
            self.join(kind, self.offset, Vec::new())?;
        }
        self.offset = instruction;
        Ok(())
    }

    fn live_locals(&self, kind: SafepointKind, live: Range<usize>) -> Vec<(u32, ValType)> {
        let params = self.ty.params.len() as u32;
        // At the entry, other locals are zero.
        let matters = |&local: &u32| kind != SafepointKind::Entry || local < params;
        let live = self.liveness.locals(live).iter().copied().filter(matters);
        live.map(|local| (local, self.locals.ty(local))).collect()
    }

    /// What is written down: locals, then operands.
    fn slots(&mut self, locals: &[(u32, ValType)], operands: &[Slot]) -> Result<Vec<Slot>, CompileError> {
        let mut slots = Vec::with_capacity(locals.len() + operands.len());
        for &(local, ty) in locals {
            slots.push((self.local(local)?, ty));
        }
        slots.extend(operands);
        Ok(slots)
    }

    /// The operands with their types.
    fn typed_stack(&self) -> Result<Vec<Slot>, CompileError> {
        let height = self.validator.operand_stack_height() as usize;
        let ty = |index: usize| -> Option<ValType> {
            let depth = height.checked_sub(1 + index)?;
            self.env.module.value_type(self.validator.get_operand_type(depth)??)
        };
        let slots = self.stack.iter().enumerate().map(|(index, &value)| {
            let ty = ty(index).filter(|&ty| value_type(ty) == self.emit.builder.func.dfg.value_type(value));
            ty.map(|ty| (value, ty)).ok_or_else(|| {
                let function = self.emit.function;
                CompileError::internal(format!(
                    "function {function}: operand of unknown type at {:#x}",
                    self.offset
                ))
            })
        });
        slots.collect()
    }
}
