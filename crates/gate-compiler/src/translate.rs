//! Translates functions to Cranelift's intermediate representation.
//!
//! | module | what it translates |
//! |---|---|
//! | [`mod@function`] | a function body: operators to the modules below |
//! | [`control`] | blocks, loops, branches |
//! | [`unroll`] | small loops, several times |
//! | [`call`] | direct and indirect calls |
//! | [`variable`] | locals and globals |
//! | [`memory`], [`table`] | accesses |
//! | [`bulk`] | operations on many bytes or elements, which can stop half-way |
//! | [`numeric`], [`simd`] | what has no effect besides its result |
//! | [`safepoint`] | checks, and the writing down of frames |
//! | [`frame`] | what is written down at which safepoint; breakpoints |
//! | [`resume`] | the way in at a safepoint, and the reading of frames |
//! | [`mod@thunk`] | functions that are imported |
//! | [`mod@trampoline`] | entries from rt |

mod access;
mod bulk;
mod call;
mod control;
mod emit;
mod frame;
mod function;
mod memory;
mod numeric;
mod resume;
mod safepoint;
mod signature;
mod simd;
mod table;
mod thunk;
mod trampoline;
mod unroll;
mod variable;

pub(crate) use function::{Entrance, translate as function};
pub(crate) use thunk::{ThunkEntrance, translate as thunk};
pub(crate) use trampoline::{resume_trampoline, trampoline};

use crate::breakpoints::Breakpoints;
use crate::callgraph::CallGraph;
use crate::deadline::Deadline;
use crate::layout::InstanceLayout;
use crate::module::Module;

/// What all functions of a module have in common.
pub(crate) struct Env<'a> {
    pub(crate) module: &'a Module<'a>,
    pub(crate) layout: &'a InstanceLayout,
    pub(crate) graph: &'a CallGraph,
    pub(crate) breakpoints: Breakpoints<'a>,
    pub(crate) deadline: Deadline,
}
