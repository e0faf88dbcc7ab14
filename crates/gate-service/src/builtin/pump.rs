//! Carries bytes between a stream and a connection.
//!
//! Each byte moves from one to the other within one poll: whenever this stands still, it is either still at the one, or at the
//! other already.

use crate::StreamEnd;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Most that is carried at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// Runs until there is nothing more to read, or nothing more is wanted. Whether what was read has come to its end, and not to an
/// error.
pub(super) async fn towards_program(end: &StreamEnd, reader: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut buf = Vec::new();
    let carry = poll_fn(|cx| {
        loop {
            if !ready!(end.poll_room(cx, CHUNK)) {
                return Poll::Ready(false);
            }
            buf.resize(CHUNK, 0);
            let mut read = ReadBuf::new(&mut buf);
            match Pin::new(&mut *reader).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    // There is room for all of it.
                    end.write_now(read.filled());
                }
                Poll::Ready(result) => return Poll::Ready(result.is_ok()),
                Poll::Pending => {
                    // Many connections have nothing to say for a long time.
                    buf = Vec::new();
                    return Poll::Pending;
                }
            }
        }
    });
    carry.await
}

/// Runs until the program has sent its last byte, or nobody takes them any more.
pub(super) async fn from_program(end: &StreamEnd, mut writer: impl AsyncWrite + Unpin) {
    let carry = poll_fn(|cx| {
        loop {
            let chunk = match end.poll_chunk(cx) {
                Poll::Ready(chunk) => chunk,
                Poll::Pending => {
                    // While there is nothing to carry, nothing is kept back. Whether that fails is told by the next one.
                    let _ = Pin::new(&mut writer).poll_flush(cx);
                    return Poll::Pending;
                }
            };
            if chunk.is_empty() {
                return Poll::Ready(());
            }
            match ready!(Pin::new(&mut writer).poll_write(cx, &chunk)) {
                Ok(size) if size > 0 => end.consume(size),
                _ => return Poll::Ready(()),
            }
        }
    });
    carry.await;
    end.close_input();
    // The other side may be gone already.
    let _ = writer.shutdown().await;
}
