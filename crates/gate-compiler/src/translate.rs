//! Translates functions to Cranelift's intermediate representation.
//!
//! | module | what it translates |
//! |---|---|
//! | [`mod@function`] | a function body: operators to the modules below |
//! | [`control`] | blocks, loops, branches |
//! | [`unroll`] | small loops, several times |
//! | [`call`] | direct and indirect calls |
//! | [`tail_call`] | calls that take the caller's place |
//! | [`exception`], [`legacy`] | throwing and catching exceptions, in both encodings |
//! | [`reference`] | typed references |
//! | [`variable`] | locals and globals |
//! | [`memory`], [`table`] | accesses |
//! | [`memory64`] | bounds of accesses with 64-bit addresses |
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
mod dump;
mod emit;
mod exception;
mod frame;
mod function;
mod legacy;
mod memory;
mod memory64;
mod numeric;
mod reference;
mod resume;
mod safepoint;
mod signature;
mod simd;
mod table;
mod tail_call;
mod thunk;
mod trampoline;
mod unroll;
mod variable;

pub(crate) use function::{Entrance, Translated, translate as function};
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
