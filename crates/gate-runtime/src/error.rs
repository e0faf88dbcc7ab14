//! What can go wrong around programs. What goes wrong in them is an [`Outcome`](crate::Outcome).

use gate_image::{ExitError, ImageError, InstanceError};
use gate_wire::load::LoadFailure;
use gate_wire::trap::TrapId;
use std::error::Error;
use std::{fmt, io};

/// Why there is no executor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The configuration is wrong.
    #[error("max_procs is {0}, it must be between 1 and {max}", max = crate::MAX_PROCS)]
    MaxProcs(u32),
    /// The container could not be made.
    #[error("make a container: {step}: {source}{hint}")]
    Container {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
        /// Which setting may be the reason: empty, or a text in parentheses.
        hint: String,
    },
    /// The executor did not answer as it should.
    #[error("the executor died while it was being set up")]
    Died,
    /// The executor is dead or was closed.
    #[error("the executor is dead")]
    Dead,
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl ExecutorError {
    pub(crate) fn system<E: Into<io::Error>>(action: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::System { action, source: source.into() }
    }
}

/// Why a program could not be started, or how it ended is not known.
///
/// [`ProcessError::trap`] gives a trap that stands for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The process has been started before, or it has not been, or it has ended.
    #[error("the process {0}")]
    Order(&'static str),
    /// The instance has neither a start function nor an entry function to run.
    #[error("no function to run")]
    NoFunction,
    /// The image cannot be run.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The image does not fit the address space.
    #[error("no address space for the program")]
    AddressSpace,
    /// The state could not be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The executor could not make the process.
    #[error("create a process: {0}")]
    Refused(io::Error),
    /// The process ended in a way which programs cannot bring about.
    #[error("the process {0}")]
    Abnormal(AbnormalExit),
    /// The process left nonsense about its end.
    #[error("the program's end is unexplained: {0}")]
    Unexplained(#[source] ExitError),
    /// The executor died, and the process with it.
    #[error("the executor died")]
    ExecutorDied,
    /// A host function failed.
    #[error(transparent)]
    Host(HostFault),
}

impl ProcessError {
    /// The trap that stands for the error where only a trap can be told.
    pub fn trap(&self) -> TrapId {
        match self {
            Self::NoFunction => TrapId::NoFunction,
            Self::Instance(error) => error.trap(),
            _ => TrapId::InternalError,
        }
    }

    pub(crate) fn system<E: Into<io::Error>>(action: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::System { action, source: source.into() }
    }
}

/// How a process ended which did not say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbnormalExit {
    /// The loader or rt gave up.
    Code(i32),
    /// A system call that the sandbox forbids was attempted.
    ForbiddenSystemCall,
    /// A signal that programs do not get.
    Signal(i32),
}

impl fmt::Display for AbnormalExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => match LoadFailure::from_status(*code) {
                Some(failure) => write!(f, "failed to {}", failure.describe()),
                None => write!(f, "exited with code {code}"),
            },
            Self::ForbiddenSystemCall => f.write_str("attempted a forbidden system call"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// A host function cannot do its work, through no fault of the program. The program is killed.
#[derive(Debug)]
pub struct HostFault(Box<dyn Error + Send + Sync>);

impl HostFault {
    /// A fault with a cause or a message.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host function: {}", self.0)
    }
}

impl Error for HostFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl From<io::Error> for HostFault {
    fn from(error: io::Error) -> Self {
        Self::new(error)
    }
}
