//! What connects two programs: bytes in both directions, which are there also while one of the programs is suspended.

use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes on their way in one direction.
const CAPACITY: usize = 64 << 10;

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    bytes: BytesMut,
    /// No more bytes come.
    ended: bool,
    /// There would have been more.
    cut: bool,
    /// Nobody takes the bytes any more.
    closed: bool,
    /// The writer has no time to wait for room.
    hurried: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of a link. Clones are the same end. It does not close by being dropped: the program may go on later.
#[derive(Clone, Debug)]
pub(super) struct LinkEnd {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

/// Makes a link.
pub(super) fn link() -> (LinkEnd, LinkEnd) {
    let (one, other) = (Arc::<Mutex<Pipe>>::default(), Arc::<Mutex<Pipe>>::default());
    let end = LinkEnd { incoming: Arc::clone(&one), outgoing: Arc::clone(&other) };
    (end, LinkEnd { incoming: other, outgoing: one })
}

impl LinkEnd {
    pub(super) fn reader(&self) -> LinkReader {
        LinkReader(Arc::clone(&self.incoming))
    }

    pub(super) fn writer(&self) -> LinkWriter {
        LinkWriter(Arc::clone(&self.outgoing))
    }

    /// Lets what is still to be written be written at once. It is not more than a stream holds.
    pub(super) fn hurry(&self) {
        let mut pipe = lock(&self.outgoing);
        pipe.hurried = true;
        pipe.wake();
    }

    /// Nobody is at this end any more. What is on its way from it arrives.
    pub(super) fn close(&self) {
        self.reader().close();
        let mut pipe = lock(&self.outgoing);
        pipe.cut |= !pipe.ended;
        pipe.ended = true;
        pipe.wake();
    }
}

/// Reads from the other end.
pub(super) struct LinkReader(Arc<Mutex<Pipe>>);

impl LinkReader {
    /// Tells the other end that nothing more will be read.
    pub(super) fn close(&self) {
        let mut pipe = lock(&self.0);
        pipe.closed = true;
        pipe.bytes = BytesMut::new();
        pipe.wake();
    }
}

impl AsyncRead for LinkReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.0);
        if pipe.bytes.is_empty() {
            if pipe.ended {
                return Poll::Ready(if pipe.cut {
                    Err(io::ErrorKind::ConnectionReset.into())
                } else {
                    Ok(())
                });
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let size = pipe.bytes.len().min(buf.remaining());
        buf.put_slice(&pipe.bytes[..size]);
        pipe.bytes.advance(size);
        if let Some(waker) = pipe.writer.take() {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes to the other end.
pub(super) struct LinkWriter(Arc<Mutex<Pipe>>);

impl AsyncWrite for LinkWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.0);
        if pipe.closed || pipe.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = CAPACITY.saturating_sub(pipe.bytes.len());
        let size = if pipe.hurried { data.len() } else { room.min(data.len()) };
        if size == 0 && !data.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.bytes.extend_from_slice(&data[..size]);
        if let Some(waker) = pipe.reader.take() {
            waker.wake();
        }
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.0);
        pipe.ended = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}
