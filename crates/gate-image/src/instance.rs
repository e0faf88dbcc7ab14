//! Instances of programs.

mod call;
mod fork;
mod launch;
mod mutation;
mod phase;
mod region;
mod stopped;
mod stored;

pub(crate) use call::write as write_call;
pub use call::{CallOutcome, PendingCall};
pub use launch::{Launch, Purpose};
pub use mutation::{ExitError, Mutation};
pub(crate) use phase::{Activity, Phase};
pub(crate) use region::{ELEMENTS_AT_ONCE, Region};
pub use stopped::RebaseError;
pub(crate) use stopped::{PreparedFrames, Stopped, StoppedFrames, check_call};

use crate::backtrace::Backtrace;
use crate::error::{ImageError, InstanceError, ProgramError};
use crate::exceptions::is_of_type;
use crate::exit::Exit;
use crate::memory::GuestMemory;
use crate::placement::Placement;
use crate::program::Program;
use crate::samples::Sampler;
use crate::state::State;
use gate_compiler::{ExportKind, FuncType, ValType, Value};
use gate_wire::PAGE_SIZE;
use gate_wire::context::STACK_RESERVE;
use gate_wire::load::MemoryMap;
use gate_wire::trap::TrapId;
use mutation::read_exit;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How large an instance may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// The state of a program: what it has in its memories, globals and tables, and what it is to do next.
///
/// After a run which ended by returning or by a trap, the same instance can be given another entry function and started
/// again, in another process; the module's start function runs only the first time. After a run which ended in a
/// suspension it goes on where it was.
#[derive(Debug)]
pub struct Instance {
    program: Program,
    state: Arc<State>,
    options: InstanceOptions,
    phase: Phase,
    /// Entry function for the next run that calls one. Its arguments are in the entry area.
    entry: Option<u32>,
    /// Where the last run trapped, if its state does not tell because it was elsewhere, or with other text.
    trace: Option<Backtrace>,
    sample_interval: Option<Duration>,
    lease: Arc<Lease>,
}

/// Shared with the [`Mutation`]; more than one owner means that a process is using the state.
#[derive(Debug, Default)]
struct Lease {
    monotonic_time: AtomicU64,
    /// What is known about a program that is suspended.
    stopped: Mutex<Option<Stopped>>,
}

impl Lease {
    fn stopped(&self) -> MutexGuard<'_, Option<Stopped>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let mut state = State::new(program.info(), stack_size, options.max_memory)?;
        if let Some(base) = program.template().base() {
            state.put_over(base);
        }
        write_initial(&state, program)?;
        Ok(Self {
            program: program.clone(),
            state: Arc::new(state),
            options: InstanceOptions { stack_size, ..*options },
            phase: Phase::Fresh,
            entry: None,
            trace: None,
            sample_interval: None,
            lease: Arc::default(),
        })
    }

    /// Has the next runs write down where they are, each time that so much processor time has passed; the kernel may make
    /// that some milliseconds. [`Instance::sampler`] reads it.
    pub fn set_sampling(&mut self, interval: Option<Duration>) {
        self.sample_interval = interval;
    }

    /// Reads the samples of the run that has been begun last.
    pub fn sampler(&self) -> Option<Sampler> {
        match self.phase {
            Phase::Run { placement, .. } if self.sample_interval.is_some() => {
                Some(Sampler::new(&self.program, &self.state, placement.text_addr))
            }
            _ => None,
        }
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

    /// The program of which this is an instance.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// How large it may be.
    pub fn options(&self) -> InstanceOptions {
        self.options
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
        match self.phase {
            Phase::Fresh => Ok(self.state.initial_memory_maps()),
            _ => self.state.memory_maps().map_err(ImageError::system("read memory sizes")),
        }
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
        match &self.phase {
            Phase::Fresh => Ok(Exit::None),
            Phase::Run { placement, .. } => read_exit(&self.program, &self.state, placement),
            Phase::Suspended { .. } => Ok(Exit::Frozen),
        }
    }

    /// What the entry function returned. Empty if the last run ended otherwise, or had no entry function.
    pub fn results(&self) -> Result<Vec<Value>, ImageError> {
        let Some(function) = self.phase.activity().and_then(|activity| activity.entry) else {
            return Ok(Vec::new());
        };
        if !matches!(self.exit(), Ok(Exit::Returned)) {
            return Ok(Vec::new());
        }
        let types = &self.program.info().functions[function as usize].results;
        let values = self.region().entry_values(types)?;
        let functions = self.program.info().functions.len();
        match values.iter().any(|v| matches!(v, Value::FuncRef(Some(f)) if *f as usize >= functions)) {
            true => Err(ImageError::image("a result refers to a function which does not exist")),
            false => Ok(values),
        }
    }

    /// In which functions the last run ended, innermost first. Empty if it ended by returning.
    pub fn backtrace(&self) -> Result<Backtrace, ImageError> {
        match (&self.trace, &self.phase) {
            (Some(trace), _) => Ok(trace.clone()),
            (None, Phase::Run { placement, .. }) => Backtrace::capture(&self.program, &self.state, placement),
            (None, _) => Ok(Backtrace::default()),
        }
    }

    /// An instance in the given state.
    pub(crate) fn restored(
        program: &Program,
        state: State,
        options: InstanceOptions,
        phase: Phase,
        entry: Option<u32>,
        monotonic_time: u64,
        stopped: Option<Stopped>,
    ) -> Self {
        let lease = Lease { monotonic_time: AtomicU64::new(monotonic_time), stopped: Mutex::new(stopped) };
        let (program, state) = (program.clone(), Arc::new(state));
        let lease = Arc::new(lease);
        Self { program, state, options, phase, entry, trace: None, sample_interval: None, lease }
    }

    /// The same instance, with where its last run trapped.
    pub(crate) fn with_trace(self, trace: Option<Backtrace>) -> Self {
        Self { trace, ..self }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// What the last run consisted of, if there was one.
    pub(crate) fn activity(&self) -> Option<Activity> {
        self.phase.activity()
    }

    /// What the program is doing according to its frames, if they are known.
    pub(crate) fn stopped_activity(&self) -> Option<Activity> {
        self.lease.stopped().as_ref().map(|stopped| stopped.activity)
    }

    /// The function that the next run calls, if it is a new one.
    pub(crate) fn next_entry(&self) -> Option<u32> {
        self.entry
    }

    fn mutation(&self, placement: Placement, activity: Activity) -> Mutation {
        Mutation {
            program: self.program.clone(),
            state: Arc::clone(&self.state),
            lease: Arc::clone(&self.lease),
            placement,
            export: None,
            returns_value: activity
                .entry
                .and_then(|f| self.function_type(f).ok())
                .is_some_and(is_program_entry),
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
        if matches!(self.exit(), Ok(Exit::Frozen)) {
            // It needs the entry area itself.
            return Err(ProgramError::Suspended.into());
        }
        let ty = self.function_type(function)?;
        self.program.trampoline(function).ok_or(ProgramError::NotCallable { function })?;
        // There is no way to have an exception, but to be thrown it.
        let is_exception = |arg: &Value| matches!(arg, Value::ExnRef(Some(_)));
        let types = ty.params.iter().map(|ty| ty.general());
        if !types.eq(args.iter().map(|arg| arg.ty())) || args.iter().any(is_exception) {
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
        if !ty.params.iter().zip(args).all(|(&ty, &arg)| is_of_type(arg, ty, self.program.info())) {
            return Err(ProgramError::WrongArguments {
                name: name.into(),
                expected: ty.clone(),
                given: args.iter().map(|arg| arg.ty()).collect(),
            }
            .into());
        }
        self.region().set_entry_values(args)?;
        self.entry = Some(function);
        Ok(())
    }

    pub(crate) fn check_idle(&self) -> Result<(), ProgramError> {
        match Arc::strong_count(&self.lease) {
            1 => Ok(()),
            _ => Err(ProgramError::Running),
        }
    }

    fn check_restartable(&self) -> Result<(), ProgramError> {
        let reason = match self.exit() {
            Ok(Exit::Returned | Exit::Trapped(_)) => return Ok(()),
            Ok(Exit::Terminated { .. }) => "it has terminated",
            Ok(Exit::Frozen) => return Err(ProgramError::Suspended),
            Ok(Exit::None) => "it was killed",
            Err(_) => "it failed",
        };
        Err(ProgramError::Ended { reason })
    }
}

fn is_program_entry(ty: &FuncType) -> bool {
    ty.params.is_empty() && ty.results == [ValType::I32]
}

pub(crate) fn round_stack_size(size: u64) -> Result<u64, ImageError> {
    let (min, max) = (InstanceOptions::MIN_STACK_SIZE, InstanceOptions::MAX_STACK_SIZE);
    match size {
        _ if (min..=max).contains(&size) => Ok(size.next_multiple_of(PAGE_SIZE)),
        _ => Err(ImageError::Option { option: "stack size", value: size, min, max }),
    }
}

fn write_initial(state: &State, program: &Program) -> Result<(), ImageError> {
    let error = ImageError::system("write the initial state");
    let template = program.template();
    for piece in &template.instance {
        state.write(state.instance_offset() + piece.offset, &piece.bytes).map_err(&error)?;
    }
    for place in &state.memories {
        let desc = [place.min.to_le_bytes(), place.max.to_le_bytes()].concat();
        state.write(place.desc_offset, &desc).map_err(&error)?;
    }
    if template.base().is_some() {
        return Ok(());
    }
    for (place, pieces) in state.memories.iter().zip(template.memories()?) {
        for piece in pieces {
            state.write(place.offset + piece.offset, &piece.bytes).map_err(&error)?;
        }
    }
    Ok(())
}
