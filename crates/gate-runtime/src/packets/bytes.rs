//! Packets as bytes, for those who offer them to the program as a descriptor.

use crate::packets::pipe::PacketPipe;
use crate::packets::server::{InstanceServer, ServiceError};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

/// What a program and its services exchange, as bytes. Operations have an effect only if they are ready, and transfer at least one byte then.
///
/// After an error the program is to be stopped. What it did wrong, if it was that, [`PacketHost::violation`](super::PacketHost::violation) tells.
pub trait PacketBytes: Send + Sync {
    /// Takes bytes out that services have sent.
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize, ServiceError>>;

    /// Takes bytes from the program, as many as services are ready for.
    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, ServiceError>>;

    /// How many bytes could be read.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<usize, ServiceError>>;

    /// Whether at least one byte would be taken.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<(), ServiceError>>;
}

impl<S: InstanceServer> PacketBytes for Mutex<PacketPipe<S>> {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize, ServiceError>> {
        with(self, |pipe| {
            let Poll::Ready(output) = pipe.poll_readable(cx)? else { return Poll::Pending };
            Poll::Ready(Ok(output.take(buf)))
        })
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, ServiceError>> {
        with(self, |pipe| pipe.poll_write(cx, data))
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<usize, ServiceError>> {
        with(self, |pipe| pipe.poll_readable(cx).map_ok(|output| output.size()))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<(), ServiceError>> {
        with(self, |pipe| pipe.poll_writable(cx))
    }
}

/// Does something with the pipe, and keeps what the program did wrong.
fn with<S, T>(
    pipe: &Mutex<PacketPipe<S>>,
    f: impl FnOnce(&mut PacketPipe<S>) -> Poll<Result<T, ServiceError>>,
) -> Poll<Result<T, ServiceError>> {
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    let poll = f(&mut pipe);
    if let Poll::Ready(Err(ServiceError::Violation(why))) = &poll {
        pipe.violation = Some(why.clone());
    }
    poll
}
