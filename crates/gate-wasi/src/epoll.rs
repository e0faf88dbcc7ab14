//! Descriptors that the runtime's epoll watches.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor. Gives it back if it cannot be watched. To be called within a tokio runtime.
pub(crate) fn register(fd: OwnedFd, interest: Interest) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: an OwnedFd is open, is always the same descriptor, and stays so until it is dropped. The AsyncFd
    // owns it, and gives no mutable access to it in this crate.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(|err| err.into_parts())
}
