//! What can be wrong with a program, and with the host.

use gate_compiler::{ExportKind, FuncType, ValType};
use gate_wire::trap::TrapId;
use std::io;

/// Something that is wrong with the program, or with what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The linear memories do not fit.
    #[error(
        "memory {memory} needs at least {minimum} bytes, but only {available} of the limit of {limit} bytes are available"
    )]
    MemoryLimit {
        /// Index of the memory.
        memory: usize,
        /// Its initial size in bytes.
        minimum: u64,
        /// What was left of the limit for it, in bytes.
        available: u64,
        /// The limit for all memories together, in bytes.
        limit: u64,
    },
    /// An active segment does not fit its table or memory.
    #[error("instantiation: {message}: {trap}")]
    Instantiation {
        /// The trap.
        trap: TrapId,
        /// Which segment.
        message: String,
    },
    /// The module does not export the name.
    #[error("no exported function {name:?}")]
    NoExport {
        /// The name.
        name: String,
    },
    /// The export is something else than a function.
    #[error("export {name:?} is a {}, not a function", kind_name(*.kind))]
    NotFunction {
        /// Name of the export.
        name: String,
        /// What it is.
        kind: ExportKind,
    },
    /// The function cannot be an entry function: it is not exported, or does not exist.
    #[error("function {function} is not exported")]
    NotCallable {
        /// Index of the function.
        function: u32,
    },
    /// The arguments are not those which the function takes.
    #[error("wrong arguments for {name}: it has type {expected}, but got ({})", type_list(.given))]
    WrongArguments {
        /// Name or index of the function.
        name: String,
        /// Its type.
        expected: FuncType,
        /// Types of the arguments.
        given: Vec<ValType>,
    },
    /// A function reference among the arguments does not exist.
    #[error("argument refers to function {function}, but there are {count}")]
    NoSuchFunction {
        /// Index in the reference.
        function: u32,
        /// Number of functions.
        count: usize,
    },
    /// The function's type is not that of an entry function.
    #[error(
        "wrong entry signature of {name:?}: it has type {ty}, an entry function takes nothing and returns nothing or one i32"
    )]
    WrongEntrySignature {
        /// Name of the export.
        name: String,
        /// Type of the function.
        ty: FuncType,
    },
    /// The instance cannot run any more.
    #[error("the instance cannot be started again: {reason}")]
    Ended {
        /// How it ended.
        reason: &'static str,
    },
    /// There is neither a start function nor an entry function to run.
    #[error("no function to run")]
    NoFunction,
    /// The instance is suspended: it can only go on.
    #[error("the instance is suspended")]
    Suspended,
    /// The instance is not frozen, so that it has no frames.
    #[error("the instance is not suspended")]
    NotFrozen,
    /// The program is not of the module of which this is an instance.
    #[error("the program was compiled from another module")]
    OtherModule,
    /// The instance is stored, and has not been prepared for another run.
    #[error("the instance is stored and has not been prepared for another run")]
    Stored,
    /// The instance is being run.
    #[error("the instance is running")]
    Running,
}

impl ProgramError {
    /// The trap that stands for the error where only a trap can be told.
    pub fn trap(&self) -> TrapId {
        match self {
            Self::Instantiation { trap, .. } => *trap,
            Self::MemoryLimit { .. } => TrapId::MemoryAccessOutOfBounds,
            Self::NoExport { .. } | Self::NotFunction { .. } | Self::NotCallable { .. } => TrapId::NoFunction,
            Self::WrongArguments { .. } | Self::NoSuchFunction { .. } | Self::WrongEntrySignature { .. } => {
                TrapId::AbiViolation
            }
            Self::Ended { .. }
            | Self::NoFunction
            | Self::Suspended
            | Self::NotFrozen
            | Self::OtherModule
            | Self::Running
            | Self::Stored => TrapId::NoFunction,
        }
    }
}

/// Something that is wrong with the host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// An option is out of its range.
    #[error("{option} of {value} bytes is not between {min} and {max}")]
    Option {
        /// Which option.
        option: &'static str,
        /// Its value.
        value: u64,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// The mappings do not fit the address space.
    #[error("no address space for the program")]
    AddressSpace,
    /// What the compiler, or the cache, has produced contradicts itself.
    #[error("inconsistent image: {what}")]
    Image {
        /// What is wrong.
        what: &'static str,
    },
}

impl ImageError {
    pub(crate) fn system(action: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self::System { action, source: errno.into() }
    }

    pub(crate) const fn image(what: &'static str) -> Self {
        Self::Image { what }
    }
}

/// Why an instance could not be made or prepared.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The program is at fault.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The host is at fault.
    #[error(transparent)]
    Host(#[from] ImageError),
}

impl InstanceError {
    /// The trap that stands for the error where only a trap can be told.
    pub fn trap(&self) -> TrapId {
        match self {
            Self::Program(error) => error.trap(),
            Self::Host(_) => TrapId::InternalError,
        }
    }
}

fn kind_name(kind: ExportKind) -> &'static str {
    match kind {
        ExportKind::Function => "function",
        ExportKind::Table => "table",
        ExportKind::Memory => "memory",
        ExportKind::Global => "global",
        ExportKind::Tag => "tag",
    }
}

fn type_list(types: &[ValType]) -> String {
    types.iter().map(ValType::to_string).collect::<Vec<_>>().join(" ")
}
