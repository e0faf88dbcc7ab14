//! How to compile, and how much of what.

use crate::worker::Worker;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// How to compile.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Options {
    /// How much effort to spend.
    pub opt_level: OptLevel,
    /// Which machine to compile for.
    pub target: Target,
    /// Largest module that is accepted.
    pub limits: Limits,
    /// Number of threads; `None` for one per processor.
    pub threads: Option<usize>,
    /// Features beyond WebAssembly 2.0.
    pub features: Features,
    /// Where programs stop whenever they get there: offsets of instructions in the module. A program that has stopped at
    /// one can only go on with text that has it, too.
    pub breakpoints: BTreeSet<u32>,
    /// Longest time that a compilation may take. What takes longer is refused, between two functions, or at once if a worker
    /// does it.
    pub timeout: Option<Duration>,
    /// Process that compiles instead of the caller's.
    #[serde(skip)]
    pub worker: Option<Worker>,
}

/// Which machine to compile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Target {
    /// The one that this is, with all that its processor can.
    #[default]
    Host,
    /// Any of the x86-64 architecture, from its second level (x86-64-v2) on.
    X86_64,
    /// Any of the AArch64 architecture.
    Aarch64,
}

/// How much effort to spend on the speed of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum OptLevel {
    /// As little as possible.
    None,
    /// As much as makes programs faster.
    #[default]
    Speed,
}

/// Features beyond WebAssembly 2.0 and extended constant expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Features {
    /// More than one linear memory.
    pub multi_memory: bool,
    /// Constant expressions that read any earlier immutable global, not only imported ones.
    pub const_globals: bool,
}

/// Largest module that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Size of the module, in bytes.
    pub module_size: usize,
    /// Number of functions, imported ones included.
    pub functions: u32,
    /// Size of a function's body, in bytes.
    pub function_size: u32,
    /// Number of a function's locals, parameters included.
    pub locals: u32,
    /// Number of globals.
    pub globals: u32,
    /// Number of tables.
    pub tables: u32,
    /// Number of elements of a table. A table that declares no maximum gets this one.
    pub table_elements: u32,
    /// Number of linear memories.
    pub memories: u32,
    /// Size of the text, in bytes.
    pub text_size: usize,
}

impl Default for Limits {
    /// What engines of the web accept, for what there is in real programs.
    fn default() -> Self {
        Self {
            module_size: 1 << 30,
            functions: 1_000_000,
            function_size: 7_654_321,
            locals: 50_000,
            globals: 1_000_000,
            tables: 100,
            table_elements: 10_000_000,
            memories: 100,
            text_size: 1 << 30,
        }
    }
}
