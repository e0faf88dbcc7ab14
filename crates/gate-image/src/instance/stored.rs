//! Instances as they are stored.

use super::{Instance, InstanceOptions, Lease, Phase};
use crate::error::{ImageError, ProgramError};
use crate::program::Program;
use crate::state::State;
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// What is to be known of an instance besides its state, to go on with the same build.
#[derive(Serialize, Deserialize)]
struct Stored {
    phase: Phase,
    entry: Option<u32>,
    stack_size: u64,
    max_memory: Option<u64>,
    monotonic_time: u64,
}

impl Instance {
    /// The state, to be exchanged for an equal one. Fails if a process is using it.
    pub(crate) fn idle_state_mut(&mut self) -> Result<&mut Arc<State>, ProgramError> {
        self.check_idle()?;
        Ok(&mut self.state)
    }

    /// Whether that is its state.
    pub(crate) fn has_state(&self, state: &Arc<State>) -> bool {
        Arc::ptr_eq(&self.state, state)
    }

    /// What [`Instance::from_stored`] needs. `None` if the instance can go on only by its frames.
    pub(crate) fn to_stored(&self) -> Result<Option<Vec<u8>>, ImageError> {
        if let Phase::Suspended { .. } = self.phase {
            return Ok(None);
        }
        let stored = Stored {
            phase: self.phase,
            entry: self.entry,
            stack_size: self.options.stack_size,
            max_memory: self.options.max_memory,
            monotonic_time: self.monotonic_time(),
        };
        postcard::to_stdvec(&stored).map(Some).map_err(|_| ImageError::image("description of an instance"))
    }

    /// The instance as it was. `None` if the description is not one of an instance of the program.
    pub(crate) fn from_stored(program: &Program, state: &Arc<State>, contents: &[u8]) -> Option<Self> {
        let stored: Stored = postcard::from_bytes(contents).ok()?;
        let functions = program.info().functions.len();
        if matches!(stored.phase, Phase::Suspended { .. })
            || stored.entry.is_some_and(|entry| entry as usize >= functions)
        {
            return None;
        }
        let lease =
            Lease { monotonic_time: AtomicU64::new(stored.monotonic_time), stopped: Mutex::default() };
        Some(Self {
            program: program.clone(),
            state: Arc::clone(state),
            options: InstanceOptions { stack_size: stored.stack_size, max_memory: stored.max_memory },
            phase: stored.phase,
            entry: stored.entry,
            lease: Arc::new(lease),
        })
    }
}
