//! Carries bytes between a stream and a connection.
//!
//! Each byte moves from one to the other within one poll: whenever this stands still, it is either still at the one, or at the
//! other already.

use crate::StreamEnd;
use bytes::{BufMut, BytesMut};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Most that is carried at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// Runs until there is nothing more to read, or nothing more is wanted. Whether what was read has come to its end, and not to an
/// error.
pub(super) async fn towards_program(end: &StreamEnd, reader: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut buf = BytesMut::new();
    let carry = poll_fn(|cx| {
        loop {
            if !ready!(end.poll_room(cx, CHUNK)) {
                return Poll::Ready(false);
            }
            buf.reserve(CHUNK);
            let mut limited = (&mut buf).limit(CHUNK);
            // It is ready at once, or has done nothing.
            match pin!(reader.read_buf(&mut limited)).poll(cx) {
                Poll::Ready(Ok(size)) if size > 0 => {
                    // There is room for all of it. A little must not keep much memory.
                    if size < CHUNK / 2 {
                        end.write_now(&buf);
                        buf.clear();
                    } else {
                        end.write_bytes_now(buf.split().freeze());
                    }
                }
                Poll::Ready(result) => return Poll::Ready(result.is_ok()),
                Poll::Pending => {
                    // Many connections have nothing to say for a long time.
                    buf = BytesMut::new();
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
