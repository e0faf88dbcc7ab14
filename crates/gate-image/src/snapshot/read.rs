//! Reading snapshots.

use super::pieces::Piece;
use super::reader::Reader;
use super::source::Source;
use super::status::Status;
use super::tables::ElementPiece;
use super::trace::Trace;
use super::{ServiceState, SnapshotError, instruction_at};
use crate::exceptions::Exceptions;
use crate::frames::Frames;
use crate::instance::InstanceOptions;
use gate_compiler::{Features, Value};
use std::io::Read;
use std::os::fd::OwnedFd;

/// How large a snapshot may be that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// Size of the module in bytes.
    pub module_size: u64,
    /// Size of all memories together in bytes.
    pub memory: u64,
    /// Size in bytes of what describes the stack, and of what describes everything else but memories.
    pub stack_size: u64,
    /// Size of the states of all services together, in bytes.
    pub services_size: u64,
}

impl Default for SnapshotLimits {
    /// As much as can be, of what takes space as it is used, and more than usual programs have of the rest.
    fn default() -> Self {
        Self { module_size: 1 << 30, memory: u64::MAX, stack_size: 256 << 20, services_size: 2 << 30 }
    }
}

/// A snapshot which has been read.
///
/// Its memories are in a file already. What it says fits together so far as that can be told without its module having been
/// compiled.
#[derive(Debug)]
pub struct Restored {
    pub(super) module: Vec<u8>,
    pub(super) features: Features,
    pub(super) status: Status,
    pub(super) services: Vec<ServiceState>,
    /// Exceptions to which there are references.
    pub(super) exceptions: Exceptions,
    /// Contents of the stack section.
    pub(super) stack: Option<Vec<u8>>,
    /// Where it trapped.
    pub(super) trace: Option<Trace>,
    pub(super) globals: Vec<Value>,
    /// Numbers of elements of the tables.
    pub(super) table_sizes: Vec<u32>,
    pub(super) elements: Vec<ElementPiece>,
    pub(super) memory: Memories,
}

/// Memories of a snapshot.
#[derive(Debug)]
pub(super) struct Memories {
    /// Has the pieces where they are in a state file.
    pub(super) file: OwnedFd,
    /// Sizes of the memories in bytes.
    pub(super) sizes: Vec<u64>,
    /// What is in the file, in order. The rest is as in a new instance.
    pub(super) pieces: Vec<Piece>,
}

impl Restored {
    /// Reads a whole snapshot.
    pub fn read(input: impl Read, limits: &SnapshotLimits) -> Result<Self, SnapshotError> {
        Reader::new(Source::new(input), limits)?.read()
    }

    /// The original module, byte for byte. It has to be compiled.
    pub fn module(&self) -> &[u8] {
        &self.module
    }

    /// Takes the module out, which is not needed to make the instance.
    pub fn take_module(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.module)
    }

    /// What the module uses beyond WebAssembly 2.0, as far as the snapshot says so: those of older builds don't.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Fails unless everything that the module uses is among these features.
    pub fn check_features(&self, available: Features) -> Result<(), SnapshotError> {
        match self.features.iter().find(|&feature| !available.has(feature)) {
            Some(feature) => Err(SnapshotError::FeatureOff(feature)),
            None => Ok(()),
        }
    }

    /// How large the instance was allowed to be.
    pub fn options(&self) -> InstanceOptions {
        self.status.options
    }

    /// The breakpoint at which the program was stopped, if it was at one: the instruction's offset in the module. The program
    /// that it goes on as must have been compiled with this breakpoint at least.
    pub fn breakpoint(&self) -> Option<u32> {
        // That of a call instruction is at its second byte.
        instruction_at(&self.module, Frames::stored_breakpoint(self.stack.as_deref()?)?)
    }

    /// States of the services, in the order in which they were written.
    pub fn services(&self) -> &[ServiceState] {
        &self.services
    }

    /// What the program's monotonic clock showed when it was stopped, in nanoseconds.
    pub fn monotonic_time(&self) -> u64 {
        self.status.monotonic_time
    }
}
