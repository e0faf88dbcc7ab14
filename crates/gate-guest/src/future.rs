//! Futures of functions.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// Polls by calling a function.
///
/// The standard library's own is not there in the oldest compiler that is supported.
pub(crate) fn poll_fn<T, F: FnMut(&mut Context<'_>) -> Poll<T>>(f: F) -> PollFn<F> {
    PollFn(f)
}

pub(crate) struct PollFn<F>(F);

impl<F> Unpin for PollFn<F> {}

impl<T, F: FnMut(&mut Context<'_>) -> Poll<T>> Future for PollFn<F> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        (self.get_mut().0)(cx)
    }
}
