//! What can be seen of a program that has stopped.
//!
//! An [`Inspector`] reads an instance without changing it. What it returns can be serialised for tools. Names come from the
//! module's name section, places in the source code from its debugging information: both are the module's word only.

mod names;
mod regions;
mod stack;
mod value;

pub use regions::{GlobalView, MemoryView, TableView};
pub use stack::{FrameView, LocalView};
pub use value::ValueView;

use crate::error::ImageError;
use crate::frames::Frames;
use crate::instance::Instance;
use names::Names;
use std::ops::Range;

/// Looks into an instance that is not running.
#[derive(Debug)]
pub struct Inspector<'a> {
    instance: &'a Instance,
    wasm: &'a [u8],
    names: Names<'a>,
}

/// Why something cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The instance does not have so many memories or tables.
    #[error("there is no {what} {index}: the program has {count}")]
    NoSuch {
        /// What was looked for.
        what: &'static str,
        /// Its index.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The range is not within the memory or table.
    #[error("{start:#x}..{end:#x} is not within {what} {index}, which has a size of {size:#x}")]
    OutOfBounds {
        /// What was looked into.
        what: &'static str,
        /// Its index.
        index: usize,
        /// Start of the range.
        start: u64,
        /// End of the range.
        end: u64,
        /// Size of the memory in bytes, or of the table in elements.
        size: u64,
    },
    /// The state cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl<'a> Inspector<'a> {
    /// Looks into an instance of the module.
    ///
    /// `wasm` must be the module from which the instance's program was compiled; otherwise names are wrong.
    pub fn new(instance: &'a Instance, wasm: &'a [u8]) -> Self {
        Self { instance, wasm, names: Names::new(wasm) }
    }

    /// The module's own name, on one line, if it has one.
    pub fn module_name(&self) -> Option<&str> {
        self.names.module()
    }

    /// Name of a function, as a person would write it, on one line.
    ///
    /// From the name section, else from an export or an import.
    pub fn function_name(&self, function: u32) -> Option<String> {
        self.names.function(function)
    }

    /// The frames, innermost first, with values, names and places in the source code.
    pub fn stack(&self, frames: &Frames) -> Result<Vec<FrameView>, InspectError> {
        stack::view(self, frames)
    }

    /// In which functions the program has trapped, innermost first, without values. Empty if it has not.
    pub fn trace(&self) -> Result<Vec<FrameView>, InspectError> {
        stack::trace(self)
    }

    /// All globals.
    pub fn globals(&self) -> Result<Vec<GlobalView>, InspectError> {
        regions::globals(self)
    }

    /// All tables, without their elements.
    pub fn tables(&self) -> Result<Vec<TableView>, InspectError> {
        regions::tables(self)
    }

    /// Elements of a table: all, or those in the range.
    pub fn table_elements(
        &self,
        table: usize,
        range: Option<Range<u32>>,
    ) -> Result<Vec<ValueView>, InspectError> {
        regions::table_elements(self, table, range)
    }

    /// All linear memories, without their contents.
    pub fn memories(&self) -> Result<Vec<MemoryView>, InspectError> {
        regions::memories(self)
    }

    /// Bytes of a linear memory.
    pub fn memory_bytes(&self, memory: usize, range: Range<u64>) -> Result<Vec<u8>, InspectError> {
        regions::memory_bytes(self, memory, range)
    }
}
