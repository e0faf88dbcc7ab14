//! What of a stored instance is in no file of its own.

use super::{Instance, InstanceOptions, Lease, Phase};
use crate::backtrace::Backtrace;
use crate::error::{ImageError, ProgramError};
use crate::program::Program;
use crate::state::State;
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// What the build that stored an instance needs to go on, besides the files.
#[derive(Debug, Serialize, Deserialize)]
struct Native {
    phase: Phase,
    entry: Option<u32>,
    monotonic_time: u64,
    options: InstanceOptions,
    trace: Option<Backtrace>,
}

impl Instance {
    /// Whether the instance's state is this one.
    pub(crate) fn has_state(&self, state: &Arc<State>) -> bool {
        Arc::ptr_eq(&self.state, state)
    }

    /// To exchange the state file for one with the same contents.
    pub(crate) fn idle_state_mut(&mut self) -> Result<&mut Arc<State>, ProgramError> {
        self.check_idle()?;
        Ok(&mut self.state)
    }

    /// Describes the instance for [`Instance::from_stored`]. `None` if it goes on only by its frames, of which there is nothing
    /// in the state file.
    pub(crate) fn to_stored(&self) -> Result<Option<Vec<u8>>, ImageError> {
        if let Phase::Suspended { .. } = self.phase {
            return Ok(None);
        }
        let native = Native {
            phase: self.phase,
            entry: self.entry,
            monotonic_time: self.monotonic_time(),
            options: self.options,
            trace: self.trace.clone(),
        };
        let native = postcard::to_stdvec(&native);
        native.map(Some).map_err(|_| ImageError::image("description of a stored instance"))
    }

    /// An instance of the program whose text was the same when it was described, with the state that it had.
    pub(crate) fn from_stored(program: &Program, state: &Arc<State>, native: &[u8]) -> Option<Self> {
        let Native { phase, entry, monotonic_time, options, trace } = postcard::from_bytes(native).ok()?;
        let info = program.info();
        let functions = [entry, phase.activity().and_then(|activity| activity.entry)];
        let fits = state.memories.len() == info.memories.len()
            && state.instance_size == u64::from(info.layout.instance_size)
            && functions.into_iter().flatten().all(|function| program.trampoline(function).is_some());
        fits.then(|| Self {
            program: program.clone(),
            state: Arc::clone(state),
            options,
            phase,
            entry,
            trace,
            sample_interval: None,
            lease: Arc::new(Lease {
                monotonic_time: AtomicU64::new(monotonic_time),
                stopped: Mutex::default(),
            }),
        })
    }
}
