//! What is at the other end of a program's packets, within the host's process.

use gate_service::builtin::Connection;
use gate_service::{CallService, Context, ServiceError};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much has been exchanged: calls or bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Count(Arc<AtomicU64>);

impl Count {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }
}

/// Answers calls with nothing.
pub(super) struct Empty(pub(super) Count);

impl CallService for Empty {
    fn name(&self) -> &str {
        "empty"
    }

    async fn call(&self, _: &Context, _: &[u8]) -> Result<Vec<u8>, ServiceError> {
        self.0.add(1);
        Ok(Vec::new())
    }
}

/// A connection that sends at most so many bytes more than have come back, and counts both.
pub(super) fn connection(ahead: u64, sent: &Count, received: &Count) -> Connection {
    let ball = Arc::new(Mutex::new(Ball { left: ahead, waiting: None }));
    Connection::new(Sender(Arc::clone(&ball), sent.clone()), Receiver(ball, received.clone()))
}

/// What may be sent, and who waits for more.
struct Ball {
    left: u64,
    waiting: Option<Waker>,
}

struct Sender(Arc<Mutex<Ball>>, Count);

impl AsyncRead for Sender {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut ball = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size = buf.remaining().min(usize::try_from(ball.left).unwrap_or(usize::MAX));
        if size == 0 {
            ball.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        ball.left -= size as u64;
        self.1.add(size);
        buf.initialize_unfilled_to(size);
        buf.advance(size);
        Poll::Ready(Ok(()))
    }
}

struct Receiver(Arc<Mutex<Ball>>, Count);

impl AsyncWrite for Receiver {
    fn poll_write(self: Pin<&mut Self>, _: &mut task::Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut ball = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ball.left = ball.left.saturating_add(bytes.len() as u64);
        if let Some(waker) = ball.waiting.take() {
            waker.wake();
        }
        self.1.add(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
