//! Translates a function body.

use super::Env;
use super::control::ControlBlock;
use super::emit::Emitter;
use super::exception::Handler;
use super::resume::Resume;
use super::signature::{ADDRESS, resume_signature, wasm_signature};
use super::tail_call::TailCalls;
use super::unroll::Copy;
use super::variable::Locals;
use super::{numeric, simd};
use crate::compiled::{Safepoint, SafepointKind};
use crate::error::{CompileError, ErrorKind};
use crate::features::Features;
use crate::liveness::{Liveness, MAX_LIVE_LOCALS, Scan};
use crate::trap;
use crate::value::{FuncType, ValType};
use cranelift_codegen::ir::{Function, GlobalValueData, InstBuilder, MemFlagsData, SourceLoc, Value};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use gate_wire::context_offset;
use gate_wire::trap::TrapId;
use wasmparser::{
    BinaryReader, BlockType, FuncToValidate, FuncValidator, FuncValidatorAllocations, Operator,
    OperatorsReader, ValidatorResources,
};

/// How a function body is entered.
#[derive(Clone, Copy)]
pub(crate) enum Entrance<'a> {
    /// At its start. The frame is not larger than what the stack reserves for functions without a check of its size, or
    /// that is not known yet.
    Start,
    /// At its start. The frame is large: before anything is stored to it, it is checked to be within the stack.
    StartLarge,
    /// At a safepoint, with a frame to be loaded. The stack frame is checked as well.
    Safepoint(&'a Safepoint),
}

/// Sum of the numbers of values that are passed to calls and blocks in a function.
const MAX_BRANCH_VALUES: usize = 16 << 20;

/// Number of blocks in a function's intermediate representation. Each takes some kilobytes, and the code generator takes
/// time in proportion to the square of their number if they follow each other.
const MAX_BLOCKS: usize = 500_000;

/// Sum of the numbers of values that are written down at all safepoints of a function.
const MAX_FRAME_VALUES: usize = MAX_LIVE_LOCALS;

/// What is known about a function that has been translated.
pub(crate) struct Translated {
    pub(crate) safepoints: Vec<Safepoint>,
    pub(crate) tail_calls: TailCalls,
    /// What it uses beyond WebAssembly 2.0.
    pub(crate) features: Features,
}

impl Default for Translated {
    fn default() -> Self {
        Self { safepoints: Vec::new(), tail_calls: TailCalls::default(), features: Features::NONE }
    }
}

/// Translates and validates a function of the module.
pub(crate) fn translate<'a>(
    env: &'a Env<'a>,
    function: u32,
    entrance: Entrance<'a>,
    func: &mut Function,
    frontend: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
    allocations: &mut FuncValidatorAllocations,
) -> Result<Translated, CompileError> {
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
    let (mut caught, mut unchecked_loops, mut stretch_ends) = (0, Vec::new(), Vec::new());
    let liveness = if env.graph.reaches_safepoint(function) {
        let stops = |callee| env.graph.reaches_safepoint(callee);
        let checks = |callee| env.graph.needs_entry_check(callee);
        let breakpoint = |offset| env.breakpoints.contains(offset);
        let params = ty.params.len() as u32;
        match Scan::new(&body.body, params, entry_check, stops, checks, breakpoint, env.graph) {
            Ok(scan) => {
                caught = scan.caught;
                let liveness =
                    Liveness::analyze(&scan).map_err(|_| too_complex(function, body.body.range().start))?;
                (unchecked_loops, stretch_ends) = (scan.unchecked_loops, scan.stretch_ends);
                liveness
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

    func.signature = match entrance {
        Entrance::Start | Entrance::StartLarge => wasm_signature(ty),
        Entrance::Safepoint(_) => resume_signature(&ty.results),
    };
    if !matches!(entrance, Entrance::Start) {
        let flags = func.dfg.mem_flags.insert_unchecked(MemFlagsData::trusted());
        let base = func.create_global_value(GlobalValueData::VMContext);
        let offset = context_offset!(stack_low).into();
        let limit = GlobalValueData::Load { base, offset, global_type: ADDRESS, flags };
        func.stack_limit = Some(func.create_global_value(limit));
    }

    let mut reader = body.body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    let builder = FunctionBuilder::new(func, frontend);
    let (mut emit, params) = Emitter::new(builder, function);
    let resume = match entrance {
        Entrance::Start | Entrance::StartLarge => None,
        Entrance::Safepoint(point) => {
            let load = emit.builder.create_block();
            emit.ins().jump(load, &[]);
            emit.builder.seal_block(load);
            Some(Resume::new(point, &body.body, load)?)
        }
    };
    // A body has some blocks more when it is entered at a safepoint. What could be compiled can be resumed.
    let slack = if resume.is_some() { 2 } else { 1 };
    let mut translator = Translator {
        env,
        ty,
        emit,
        resume,
        slack,
        validator,
        stack: Vec::new(),
        blocks: Vec::new(),
        loop_body: None,
        copy: None,
        reachable: true,
        dead_blocks: 0,
        handlers: Vec::new(),
        caught,
        next_caught: 0,
        locals: Locals::default(),
        liveness,
        unchecked_loops,
        stretch_ends,
        safepoints: Vec::new(),
        tail_calls: TailCalls::default(),
        features: Features::NONE,
        frame_values: MAX_FRAME_VALUES * slack,
        branch_values: MAX_BRANCH_VALUES * slack,
        offset: body.body.range().start,
    };
    translator.declare_locals()?;
    translator.start(&params, entry_check)?;
    translator.body(OperatorsReader::new(reader))?;
    translator.check_entered()?;
    let Translator { mut emit, validator, safepoints, tail_calls, features, .. } = translator;
    emit.finish_dumps(&ty.results);
    emit.finish_passes(&ty.results);
    emit.builder.finalize(config);
    *allocations = validator.into_allocations();
    Ok(Translated { safepoints, tail_calls, features })
}

/// A function under translation.
pub(super) struct Translator<'a, 'f> {
    pub(super) env: &'a Env<'a>,
    pub(super) ty: &'a FuncType,
    pub(super) emit: Emitter<'f>,
    /// If the body is entered at a safepoint.
    pub(super) resume: Option<Resume<'a>>,
    /// Factor by which limits are higher than those of ordinary bodies.
    pub(super) slack: usize,
    pub(super) validator: FuncValidator<ValidatorResources>,
    /// Operands. Not kept up to date while control cannot get here.
    pub(super) stack: Vec<Value>,
    pub(super) blocks: Vec<ControlBlock<'a>>,
    /// What follows the instruction that opens a loop, while that is translated for the first time.
    pub(super) loop_body: Option<BinaryReader<'a>>,
    /// A copy of a loop's body that is to be translated next.
    pub(super) copy: Option<Copy<'a>>,
    /// Whether control can get here.
    pub(super) reachable: bool,
    /// Number of open blocks that began where control cannot get.
    pub(super) dead_blocks: u32,
    /// What catches exceptions, in the order of the code.
    pub(super) handlers: Vec<Handler>,
    /// Number of locals that keep exceptions, and of `catch` and `catch_all` instructions so far.
    pub(super) caught: u32,
    pub(super) next_caught: u32,
    pub(super) locals: Locals,
    pub(super) liveness: Liveness,
    /// Code offsets of loops that need no check, ascending.
    pub(super) unchecked_loops: Vec<u64>,
    /// Code offsets of instructions before which there is a check because a stretch ends there, ascending.
    stretch_ends: Vec<u64>,
    pub(super) safepoints: Vec<Safepoint>,
    pub(super) tail_calls: TailCalls,
    features: Features,
    /// How many more values may be written down at safepoints.
    pub(super) frame_values: usize,
    /// How many more values may be passed to calls and blocks.
    branch_values: usize,
    /// Offset of the instruction.
    pub(super) offset: u64,
}

impl<'a> Translator<'a, '_> {
    /// Gets to the start of the body's code.
    fn start(&mut self, params: &[Value], entry_check: bool) -> Result<(), CompileError> {
        self.emit.builder.set_srcloc(SourceLoc::new(self.offset as u32));
        if self.resume.is_none() {
            self.define_locals((0..).zip(params.iter().copied()));
            if entry_check {
                let dump = self.emit.check_entry();
                self.at_safepoint(SafepointKind::Entry, None, &[], Some(dump))?;
            }
            return Ok(());
        }
        if entry_check {
            self.liveness.next(self.offset);
        }
        let start = self.emit.builder.create_block();
        if self.enters(SafepointKind::Entry, self.offset) {
            self.enter(start)?;
            self.emit.switch_to_sealed(start);
        } else {
            // Nothing leads here.
            self.emit.switch_to_sealed(start);
            self.define_locals([]);
        }
        Ok(())
    }

    fn body(&mut self, mut reader: OperatorsReader<'a>) -> Result<(), CompileError> {
        self.open_body();
        while !reader.eof() {
            let (op, offset) = reader.read_with_offset()?;
            let checked = self.reachable && self.stretch_ends.binary_search(&offset).is_ok();
            self.set_offset(offset);
            if self.reachable && self.env.breakpoints.contains(offset) {
                self.breakpoint(&op, checked)?;
            }
            if checked {
                self.check_stretch(&op)?;
            }
            self.validator.op(offset, &op)?;
            self.note_features(&op);
            self.loop_body = matches!(op, Operator::Loop { .. }).then(|| reader.get_binary_reader());
            self.translate(&op, offset)?;
            self.copies()?;
        }
        reader.finish()?;
        Ok(())
    }

    /// Translates an instruction that has been validated.
    pub(super) fn translate(&mut self, op: &Operator<'_>, offset: u64) -> Result<(), CompileError> {
        self.set_offset(offset);
        if !self.reachable {
            return self.dead_operator(op);
        }
        self.operator(op)?;
        if self.emit.builder.func.dfg.num_blocks() > MAX_BLOCKS * self.slack {
            return Err(too_complex(self.emit.function, offset));
        }
        Ok(())
    }

    fn set_offset(&mut self, offset: u64) {
        self.offset = offset;
        self.emit.builder.set_srcloc(SourceLoc::new(offset as u32));
    }

    /// Takes note of what an instruction is part of, whether control gets there or not.
    fn note_features(&mut self, op: &Operator<'_>) {
        match *op {
            Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. } => {
                self.features.tail_calls = true;
            }
            Operator::ReturnCallRef { .. } => {
                self.features.tail_calls = true;
                self.features.function_references = true;
            }
            Operator::CallRef { .. }
            | Operator::RefAsNonNull
            | Operator::BrOnNull { .. }
            | Operator::BrOnNonNull { .. } => self.features.function_references = true,
            Operator::TryTable { .. } | Operator::Throw { .. } | Operator::ThrowRef => {
                self.features.exceptions = true;
            }
            Operator::Try { .. }
            | Operator::Catch { .. }
            | Operator::CatchAll
            | Operator::Delegate { .. }
            | Operator::Rethrow { .. } => self.features.legacy_exceptions = true,
            Operator::Block { blockty: BlockType::Type(ty) }
            | Operator::Loop { blockty: BlockType::Type(ty) }
            | Operator::If { blockty: BlockType::Type(ty) }
            | Operator::TypedSelect { ty } => self.note_type(self.env.module.value_type(ty)),
            Operator::RefNull { hty } => {
                let ty =
                    wasmparser::RefType::new(true, hty).and_then(|ty| self.env.module.reference_type(ty));
                self.note_type(ty);
            }
            _ if simd::is_relaxed(op) => self.features.relaxed_simd = true,
            _ => {}
        }
    }

    /// Takes note of what a type is part of.
    pub(super) fn note_type(&mut self, ty: Option<ValType>) {
        if let Some(ty) = ty {
            self.features = self.features.union(Features::of_type(ty));
        }
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
                    || self.tail_call(op)?
                    || self.memory(op)
                    || self.exception(op)?
                    || self.legacy_exception(op)?
                    || self.reference(op)?
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

    /// Takes note that some values are passed to a call or a block.
    pub(super) fn charge(&mut self, values: usize) -> Result<(), CompileError> {
        self.branch_values = self
            .branch_values
            .checked_sub(values)
            .ok_or_else(|| too_complex(self.emit.function, self.offset))?;
        Ok(())
    }
}

pub(super) fn too_complex(function: u32, offset: u64) -> CompileError {
    CompileError::new(ErrorKind::Limit, offset, format!("function {function}: too complex"))
}
