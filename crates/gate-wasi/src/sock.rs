//! Operations on sockets.

use crate::abi::{Rights, fdflags};
use crate::descriptors::Descriptor;
use crate::errno::Errno;
use crate::fd::{MAX_WRITE, write_pieces};
use crate::memory::{CHUNK_SIZE, Guest};
use crate::socket::Connection;
use crate::stream::Object;
use crate::{Failure, WasiCtx};
use rustix::net::Shutdown;
use std::future::poll_fn;
use std::task::Poll;

/// Flags of `sock_recv`.
pub(crate) mod riflags {
    pub(crate) const PEEK: u32 = 1 << 0;
    pub(crate) const WAITALL: u32 = 1 << 1;
}

impl WasiCtx {
    /// `sock_accept`: waits for a connection, unless the listener is in non-blocking mode.
    ///
    /// When the future is dropped, none has been accepted.
    pub(crate) async fn sock_accept(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        flags: u32,
        result: u32,
    ) -> Result<(), Failure> {
        let descriptor = self.descriptors.get(fd)?;
        match descriptor.object {
            Object::Listener(_) => descriptor.require(Rights::SOCK_ACCEPT)?,
            Object::Connection(_) => return Err(Errno::Inval.into()),
            Object::Gone => return Err(Errno::BadF.into()),
            _ => return Err(Errno::NotSock.into()),
        }
        let nonblocking = descriptor.is_nonblocking();
        let inheriting = descriptor.inheriting;
        let flags =
            u16::try_from(flags).ok().filter(|flags| flags & !fdflags::NONBLOCK == 0).ok_or(Errno::Inval)?;
        guest.check(result, 4)?;
        if self.descriptors.is_full() {
            return Err(Errno::MFile.into());
        }
        if !nonblocking {
            self.flush().await;
        }
        let Object::Listener(listener) = &self.descriptors.get(fd)?.object else {
            return Err(Errno::NotSock.into());
        };
        let connection = poll_fn(|cx| match listener.poll_accept(cx) {
            Poll::Pending if nonblocking => Poll::Ready(Err(std::io::ErrorKind::WouldBlock.into())),
            poll => poll,
        })
        .await
        .map_err(|err| Errno::from(&err))?;
        let mut descriptor = Descriptor::new(Descriptor::CONNECTION, Object::Connection(connection));
        descriptor.rights = descriptor.rights.intersection(inheriting);
        descriptor.flags = flags;
        let fd = self.descriptors.insert(descriptor)?;
        guest.write_u32(result, fd)
    }

    /// `sock_recv`.
    pub(crate) async fn sock_recv(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        buffers: (u32, u32),
        flags: u32,
        (nread, out_flags): (u32, u32),
    ) -> Result<(), Failure> {
        self.connection(fd, Rights::FD_READ)?;
        if flags & !(riflags::PEEK | riflags::WAITALL) != 0 {
            return Err(Errno::Inval.into());
        }
        // Only messages can be cut off.
        guest.write(out_flags, &[0; 2])?;
        self.receive(guest, fd, buffers, flags, nread).await
    }

    /// Receives from a connection: at most [`CHUNK_SIZE`], or [`MAX_WRITE`] if all of it is waited for.
    pub(crate) async fn receive(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        (iovecs, count): (u32, u32),
        flags: u32,
        nread: u32,
    ) -> Result<(), Failure> {
        let (_, nonblocking) = self.connection(fd, Rights::FD_READ)?;
        let iovecs = guest.iovecs(iovecs, count)?;
        guest.check(nread, 4)?;
        let waits_for_all = flags & riflags::WAITALL != 0;
        let most = if waits_for_all { MAX_WRITE } else { CHUNK_SIZE };
        let want = (iovecs.total() as usize).min(most);
        if want == 0 {
            return guest.write_u32(nread, 0);
        }
        if !nonblocking {
            self.flush().await;
        }
        let mut buf = std::mem::take(&mut self.scratch);
        buf.resize(want.max(CHUNK_SIZE), 0);
        let (connection, _) = self.connection(fd, Rights::FD_READ)?;
        let received = poll_fn(|cx| {
            if waits_for_all && connection.poll_fill(cx, want).is_pending() && !nonblocking {
                return Poll::Pending;
            }
            match connection.poll_receive(cx, &mut buf[..want], flags & riflags::PEEK != 0) {
                Poll::Pending if nonblocking => Poll::Ready(Err(std::io::ErrorKind::WouldBlock.into())),
                poll => poll,
            }
        })
        .await;
        let result = match received {
            Ok(n) => guest.scatter(&iovecs, &buf[..n]).and_then(|()| guest.write_u32(nread, n as u32)),
            Err(err) => Err(Errno::from(&err).into()),
        };
        // Nobody else needs more of it.
        buf.truncate(CHUNK_SIZE);
        self.scratch = buf;
        result
    }

    /// `sock_send`.
    pub(crate) async fn sock_send(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        buffers: (u32, u32),
        flags: u32,
        nwritten: u32,
    ) -> Result<(), Failure> {
        self.connection(fd, Rights::FD_WRITE)?;
        match flags {
            0 => self.send(guest, fd, buffers, nwritten).await,
            _ => Err(Errno::Inval.into()),
        }
    }

    /// Sends to a connection: waits until at least one byte is taken. A program is not ended if the other side is gone.
    pub(crate) async fn send(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        (iovecs, count): (u32, u32),
        nwritten: u32,
    ) -> Result<(), Failure> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let (connection, nonblocking) = self.connection(fd, Rights::FD_WRITE)?;
        let iovecs = guest.iovecs(iovecs, count)?;
        guest.check(nwritten, 4)?;
        let send = |cx: &mut std::task::Context<'_>, data: &[u8]| connection.poll_send(cx, data);
        let done = write_pieces(guest, &iovecs, &mut scratch, nonblocking, send).await?;
        self.scratch = scratch;
        guest.write_u32(nwritten, done)
    }

    /// `sock_shutdown`.
    pub(crate) fn sock_shutdown(&mut self, fd: u32, how: u32) -> Result<(), Failure> {
        let (connection, _) = self.connection(fd, Rights::SOCK_SHUTDOWN)?;
        let how = match how {
            1 => Shutdown::Read,
            2 => Shutdown::Write,
            3 => Shutdown::Both,
            _ => return Err(Errno::Inval.into()),
        };
        Ok(connection.shutdown(how).map_err(|err| Errno::from(&err))?)
    }

    /// A connection, and whether operations on it fail rather than wait.
    fn connection(&mut self, fd: u32, right: Rights) -> Result<(&mut Connection, bool), Errno> {
        let descriptor = self.descriptors.get_mut(fd)?;
        let (capable, nonblocking) = (descriptor.require(right), descriptor.is_nonblocking());
        match &mut descriptor.object {
            Object::Connection(connection) => capable.map(|()| (connection, nonblocking)),
            Object::Listener(_) => Err(Errno::NotConn),
            Object::Gone => Err(Errno::BadF),
            _ => Err(Errno::NotSock),
        }
    }
}
