//! What a process needs to know of a program and of its state.

use gate_image::{Instance, InstanceError, Launch, Program, Purpose};
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
    /// What the program's monotonic clock shows, in nanoseconds.
    fn monotonic_time(&self) -> u64;

    /// Hands the state over to a process, which changes it until the launch's mutation is dropped. `rt_span` is
    /// the size of rt with its data, in bytes.
    fn launch(&mut self, rt_span: u64, purpose: Purpose) -> Result<Launch, InstanceError>;
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
    fn monotonic_time(&self) -> u64 {
        Instance::monotonic_time(self)
    }

    fn launch(&mut self, rt_span: u64, purpose: Purpose) -> Result<Launch, InstanceError> {
        Instance::launch(self, rt_span, purpose)
    }
}
