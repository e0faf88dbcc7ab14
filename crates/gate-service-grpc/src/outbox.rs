//! Messages that are to be sent.

use crate::proto::{HostMessage, host_message::Kind};
use futures_util::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// While there is more than this, in bytes, nothing more is done that adds to it.
const ROOM: usize = 256 << 10;

/// What a message takes besides its content, in bytes.
const OVERHEAD: usize = 64;

/// Messages that have not been sent yet, in their order.
///
/// Those who add something wait for room first, but for the few messages that there is only one of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<(Kind, usize)>,
    size: usize,
    closed: bool,
    /// Of whom sends them.
    sender: Option<Waker>,
    /// Of whom waits for room.
    writer: Option<Waker>,
}

impl Outbox {
    /// Whether there is room for some messages. Wakes the task when there is.
    pub(crate) fn has_room(&self, cx: &mut Context<'_>) -> bool {
        let mut inner = self.lock();
        if inner.size < ROOM {
            return true;
        }
        inner.writer = Some(cx.waker().clone());
        false
    }

    /// Adds a message whose content has a size.
    pub(crate) fn push(&self, kind: Kind, size: usize) {
        let mut inner = self.lock();
        let size = size + OVERHEAD;
        inner.messages.push_back((kind, size));
        inner.size += size;
        wake(&mut inner.sender);
    }

    /// Nothing more will be added.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        wake(&mut inner.sender);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Stream for Outbox {
    type Item = HostMessage;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<HostMessage>> {
        let mut inner = self.lock();
        match inner.messages.pop_front() {
            Some((kind, size)) => {
                inner.size -= size;
                wake(&mut inner.writer);
                Poll::Ready(Some(HostMessage { kind: Some(kind) }))
            }
            None if inner.closed => Poll::Ready(None),
            None => {
                inner.sender = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
