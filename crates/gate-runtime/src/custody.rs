//! The state of a program while a process has it, and what is to be done to it when the process is dead.

use crate::process::monotonic_now;
use crate::receive::{Received, receive};
use gate_image::{Exit, ImageError, Mutation};
use gate_wire::call::CallReply;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

/// The state of a program while a process has it.
///
/// It is kept until the process is dead, even if nobody is interested in it any more. Whoever drops it then, it is left
/// so that the program can go on.
pub(crate) struct Custody {
    pub(crate) mutation: Mutation,
    /// See [`LoadRequest::monotonic_origin`](gate_wire::load::LoadRequest::monotonic_origin).
    pub(crate) monotonic_origin: u64,
    /// The program was frozen when the process was made: as long as it has not begun to go on, the state says so still.
    pub(crate) thawed: bool,
    /// Reply to the last request that was received, if that has been answered.
    pub(crate) last_reply: Option<CallReply>,
    pub(crate) socket: Arc<AsyncFd<OwnedFd>>,
    settled: bool,
}

impl Custody {
    pub(crate) fn new(
        mutation: Mutation,
        monotonic_origin: u64,
        thawed: bool,
        socket: Arc<AsyncFd<OwnedFd>>,
    ) -> Self {
        Self { mutation, monotonic_origin, thawed, last_reply: None, socket, settled: false }
    }

    /// Of a process that does not change the state.
    pub(crate) fn for_export(mutation: Mutation, socket: Arc<AsyncFd<OwnedFd>>) -> Self {
        let mut custody = Self::new(mutation, 0, true, socket);
        custody.settled = true;
        custody
    }

    /// What the program's monotonic clock shows, in nanoseconds.
    pub(crate) fn monotonic_time(&self) -> u64 {
        monotonic_now().wrapping_add(self.monotonic_origin)
    }

    /// Leaves the state as it is to be when the program goes on. The process must be dead.
    ///
    /// A request exists exactly once. If the program was stopped before it received a reply, the last reply belongs to its
    /// request, unless that is in the socket still: then nothing has been done about it.
    pub(crate) fn settle(&mut self) -> Result<(), ImageError> {
        if std::mem::replace(&mut self.settled, true) {
            return Ok(());
        }
        self.mutation.set_monotonic_time(self.monotonic_time());
        if !matches!(self.mutation.exit(), Ok(Exit::Frozen)) {
            return Ok(());
        }
        let reply = if self.has_request() { None } else { self.last_reply };
        self.mutation.settle_call(reply)
    }

    /// Whether there is a request which has not been received.
    fn has_request(&self) -> bool {
        let socket = self.socket.get_ref().as_fd();
        let mut received = receive(socket, true);
        if matches!(received, Err(Errno::CONNRESET)) {
            // Before all else it is told that the program has not received everything, and only once.
            received = receive(socket, true);
        }
        // What is not a request could have been sent in place of one only.
        matches!(received, Ok(Received::Request(_) | Received::Violation))
    }
}

impl Drop for Custody {
    fn drop(&mut self) {
        // Nobody is there who could be told. What cannot be written here cannot be read by the next process.
        let _ = self.settle();
    }
}
