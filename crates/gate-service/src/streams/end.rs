//! The host's end of a stream.

use super::stream::{MAX_OUTPUT, wake};
use super::{Shared, lock};
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads what the program has sent on a stream, and writes what it is to receive.
///
/// Reading waits until the program has sent something, writing until there is room for what it wants. When this is dropped,
/// the stream ends in both directions.
#[derive(Debug)]
pub struct StreamEnd {
    shared: Arc<Mutex<Shared>>,
    id: i32,
    /// The stream stays when this is dropped.
    detached: bool,
}

impl StreamEnd {
    pub(super) fn new(shared: &Arc<Mutex<Shared>>, id: i32) -> Self {
        Self { shared: Arc::clone(shared), id, detached: false }
    }

    /// Lets go of the stream without ending it.
    pub fn detach(mut self) {
        self.detached = true;
    }
}

impl Drop for StreamEnd {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        let mut shared = lock(&self.shared);
        if let Some(stream) = shared.streams.get_mut(&self.id) {
            stream.close_input();
            stream.output_ended = true;
        }
        shared.collect(self.id);
        shared.wake();
    }
}

impl AsyncRead for StreamEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.shared);
        // A stream that is not there any more has ended.
        let Some(stream) = shared.streams.get_mut(&self.id) else { return Poll::Ready(Ok(())) };
        let room = buf.remaining();
        let taken = stream.input.take(|bytes| buf.put_slice(bytes), room);
        if taken == 0 && room > 0 && !stream.input_ended {
            stream.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        shared.collect(self.id);
        // More may be wanted from the program now.
        shared.wake();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = lock(&self.shared);
        let Some(stream) = shared.streams.get_mut(&self.id).filter(|s| !s.output_closed && !s.output_ended)
        else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let room = MAX_OUTPUT - stream.output.len().min(MAX_OUTPUT);
        if room == 0 && !data.is_empty() {
            stream.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let size = room.min(data.len());
        stream.output.push(Bytes::copy_from_slice(&data[..size]));
        shared.wake();
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.shared);
        if let Some(stream) = shared.streams.get_mut(&self.id) {
            stream.output_ended = true;
            wake(&mut stream.writer);
        }
        shared.wake();
        Poll::Ready(Ok(()))
    }
}
