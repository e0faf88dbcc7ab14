//! Sockets of the host: listeners that a program is given, and connections that it accepts from them.

use crate::epoll;
use crate::stdio::Readiness;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as HostErrno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, accept_with, recv, send, shutdown, sockopt};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How much is received at a time when all that was asked for is waited for.
const PIECE: usize = 16 << 10;

/// A listener that was given to the program.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: AsyncFd<OwnedFd>,
    /// Which one, in the order in which they were given.
    pub(crate) number: u32,
}

impl Listener {
    /// To be called within a tokio runtime.
    pub(crate) fn new(listener: TcpListener, number: u32) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let fd = epoll::register(listener.into(), Interest::READABLE).map_err(|(_, err)| err)?;
        Ok(Self { fd, number })
    }

    /// Accepts a connection. Unless this is ready, none has been taken.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            match accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Err(HostErrno::AGAIN) => guard.clear_ready(),
                // Who has gone again is no concern of the program.
                Err(HostErrno::INTR | HostErrno::CONNABORTED) => {}
                result => return Poll::Ready(result.map_err(Into::into).and_then(Connection::new)),
            }
        }
    }

    /// Waits until there is a connection.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Readiness>> {
        poll_socket(&self.fd, cx, PollFlags::IN).map_ok(|_| Readiness { nbytes: 1, hangup: false })
    }
}

/// A connection that the program has accepted.
#[derive(Debug)]
pub(crate) struct Connection {
    /// `None` if it was lost because the program has moved.
    socket: Option<AsyncFd<OwnedFd>>,
    /// What came while all that was asked for was waited for.
    ahead: Vec<u8>,
}

impl Connection {
    /// To be called within a tokio runtime.
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let socket = epoll::register(fd, interest).map_err(|(_, err)| err)?;
        Ok(Self { socket: Some(socket), ahead: Vec::new() })
    }

    /// In place of one that stayed where the program was.
    pub(crate) fn lost() -> Self {
        Self { socket: None, ahead: Vec::new() }
    }

    /// Receives what there is. Zero bytes are the end. With `peek`, it can be received again.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        peek: bool,
    ) -> Poll<io::Result<usize>> {
        if self.ahead.is_empty() {
            let flags = if peek { RecvFlags::PEEK } else { RecvFlags::empty() };
            return poll_receive(self.socket.as_ref(), cx, buf, flags);
        }
        let n = buf.len().min(self.ahead.len());
        buf[..n].copy_from_slice(&self.ahead[..n]);
        if !peek {
            self.ahead.drain(..n);
        }
        Poll::Ready(Ok(n))
    }

    /// Waits until so many bytes can be received at once, or as many as will ever come.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<()> {
        while self.ahead.len() < size {
            let mut piece = [0; PIECE];
            let want = PIECE.min(size - self.ahead.len());
            match ready!(poll_receive(self.socket.as_ref(), cx, &mut piece[..want], RecvFlags::empty())) {
                Ok(n) if n > 0 => self.ahead.extend_from_slice(&piece[..n]),
                // If that is an error, and nothing has come before, receiving tells it.
                _ => break,
            }
        }
        Poll::Ready(())
    }

    /// Sends as much as is taken now.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let Some(socket) = &self.socket else { return Poll::Ready(Err(HostErrno::PIPE.into())) };
        loop {
            let mut guard = ready!(socket.poll_write_ready(cx))?;
            match send(socket, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(HostErrno::AGAIN) => guard.clear_ready(),
                Err(HostErrno::INTR) => {}
                result => return Poll::Ready(result.map_err(Into::into)),
            }
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.socket {
            Some(socket) => Ok(shutdown(socket, how)?),
            None => Err(HostErrno::NOTCONN.into()),
        }
    }

    /// Waits until something can be received, or the end.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Readiness>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Ok(Readiness { nbytes: self.ahead.len() as u64, hangup: false }));
        }
        let Some(socket) = &self.socket else {
            return Poll::Ready(Ok(Readiness { nbytes: 0, hangup: true }));
        };
        ready!(poll_socket(socket, cx, PollFlags::IN))?;
        let nbytes = rustix::io::ioctl_fionread(socket).unwrap_or(0);
        Poll::Ready(Ok(Readiness { nbytes, hangup: nbytes == 0 }))
    }

    /// Waits until something can be sent.
    pub(crate) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Readiness>> {
        let Some(socket) = &self.socket else {
            return Poll::Ready(Ok(Readiness { nbytes: 0, hangup: true }));
        };
        let events = ready!(poll_socket(socket, cx, PollFlags::OUT))?;
        let nbytes = sockopt::socket_send_buffer_size(socket).unwrap_or(1) as u64;
        Poll::Ready(Ok(Readiness { nbytes, hangup: events.intersects(PollFlags::HUP | PollFlags::ERR) }))
    }
}

fn poll_receive(
    socket: Option<&AsyncFd<OwnedFd>>,
    cx: &mut Context<'_>,
    buf: &mut [u8],
    flags: RecvFlags,
) -> Poll<io::Result<usize>> {
    // Not the end: what was to come has not come.
    let Some(socket) = socket else { return Poll::Ready(Err(HostErrno::CONNRESET.into())) };
    loop {
        let mut guard = ready!(socket.poll_read_ready(cx))?;
        match recv(socket, &mut *buf, flags | RecvFlags::DONTWAIT) {
            Err(HostErrno::AGAIN) => guard.clear_ready(),
            Err(HostErrno::INTR) => {}
            result => return Poll::Ready(result.map(|(n, _)| n).map_err(Into::into)),
        }
    }
}

/// Waits until the socket has one of these events now: readiness is remembered from earlier.
fn poll_socket(
    socket: &AsyncFd<OwnedFd>,
    cx: &mut Context<'_>,
    events: PollFlags,
) -> Poll<io::Result<PollFlags>> {
    loop {
        let mut guard = match events {
            PollFlags::OUT => ready!(socket.poll_write_ready(cx))?,
            _ => ready!(socket.poll_read_ready(cx))?,
        };
        let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), events)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        match fds[0].revents() {
            none if none.is_empty() => guard.clear_ready(),
            found => return Poll::Ready(Ok(found)),
        }
    }
}
