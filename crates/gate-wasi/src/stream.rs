//! Where a program's input comes from and its output goes to.

use crate::abi::FileType;
use crate::memory::CHUNK_SIZE;
use crate::stdio::{HostStream, Readiness};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Source of a program's input.
pub(crate) enum Input {
    Host(HostStream),
    Reader {
        reader: Box<dyn AsyncRead + Send + Unpin>,
        /// Read to find out whether there is something to read. Belongs to the program.
        ahead: ReadAhead,
    },
}

/// What was read ahead from a reader.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    bytes: Vec<u8>,
    taken: usize,
    end: bool,
}

impl Input {
    pub(crate) fn reader(reader: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self::Reader { reader: Box::new(reader), ahead: ReadAhead::default() }
    }

    /// Reads what there is. Zero bytes are the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Host(stream) => stream.poll_read(cx, buf),
            Self::Reader { reader, ahead } => {
                if ahead.end {
                    ahead.end = false;
                    return Poll::Ready(Ok(0));
                }
                let rest = &ahead.bytes[ahead.taken..];
                if !rest.is_empty() {
                    let n = rest.len().min(buf.len());
                    buf[..n].copy_from_slice(&rest[..n]);
                    ahead.taken += n;
                    return Poll::Ready(Ok(n));
                }
                let mut buf = ReadBuf::new(buf);
                ready!(Pin::new(reader).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    }

    /// Waits until a read would not wait.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Readiness>> {
        match self {
            Self::Host(stream) => stream.poll_ready(cx),
            Self::Reader { reader, ahead } => {
                if ahead.taken == ahead.bytes.len() && !ahead.end {
                    let mut bytes = vec![0; CHUNK_SIZE];
                    let mut buf = ReadBuf::new(&mut bytes);
                    ready!(Pin::new(reader).poll_read(cx, &mut buf))?;
                    let n = buf.filled().len();
                    bytes.truncate(n);
                    *ahead = ReadAhead { bytes, taken: 0, end: n == 0 };
                }
                let nbytes = (ahead.bytes.len() - ahead.taken) as u64;
                Poll::Ready(Ok(Readiness { nbytes, hangup: ahead.end }))
            }
        }
    }
}

/// Destination of a program's output.
pub(crate) enum Output {
    Host(HostStream),
    Writer {
        writer: Box<dyn AsyncWrite + Send + Unpin>,
        /// Whether something was written since the last complete flush.
        unflushed: bool,
    },
}

impl Output {
    pub(crate) fn writer(writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self::Writer { writer: Box::new(writer), unflushed: false }
    }

    /// Writes as much as is taken now. Bytes are either written and counted, or not written.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Host(stream) => stream.poll_write(cx, data),
            Self::Writer { writer, unflushed } => {
                let n = ready!(Pin::new(writer).poll_write(cx, data))?;
                *unflushed = true;
                Poll::Ready(Ok(n))
            }
        }
    }

    /// Hands on what was written. To be called again if it has to wait.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Writer { writer, unflushed: unflushed @ true } = self {
            let result = ready!(Pin::new(writer).poll_flush(cx));
            *unflushed = false;
            return Poll::Ready(result);
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until a write would not wait. Of a writer that cannot be known: it is always ready.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Readiness>> {
        match self {
            Self::Host(stream) => stream.poll_ready(cx),
            Self::Writer { .. } => Poll::Ready(Ok(Readiness { nbytes: CHUNK_SIZE as u64, hangup: false })),
        }
    }
}

/// What a descriptor of a program stands for.
pub(crate) enum Object {
    Input(Input),
    Output(Output),
}

impl Object {
    pub(crate) fn file_type(&self) -> FileType {
        self.host_stream().map_or(FileType::Unknown, HostStream::file_type)
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.host_stream().is_some_and(HostStream::is_terminal)
    }

    /// Size of a regular file, else zero.
    pub(crate) fn size(&self) -> u64 {
        self.host_stream().map_or(0, HostStream::size)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.host_stream() {
            Some(stream) => stream.sync(),
            None => Err(io::Error::from(rustix::io::Errno::INVAL)),
        }
    }

    fn host_stream(&self) -> Option<&HostStream> {
        match self {
            Self::Input(Input::Host(stream)) | Self::Output(Output::Host(stream)) => Some(stream),
            _ => None,
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(Input::Host(stream)) | Self::Output(Output::Host(stream)) => stream.fmt(f),
            Self::Input(Input::Reader { ahead, .. }) => f.debug_tuple("Reader").field(ahead).finish(),
            Self::Output(Output::Writer { unflushed, .. }) => {
                f.debug_tuple("Writer").field(unflushed).finish()
            }
        }
    }
}
