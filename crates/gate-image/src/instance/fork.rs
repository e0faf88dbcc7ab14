//! Copies of an instance.

use super::{Instance, Lease};
use crate::error::InstanceError;
use crate::state::State;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

impl Instance {
    /// Makes another instance which is in the same state and goes on in the same way.
    ///
    /// The memories are shared until one of them writes: what it writes to is copied then. The first time, and after each
    /// run in which the instance has written to memory that it shares already, this costs the copying of that memory or
    /// the sealing of its file; otherwise next to nothing. Fails if the instance is running.
    pub fn fork(&mut self) -> Result<Self, InstanceError> {
        self.check_idle()?;
        let state = State::fork(&mut self.state)?;
        let lease = Lease {
            monotonic_time: AtomicU64::new(self.monotonic_time()),
            stopped: Mutex::new(self.lease.stopped().clone()),
        };
        Ok(Self {
            program: self.program.clone(),
            state: Arc::new(state),
            options: self.options,
            phase: self.phase,
            entry: self.entry,
            trace: self.trace.clone(),
            sample_interval: None,
            lease: Arc::new(lease),
        })
    }
}
