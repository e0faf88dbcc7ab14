//! What can be wrong with frames.

use crate::error::ImageError;
use gate_compiler::ValType;

/// Why frames are not those of a program. Frames are counted from the innermost one, which is number 0.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FramesError {
    /// The process has not come to the end of writing them down.
    #[error("frames have not been written down completely")]
    Incomplete,
    /// There is more than there can be.
    #[error("{what} is {number}, but at most {max} is possible")]
    Count {
        /// What there is too much of.
        what: &'static str,
        /// Number.
        number: u64,
        /// Greatest number.
        max: u64,
    },
    /// They end in the midst of a frame.
    #[error("frame {frame} is cut short")]
    Truncated {
        /// Which frame.
        frame: usize,
    },
    /// There is something behind the last frame.
    #[error("{size} bytes behind the last frame")]
    Trailing {
        /// How much.
        size: usize,
    },
    /// There are none.
    #[error("no frames")]
    Empty,
    /// A program cannot stop there.
    #[error("frame {frame}: function {function} cannot stop at code offset {code_offset:#x}")]
    NoSafepoint {
        /// Which frame.
        frame: usize,
        /// Index of the function.
        function: u32,
        /// Offset in the module.
        code_offset: u32,
    },
    /// The program stops there in another way, or with other values.
    #[error("frame {frame}: its values are not those of function {function} at code offset {code_offset:#x}")]
    Values {
        /// Which frame.
        frame: usize,
        /// Index of the function.
        function: u32,
        /// Offset in the module.
        code_offset: u32,
    },
    /// A value has the wrong type.
    #[error("frame {frame}: {what} {index} has type {found}, not {expected}")]
    Type {
        /// Which frame.
        frame: usize,
        /// Local or operand.
        what: &'static str,
        /// Its index.
        index: u32,
        /// Its type.
        found: ValType,
        /// The right type.
        expected: ValType,
    },
    /// A value is missing.
    #[error("frame {frame}: no value for local {local}")]
    MissingLocal {
        /// Which frame.
        frame: usize,
        /// Index of the local.
        local: u32,
    },
    /// A byte means nothing.
    #[error("frame {frame}: invalid {what}")]
    Invalid {
        /// Which frame.
        frame: usize,
        /// What it should be.
        what: &'static str,
    },
    /// Only the innermost function does something else than calling.
    #[error("frame {frame}: function {function} at code offset {code_offset:#x} is {}", order_problem(*.frame))]
    Order {
        /// Which frame.
        frame: usize,
        /// Index of the function.
        function: u32,
        /// Offset in the module.
        code_offset: u32,
    },
    /// The inner function is not the one that is being called.
    #[error(
        "frame {frame}: function {function} at code offset {code_offset:#x} does not call function {callee}"
    )]
    Callee {
        /// Which frame.
        frame: usize,
        /// Index of the function that calls.
        function: u32,
        /// Offset in the module.
        code_offset: u32,
        /// Index of the inner function.
        callee: u32,
    },
    /// A function reference does not exist.
    #[error("a reference to function {function}, but there are {count}")]
    Reference {
        /// Index in the reference.
        function: u32,
        /// Number of functions.
        count: usize,
    },
    /// A function reference is to a function of another type.
    #[error("a reference to function {function} is not of type {expected}")]
    ReferenceType {
        /// Index in the reference.
        function: u32,
        /// The type of the reference.
        expected: ValType,
    },
    /// A null where there cannot be one.
    #[error("a null reference is not of type {expected}")]
    Null {
        /// The type of the reference.
        expected: ValType,
    },
    /// An exception to which there is a reference does not exist, or carries values that are not of its tag's types.
    #[error("a reference to exception {number}, which is not one")]
    Exception {
        /// Number in the reference.
        number: u32,
    },
    /// The program is in a host function, and is not.
    #[error("the innermost frame and the pending host call don't go together")]
    HostCall,
    /// The outermost function is not the one that was started.
    #[error("the outermost function is {function}, which was not called from outside")]
    Outermost {
        /// Index of the function.
        function: u32,
    },
    /// The host is at fault.
    #[error(transparent)]
    Host(#[from] ImageError),
}

fn order_problem(frame: usize) -> &'static str {
    match frame {
        0 => "innermost, but calls another one",
        _ => "not innermost, but doesn't call another one",
    }
}
