//! What comes from a program through its call socket.

use gate_wire::call::{CallRequest, REQUEST_SIZE};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::time::Timespec;
use std::os::fd::BorrowedFd;

/// What has come from the program.
pub(crate) enum Received {
    Request(CallRequest),
    /// Its end of the socket is closed: it is dead, or about to be.
    Hangup,
    /// Something that rt does not send.
    Violation,
}

/// Receives without waiting. `closed` says that the other end is known to be closed.
///
/// If the program has left something unreceived at its end, that is told once, as [`Errno::CONNRESET`], and before what it
/// has sent.
pub(crate) fn receive(socket: BorrowedFd<'_>, closed: bool) -> Result<Received, Errno> {
    // One byte more shows that a message is too long.
    let mut buf = [0; REQUEST_SIZE + 1];
    match rustix::io::retry_on_intr(|| recv(socket, &mut buf[..], RecvFlags::DONTWAIT))? {
        // An empty message looks the same as the end, but for this.
        (0, _) if !closed && !hung_up(socket)? => Ok(Received::Violation),
        (0, _) => Ok(Received::Hangup),
        (size, _) => Ok(CallRequest::decode(&buf[..size]).map_or(Received::Violation, Received::Request)),
    }
}

fn hung_up(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(fds[0].revents().contains(PollFlags::HUP))
}
