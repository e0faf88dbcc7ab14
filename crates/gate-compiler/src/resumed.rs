//! What compilation of text that goes on with stopped programs takes and produces.

use crate::compiled::{Maps, ModuleInfo, Trampoline};
use serde::{Deserialize, Serialize};

/// A compiled module that a program was stopped in, or that is equivalent to it.
#[derive(Clone, Copy, Debug)]
pub struct CompiledBase<'a> {
    /// [`CompiledModule::text`](crate::CompiledModule::text).
    pub text: &'a [u8],
    /// [`CompiledModule::info`](crate::CompiledModule::info).
    pub info: &'a ModuleInfo,
    /// [`CompiledModule::maps`](crate::CompiledModule::maps).
    pub maps: &'a Maps,
}

/// Where a frame goes on: a safepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResumePoint {
    /// Index of the function.
    pub function: u32,
    /// [`Safepoint::code_offset`](crate::Safepoint::code_offset).
    pub code_offset: u32,
}

/// Text with which stopped programs go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeText {
    /// Goes directly behind the module's text. A multiple of the page size long.
    pub text: Vec<u8>,
    /// The points, ascending.
    pub entries: Vec<ResumeEntry>,
    /// By ascending index of the outermost function: code through which rt goes on with it, called like ordinary
    /// [`Trampoline`]s. It takes no arguments but frames.
    pub trampolines: Vec<Trampoline>,
    /// Functions, traps and addresses of this text, to be appended to those of the module. Offsets are from the start of
    /// the module's text.
    pub maps: Maps,
}

/// How to go on at a safepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeEntry {
    /// The safepoint.
    pub point: ResumePoint,
    /// What identifies it in a [frames file](gate_wire::frames).
    pub word: u64,
}
