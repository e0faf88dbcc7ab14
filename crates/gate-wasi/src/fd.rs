//! Operations on descriptors.

use crate::abi::{self, Rights, fdflags};
use crate::errno::Errno;
use crate::files::stream_stat;
use crate::layout::Layout;
use crate::memory::{CHUNK_SIZE, Guest, IoVecs};
use crate::stream::Object;
use crate::{Failure, WasiCtx};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

/// Most that one call writes. A program that writes more is told so, and calls again.
pub(crate) const MAX_WRITE: usize = 1 << 20;

impl WasiCtx {
    /// `fd_read`: waits for at least one byte or the end, and reads what there is, at most [`CHUNK_SIZE`].
    ///
    /// When the future is dropped, nothing has been taken from the input: after the bytes have come there is nothing to
    /// wait for.
    pub(crate) async fn fd_read(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        iovecs: u32,
        count: u32,
        nread: u32,
    ) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        if let Object::File(_) = descriptor.object {
            return self.file_read(guest, fd, (iovecs, count), None, nread);
        }
        if let Object::Packets(_) = descriptor.object {
            return self.packets_read(guest, fd, (iovecs, count), nread).await;
        }
        if let Object::Connection(_) | Object::Listener(_) = descriptor.object {
            return self.receive(guest, fd, (iovecs, count), 0, nread).await;
        }
        let nonblocking = descriptor.is_nonblocking();
        descriptor.input(Rights::FD_READ)?;
        let iovecs = guest.iovecs(iovecs, count)?;
        guest.check(nread, 4)?;
        let want = (iovecs.total() as usize).min(CHUNK_SIZE);
        if want == 0 {
            return guest.write_u32(nread, 0);
        }
        if !nonblocking {
            // Who asks a question and waits for the answer wants the question to be seen.
            self.flush().await;
        }
        self.scratch.resize(CHUNK_SIZE, 0);
        let input = self.descriptors.get_mut(fd)?.input(Rights::FD_READ)?;
        let buf = &mut self.scratch[..want];
        let n = poll_fn(|cx| match input.poll_read(cx, buf) {
            Poll::Pending if nonblocking => Poll::Ready(Err(io::ErrorKind::WouldBlock.into())),
            poll => poll,
        })
        .await
        .map_err(|err| Errno::from(&err))?;
        guest.scatter(&iovecs, &self.scratch[..n])?;
        guest.write_u32(nread, n as u32)
    }

    /// `fd_write`: waits until at least one byte is taken, and writes what is taken without waiting again.
    ///
    /// When the future is dropped, nothing has been written: so a call can be made again without doubling anything.
    pub(crate) async fn fd_write(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        iovecs: u32,
        count: u32,
        nwritten: u32,
    ) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        if let Object::File(_) = descriptor.object {
            return self.file_write(guest, fd, (iovecs, count), None, nwritten);
        }
        if let Object::Packets(_) = descriptor.object {
            return self.packets_write(guest, fd, (iovecs, count), nwritten).await;
        }
        if let Object::Connection(_) | Object::Listener(_) = descriptor.object {
            return self.send(guest, fd, (iovecs, count), nwritten).await;
        }
        let nonblocking = descriptor.is_nonblocking();
        let output = descriptor.output(Rights::FD_WRITE)?;
        let iovecs = guest.iovecs(iovecs, count)?;
        guest.check(nwritten, 4)?;
        let write = |cx: &mut Context<'_>, data: &[u8]| output.poll_write(cx, data);
        let done = match write_pieces(guest, &iovecs, &mut self.scratch, nonblocking, write).await {
            Err(failure) => {
                self.closed_pipe |= matches!(failure, Failure::Errno(Errno::Pipe));
                return Err(failure);
            }
            Ok(done) => done,
        };
        // Done now if that needs no waiting, else before the next operation that waits. Errors come with later writes.
        poll_fn(|cx| Poll::Ready(output.poll_flush(cx).is_ready())).await;
        guest.write_u32(nwritten, done)
    }

    /// `fd_sync`, `fd_datasync`.
    pub(crate) async fn fd_sync(&mut self, fd: u32, right: Rights) -> Result<(), Failure> {
        self.descriptors.get(fd)?.require(right)?;
        self.flush().await;
        Ok(self.descriptors.get(fd)?.object.sync(right == Rights::FD_DATASYNC)?)
    }

    /// `fd_close`.
    pub(crate) async fn fd_close(&mut self, fd: u32) -> Result<(), Failure> {
        self.descriptors.get(fd)?;
        self.flush().await;
        self.descriptors.remove(fd)?;
        Ok(())
    }

    /// `fd_renumber`.
    pub(crate) async fn fd_renumber(&mut self, from: u32, to: u32) -> Result<(), Failure> {
        self.flush().await;
        self.descriptors.renumber(from, to)?;
        Ok(())
    }

    /// `fd_fdstat_get`.
    pub(crate) fn fd_fdstat_get(&self, guest: Guest<'_>, fd: u32, result: u32) -> Result<(), Failure> {
        let d = self.descriptors.get(fd)?;
        guest.write(result, &abi::fdstat(d.object.file_type(), d.flags, d.rights, d.inheriting))
    }

    /// `fd_fdstat_set_flags`. Appending is what streams do anyway; writing through to a disk is decided when a file is opened.
    pub(crate) fn fd_fdstat_set_flags(&mut self, fd: u32, flags: u32) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        descriptor.require(Rights::FD_FDSTAT_SET_FLAGS)?;
        let flags =
            u16::try_from(flags).ok().filter(|flags| flags & !fdflags::ALL == 0).ok_or(Errno::Inval)?;
        if (flags ^ descriptor.flags) & !(fdflags::APPEND | fdflags::NONBLOCK) != 0 {
            return Err(Errno::NotSup.into());
        }
        descriptor.flags = flags;
        Ok(())
    }

    /// `fd_fdstat_set_rights`: rights can be given up, not taken.
    pub(crate) fn fd_fdstat_set_rights(
        &mut self,
        fd: u32,
        base: u64,
        inheriting: u64,
    ) -> Result<(), Failure> {
        let descriptor = self.descriptors.get_mut(fd)?;
        let (base, inheriting) = (Rights(base), Rights(inheriting));
        if !descriptor.rights.contains(base) || !descriptor.inheriting.contains(inheriting) {
            return Err(Errno::NotCapable.into());
        }
        descriptor.rights = base;
        descriptor.inheriting = inheriting;
        Ok(())
    }

    /// `fd_filestat_get`. Which of the host's files a stream is does not concern the program.
    pub(crate) fn fd_filestat_get(
        &self,
        guest: Guest<'_>,
        fd: u32,
        layout: Layout,
        result: u32,
    ) -> Result<(), Failure> {
        let descriptor = self.descriptors.get(fd)?;
        descriptor.require(Rights::FD_FILESTAT_GET)?;
        let object = &descriptor.object;
        let stat = match object {
            Object::File(file) => file.node.stat()?,
            Object::Directory(directory) => directory.node.stat()?,
            _ => stream_stat(object.file_type(), object.size()),
        };
        guest.write(result, &layout.filestat(&stat))
    }

    /// Hands on everything that was written so far.
    ///
    /// To be called at the end when streams were given as writers that keep something back. Errors are not told: the
    /// program that wrote has moved on.
    pub async fn flush(&mut self) {
        for descriptor in self.descriptors.iter_mut() {
            if let Object::Output(output) = &mut descriptor.object {
                let _ = poll_fn(|cx| output.poll_flush(cx)).await;
            }
        }
    }
}

/// Waits until at least one byte is taken, and writes what is taken without waiting again.
pub(crate) async fn write_pieces(
    guest: Guest<'_>,
    iovecs: &IoVecs,
    scratch: &mut Vec<u8>,
    nonblocking: bool,
    mut write: impl FnMut(&mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>,
) -> Result<u32, Failure> {
    let total = (iovecs.total() as usize).min(MAX_WRITE);
    scratch.resize(CHUNK_SIZE, 0);
    let mut done = 0;
    while done < total {
        let chunk = &mut scratch[..CHUNK_SIZE.min(total - done)];
        guest.gather(iovecs, done as u32, chunk)?;
        let result = poll_fn(|cx| match write(cx, chunk) {
            Poll::Pending if nonblocking || done > 0 => Poll::Ready(Err(io::ErrorKind::WouldBlock.into())),
            poll => poll,
        })
        .await;
        match result {
            Ok(0) => break,
            Ok(n) => done += n,
            // What has been written must be told. If the error persists, the next call tells it.
            Err(_) if done > 0 => break,
            Err(err) => return Err(Errno::from(&err).into()),
        }
    }
    Ok(done as u32)
}
