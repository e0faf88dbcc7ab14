//! Snapshots for those who have the module and the memories already.
//!
//! Such a one is a snapshot of an instance whose memories are as in a new instance, in pieces: each is a byte 0, and
//! the offset and the size of a part of the module; or a byte 1, the number of bytes, and the bytes. Numbers are LEB128.

use super::read::{Restored, SnapshotLimits};
use super::write::Outline;
use super::{Problem, ServiceState, Snapshot, SnapshotError};
use crate::instance::Instance;
use crate::leb::{self, Cursor};
use std::io::{self, Read};

/// Writes everything about an instance down that is neither in its module nor in its memories.
pub(crate) fn write(
    instance: &Instance,
    wasm: &[u8],
    services: &[ServiceState],
) -> Result<Vec<u8>, SnapshotError> {
    let mut buf = Vec::new();
    for piece in Snapshot::without_memory(instance, wasm, services)?.outline()? {
        match piece {
            Outline::Module(range) => {
                buf.push(0);
                leb::push(&mut buf, range.start as u64);
                leb::push(&mut buf, range.len() as u64);
            }
            Outline::Bytes(bytes) => {
                buf.push(1);
                leb::push(&mut buf, bytes.len() as u64);
                buf.extend(bytes);
            }
        }
    }
    Ok(buf)
}

/// Reads what [`write()`] has written. Memories have the right sizes, but not the right contents.
pub(crate) fn read(portable: &[u8], wasm: &[u8]) -> Result<Restored, SnapshotError> {
    // It comes from the user's own directory, where the module and the services' states are whole files.
    const ANY: u64 = 1 << 40;
    let limits = SnapshotLimits { module_size: ANY, memory: u64::MAX, stack_size: ANY, services_size: ANY };
    Restored::read(Pieces { cursor: Cursor::new(portable), wasm, rest: &[] }, &limits)
}

struct Pieces<'a> {
    cursor: Cursor<'a>,
    wasm: &'a [u8],
    /// What has not been read of the current piece.
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    fn next_piece(&mut self) -> Option<&'a [u8]> {
        match self.cursor.byte()? {
            0 => {
                let start = usize::try_from(self.cursor.u64()?).ok()?;
                let size = usize::try_from(self.cursor.u64()?).ok()?;
                self.wasm.get(start..)?.get(..size)
            }
            1 => {
                let size = usize::try_from(self.cursor.u64()?).ok()?;
                self.cursor.take(size)
            }
            _ => None,
        }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.cursor.rest().is_empty() {
            let invalid = || io::Error::other(SnapshotError::Contradiction(Problem::End));
            self.rest = self.next_piece().ok_or_else(invalid)?;
        }
        self.rest.read(buf)
    }
}
