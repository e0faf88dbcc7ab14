//! Frames: what is in them, and where.

use super::dump::Slot;
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

/// Size of what precedes the values of a frame.
const FRAME_HEAD_SIZE: u64 = 8;

impl Translator<'_, '_> {
    /// Writes down the frame in the cold block `dump`, and records the safepoint. Operands are those on the stack, and
    /// then `own`. Control is afterwards where it was before.
    ///
    /// To be called when the instruction has been validated and has popped its own operands; once for each safepoint
    /// that the scan for liveness finds, in the same order.
    pub(super) fn at_safepoint(
        &mut self,
        kind: SafepointKind,
        callee: Option<Callee>,
        own: &[Slot],
        dump: Block,
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

        let hot = self.emit.builder.current_block().expect("control is somewhere");
        self.emit.builder.switch_to_block(dump);
        let locals = self.live_locals(kind, live)?;
        let mut operands = self.typed_stack()?;
        self.load_kept_operands(&mut operands);
        operands.extend(own);
        let values: Vec<_> = locals.iter().map(|&(_, slot)| slot).collect();
        let size: u64 = values.iter().chain(&operands).map(|&(_, ty)| u64::from(ty.slot_size())).sum();
        if FRAME_HEAD_SIZE + size > FRAMES_GUARD {
            return Err(too_complex(self.emit.function, self.offset));
        }
        self.emit.dump(self.offset, values.iter().chain(&operands).copied());
        self.emit.builder.switch_to_block(hot);

        let safepoint = Safepoint {
            function: self.emit.function,
            code_offset: self.offset as u32,
            kind,
            callee,
            locals: locals.iter().map(|&(local, (_, ty))| (local, ty)).collect(),
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
        self.at_safepoint(SafepointKind::Instruction, None, &[], dump)?;
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
        self.at_safepoint(kind, None, &[], dump)?;
        if kind == SafepointKind::Breakpoint {
            self.join(kind, self.offset, Vec::new())?;
        }
        self.offset = instruction;
        Ok(())
    }

    fn live_locals(
        &mut self,
        kind: SafepointKind,
        live: Range<usize>,
    ) -> Result<Vec<(u32, Slot)>, CompileError> {
        let params = self.ty.params.len() as u32;
        let mut slots = Vec::with_capacity(live.len());
        for index in live {
            let local = self.liveness.locals(index..index + 1)[0];
            // At the entry, other locals are zero.
            if kind != SafepointKind::Entry || local < params {
                let value = self.local(local)?;
                slots.push((local, (value, self.locals.ty(local))));
            }
        }
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
