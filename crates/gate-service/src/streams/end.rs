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
}

impl StreamEnd {
    pub(super) fn new(shared: &Arc<Mutex<Shared>>, id: i32) -> Self {
        Self { shared: Arc::clone(shared), id }
    }

    /// Waits until `size` bytes can be written at once. `false` if the program wants nothing more.
    pub fn poll_room(&self, cx: &mut Context<'_>, size: usize) -> Poll<bool> {
        let mut shared = lock(&self.shared);
        let Some(stream) = shared.writable(self.id) else { return Poll::Ready(false) };
        // Also when there is room: who waits for something to write wants to know when it is not wanted any more.
        stream.writer = Some(cx.waker().clone());
        if MAX_OUTPUT - stream.output.len().min(MAX_OUTPUT) < size.min(MAX_OUTPUT) {
            return Poll::Pending;
        }
        Poll::Ready(true)
    }

    /// Writes as much as there is room for. Returns how much that is.
    pub fn write_now(&self, data: &[u8]) -> usize {
        self.write(|room| Bytes::copy_from_slice(&data[..room.min(data.len())]))
    }

    /// Like [`StreamEnd::write_now`], without a copy.
    pub fn write_bytes_now(&self, mut data: Bytes) -> usize {
        self.write(|room| {
            data.truncate(room);
            data
        })
    }

    fn write(&self, data: impl FnOnce(usize) -> Bytes) -> usize {
        let mut shared = lock(&self.shared);
        let Some(stream) = shared.writable(self.id) else { return 0 };
        let data = data(MAX_OUTPUT - stream.output.len().min(MAX_OUTPUT));
        let size = data.len();
        stream.output.push(data);
        shared.wake();
        size
    }

    /// Tells the program that nothing more will be written.
    pub fn end_output(&self) {
        let mut shared = lock(&self.shared);
        if let Some(stream) = shared.streams.get_mut(&self.id) {
            stream.output_ended = true;
            wake(&mut stream.writer);
        }
        shared.wake();
    }

    /// Tells the program that nothing more will be written, although there would have been more: the end has the note 1.
    pub fn cut_output(&self) {
        if let Some(stream) = lock(&self.shared).writable(self.id) {
            stream.output_cut = true;
        }
        self.end_output();
    }

    /// Waits for bytes from the program. They stay until they are consumed. None are the end.
    pub fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let mut shared = lock(&self.shared);
        let Some(stream) = shared.streams.get_mut(&self.id) else { return Poll::Ready(Bytes::new()) };
        match stream.input.first() {
            Some(chunk) => Poll::Ready(chunk.clone()),
            None if stream.input_ended => Poll::Ready(Bytes::new()),
            None => {
                stream.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Takes bytes out that have been read.
    pub fn consume(&self, size: usize) {
        let mut shared = lock(&self.shared);
        if let Some(stream) = shared.streams.get_mut(&self.id) {
            stream.input.take(|_| {}, size);
        }
        shared.collect(self.id);
        // More may be wanted from the program now.
        shared.wake();
    }

    /// Tells the program that nothing more will be read.
    pub fn close_input(&self) {
        let mut shared = lock(&self.shared);
        if let Some(stream) = shared.streams.get_mut(&self.id) {
            stream.close_input();
        }
        shared.wake();
    }
}

impl Drop for StreamEnd {
    fn drop(&mut self) {
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
        match self.poll_room(cx, data.len().min(1)) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(true) => Poll::Ready(Ok(self.write_now(data))),
            Poll::Ready(false) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_output();
        Poll::Ready(Ok(()))
    }
}
