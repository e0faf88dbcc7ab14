//! Why a module cannot be compiled.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Why a module cannot be compiled.
///
/// Displayed as one line that says what is wrong, where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct CompileError {
    kind: ErrorKind,
    offset: Option<u64>,
    message: String,
}

/// Kinds of compilation errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The bytes are not a valid WebAssembly module.
    Invalid,
    /// The module is valid, but uses something that is not supported.
    Unsupported,
    /// The module is larger than the compiler is told to accept, or than it is able to compile.
    Limit,
    /// The host does not have what the module imports.
    Import,
    /// A breakpoint is where there is no instruction.
    Breakpoint,
    /// The compiler is at fault, or what it runs on.
    Internal,
}

impl CompileError {
    pub(crate) fn new(kind: ErrorKind, offset: impl Into<Option<u64>>, message: impl Into<String>) -> Self {
        Self { kind, offset: offset.into(), message: message.into() }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, None, message)
    }

    /// `number` of something is more than `limit`.
    pub(crate) fn limit(
        offset: impl Into<Option<u64>>,
        what: impl fmt::Display,
        number: impl fmt::Display,
        limit: impl fmt::Display,
    ) -> Self {
        Self::new(ErrorKind::Limit, offset, format!("{what}: {number} exceeds the limit of {limit}"))
    }

    /// Compilation has taken longer than it may.
    pub(crate) fn timeout(limit: Duration) -> Self {
        Self::new(ErrorKind::Limit, None, format!("compilation takes longer than the limit of {limit:?}"))
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where in the module, in bytes from its start, if it is about one place.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(offset) = self.offset {
            write!(f, " (at offset {offset:#x})")?;
        }
        Ok(())
    }
}

impl From<wasmparser::Error> for CompileError {
    fn from(error: wasmparser::Error) -> Self {
        // Messages of the parser may be of several lines, and tell names as they are in the module.
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let message: String =
            message.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
        Self::new(ErrorKind::Invalid, error.offset(), message)
    }
}
