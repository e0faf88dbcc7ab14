//! Sections of a module that is written down.

use super::encode::section;
use super::{HEADER, Problem, SnapshotError};
use crate::leb::Cursor;
use std::ops::Range;

/// A section of a module, by offsets in the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) id: u8,
    /// All of it.
    pub(super) range: Range<usize>,
    /// What is behind its size.
    pub(super) contents: Range<usize>,
}

/// Lists the sections of a module which has been compiled.
pub(super) fn list(wasm: &[u8]) -> Result<Vec<Section>, SnapshotError> {
    let invalid = || SnapshotError::Unfit(Problem::Invalid("module"));
    let body = wasm.strip_prefix(&HEADER).ok_or(SnapshotError::Unfit(Problem::Magic))?;
    let mut cursor = Cursor::new(body);
    let mut sections = Vec::new();
    while !cursor.rest().is_empty() {
        let start = wasm.len() - cursor.rest().len();
        let id = cursor.byte().ok_or_else(invalid)?;
        let size = cursor.u32().ok_or_else(invalid)? as usize;
        let contents = wasm.len() - cursor.rest().len();
        cursor.take(size).ok_or_else(invalid)?;
        if id != section::CUSTOM && section::rank(id).is_none() {
            return Err(invalid());
        }
        sections.push(Section { id, range: start..contents + size, contents: contents..contents + size });
    }
    Ok(sections)
}
