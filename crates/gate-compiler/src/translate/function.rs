//! Translates a function body.

use super::Env;
use super::control::ControlBlock;
use super::emit::Emitter;
use super::safepoint::Slot;
use super::signature::{ADDRESS, value_type, wasm_signature};
use super::variable::Locals;
use super::{numeric, simd};
use crate::compiled::{Safepoint, SafepointKind};
use crate::error::{CompileError, ErrorKind};
use crate::liveness::{Liveness, MAX_LIVE_LOCALS, Scan};
use crate::module;
use crate::trap;
use crate::value::{FuncType, ValType};
use cranelift_codegen::ir::{Function, GlobalValueData, InstBuilder, MemFlagsData, SourceLoc, Value};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use gate_wire::context_offset;
use gate_wire::trap::TrapId;
use std::ops::Range;
use wasmparser::{
    FuncToValidate, FuncValidator, FuncValidatorAllocations, Operator, OperatorsReader, ValidatorResources,
};

/// Whether a function's frame may be larger than what the stack reserves for functions without a check of its size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameGuard {
    /// It is small, or not known yet.
    None,
    /// It is large: before anything is stored to it, it is checked to be within the stack.
    Prologue,
}

/// Sum of the numbers of values that are passed to calls and blocks in a function.
const MAX_BRANCH_VALUES: usize = 16 << 20;

/// Number of blocks in a function's intermediate representation. Each takes some kilobytes, and the code generator takes
/// time in proportion to the square of their number if they follow each other.
const MAX_BLOCKS: usize = 500_000;

/// Sum of the numbers of values that are written down at all safepoints of a function.
const MAX_FRAME_VALUES: usize = MAX_LIVE_LOCALS;

/// Translates and validates a function of the module, and returns its safepoints.
pub(crate) fn translate(
    env: &Env<'_>,
    function: u32,
    guard: FrameGuard,
    func: &mut Function,
    frontend: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
    allocations: &mut FuncValidatorAllocations,
) -> Result<Vec<Safepoint>, CompileError> {
    let body = env.module.body(function);
    let validator = FuncToValidate {
        resources: body.validator.resources.clone(),
        index: body.validator.index,
        ty: body.validator.ty,
        features: body.validator.features,
    };
    let mut validator = validator.into_validator(std::mem::take(allocations));

    let ty = env.module.function_type(function);
    let entry_check = env.graph.needs_entry_check(function);
    let liveness = if env.graph.reaches_safepoint(function) {
        let stops = |callee| env.graph.reaches_safepoint(callee);
        match Scan::new(&body.body, ty.params.len() as u32, entry_check, stops) {
            Ok(scan) => {
                Liveness::analyze(&scan).map_err(|_| too_complex(function, body.body.range().start))?
            }
            Err(_) => {
                // The validator tells better what is wrong.
                validator.validate(&body.body)?;
                return Err(CompileError::internal(format!("function {function}: cannot be scanned")));
            }
        }
    } else {
        Liveness::default()
    };

    func.signature = wasm_signature(ty);
    if guard == FrameGuard::Prologue {
        let flags = func.dfg.mem_flags.insert_unchecked(MemFlagsData::trusted());
        let base = func.create_global_value(GlobalValueData::VMContext);
        let offset = context_offset!(stack_low).into();
        let limit = GlobalValueData::Load { base, offset, global_type: ADDRESS, flags };
        func.stack_limit = Some(func.create_global_value(limit));
    }

    let mut reader = body.body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    let builder = FunctionBuilder::new(func, frontend);
    let (emitter, params) = Emitter::new(builder, function);
    let mut translator = Translator {
        env,
        ty,
        emit: emitter,
        validator,
        stack: Vec::new(),
        blocks: Vec::new(),
        reachable: true,
        dead_blocks: 0,
        locals: Locals::default(),
        liveness,
        safepoints: Vec::new(),
        frame_values: MAX_FRAME_VALUES,
        branch_values: MAX_BRANCH_VALUES,
        offset: body.body.range().start,
    };
    translator.declare_locals(&params)?;
    translator.body(OperatorsReader::new(reader), entry_check)?;
    let Translator { mut emit, validator, safepoints, .. } = translator;
    emit.finish_dumps(&ty.results);
    emit.builder.finalize(config);
    *allocations = validator.into_allocations();
    Ok(safepoints)
}

/// A function under translation.
pub(super) struct Translator<'a, 'f> {
    pub(super) env: &'a Env<'a>,
    pub(super) ty: &'a FuncType,
    pub(super) emit: Emitter<'f>,
    pub(super) validator: FuncValidator<ValidatorResources>,
    /// Operands. Not kept up to date while control cannot get here.
    pub(super) stack: Vec<Value>,
    pub(super) blocks: Vec<ControlBlock>,
    /// Whether control can get here.
    pub(super) reachable: bool,
    /// Number of open blocks that began where control cannot get.
    pub(super) dead_blocks: u32,
    pub(super) locals: Locals,
    liveness: Liveness,
    safepoints: Vec<Safepoint>,
    /// How many more values may be written down at safepoints.
    frame_values: usize,
    /// How many more values may be passed to calls and blocks.
    branch_values: usize,
    /// Offset of the instruction.
    pub(super) offset: u64,
}

impl Translator<'_, '_> {
    fn body(&mut self, mut reader: OperatorsReader<'_>, entry_check: bool) -> Result<(), CompileError> {
        self.emit.builder.set_srcloc(SourceLoc::new(self.offset as u32));
        if entry_check {
            let dump = self.emit.check_entry();
            self.at_safepoint(SafepointKind::Entry, &[], dump)?;
        }
        self.open_body();
        while !reader.eof() {
            let (op, offset) = reader.read_with_offset()?;
            self.validator.op(offset, &op)?;
            self.offset = offset;
            self.emit.builder.set_srcloc(SourceLoc::new(offset as u32));
            if self.reachable {
                self.operator(&op)?;
                if self.emit.builder.func.dfg.num_blocks() > MAX_BLOCKS {
                    return Err(too_complex(self.emit.function, offset));
                }
            } else {
                self.dead_operator(&op);
            }
        }
        reader.finish()?;
        Ok(())
    }

    fn operator(&mut self, op: &Operator<'_>) -> Result<(), CompileError> {
        match *op {
            Operator::Nop => {}
            Operator::Unreachable => {
                self.emit.ins().trap(trap::code(TrapId::Unreachable));
                self.reachable = false;
            }
            Operator::Drop => drop(self.pop()),
            Operator::Select | Operator::TypedSelect { .. } => {
                let condition = self.pop();
                let (x, y) = self.pop2();
                let value = self.emit.ins().select(condition, x, y);
                self.stack.push(value);
            }
            Operator::LocalGet { local_index } => {
                let value = self.local(local_index)?;
                self.stack.push(value);
            }
            Operator::LocalSet { local_index } => {
                let value = self.pop();
                self.set_local(local_index, value)?;
            }
            Operator::LocalTee { local_index } => {
                let value = self.pop();
                self.set_local(local_index, value)?;
                self.stack.push(value);
            }
            Operator::GlobalGet { global_index } => self.global_get(global_index),
            Operator::GlobalSet { global_index } => self.global_set(global_index),
            Operator::Call { function_index } => self.call(function_index)?,
            Operator::CallIndirect { type_index, table_index } => {
                self.call_indirect(type_index, table_index)?
            }
            _ => {
                let handled = numeric::translate(op, &mut self.emit.builder, &mut self.stack)
                    || self.control(op)?
                    || self.memory(op)
                    || self.table(op)
                    || self.bulk(op)?
                    || self.vector(op);
                if !handled {
                    let message = format!("function {}: unsupported instruction {op:?}", self.emit.function);
                    return Err(CompileError::new(ErrorKind::Unsupported, self.offset, message));
                }
            }
        }
        Ok(())
    }

    fn vector(&mut self, op: &Operator<'_>) -> bool {
        let (context, access) = (self.emit.context, self.emit.access);
        let mut address = |builder: &mut FunctionBuilder<'_>, index, arg: &wasmparser::MemArg, _size| {
            super::memory::address(context, access, builder, index, arg)
        };
        simd::translate(op, &mut self.emit.builder, &mut self.stack, &mut address)
    }

    pub(super) fn pop(&mut self) -> Value {
        self.stack.pop().expect("validated code does not pop from an empty stack")
    }

    /// Pops two operands, in the order in which they were pushed.
    pub(super) fn pop2(&mut self) -> (Value, Value) {
        let y = self.pop();
        let x = self.pop();
        (x, y)
    }

    /// Pops three operands, in the order in which they were pushed.
    pub(super) fn pop3(&mut self) -> (Value, Value, Value) {
        let (y, z) = self.pop2();
        let x = self.pop();
        (x, y, z)
    }

    /// Writes down the frame in the cold block `dump`, and records the safepoint. Operands are those on the stack, and
    /// then `own`. Control is afterwards where it was before.
    ///
    /// To be called when the instruction has been validated and has popped its own operands; once for each safepoint
    /// that the scan for liveness finds, in the same order.
    pub(super) fn at_safepoint(
        &mut self,
        kind: SafepointKind,
        own: &[Slot],
        dump: cranelift_codegen::ir::Block,
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
        operands.extend(own);
        let values: Vec<_> = locals.iter().map(|&(_, slot)| slot).collect();
        self.emit.dump(self.offset, &values, &operands);
        self.emit.builder.switch_to_block(hot);

        self.safepoints.push(Safepoint {
            function: self.emit.function,
            code_offset: self.offset as u32,
            kind,
            locals: locals.iter().map(|&(local, (_, ty))| (local, ty)).collect(),
            operands: operands.iter().map(|&(_, ty)| ty).collect(),
        });
        Ok(())
    }

    /// Takes note that some values are passed to a call or a block.
    pub(super) fn charge(&mut self, values: usize) -> Result<(), CompileError> {
        self.branch_values = self
            .branch_values
            .checked_sub(values)
            .ok_or_else(|| too_complex(self.emit.function, self.offset))?;
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
            module::operand_type(self.validator.get_operand_type(depth)??)
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

pub(super) fn too_complex(function: u32, offset: u64) -> CompileError {
    CompileError::new(ErrorKind::Limit, offset, format!("function {function}: too complex"))
}
