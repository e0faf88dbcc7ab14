//! Access to the linear memory of a waiting program.
//!
//! Addresses and lengths come from the program. Each is checked here, and nowhere else: what is out of bounds is
//! `EFAULT` to the program, what the host cannot do is a fault of the host.

use crate::errno::Errno;
use crate::{Failure, HostError};
use std::io;
use std::ops::Range;

/// Largest number of buffers of a vectored read or write, as `IOV_MAX` elsewhere.
pub(crate) const MAX_IOVECS: u32 = 1024;

/// Most that is copied between the program and the host at a time.
pub(crate) const CHUNK_SIZE: usize = 64 << 10;

/// Linear memory of a program that waits for the reply to its call.
///
/// The program's process may be hostile: what is read may be anything, and may change between two reads.
pub trait LinearMemory: Sync {
    /// Current size in bytes. It does not become less.
    fn size(&self) -> io::Result<u64>;

    /// Copies from the memory.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), AccessError>;

    /// Copies into the memory.
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), AccessError>;
}

/// Why linear memory was not accessed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The range is not wholly within the memory: the program's error.
    #[error("linear memory access out of bounds")]
    OutOfBounds,
    /// The host could not do it.
    #[error("linear memory cannot be accessed: {0}")]
    Host(#[source] io::Error),
}

impl From<AccessError> for Failure {
    fn from(err: AccessError) -> Self {
        match err {
            AccessError::OutOfBounds => Self::Errno(Errno::Fault),
            AccessError::Host(err) => Self::Host(HostError::Memory(err)),
        }
    }
}

/// Typed access on top of [`LinearMemory`].
#[derive(Clone, Copy)]
pub(crate) struct Guest<'a> {
    memory: &'a dyn LinearMemory,
    size: u64,
}

impl<'a> Guest<'a> {
    pub(crate) fn new(memory: &'a dyn LinearMemory) -> Result<Self, HostError> {
        Ok(Self { memory, size: memory.size().map_err(HostError::Memory)? })
    }

    /// Fails unless all of the range is accessible. For what is written only after something irrevocable happened.
    pub(crate) fn check(self, addr: u32, len: u64) -> Result<(), Failure> {
        match u64::from(addr).checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Errno::Fault.into()),
        }
    }

    pub(crate) fn read(self, addr: u32, buf: &mut [u8]) -> Result<(), Failure> {
        // Not even an empty range may be outside.
        self.check(addr, buf.len() as u64)?;
        Ok(self.memory.read(addr.into(), buf)?)
    }

    pub(crate) fn write(self, addr: u32, data: &[u8]) -> Result<(), Failure> {
        self.check(addr, data.len() as u64)?;
        Ok(self.memory.write(addr.into(), data)?)
    }

    pub(crate) fn write_u32(self, addr: u32, value: u32) -> Result<(), Failure> {
        self.write(addr, &value.to_le_bytes())
    }

    pub(crate) fn write_u64(self, addr: u32, value: u64) -> Result<(), Failure> {
        self.write(addr, &value.to_le_bytes())
    }

    /// Reads an array of `iovec` or `ciovec`, and checks the buffers which it lists.
    ///
    /// `EINVAL` if there are more than [`MAX_IOVECS`], or more bytes than a 32-bit count can tell.
    pub(crate) fn iovecs(self, addr: u32, count: u32) -> Result<IoVecs, Failure> {
        if count > MAX_IOVECS {
            return Err(Errno::Inval.into());
        }
        let mut array = vec![0; count as usize * 8];
        self.read(addr, &mut array)?;
        let mut buffers = Vec::with_capacity(count as usize);
        let mut total = 0u32;
        for entry in array.chunks_exact(8) {
            let (addr, len) = (u32_at(entry, 0), u32_at(entry, 4));
            self.check(addr, len.into())?;
            total = total.checked_add(len).ok_or(Errno::Inval)?;
            if len > 0 {
                buffers.push((addr, len));
            }
        }
        Ok(IoVecs { buffers, total })
    }

    /// Copies the buffers' bytes of the given range, counted over all buffers, to `buf`.
    pub(crate) fn gather(self, iovecs: &IoVecs, offset: u32, buf: &mut [u8]) -> Result<(), Failure> {
        iovecs.for_each(offset, buf.len(), |addr, range| self.read(addr, &mut buf[range]))
    }

    /// Copies `data` to the start of the buffers.
    pub(crate) fn scatter(self, iovecs: &IoVecs, data: &[u8]) -> Result<(), Failure> {
        iovecs.for_each(0, data.len(), |addr, range| self.write(addr, &data[range]))
    }
}

/// Buffers of a vectored read or write, none empty, each within the memory.
#[derive(Debug)]
pub(crate) struct IoVecs {
    buffers: Vec<(u32, u32)>,
    total: u32,
}

impl IoVecs {
    /// Number of bytes in all buffers.
    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// Calls `copy` with a guest address and a range of the host's buffer for each run of the `len` bytes at `offset`.
    fn for_each(
        &self,
        offset: u32,
        len: usize,
        mut copy: impl FnMut(u32, Range<usize>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut skip = offset;
        let mut done = 0;
        for &(addr, size) in &self.buffers {
            if done == len {
                break;
            }
            if skip >= size {
                skip -= size;
                continue;
            }
            let run = ((size - skip) as usize).min(len - done);
            copy(addr + skip, done..done + run)?;
            done += run;
            skip = 0;
        }
        Ok(())
    }
}

/// The four bytes at an offset, which the caller knows to be there.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(field)
}

/// The eight bytes at an offset, which the caller knows to be there.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(field)
}
