//! Standard streams of the host process, handed to a program.
//!
//! They must not block the thread, and neither may they be switched to non-blocking mode: that is a property of
//! the open file, which a shell and other processes share and which would outlive this one. So pipes and terminals are
//! opened a second time, sockets have their own per-call flag, and where neither works no more is transferred than the
//! system says it will take.

use crate::abi::FileType;
use crate::epoll;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType as HostFileType, Mode, OFlags, fstat, open};
use rustix::io::Errno as HostErrno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// What a pipe takes without blocking when it is writable at all (`PIPE_BUF`).
const PIPE_ATOMIC: usize = 4096;

/// Direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// A file, pipe, terminal or socket of the host, which others may share. It neither blocks the thread nor changes the
/// open file; nothing is read ahead and nothing is kept back.
#[derive(Debug)]
pub struct HostStream {
    source: Source,
    direction: Direction,
    file_type: FileType,
    terminal: bool,
}

#[derive(Debug)]
enum Source {
    /// Never makes anyone wait: regular files, and devices such as `/dev/null`.
    Immediate(OwnedFd),
    /// Opened by us, in non-blocking mode.
    NonBlocking(AsyncFd<OwnedFd>),
    /// Non-blocking by a flag of each call.
    Socket(AsyncFd<OwnedFd>),
    /// Blocking, and shared with others.
    Shared(AsyncFd<OwnedFd>),
}

/// What can be transferred now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) nbytes: u64,
    pub(crate) hangup: bool,
}

impl HostStream {
    /// Takes a descriptor over that is to be read from. To be called within a tokio runtime.
    pub fn input(fd: OwnedFd) -> io::Result<Self> {
        Self::new(fd, Direction::In)
    }

    /// Takes a descriptor over that is to be written to. To be called within a tokio runtime.
    pub fn output(fd: OwnedFd) -> io::Result<Self> {
        Self::new(fd, Direction::Out)
    }

    /// Takes a descriptor over. To be called within a tokio runtime.
    pub(crate) fn new(fd: OwnedFd, direction: Direction) -> io::Result<Self> {
        let terminal = rustix::termios::isatty(&fd);
        let host_type = HostFileType::from_raw_mode(fstat(&fd)?.st_mode);
        let file_type = match host_type {
            HostFileType::RegularFile => FileType::RegularFile,
            HostFileType::CharacterDevice => FileType::CharacterDevice,
            HostFileType::Socket => match rustix::net::sockopt::socket_type(&fd)? {
                rustix::net::SocketType::DGRAM => FileType::SocketDgram,
                _ => FileType::SocketStream,
            },
            _ => FileType::Unknown,
        };
        let source = match host_type {
            HostFileType::Fifo | HostFileType::CharacterDevice => match reopen(&fd, direction) {
                Ok(own) => register(own, direction, Source::NonBlocking)?,
                Err(_) => register(fd, direction, Source::Shared)?,
            },
            HostFileType::Socket => register(fd, direction, Source::Socket)?,
            _ => Source::Immediate(fd),
        };
        Ok(Self { source, direction, file_type, terminal })
    }

    /// Reads what there is.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_transfer(cx, |fd, how| match how {
            How::Plain | How::Atomic => rustix::io::read(fd, &mut *buf),
            How::Message => recv(fd, &mut *buf, RecvFlags::DONTWAIT).map(|(n, _)| n),
        })
    }

    /// Writes as much as is taken now.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_transfer(cx, |fd, how| match how {
            How::Plain => rustix::io::write(fd, data),
            How::Atomic => rustix::io::write(fd, &data[..data.len().min(PIPE_ATOMIC)]),
            How::Message => send(fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        })
    }

    /// Waits until something can be transferred.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Readiness>> {
        let fd = match &self.source {
            Source::Immediate(_) => return Poll::Ready(Ok(Readiness { nbytes: 1, hangup: false })),
            Source::NonBlocking(fd) | Source::Socket(fd) | Source::Shared(fd) => fd,
        };
        loop {
            let mut guard = match self.direction {
                Direction::In => ready!(fd.poll_read_ready(cx))?,
                Direction::Out => ready!(fd.poll_write_ready(cx))?,
            };
            let events = poll_now(fd.as_fd(), self.direction)?;
            if events.is_empty() {
                guard.clear_ready();
                continue;
            }
            let nbytes = match self.direction {
                Direction::In => rustix::io::ioctl_fionread(fd).unwrap_or(1),
                Direction::Out => PIPE_ATOMIC as u64,
            };
            let hangup = events.intersects(PollFlags::HUP | PollFlags::ERR);
            return Poll::Ready(Ok(Readiness {
                nbytes,
                hangup: hangup && (nbytes == 0 || self.direction == Direction::Out),
            }));
        }
    }

    fn poll_transfer(
        &mut self,
        cx: &mut Context<'_>,
        mut transfer: impl FnMut(BorrowedFd<'_>, How) -> Result<usize, HostErrno>,
    ) -> Poll<io::Result<usize>> {
        let (fd, how) = match &self.source {
            Source::Immediate(fd) => loop {
                match transfer(fd.as_fd(), How::Plain) {
                    Err(HostErrno::INTR) => {}
                    result => return Poll::Ready(result.map_err(Into::into)),
                }
            },
            Source::NonBlocking(fd) => (fd, How::Plain),
            Source::Socket(fd) => (fd, How::Message),
            Source::Shared(fd) => (fd, How::Atomic),
        };
        loop {
            let mut guard = match self.direction {
                Direction::In => ready!(fd.poll_read_ready(cx))?,
                Direction::Out => ready!(fd.poll_write_ready(cx))?,
            };
            // Readiness is remembered from earlier; a blocking descriptor must be asked about now.
            if how == How::Atomic && poll_now(fd.as_fd(), self.direction)?.is_empty() {
                guard.clear_ready();
                continue;
            }
            match transfer(fd.as_fd(), how) {
                Err(HostErrno::AGAIN) => guard.clear_ready(),
                Err(HostErrno::INTR) => {}
                result => return Poll::Ready(result.map_err(Into::into)),
            }
        }
    }

    pub(crate) fn file_type(&self) -> FileType {
        self.file_type
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Size of a regular file, else zero.
    pub(crate) fn size(&self) -> u64 {
        match (&self.source, self.file_type) {
            (Source::Immediate(fd), FileType::RegularFile) => {
                fstat(fd).ok().and_then(|stat| u64::try_from(stat.st_size).ok()).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Forces what was written onto the device, if it is a regular file.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match (&self.source, self.file_type) {
            (Source::Immediate(fd), FileType::RegularFile) => Ok(rustix::fs::fdatasync(fd)?),
            _ => Err(HostErrno::INVAL.into()),
        }
    }
}

impl AsyncRead for HostStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = ready!(HostStream::poll_read(&mut self, cx, buf.initialize_unfilled()))?;
        buf.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HostStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        HostStream::poll_write(&mut self, cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Does nothing: the file stays open as long as others have it.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How to transfer so that it does not block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Plain,
    Atomic,
    Message,
}

/// Opens the same pipe or device again, in non-blocking mode.
fn reopen(fd: &OwnedFd, direction: Direction) -> rustix::io::Result<OwnedFd> {
    let access = match direction {
        Direction::In => OFlags::RDONLY,
        Direction::Out => OFlags::WRONLY,
    };
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    open(path, access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
}

/// Registers with the runtime's epoll, if that has any use for the descriptor.
fn register(
    fd: OwnedFd,
    direction: Direction,
    source: impl FnOnce(AsyncFd<OwnedFd>) -> Source,
) -> io::Result<Source> {
    let interest = match direction {
        Direction::In => Interest::READABLE,
        Direction::Out => Interest::WRITABLE,
    };
    match epoll::register(fd, interest) {
        Ok(fd) => Ok(source(fd)),
        Err((fd, err)) => {
            // Devices that never make anyone wait cannot be polled.
            if HostErrno::from_io_error(&err) == Some(HostErrno::PERM) {
                Ok(Source::Immediate(fd))
            } else {
                Err(err)
            }
        }
    }
}

fn poll_now(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<PollFlags> {
    let events = match direction {
        Direction::In => PollFlags::IN,
        Direction::Out => PollFlags::OUT,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(fds[0].revents())
}
