//! Images: what a program process maps, and what is left of it when it has stopped.
//!
//! A [`Program`] is a compiled module: its text in a sealed memory file, which any number of processes can map, and
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
//! | `instance` | making an instance, its entry function, its results |
//! | `state` | the state file and where in it things are |
//! | `memory` | linear memory as host functions see it |
//! | `exit` | how the program ended |
//! | `backtrace` | in which functions |
//! | `placement` | random addresses for a process's mappings |
//! | `cache`, `entry_file` | compiled modules on disk |
//! | `memfd` | files in memory |
//! | `error` | what can be wrong with a program, and with its image |

#![forbid(unsafe_code)]

mod backtrace;
mod cache;
mod entry_file;
mod error;
mod exit;
mod instance;
mod memfd;
mod memory;
mod placement;
mod program;
mod state;
mod template;

pub use backtrace::{Backtrace, Frame};
pub use cache::{Cache, CacheError, CacheOutcome, LoadError};
pub use entry_file::Damage;
pub use error::{ImageError, InstanceError, ProgramError};
pub use exit::{Exit, InvalidExit};
pub use instance::{ExitError, Instance, InstanceOptions, Mutation};
pub use memory::{GuestMemory, MemoryError};
pub use placement::Placement;
pub use program::Program;
