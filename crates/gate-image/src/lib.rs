//! Images: what a program process maps, and what is left of it when it has stopped.
//!
//! A [`Program`] is a compiled module: its text in a file, which any number of processes can map, and
//! the knowledge of where in it things are. An [`Instance`] is the state of one run of it: stack, instance
//! region and linear memories in a file that the process maps shared. When the process is gone, the host reads from that
//! file how the program ended ([`Instance::exit`]), with which results, in which functions ([`Backtrace`]).
//! During the run, host functions use it to reach the program's memory ([`GuestMemory`]).
//!
//! Everything in a state file is written by an untrusted process. It is only ever read by copying (never mapped),
//! and each value is checked before it is used.
//!
//! | module | concern |
//! |---|---|
//! | `program` | text and its maps |
//! | `template` | initial contents of a new instance, worked out once per program |
//! | `instance` | making an instance, what a process is given of it, its results |
//! | `frames` | call stacks of programs that have stopped |
//! | `snapshot` | instances as WebAssembly modules |
//! | `state` | the state file and where in it things are |
//! | `chunks` | memories that are copied on write, seen by the host |
//! | `fork` | many states over one |
//! | `extents` | which parts of a sparse file have data |
//! | `storage` | instances in a directory |
//! | `memory` | linear memory as host functions see it |
//! | `samples` | where a running program is, again and again |
//! | `exit` | how the program ended |
//! | `backtrace` | in which functions |
//! | `placement` | random addresses for a process's mappings |
//! | `coredump` | core dumps for debuggers |
//! | `inspect` | what can be seen of a program that has stopped |
//! | `lines` | places in the source code |
//! | `text` | text from anybody, made harmless |
//! | `cache`, `entry_file` | compiled modules on disk, and what is known about files |
//! | `memfd` | files in memory |
//! | `leb` | numbers of variable size |
//! | `error` | what can be wrong with a program, and with its image |

#![forbid(unsafe_code)]

mod backtrace;
mod cache;
mod chunks;
mod coredump;
mod entry_file;
mod error;
mod exceptions;
mod exit;
mod extents;
mod fork;
mod frames;
mod inspect;
mod instance;
mod leb;
mod lines;
mod memfd;
mod memory;
mod placement;
mod program;
mod samples;
mod snapshot;
mod state;
mod storage;
mod template;
mod text;

pub use backtrace::{Backtrace, BacktraceFrame};
pub use cache::{Cache, CacheError, CacheOutcome, FileIdentity, KeptInstance, LoadError, Origin};
pub use coredump::{CoreDump, CoreDumpError, CoreFrame, CoreMemory, InstanceDumpError, MemoryContents};
pub use entry_file::Damage;
pub use error::{ImageError, InstanceError, ProgramError};
pub use exit::{Exit, InvalidExit};
pub use frames::{Frame, Frames, FramesError};
pub use inspect::{
    FrameView, GlobalView, InspectError, Inspector, LocalView, MemoryView, TableView, ValueView,
};
pub use instance::{
    CallOutcome, ExitError, Instance, InstanceOptions, Launch, Mutation, PendingCall, Purpose, RebaseError,
};
pub use lines::{Lines, SourceFrame, SourcePlace};
pub use memory::{GuestMemory, MemoryError, WaitingMemory};
pub use program::Program;
pub use samples::{Sample, Sampler};
pub use snapshot::{
    Place, Problem, Restored, SNAPSHOT_VERSION, ServiceState, Snapshot, SnapshotError, SnapshotLimits,
    is_snapshot,
};
pub use storage::{Directory, MetaDamage, StorageError, StoredInstance};
