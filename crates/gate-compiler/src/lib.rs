//! Compiles WebAssembly to native text that can stop, and go on elsewhere.

#![forbid(unsafe_code)]

mod compiled;
mod imports;
mod options;
mod value;

pub use compiled::*;
pub use imports::*;
pub use options::*;
pub use value::*;
