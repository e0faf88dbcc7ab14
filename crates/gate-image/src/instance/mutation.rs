//! Instances in the hands of a process.

use super::stopped::Export;
use super::{Lease, call};
use crate::error::ImageError;
use crate::exit::{self, Exit, InvalidExit};
use crate::memory::GuestMemory;
use crate::placement::Placement;
use crate::program::Program;
use crate::state::State;
use gate_wire::call::CallReply;
use gate_wire::context::{ExitKind, FrozenBy};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The state of an instance in the hands of a process.
///
/// To be kept until the process is dead: before that the instance cannot be started again.
#[derive(Debug)]
pub struct Mutation {
    pub(super) program: Program,
    pub(super) state: Arc<State>,
    pub(super) lease: Arc<Lease>,
    pub(super) placement: Placement,
    pub(super) export: Option<Export>,
    pub(super) returns_value: bool,
}

/// How a program ended cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ExitError {
    /// The process has left nonsense.
    #[error(transparent)]
    Invalid(#[from] InvalidExit),
    /// The state file could not be read.
    #[error(transparent)]
    Host(#[from] ImageError),
}

impl Mutation {
    /// The state file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.state.as_fd()
    }

    /// The first linear memory, or an empty one.
    pub fn memory(&self) -> GuestMemory {
        GuestMemory::new(&self.state, 0).unwrap_or(GuestMemory::empty())
    }

    /// How the run ended.
    pub fn exit(&self) -> Result<Exit, ExitError> {
        read_exit(&self.program, &self.state, &self.placement)
    }

    /// Whether the program was frozen because it has come to a breakpoint.
    pub fn is_at_breakpoint(&self) -> Result<bool, ImageError> {
        let record = exit::read_record(&self.state).map_err(ImageError::system("read the exit record"))?;
        Ok(record.kind == ExitKind::Frozen as u32 && record.value == FrozenBy::Breakpoint as u32)
    }

    /// The `i32` that the entry function returned, if it has the type `() -> i32`.
    pub fn return_value(&self) -> Result<Option<i32>, ImageError> {
        if !self.returns_value {
            return Ok(None);
        }
        let mut slot = [0; 4];
        let offset = self.state.below_context(self.program.info().layout.entry_distance.into());
        self.state.read(offset, &mut slot).map_err(ImageError::system("read the result"))?;
        Ok(Some(i32::from_le_bytes(slot)))
    }

    /// Notes what has become of the host call in which the program stopped.
    ///
    /// To be called when the process is dead and the program frozen, with the reply to the last request that was received
    /// from it: none if there was no reply because nothing has been done about the request, which is then made anew. A
    /// request that is still in the call socket must be received before that, or an earlier one's reply would be
    /// taken for its. Nothing is changed if the program has received the reply.
    pub fn settle_call(&self, reply: Option<CallReply>) -> Result<(), ImageError> {
        call::settle(&self.state, reply.map(Into::into))
    }

    /// Sets what the program's monotonic clock shows when it goes on, in nanoseconds.
    pub fn set_monotonic_time(&self, time: u64) {
        self.lease.monotonic_time.store(time, Ordering::Relaxed);
    }
}

pub(super) fn read_exit(program: &Program, state: &State, placement: &Placement) -> Result<Exit, ExitError> {
    let record = exit::read_record(state).map_err(ImageError::system("read the exit record"))?;
    Ok(exit::interpret(&record, program, state, placement)?)
}
