//! What can go wrong around programs. What goes wrong in them is an [`Outcome`](crate::Outcome).

use crate::control::End;
use gate_image::{ExitError, FramesError, ImageError, InstanceError};
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
    /// As whom the container's processes should run cannot be brought about.
    #[error("make a container: {0}")]
    Credentials(String),
    /// One of the sandbox's programs is not there, or not what it should be.
    #[error("make a container: {path:?}: {source}")]
    Binary {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The host process may not have files as large as those of programs, which have large holes.
    #[error(
        "the limit on the size of files, ulimit -f, is {0} bytes; states of programs are sparse files of many GiB"
    )]
    FileSizeLimit(u64),
    /// A control group is not there, or cannot be used.
    #[error(transparent)]
    Cgroup(#[from] crate::CgroupError),
    /// The daemon cannot be reached, or does not make a container.
    #[error("{0}")]
    Daemon(#[from] crate::DaemonError),
    /// A connection is good for one container.
    #[error("an executor that is to be replaced when it dies cannot have a connection (conn_file)")]
    Supervised,
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
    /// The program was to be suspended, and did not stop within its allowance. It was killed. No compiled program is like
    /// that.
    #[error("the program could not be suspended, and was killed")]
    Unstoppable,
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

/// Why a program's frames could not be had. Its state is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is no process to do it in.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The instance is not suspended, or is running.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The process failed.
    #[error("write down a program's frames: {0}")]
    Process(#[source] ProcessError),
    /// The process did not come to an end. No compiled program is like that.
    #[error("write down a program's frames: it takes too long")]
    Timeout,
    /// What the process has written down is not the frames of the program.
    #[error("a program's frames: {0}")]
    Frames(#[from] FramesError),
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

impl AbnormalExit {
    /// Fails unless the process was there, and left with exit status zero.
    pub(crate) fn check(end: End) -> Result<(), ProcessError> {
        Err(match end {
            End::Died { status } if libc::WIFSIGNALED(status) => match libc::WTERMSIG(status) {
                libc::SIGSYS => ProcessError::Abnormal(Self::ForbiddenSystemCall),
                signal => ProcessError::Abnormal(Self::Signal(signal)),
            },
            End::Died { status } => match libc::WEXITSTATUS(status) {
                0 => return Ok(()),
                code => ProcessError::Abnormal(Self::Code(code)),
            },
            End::Refused { errno } => ProcessError::Refused(io::Error::from_raw_os_error(errno)),
            End::Closed | End::ExecutorDied => ProcessError::ExecutorDied,
        })
    }
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

/// The state of a host's services cannot be taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The host has no such service.
    #[error("there is no service {0:?}")]
    Unknown(String),
    /// The service does not understand the state.
    #[error("restore service {name:?}: {source}")]
    State {
        /// The service.
        name: String,
        /// What is wrong.
        source: Box<dyn Error + Send + Sync>,
    },
}
