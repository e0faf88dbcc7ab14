//! The descriptor by which a program exchanges packets with services.

use crate::abi::{Rights, fdflags};
use crate::descriptors::Descriptor;
use crate::errno::Errno;
use crate::memory::{CHUNK_SIZE, Guest};
use crate::stdio::Readiness;
use crate::stream::Object;
use crate::{Failure, HostError, WasiCtx};
use gate_runtime::{PacketBytes, ServiceError};
use gate_wire::gate::PACKET_FD;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What has been attached, if anything has.
pub(crate) struct Packets(Option<Arc<dyn PacketBytes>>);

impl Packets {
    /// A descriptor to which nothing is attached. It does not wait unless it is told to.
    pub(crate) fn descriptor() -> Descriptor {
        let mut descriptor = Descriptor::new(Descriptor::PACKETS, Object::Packets(Self(None)));
        descriptor.flags = fdflags::NONBLOCK;
        descriptor
    }

    /// Waits until there is something to read, or an error to be told by reading.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Readiness> {
        self.readiness(|bytes| bytes.poll_readable(cx))
    }

    /// Waits until something would be taken, or there is an error to be told by writing.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Readiness> {
        self.readiness(|bytes| bytes.poll_writable(cx).map_ok(|()| CHUNK_SIZE))
    }

    fn readiness(
        &self,
        poll: impl FnOnce(&dyn PacketBytes) -> Poll<Result<usize, ServiceError>>,
    ) -> Poll<Readiness> {
        let Some(bytes) = &self.0 else { return Poll::Ready(Readiness { nbytes: 0, hangup: true }) };
        poll(&**bytes).map(|result| Readiness { nbytes: result.unwrap_or(1) as u64, hangup: false })
    }
}

impl fmt::Debug for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Packets").field(&self.0.is_some()).finish()
    }
}

impl WasiCtx {
    /// Attaches what the descriptor for packets is to stand for, if the program has one: see [`Builder::packets`](crate::Builder::packets).
    pub fn attach_packets(&mut self, bytes: Arc<dyn PacketBytes>) {
        for descriptor in self.descriptors.iter_mut() {
            if let Object::Packets(packets) = &mut descriptor.object {
                packets.0 = Some(Arc::clone(&bytes));
            }
        }
    }

    /// Number of the descriptor for packets.
    pub(crate) fn packet_descriptor(&self) -> u32 {
        let mut all = self.descriptors.iter();
        all.find(|(_, descriptor)| descriptor.stream == Descriptor::PACKETS).map_or(PACKET_FD, |(fd, _)| fd)
    }

    /// What is attached to a descriptor, and whether operations on it fail rather than wait.
    fn packets(&self, fd: u32, right: Rights) -> Result<(Arc<dyn PacketBytes>, bool), Errno> {
        let descriptor = self.descriptors.get(fd)?;
        descriptor.require(right)?;
        match &descriptor.object {
            Object::Packets(Packets(Some(bytes))) => Ok((Arc::clone(bytes), descriptor.is_nonblocking())),
            _ => Err(Errno::BadF),
        }
    }

    /// `fd_read` of packets.
    pub(crate) async fn packets_read(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        (iovecs, count): (u32, u32),
        nread: u32,
    ) -> Result<(), Failure> {
        let (bytes, nonblocking) = self.packets(fd, Rights::FD_READ)?;
        let iovecs = guest.iovecs(iovecs, count)?;
        guest.check(nread, 4)?;
        let want = (iovecs.total() as usize).min(CHUNK_SIZE);
        if want == 0 {
            return guest.write_u32(nread, 0);
        }
        if !nonblocking {
            self.flush().await;
        }
        self.scratch.resize(CHUNK_SIZE, 0);
        let buf = &mut self.scratch[..want];
        let n = poll_fn(|cx| done(bytes.poll_read(cx, buf), nonblocking)).await?;
        guest.scatter(&iovecs, &self.scratch[..n])?;
        guest.write_u32(nread, n as u32)
    }

    /// `fd_write` of packets: as much of them as is taken at once.
    pub(crate) async fn packets_write(
        &mut self,
        guest: Guest<'_>,
        fd: u32,
        (iovecs, count): (u32, u32),
        nwritten: u32,
    ) -> Result<(), Failure> {
        let (bytes, nonblocking) = self.packets(fd, Rights::FD_WRITE)?;
        let iovecs = guest.iovecs(iovecs, count)?;
        guest.check(nwritten, 4)?;
        let size = (iovecs.total() as usize).min(CHUNK_SIZE);
        self.scratch.resize(CHUNK_SIZE, 0);
        let data = &mut self.scratch[..size];
        guest.gather(&iovecs, 0, data)?;
        let n = poll_fn(|cx| done(bytes.poll_write(cx, data), nonblocking)).await?;
        guest.write_u32(nwritten, n as u32)
    }
}

fn done(poll: Poll<Result<usize, ServiceError>>, nonblocking: bool) -> Poll<Result<usize, Failure>> {
    match poll {
        Poll::Pending if nonblocking => Poll::Ready(Err(Errno::Again.into())),
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(n)) => Poll::Ready(Ok(n)),
        Poll::Ready(Err(ServiceError::Violation(_))) => Poll::Ready(Err(Failure::Violation)),
        Poll::Ready(Err(ServiceError::Fault(fault))) => Poll::Ready(Err(HostError::Packets(fault).into())),
    }
}
