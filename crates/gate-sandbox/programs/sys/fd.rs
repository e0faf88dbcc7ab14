//! Descriptors: sockets and the event queue.

use crate::arch::syscall;
use crate::number::nr;
use crate::{Errno, Result};
use core::ffi::CStr;
use core::mem::size_of;

/// Closes a descriptor. It is closed even if the kernel reports an error.
pub fn close(fd: i32) {
    // SAFETY: no pointers.
    let _ = unsafe { syscall(nr::CLOSE, [fd as usize]) };
}

/// Closes this descriptor and all above.
#[inline(always)]
pub fn close_from(first: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(nr::CLOSE_RANGE, [first as usize, u32::MAX as usize, 0]) }.map(drop)
}

/// Gives the process a descriptor table of its own, with nothing from this descriptor on.
#[inline(always)]
pub fn unshare_below(first: u32) -> Result<()> {
    const CLOSE_RANGE_UNSHARE: usize = 2;
    // SAFETY: no pointers.
    unsafe { syscall(nr::CLOSE_RANGE, [first as usize, u32::MAX as usize, CLOSE_RANGE_UNSHARE]) }.map(drop)
}

/// Makes `new` another number of the descriptor.
pub fn duplicate(fd: i32, new: i32, close_on_exec: bool) -> Result<()> {
    const O_CLOEXEC: usize = 0o2_000_000;
    let flags = if close_on_exec { O_CLOEXEC } else { 0 };
    // SAFETY: no pointers.
    unsafe { syscall(nr::DUP3, [fd as usize, new as usize, flags]) }.map(drop)
}

/// Opens a file for writing.
pub fn open_for_writing(path: &CStr) -> Result<i32> {
    const AT_FDCWD: i32 = -100;
    const O_WRONLY: usize = 1;
    // SAFETY: the kernel reads a string.
    unsafe { syscall(nr::OPENAT, [AT_FDCWD as usize, path.as_ptr() as usize, O_WRONLY, 0]) }
        .map(|fd| fd as i32)
}

/// Writes bytes, as far as possible.
pub fn write(fd: i32, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the kernel reads the slice.
    unsafe { syscall(nr::WRITE, [fd as usize, bytes.as_ptr().expose_provenance(), bytes.len()]) }
}

/// Sends one message, without waiting for space and without a signal when there is no receiver.
pub fn send_now(fd: i32, message: &[u8]) -> Result<()> {
    const MSG_DONTWAIT: usize = 0x40;
    const MSG_NOSIGNAL: usize = 0x4000;
    let flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    // SAFETY: the kernel reads the slice.
    unsafe {
        syscall(nr::SENDTO, [fd as usize, message.as_ptr().expose_provenance(), message.len(), flags, 0, 0])
    }
    .map(drop)
}

/// Do not wait for a message.
pub const MSG_DONTWAIT: usize = 0x40;
/// Received descriptors are closed by exec.
pub const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;

/// More descriptors than any message should carry, so that one too many is noticed.
const MAX_FDS: usize = 5;

/// What came with a message.
pub struct Received {
    /// Size of the message.
    pub size: usize,
    /// Whether part of the message or of its descriptors was lost.
    pub truncated: bool,
    fds: [i32; MAX_FDS],
    fd_count: usize,
}

impl Received {
    /// The descriptors that came along.
    pub fn fds(&self) -> &[i32] {
        self.fds.get(..self.fd_count).unwrap_or(&[])
    }
}

#[repr(C)]
struct IoVec {
    addr: usize,
    size: usize,
}

#[repr(C)]
struct MsgHdr {
    name: usize,
    name_size: usize,
    iov: usize,
    iov_count: usize,
    control: usize,
    control_size: usize,
    flags: i32,
}

#[repr(C)]
struct Control {
    size: usize,
    level: i32,
    kind: i32,
    fds: [i32; MAX_FDS + 1],
}

/// Receives one message and its descriptors.
pub fn receive(fd: i32, buf: &mut [u8], flags: usize) -> Result<Received> {
    const SOL_SOCKET: i32 = 1;
    const SCM_RIGHTS: i32 = 1;
    const MSG_CTRUNC: i32 = 0x08;
    const MSG_TRUNC: i32 = 0x20;
    const HEADER_SIZE: usize = 16;

    let mut control = Control { size: 0, level: 0, kind: 0, fds: [-1; MAX_FDS + 1] };
    let iov = IoVec { addr: buf.as_mut_ptr().expose_provenance(), size: buf.len() };
    let mut msg = MsgHdr {
        name: 0,
        name_size: 0,
        iov: (&raw const iov).expose_provenance(),
        iov_count: 1,
        control: (&raw mut control).expose_provenance(),
        control_size: HEADER_SIZE + MAX_FDS * size_of::<i32>(),
        flags: 0,
    };
    // SAFETY: the kernel reads and writes the structures, and writes to `buf`, within their sizes.
    let size = unsafe { syscall(nr::RECVMSG, [fd as usize, (&raw mut msg).expose_provenance(), flags]) }?;

    let mut received = Received {
        size,
        truncated: msg.flags & (MSG_CTRUNC | MSG_TRUNC) != 0,
        fds: [-1; MAX_FDS],
        fd_count: 0,
    };
    if msg.control_size >= HEADER_SIZE && (control.level, control.kind) == (SOL_SOCKET, SCM_RIGHTS) {
        received.fd_count = (control.size.saturating_sub(HEADER_SIZE) / size_of::<i32>()).min(MAX_FDS);
        let [fds @ .., _] = control.fds;
        received.fds = fds;
    }
    Ok(received)
}

/// Something can be received, or the process has died.
pub const EPOLLIN: u32 = 0x001;
/// Something can be sent.
pub const EPOLLOUT: u32 = 0x004;
/// The other end is closed.
pub const EPOLLHUP: u32 = 0x010;

/// What happened to a descriptor.
#[derive(Clone, Copy)]
#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(packed))]
pub struct Event {
    /// Set of `EPOLL` bits.
    pub events: u32,
    /// What was given with the descriptor.
    pub key: u64,
}

/// Makes an event queue.
pub fn create_poll() -> Result<i32> {
    const EPOLL_CLOEXEC: usize = 0o2_000_000;
    // SAFETY: no pointers.
    unsafe { syscall(nr::EPOLL_CREATE1, [EPOLL_CLOEXEC]) }.map(|fd| fd as i32)
}

/// Adds a descriptor to the event queue. It is removed when it is closed.
pub fn add_to_poll(poll: i32, fd: i32, events: u32, key: u64) -> Result<()> {
    const EPOLL_CTL_ADD: usize = 1;
    control_poll(poll, EPOLL_CTL_ADD, fd, events, key)
}

/// Changes which events of a descriptor are waited for.
pub fn modify_poll(poll: i32, fd: i32, events: u32, key: u64) -> Result<()> {
    const EPOLL_CTL_MOD: usize = 3;
    control_poll(poll, EPOLL_CTL_MOD, fd, events, key)
}

fn control_poll(poll: i32, op: usize, fd: i32, events: u32, key: u64) -> Result<()> {
    let event = Event { events, key };
    // SAFETY: the kernel reads the structure.
    unsafe {
        syscall(nr::EPOLL_CTL, [poll as usize, op, fd as usize, (&raw const event).expose_provenance()])
    }
    .map(drop)
}

/// Waits until something happens.
pub fn wait_poll(poll: i32, events: &mut [Event]) -> Result<&[Event]> {
    let forever = usize::MAX;
    // SAFETY: the kernel writes to the slice.
    let count = unsafe {
        syscall(
            nr::EPOLL_PWAIT,
            [poll as usize, events.as_mut_ptr().expose_provenance(), events.len(), forever, 0, 0],
        )
    }?;
    events.get(..count).ok_or(Errno(crate::number::errno::EINVAL))
}
