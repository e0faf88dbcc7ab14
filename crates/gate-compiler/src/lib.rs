//! Compiles WebAssembly to native text that can stop, and go on elsewhere.
//!
//! [`compile()`] makes a [`CompiledModule`] of a module's bytes: position-independent text, what is needed to make instances,
//! and maps from the text back to the module. [`fingerprint`] identifies everything else that the result depends on.

#![forbid(unsafe_code)]

mod breakpoints;
mod callgraph;
mod codegen;
mod compile;
mod compiled;
mod const_expr;
mod dead;
mod deadline;
mod error;
mod features;
mod function_types;
mod imports;
mod initial;
mod isa;
mod layout;
mod link;
mod listing;
mod liveness;
mod maps;
mod module;
mod options;
mod resume;
mod resumed;
mod stretch;
mod symbol;
mod translate;
mod trap;
mod value;
pub mod worker;

pub use compile::compile;
pub use compiled::*;
pub use error::{CompileError, ErrorKind};
pub use features::{Feature, Features};
pub use function_types::FunctionTypes;
pub use imports::{GateImports, ImportProblem, ImportResolver, WasiImports};
pub use isa::fingerprint;
pub use listing::write_listing;
pub use options::*;
pub use resume::compile_resume;
pub use resumed::*;
pub use value::*;
