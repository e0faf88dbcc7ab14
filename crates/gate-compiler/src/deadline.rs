//! How long a compilation may go on.

use crate::error::CompileError;
use crate::options::Options;
use std::time::{Duration, Instant};

/// The end of the time that a compilation may take.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<(Instant, Duration)>);

impl Deadline {
    /// The time begins now.
    pub(crate) fn new(options: &Options) -> Self {
        Self(options.timeout.map(|limit| (Instant::now(), limit)))
    }

    /// Fails when the time is over.
    pub(crate) fn check(self) -> Result<(), CompileError> {
        match self.0 {
            Some((start, limit)) if start.elapsed() > limit => Err(CompileError::timeout(limit)),
            _ => Ok(()),
        }
    }
}
