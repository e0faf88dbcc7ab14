//! Instances of programs.

use crate::backtrace::Backtrace;
use crate::error::{ImageError, InstanceError, ProgramError};
use crate::exit::{self, Exit, InvalidExit};
use crate::memory::GuestMemory;
use crate::placement::Placement;
use crate::program::Program;
use crate::state::State;
use gate_compiler::{ExportKind, FuncType, ValType, Value};
use gate_wire::PAGE_SIZE;
use gate_wire::context::{Context, STACK_RESERVE};
use gate_wire::load::MemoryMap;
use gate_wire::trap::TrapId;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How large an instance may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceOptions {
    /// Size of the stack in bytes, rounded up to whole pages. Between [`InstanceOptions::MIN_STACK_SIZE`] and
    /// [`InstanceOptions::MAX_STACK_SIZE`].
    pub stack_size: u64,
    /// How large all linear memories together may become, in bytes. A module which needs more from the beginning is
    /// refused.
    pub max_memory: Option<u64>,
}

impl InstanceOptions {
    /// Smallest stack: half of it is what wasm functions do not get.
    pub const MIN_STACK_SIZE: u64 = 2 * STACK_RESERVE;

    /// Largest stack.
    pub const MAX_STACK_SIZE: u64 = 1 << 30;
}

impl Default for InstanceOptions {
    /// A stack of 1 MiB, and as much memory as the module wants.
    fn default() -> Self {
        Self { stack_size: 1 << 20, max_memory: None }
    }
}

/// The state of a program: what it has in its memories, globals and tables, and how its last run ended.
///
/// After a run which ended by returning or by a trap, the same instance can be given another entry function and started
/// again, in another process. The module's start function runs only the first time.
#[derive(Debug)]
pub struct Instance {
    program: Program,
    state: Arc<State>,
    entry: Option<Entry>,
    last_run: Option<Run>,
    lease: Arc<Lease>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    function: u32,
    trampoline: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    placement: Placement,
    function: Option<u32>,
}

/// Shared with the [`Mutation`]; more than one owner means that a process is using the state.
#[derive(Debug, Default)]
struct Lease {
    monotonic_time: AtomicU64,
}

impl Instance {
    /// Makes a state file with the initial state of the program's instances.
    ///
    /// Nothing has run yet: the module's start function does in the first process.
    pub fn new(program: &Program, options: &InstanceOptions) -> Result<Self, InstanceError> {
        let stack_size = round_stack_size(options.stack_size)?;
        if let Some(initial) = program.initial_trap() {
            let trap = TrapId::from_number(initial.trap.into()).unwrap_or(TrapId::InternalError);
            return Err(ProgramError::Instantiation { trap, message: initial.message.clone() }.into());
        }
        let state = State::new(program.info(), stack_size, options.max_memory)?;
        write_initial(&state, program).map_err(ImageError::system("write the initial state"))?;
        Ok(Self {
            program: program.clone(),
            state: Arc::new(state),
            entry: None,
            last_run: None,
            lease: Arc::default(),
        })
    }

    /// Chooses the exported function that the next run calls, and its arguments.
    pub fn set_entry(&mut self, name: &str, args: &[Value]) -> Result<(), InstanceError> {
        let function = self.exported_function(name)?;
        self.prepare_entry(function, &format!("{name:?}"), args)
    }

    /// Chooses an exported function, as such a one that makes up a whole program: it takes nothing, and returns
    /// nothing or an `i32`.
    pub fn set_program_entry(&mut self, name: &str) -> Result<(), InstanceError> {
        let function = self.exported_function(name)?;
        let ty = self.function_type(function)?;
        if !(ty.params.is_empty() && matches!(*ty.results, [] | [ValType::I32])) {
            return Err(ProgramError::WrongEntrySignature { name: name.into(), ty: ty.clone() }.into());
        }
        self.prepare_entry(function, name, &[])
    }

    /// Chooses a function by its index. It must be exported, under whatever name.
    pub fn set_entry_function(&mut self, function: u32, args: &[Value]) -> Result<(), InstanceError> {
        self.prepare_entry(function, &format!("function {function}"), args)
    }

    /// Hands the state over to a process, which changes it until it is dead or the [`Mutation`] is dropped.
    ///
    /// Fails if the last run ended otherwise than by returning or by a trap, or has not ended.
    pub fn begin_mutation(&mut self, placement: Placement) -> Result<Mutation, InstanceError> {
        self.check_idle()?;
        if self.last_run.is_some() {
            self.check_restartable()?;
            // The last run's host call, or its suspension, is none of the next one's.
            let zeros = [0; size_of::<Context>()];
            self.state
                .write(self.state.below_context(zeros.len() as u64), &zeros)
                .map_err(ImageError::system("reset the instance context"))?;
        }
        let function = self.entry.take().map(|entry| entry.function);
        let returns_value = function.and_then(|f| self.function_type(f).ok()).is_some_and(is_program_entry);
        self.last_run = Some(Run { placement, function });
        Ok(Mutation {
            program: self.program.clone(),
            state: Arc::clone(&self.state),
            lease: Arc::clone(&self.lease),
            placement,
            returns_value,
        })
    }

    /// The program of which this is an instance.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Size of the stack in bytes.
    pub fn stack_size(&self) -> u64 {
        self.state.stack_size
    }

    /// Size of the instance region in bytes.
    pub fn instance_size(&self) -> u64 {
        self.state.instance_size
    }

    /// What a process maps of the linear memories.
    pub fn memory_maps(&self) -> Result<Vec<MemoryMap>, ImageError> {
        match self.last_run {
            Some(_) => self.state.memory_maps().map_err(ImageError::system("read memory sizes")),
            None => Ok(self.state.initial_memory_maps()),
        }
    }

    /// Text offset of the start function's trampoline, if the next run calls it.
    pub fn start_trampoline(&self) -> Option<u64> {
        let start = self.program.info().start.filter(|_| self.last_run.is_none())?;
        self.program.trampoline(start)
    }

    /// Text offset of the entry function's trampoline, if there is one for the next run.
    pub fn entry_trampoline(&self) -> Option<u64> {
        self.entry.map(|entry| entry.trampoline)
    }

    /// What the program's monotonic clock shows at the start of the next run, in nanoseconds.
    pub fn monotonic_time(&self) -> u64 {
        self.lease.monotonic_time.load(Ordering::Relaxed)
    }

    /// A linear memory, if there is one with the index.
    pub fn memory(&self, index: usize) -> Option<GuestMemory> {
        GuestMemory::new(&self.state, index)
    }

    /// How the last run ended.
    pub fn exit(&self) -> Result<Exit, ExitError> {
        let Some(run) = &self.last_run else { return Ok(Exit::None) };
        read_exit(&self.program, &self.state, &run.placement)
    }

    /// What the entry function returned. Empty if the last run ended otherwise, or had no entry function.
    pub fn results(&self) -> Result<Vec<Value>, ImageError> {
        let Some(function) = self.last_run.and_then(|run| run.function) else { return Ok(Vec::new()) };
        if !matches!(self.exit(), Ok(Exit::Returned)) {
            return Ok(Vec::new());
        }
        let types = &self.program.info().functions[function as usize].results;
        let values = self.read_slots(types)?;
        let functions = self.program.info().functions.len();
        match values.iter().any(|v| matches!(v, Value::FuncRef(Some(f)) if *f as usize >= functions)) {
            true => Err(ImageError::image("a result refers to a function which does not exist")),
            false => Ok(values),
        }
    }

    /// In which functions the last run ended, innermost first. Empty if it ended by returning.
    pub fn backtrace(&self) -> Result<Backtrace, ImageError> {
        match &self.last_run {
            Some(run) => Backtrace::capture(&self.program, &self.state, &run.placement),
            None => Ok(Backtrace::default()),
        }
    }

    fn exported_function(&self, name: &str) -> Result<u32, ProgramError> {
        let export = self.program.info().exports.iter().find(|export| export.name == name);
        match export.ok_or_else(|| ProgramError::NoExport { name: name.into() })? {
            export if export.kind == ExportKind::Function => Ok(export.index),
            export => Err(ProgramError::NotFunction { name: name.into(), kind: export.kind }),
        }
    }

    fn function_type(&self, function: u32) -> Result<&FuncType, ProgramError> {
        self.program.info().functions.get(function as usize).ok_or(ProgramError::NotCallable { function })
    }

    fn prepare_entry(&mut self, function: u32, name: &str, args: &[Value]) -> Result<(), InstanceError> {
        self.check_idle()?;
        let ty = self.function_type(function)?;
        let trampoline = self.program.trampoline(function).ok_or(ProgramError::NotCallable { function })?;
        if !ty.params.iter().copied().eq(args.iter().map(|arg| arg.ty())) {
            return Err(ProgramError::WrongArguments {
                name: name.into(),
                expected: ty.clone(),
                given: args.iter().map(|arg| arg.ty()).collect(),
            }
            .into());
        }
        let count = self.program.info().functions.len();
        for arg in args {
            if let Value::FuncRef(Some(function)) = *arg
                && function as usize >= count
            {
                return Err(ProgramError::NoSuchFunction { function, count }.into());
            }
        }
        self.write_slots(args)?;
        self.entry = Some(Entry { function, trampoline });
        Ok(())
    }

    fn write_slots(&self, values: &[Value]) -> Result<(), ImageError> {
        let mut slots = Vec::with_capacity(values.len() * 8);
        for value in values {
            slots.extend_from_slice(&value.to_slot().to_le_bytes()[..value.ty().slot_size() as usize]);
        }
        let offset = self.entry_area(slots.len())?;
        self.state.write(offset, &slots).map_err(ImageError::system("write arguments"))
    }

    fn read_slots(&self, types: &[ValType]) -> Result<Vec<Value>, ImageError> {
        let mut slots = vec![0; types.iter().map(|ty| ty.slot_size() as usize).sum()];
        let offset = self.entry_area(slots.len())?;
        self.state.read(offset, &mut slots).map_err(ImageError::system("read results"))?;
        let mut rest = &slots[..];
        let values = types.iter().map(|&ty| {
            let (slot, tail) = rest.split_at(ty.slot_size() as usize);
            rest = tail;
            let mut bytes = [0; 16];
            bytes[..slot.len()].copy_from_slice(slot);
            Value::from_slot(ty, u128::from_le_bytes(bytes))
        });
        Ok(values.collect())
    }

    /// Where in the state file the entry area is, which must have the given size at least.
    fn entry_area(&self, size: usize) -> Result<u64, ImageError> {
        let layout = &self.program.info().layout;
        let (distance, entry_size) = (u64::from(layout.entry_distance), u64::from(layout.entry_size));
        if size as u64 > entry_size || entry_size > distance || distance > self.state.instance_size {
            return Err(ImageError::image("place of the entry area"));
        }
        Ok(self.state.below_context(distance))
    }

    fn check_idle(&self) -> Result<(), ProgramError> {
        match Arc::strong_count(&self.lease) {
            1 => Ok(()),
            _ => Err(ProgramError::Running),
        }
    }

    fn check_restartable(&self) -> Result<(), ProgramError> {
        let reason = match self.exit() {
            Ok(Exit::Returned | Exit::Trapped(_)) => return Ok(()),
            Ok(Exit::Terminated { .. }) => "it has terminated",
            Ok(Exit::Frozen) => "it is suspended",
            Ok(Exit::None) => "it was killed",
            Err(_) => "it failed",
        };
        Err(ProgramError::Ended { reason })
    }
}

/// The state of an instance in the hands of a process.
///
/// To be kept until the process is dead: before that the instance cannot be started again.
#[derive(Debug)]
pub struct Mutation {
    program: Program,
    state: Arc<State>,
    lease: Arc<Lease>,
    placement: Placement,
    returns_value: bool,
}

/// How a program ended cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ExitError {
    /// The process has left nonsense.
    #[error(transparent)]
    Invalid(#[from] InvalidExit),
    /// The state file could not be read.
    #[error(transparent)]
    Host(#[from] ImageError),
}

impl Mutation {
    /// The state file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.state.as_fd()
    }

    /// The first linear memory, or an empty one.
    pub fn memory(&self) -> GuestMemory {
        GuestMemory::new(&self.state, 0).unwrap_or(GuestMemory::empty())
    }

    /// How the run ended.
    pub fn exit(&self) -> Result<Exit, ExitError> {
        read_exit(&self.program, &self.state, &self.placement)
    }

    /// The `i32` that the entry function returned, if it has the type `() -> i32`.
    pub fn return_value(&self) -> Result<Option<i32>, ImageError> {
        if !self.returns_value {
            return Ok(None);
        }
        let mut slot = [0; 4];
        let offset = self.state.below_context(self.program.info().layout.entry_distance.into());
        self.state.read(offset, &mut slot).map_err(ImageError::system("read the result"))?;
        Ok(Some(i32::from_le_bytes(slot)))
    }

    /// Sets what the program's monotonic clock shows when it goes on, in nanoseconds.
    pub fn set_monotonic_time(&self, time: u64) {
        self.lease.monotonic_time.store(time, Ordering::Relaxed);
    }
}

fn read_exit(program: &Program, state: &State, placement: &Placement) -> Result<Exit, ExitError> {
    let record = exit::read_record(state).map_err(ImageError::system("read the exit record"))?;
    Ok(exit::interpret(&record, program, state, placement)?)
}

fn is_program_entry(ty: &FuncType) -> bool {
    ty.params.is_empty() && ty.results == [ValType::I32]
}

fn round_stack_size(size: u64) -> Result<u64, ImageError> {
    let (min, max) = (InstanceOptions::MIN_STACK_SIZE, InstanceOptions::MAX_STACK_SIZE);
    match size {
        _ if (min..=max).contains(&size) => Ok(size.next_multiple_of(PAGE_SIZE)),
        _ => Err(ImageError::Option { option: "stack size", value: size, min, max }),
    }
}

fn write_initial(state: &State, program: &Program) -> Result<(), Errno> {
    let template = program.template();
    for piece in &template.instance {
        state.write(state.stack_size + piece.offset, &piece.bytes)?;
    }
    for (place, pieces) in state.memories.iter().zip(&template.memories) {
        for piece in pieces {
            state.write(place.offset + piece.offset, &piece.bytes)?;
        }
        let mut desc = [0; 16];
        desc[..8].copy_from_slice(&place.min.to_le_bytes());
        desc[8..].copy_from_slice(&place.max.to_le_bytes());
        state.write(place.desc_offset, &desc)?;
    }
    Ok(())
}
