//! Snapshots: instances as WebAssembly modules.
//!
//! A snapshot is the module of which the instance is one, with the current contents of memories, tables and globals
//! as the initial ones, and with custom sections for everything else. It does not depend on how the module was compiled. The
//! format is described in `docs/snapshot-format.md`.
//!
//! [`Snapshot`] writes, [`Restored`] reads. Both do so in pieces, so that memory is never held as a whole.

mod edits;
mod encode;
mod error;
mod instruction;
mod observe;
mod pieces;
mod plan;
pub(crate) mod portable;
mod read;
mod reader;
mod restore;
mod sections;
mod source;
mod status;
mod tables;
mod trace;
mod write;

pub(crate) use instruction::instruction_at;

pub use error::{Place, Problem, SnapshotError};
pub use read::{Restored, SnapshotLimits};
pub use write::Snapshot;

use crate::template::Piece;

/// Version of the format that is written.
pub const SNAPSHOT_VERSION: u32 = 1;

/// Begins every module.
const HEADER: [u8; 8] = *b"\0asm\x01\0\0\0";

const SNAPSHOT_SECTION: &str = "gate.snapshot";
const FEATURES_SECTION: &str = "gate.features";
const MEMORY_SECTION: &str = "gate.memory";
const STATE_SECTION: &str = "gate.state";
const EXCEPTIONS_SECTION: &str = "gate.exceptions";
const STACK_SECTION: &str = "gate.stack";
const TRACE_SECTION: &str = "gate.trace";
const SERVICE_SECTION: &str = "gate.service";

/// Largest part of a snapshot that consists of one data section or one custom section with memory, in bytes.
const MAX_MEMORY_SECTION: u64 = 2 << 30;

/// Greatest number of parts of memories that are written. Less than what WebAssembly engines accept as data segments.
const MAX_PIECES: usize = 90_000;

/// State of a service, which the program cannot go on without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// Name of the service. Each occurs only once.
    pub name: String,
    /// Whatever the service makes of it.
    pub state: Vec<u8>,
}

/// Whether a file that begins with these bytes is to be read as a snapshot, not as an ordinary module. Some hundred bytes are
/// enough.
pub fn is_snapshot(beginning: &[u8]) -> bool {
    let section = || {
        let mut cursor = crate::leb::Cursor::new(beginning.strip_prefix(&HEADER)?);
        let custom = cursor.byte()? == 0;
        cursor.u32()?;
        let size = cursor.u32()? as usize;
        Some(custom && cursor.take(size)? == SNAPSHOT_SECTION.as_bytes())
    };
    section() == Some(true)
}

/// Copies what of the pieces, which are in order, is in the range of `buf`, which begins at `offset`. Returns whether there is
/// something.
pub(crate) fn overlay(pieces: &[Piece], offset: u64, buf: &mut [u8]) -> bool {
    let mut any = false;
    let end = offset + buf.len() as u64;
    let first = pieces.partition_point(|piece| piece.offset + piece.bytes.len() as u64 <= offset);
    for piece in pieces[first..].iter().take_while(|piece| piece.offset < end) {
        let (from, to) = (piece.offset.max(offset), end.min(piece.offset + piece.bytes.len() as u64));
        let bytes = &piece.bytes[(from - piece.offset) as usize..(to - piece.offset) as usize];
        buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(bytes);
        any = true;
    }
    any
}
