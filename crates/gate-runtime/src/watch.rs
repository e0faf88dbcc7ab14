//! Descriptors that tokio watches.

use crate::control::ExecutorProcess;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a socket.
pub(crate) fn socket(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor keeps its number, and is open until it is dropped.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(Into::into)
}

/// Watches for the executor's death.
pub(crate) fn executor(process: ExecutorProcess) -> io::Result<AsyncFd<ExecutorProcess>> {
    // SAFETY: its descriptor is an owned one, which nothing replaces.
    unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }.map_err(Into::into)
}
