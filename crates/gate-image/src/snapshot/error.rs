//! What can be wrong with a snapshot.

use crate::error::{ImageError, InstanceError, ProgramError};
use crate::frames::FramesError;
use gate_compiler::{Feature, ValType};
use std::fmt;
use std::io;

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It could not be written.
    #[error("write the snapshot: {0}")]
    Write(#[source] io::Error),
    /// It could not be read.
    #[error("read the snapshot: {0}")]
    Read(#[source] io::Error),
    /// The instance cannot be written down: its module or its state is not what it should be.
    #[error("the instance has no snapshot: {0}")]
    Unfit(Problem),
    /// The snapshot is not one.
    #[error("invalid snapshot at offset {offset:#x}, {section}: {problem}")]
    Invalid {
        /// In which section.
        section: Place,
        /// Where in the snapshot.
        offset: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// The parts of the snapshot don't go together, or not with its module.
    #[error("invalid snapshot: {0}")]
    Contradiction(Problem),
    /// The frames are not those of the module.
    #[error("invalid snapshot, section gate.stack: {0}")]
    Frames(#[from] FramesError),
    /// The program uses something that is switched off.
    #[error("the program uses {}, which is switched off here", .0.name())]
    FeatureOff(Feature),
    /// The instance is running, or does not fit the options.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The host is at fault.
    #[error(transparent)]
    Host(#[from] ImageError),
}

/// A part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not in the contents of a section.
    Outside,
    /// In a section of a module: its number.
    Section(u8),
    /// In a section of Gate's own: its name.
    Custom(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside => f.write_str("between sections"),
            Self::Section(id) => write!(f, "section {id}"),
            Self::Custom(name) => write!(f, "section {name}"),
        }
    }
}

/// What is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is not a WebAssembly module.
    #[error("not a WebAssembly module")]
    Magic,
    /// It is a module, but not a snapshot.
    #[error("not a snapshot")]
    NotSnapshot,
    /// It is of a later version.
    #[error("format version {0} is not known")]
    Version(u32),
    /// The program uses something that this build does not have.
    #[error("the program uses {0:?}, which this build of Gate does not know")]
    Feature(String),
    /// It ends too early.
    #[error("unexpected end")]
    End,
    /// There is something else than there should be.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// Two sections of a kind, or one that comes too late.
    #[error("{0} section out of order")]
    Order(&'static str),
    /// A section that must be there is not.
    #[error("no {0} section")]
    Missing(&'static str),
    /// A section which should not be there.
    #[error("unexpected section {0:?}")]
    Section(String),
    /// Something is longer than its section.
    #[error("section too short")]
    SectionEnd,
    /// Something is left in a section.
    #[error("{0} bytes too many in the section")]
    SectionRest(u64),
    /// Too much of something.
    #[error("{what} is {number}, but at most {max} is possible")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// Number.
        number: u64,
        /// Greatest number.
        max: u64,
    },
    /// Not as much as there should be.
    #[error("{what} is {number}, but should be {expected}")]
    Number {
        /// Of what there is another number.
        what: &'static str,
        /// Number.
        number: u64,
        /// Right number.
        expected: u64,
    },
    /// Parts of a memory or table overlap, or are not in order.
    #[error("overlapping or unordered parts of {0}")]
    Overlap(&'static str),
    /// Something is outside a memory or table.
    #[error("{what} {index}: {start:#x}..{end:#x} exceeds its size of {size:#x}")]
    Bounds {
        /// Memory or table.
        what: &'static str,
        /// Its index.
        index: u32,
        /// Start of what is outside.
        start: u64,
        /// End of what is outside.
        end: u64,
        /// Its size.
        size: u64,
    },
    /// The rebuilt module has another hash.
    #[error("hash of the module is wrong")]
    Hash,
    /// A value has the wrong type.
    #[error("{what} {index} has type {found}, not {expected}")]
    Type {
        /// What the value is of.
        what: &'static str,
        /// Index of that.
        index: u32,
        /// Type of the value.
        found: ValType,
        /// The right type.
        expected: ValType,
    },
    /// A function reference does not exist.
    #[error("reference to function {function}, but there are {count}")]
    Reference {
        /// Index in the reference.
        function: u32,
        /// Number of functions.
        count: usize,
    },
    /// A function reference is to a function of another type.
    #[error("{what} {index} is not of type {expected}")]
    ReferenceType {
        /// What the value is of.
        what: &'static str,
        /// Index of that.
        index: u32,
        /// The right type.
        expected: ValType,
    },
    /// An exception does not exist, or carries values that are not of its tag's types.
    #[error("there is no exception {0} of the module's")]
    Exception(u32),
    /// Something that cannot go together.
    #[error("{0}")]
    Contradiction(&'static str),
    /// A service occurs twice.
    #[error("two states of service {0:?}")]
    Service(String),
    /// The module is not valid.
    #[error("{0}")]
    Module(String),
}

impl From<InstanceError> for SnapshotError {
    fn from(error: InstanceError) -> Self {
        match error {
            InstanceError::Program(error) => Self::Program(error),
            InstanceError::Host(error) => Self::Host(error),
        }
    }
}
