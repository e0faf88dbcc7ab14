//! What a process needs to know of a program and of its state.

use gate_image::{ImageError, Instance, InstanceError, Mutation, Placement, Program};
use gate_wire::load::MemoryMap;
use std::os::fd::BorrowedFd;

/// Text of a program.
pub trait ProgramCode {
    /// Size of the text in bytes, a multiple of the page size.
    fn text_size(&self) -> u64;

    /// The file which has the text from its start. Nobody may be able to change it.
    fn text(&self) -> BorrowedFd<'_>;
}

/// State of a program.
pub trait ProgramState {
    /// Size of the stack in bytes, a multiple of the page size.
    fn stack_size(&self) -> u64;

    /// Size of the instance region in bytes, a multiple of the page size.
    fn instance_size(&self) -> u64;

    /// Linear memories: what is accessible, and what may become so.
    fn memory_maps(&self) -> Result<Vec<MemoryMap>, ImageError>;

    /// Text offset of the code which calls the start function, if that is to be run.
    fn start(&self) -> Option<u64>;

    /// Text offset of the code which calls the entry function, if there is one.
    fn entry(&self) -> Option<u64>;

    /// What the program's monotonic clock shows, in nanoseconds.
    fn monotonic_time(&self) -> u64;

    /// Hands the state over to a process, which changes it until the mutation is dropped.
    fn begin_mutation(&mut self, placement: Placement) -> Result<Mutation, InstanceError>;
}

impl ProgramCode for Program {
    fn text_size(&self) -> u64 {
        Program::text_size(self)
    }

    fn text(&self) -> BorrowedFd<'_> {
        Program::text(self)
    }
}

impl ProgramState for Instance {
    fn stack_size(&self) -> u64 {
        Instance::stack_size(self)
    }

    fn instance_size(&self) -> u64 {
        Instance::instance_size(self)
    }

    fn memory_maps(&self) -> Result<Vec<MemoryMap>, ImageError> {
        Instance::memory_maps(self)
    }

    fn start(&self) -> Option<u64> {
        self.start_trampoline()
    }

    fn entry(&self) -> Option<u64> {
        self.entry_trampoline()
    }

    fn monotonic_time(&self) -> u64 {
        Instance::monotonic_time(self)
    }

    fn begin_mutation(&mut self, placement: Placement) -> Result<Mutation, InstanceError> {
        Instance::begin_mutation(self, placement)
    }
}
