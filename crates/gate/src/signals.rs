//! Signals that ask the command to end.

use crate::exit::Problem;
use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives the signals. While it exists, they do not end the process by themselves.
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) const HANGUP: u8 = 1;

    pub(crate) fn new() -> Result<Self, Problem> {
        let receive = |kind| signal(kind).context("receive signals").map_err(Problem::gate_failed);
        Ok(Self {
            hangup: receive(SignalKind::hangup())?,
            interrupt: receive(SignalKind::interrupt())?,
            terminate: receive(SignalKind::terminate())?,
        })
    }

    /// Waits for a signal, and returns its number.
    pub(crate) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.hangup.recv() => Self::HANGUP,
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }
}
