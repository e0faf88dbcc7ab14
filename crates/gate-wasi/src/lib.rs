//! Host side of WASI preview 1.
//!
//! A program runs in a process of its own which can do next to nothing. What it calls of WASI is a request to the
//! host (except for clocks and its own end, which it sees to itself), and [`WasiCtx`] is who answers: it has the
//! program's arguments, environment, descriptors and randomness, and reads and writes the program's memory while the
//! program waits. All 46 functions are answered; there are standard streams, and files below directories that are given to
//! the program, and connections that it accepts from listeners which are given to it.
//!
//! Everything that comes from the program is taken to be hostile: each address, length and count is checked
//! ([`LinearMemory`]), and no request makes the host use more than a bounded amount of memory.

#![deny(unsafe_code)]

mod abi;
mod call;
mod clock;
mod ctx;
mod descriptors;
mod epoll;
mod errno;
mod fd;
mod file_ops;
mod files;
mod host;
mod host_fs;
mod layout;
mod memory;
mod memory_fs;
mod node;
mod packets;
mod path;
mod poll;
mod process;
mod resolve;
mod saved_file;
mod saved_tree;
mod sock;
mod socket;
mod state;
mod stdio;
mod stream;
mod tar_fs;
mod walk;

pub use ctx::{BuildError, Builder, WasiCtx};
pub use errno::Errno;
pub use files::Access;
pub use memory::{AccessError, LinearMemory};
pub use process::Signal;
pub use state::{SavedState, StateError};
pub use stdio::HostStream;
pub use tar_fs::{ImageError, TarImage};

use std::io;

/// The host could not answer a request.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The program's memory cannot be accessed, although the program may.
    #[error("program memory cannot be accessed: {0}")]
    Memory(#[source] io::Error),
    /// There is no timer to wait with.
    #[error("timer cannot be set: {0}")]
    Timer(#[source] io::Error),
    /// There are no random bytes.
    #[error("random bytes cannot be had: {0}")]
    Random(#[source] io::Error),
    /// What is attached to the descriptor for packets has failed.
    #[error("packets: {0}")]
    Packets(#[source] gate_runtime::HostFault),
}

/// Why a call does not simply succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The program is told.
    Errno(Errno),
    /// The program has killed itself.
    Raised,
    /// The program's process has made a call that compiled code does not make.
    Violation,
    /// The host is at fault.
    Host(HostError),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<HostError> for Failure {
    fn from(err: HostError) -> Self {
        Self::Host(err)
    }
}
