//! Where a program's input comes from and its output goes to.

use crate::abi::FileType;
use crate::errno::Errno;
use crate::files::{Directory, File};
use crate::memory::CHUNK_SIZE;
use crate::packets::Packets;
use crate::socket::{Connection, Listener};
use crate::stdio::{HostStream, Readiness};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A program's input.
pub(crate) struct Input {
    source: Source,
    ahead: ReadAhead,
}

enum Source {
    Host(HostStream),
    Reader(Box<dyn AsyncRead + Send + Unpin>),
}

/// What was read to find out whether there is something to read, and not given to the program yet. Belongs to the
/// program: it is part of its state.
#[derive(Clone, Default)]
pub(crate) struct ReadAhead {
    bytes: Vec<u8>,
    taken: usize,
    /// The end comes after the bytes.
    end: bool,
}

impl ReadAhead {
    pub(crate) fn new(bytes: Vec<u8>, end: bool) -> Self {
        Self { bytes, taken: 0, end }
    }

    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub(crate) fn has_end(&self) -> bool {
        self.end
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty() && !self.end
    }

    /// Takes bytes out, or the end.
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let n = self.rest().len().min(buf.len());
        buf[..n].copy_from_slice(&self.rest()[..n]);
        self.taken += n;
        if n == 0 {
            self.end = false;
        }
        n
    }

    fn readiness(&self) -> Readiness {
        let nbytes = self.rest().len() as u64;
        Readiness { nbytes, hangup: self.end && nbytes == 0 }
    }
}

impl Input {
    pub(crate) fn host(stream: HostStream) -> Self {
        Self { source: Source::Host(stream), ahead: ReadAhead::default() }
    }

    pub(crate) fn reader(reader: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self { source: Source::Reader(Box::new(reader)), ahead: ReadAhead::default() }
    }

    /// Lets the program read `ahead` first.
    pub(crate) fn set_ahead(&mut self, ahead: ReadAhead) {
        self.ahead = ahead;
    }

    pub(crate) fn ahead(&self) -> &ReadAhead {
        &self.ahead
    }

    /// Reads what there is. Zero bytes are the end. What was taken is in `buf` when this is ready, else nothing was.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Ok(self.ahead.take(buf)));
        }
        match &mut self.source {
            Source::Host(stream) => stream.poll_read(cx, buf),
            Source::Reader(reader) => {
                let mut buf = ReadBuf::new(buf);
                ready!(Pin::new(reader).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    }

    /// Waits until a read would not wait.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Readiness>> {
        match &mut self.source {
            _ if !self.ahead.is_empty() => {}
            Source::Host(stream) => return stream.poll_ready(cx),
            Source::Reader(reader) => {
                let mut bytes = vec![0; CHUNK_SIZE];
                let mut buf = ReadBuf::new(&mut bytes);
                ready!(Pin::new(reader).poll_read(cx, &mut buf))?;
                let n = buf.filled().len();
                bytes.truncate(n);
                self.ahead = ReadAhead::new(bytes, n == 0);
            }
        }
        Poll::Ready(Ok(self.ahead.readiness()))
    }

    fn host_stream(&self) -> Option<&HostStream> {
        match &self.source {
            Source::Host(stream) => Some(stream),
            Source::Reader(_) => None,
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
    File(File),
    Directory(Directory),
    Packets(Packets),
    Listener(Listener),
    Connection(Connection),
    /// What was not there any more when the program went on elsewhere. It keeps its number from being used again.
    Gone,
}

impl Object {
    pub(crate) fn file_type(&self) -> FileType {
        match self {
            Self::File(_) => return FileType::RegularFile,
            Self::Directory(_) => return FileType::Directory,
            Self::Packets(_) | Self::Listener(_) | Self::Connection(_) => return FileType::SocketStream,
            Self::Input(_) | Self::Output(_) | Self::Gone => {}
        }
        self.host_stream().map_or(FileType::Unknown, HostStream::file_type)
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.host_stream().is_some_and(HostStream::is_terminal)
    }

    /// Size of a regular file, else zero.
    pub(crate) fn size(&self) -> u64 {
        self.host_stream().map_or(0, HostStream::size)
    }

    /// Forces what was written onto the device; with `data`, not what is merely known about the file.
    pub(crate) fn sync(&self, data: bool) -> Result<(), Errno> {
        match (self, self.host_stream()) {
            (Self::File(file), _) => file.node.sync(data),
            (Self::Directory(directory), _) => directory.node.sync(data),
            (_, Some(stream)) => stream.sync().map_err(|err| Errno::from(&err)),
            (_, None) => Err(Errno::Inval),
        }
    }

    fn host_stream(&self) -> Option<&HostStream> {
        match self {
            Self::Input(input) => input.host_stream(),
            Self::Output(Output::Host(stream)) => Some(stream),
            Self::Output(Output::Writer { .. })
            | Self::File(_)
            | Self::Directory(_)
            | Self::Packets(_)
            | Self::Listener(_)
            | Self::Connection(_)
            | Self::Gone => None,
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(input) => match &input.source {
                Source::Host(stream) => stream.fmt(f),
                // What it has read is the program's business.
                Source::Reader(_) => f.debug_tuple("Reader").field(&input.ahead.rest().len()).finish(),
            },
            Self::Output(Output::Host(stream)) => stream.fmt(f),
            Self::Output(Output::Writer { unflushed, .. }) => {
                f.debug_tuple("Writer").field(unflushed).finish()
            }
            Self::File(file) => file.fmt(f),
            Self::Directory(directory) => directory.fmt(f),
            Self::Packets(packets) => packets.fmt(f),
            Self::Listener(listener) => listener.fmt(f),
            // What it has received is the program's business.
            Self::Connection(_) => f.write_str("Connection"),
            Self::Gone => f.write_str("Gone"),
        }
    }
}
