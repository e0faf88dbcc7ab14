//! Buffers in the program's memory.

use crate::error::HostFault;
use gate_image::{GuestMemory, MemoryError};
use gate_wire::trap::TrapId;

/// Greatest number of buffers of one call.
const MAX_BUFFERS: u64 = 1024;

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

/// Size of an entry of an array of buffers: address and size.
const ENTRY_SIZE: u64 = 8;

/// Two arrays that are this close to each other are read at once, in bytes.
const NEARBY: u64 = 1024;

/// Buffers within the memory, none empty.
#[derive(Debug)]
pub(super) struct Buffers(Vec<(u64, usize)>);

impl Buffers {
    /// Reads two arrays of pointers and sizes.
    pub(super) fn read_pair(memory: &GuestMemory, arrays: [(u64, u64); 2]) -> Result<[Self; 2], Failure> {
        for (array, count) in arrays {
            if count > MAX_BUFFERS {
                let what = format!("{count} buffers; {MAX_BUFFERS} are the most");
                return Err(Failure::Trap(TrapId::AbiViolation, what));
            }
            memory.check(array, count * ENTRY_SIZE)?;
        }
        // They are often neighbours on the program's stack, and each access is a system call.
        let present = arrays.into_iter().filter(|&(_, count)| count > 0);
        let begin = present.clone().map(|(array, _)| array).min().unwrap_or(0);
        let end = present.map(|(array, count)| array + count * ENTRY_SIZE).max().unwrap_or(0);
        if end - begin > NEARBY {
            let [first, second] = arrays;
            return Ok([Self::read(memory, first)?, Self::read(memory, second)?]);
        }
        let mut bytes = [0; NEARBY as usize];
        let bytes = &mut bytes[..(end - begin) as usize];
        memory.read(begin, bytes)?;
        let decode = |(array, count): (u64, u64)| match count {
            0 => Ok(Self(Vec::new())),
            _ => {
                let start = (array - begin) as usize;
                Self::decode(memory, &bytes[start..start + (count * ENTRY_SIZE) as usize])
            }
        };
        Ok([decode(arrays[0])?, decode(arrays[1])?])
    }

    fn read(memory: &GuestMemory, (array, count): (u64, u64)) -> Result<Self, Failure> {
        let mut entries = vec![0; (count * ENTRY_SIZE) as usize];
        memory.read(array, &mut entries)?;
        Self::decode(memory, &entries)
    }

    fn decode(memory: &GuestMemory, entries: &[u8]) -> Result<Self, Failure> {
        let mut buffers = Vec::with_capacity(entries.len() / ENTRY_SIZE as usize);
        for &[a0, a1, a2, a3, s0, s1, s2, s3] in entries.as_chunks::<{ ENTRY_SIZE as usize }>().0 {
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

    /// Copies from the buffers as much as fits in `limit`. What is in `space` already does not matter.
    pub(super) fn gather<'a>(
        &self,
        memory: &GuestMemory,
        space: &'a mut Vec<u8>,
        limit: usize,
    ) -> Result<&'a [u8], Failure> {
        let mut end = 0;
        for &(addr, size) in &self.0 {
            let begin = end;
            end += size.min(limit - begin);
            if space.len() < end {
                space.resize(end, 0);
            }
            memory.read(addr, &mut space[begin..end])?;
        }
        Ok(&space[..end])
    }

    /// Copies pieces to the buffers, one after the other, as much as fits. Returns how much that is.
    pub(super) fn scatter<'a>(
        &self,
        memory: &GuestMemory,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<usize, Failure> {
        let mut total = 0;
        let mut buffers = self.0.iter().copied();
        let mut room = buffers.next();
        for mut piece in pieces {
            while let Some((addr, size)) = room.filter(|_| !piece.is_empty()) {
                let (head, tail) = piece.split_at(size.min(piece.len()));
                memory.write(addr, head)?;
                total += head.len();
                piece = tail;
                room = match size - head.len() {
                    0 => buffers.next(),
                    left => Some((addr + head.len() as u64, left)),
                };
            }
        }
        Ok(total)
    }
}

/// Values that a call stores, each unless its address is zero. Those which are neighbours are stored at once.
pub(super) fn store(memory: &GuestMemory, values: [(u64, &[u8]); 3]) -> Result<(), Failure> {
    let mut pending: (u64, Vec<u8>) = (0, Vec::with_capacity(16));
    for (addr, bytes) in values.into_iter().filter(|&(addr, _)| addr != 0) {
        if pending.0 + pending.1.len() as u64 != addr {
            memory.write(pending.0, &pending.1)?;
            pending = (addr, Vec::with_capacity(16));
        }
        pending.1.extend(bytes);
    }
    memory.write(pending.0, &pending.1)?;
    Ok(())
}
