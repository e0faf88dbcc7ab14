//! Buffers in the program's memory.

use crate::error::HostFault;
use gate_image::{GuestMemory, MemoryError};
use gate_wire::trap::TrapId;

/// Greatest number of buffers of one call.
const MAX_BUFFERS: u32 = 1024;

/// Why a call is not made.
#[derive(Debug)]
pub(super) enum Failure {
    /// The program is stopped.
    Trap(TrapId, String),
    /// The host is at fault.
    Fault(HostFault),
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::OutOfBounds { .. } => Self::Trap(TrapId::MemoryAccessOutOfBounds, error.to_string()),
            MemoryError::Host(error) => Self::Fault(error.into()),
        }
    }
}

/// Buffers within the memory, none empty.
#[derive(Debug)]
pub(super) struct Buffers(Vec<(u64, usize)>);

impl Buffers {
    /// Reads an array of pointers and sizes.
    pub(super) fn read(memory: &GuestMemory, array: u64, count: u64) -> Result<Self, Failure> {
        let count = u32::try_from(count).ok().filter(|&count| count <= MAX_BUFFERS).ok_or_else(|| {
            Failure::Trap(TrapId::AbiViolation, format!("{count} buffers; {MAX_BUFFERS} are the most"))
        })?;
        let mut entries = vec![0; count as usize * 8];
        memory.read(array, &mut entries)?;
        let mut buffers = Vec::with_capacity(count as usize);
        for &[a0, a1, a2, a3, s0, s1, s2, s3] in entries.as_chunks::<8>().0 {
            let (addr, size) = (u32::from_le_bytes([a0, a1, a2, a3]), u32::from_le_bytes([s0, s1, s2, s3]));
            memory.check(addr.into(), size.into())?;
            if size > 0 {
                buffers.push((u64::from(addr), size as usize));
            }
        }
        Ok(Self(buffers))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies from the buffers to `out`, as much as fits.
    pub(super) fn gather(
        &self,
        memory: &GuestMemory,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Failure> {
        out.clear();
        for &(addr, size) in &self.0 {
            let begin = out.len();
            out.resize(begin + size.min(limit - begin), 0);
            memory.read(addr, &mut out[begin..])?;
        }
        Ok(())
    }

    /// Copies to the buffers, as much as fits. Returns how much that is.
    pub(super) fn scatter(&self, memory: &GuestMemory, data: &[u8]) -> Result<usize, Failure> {
        let mut rest = data;
        for &(addr, size) in &self.0 {
            let (head, tail) = rest.split_at(size.min(rest.len()));
            memory.write(addr, head)?;
            rest = tail;
        }
        Ok(data.len() - rest.len())
    }
}
