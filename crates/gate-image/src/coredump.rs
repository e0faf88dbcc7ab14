//! Core dumps for debuggers.
//!
//! The format is that of WebAssembly's [tool conventions]: a module with the custom sections `core`, `coremodules`,
//! `coreinstances` and `corestack`, and with memories, globals and data as they were. It has one module, one
//! instance of it, and one thread, `main`. Frames are listed from the innermost to the outermost.
//!
//! The format has no values of the types `v128`, `funcref` and `externref`: as locals and operands they are
//! written as missing, and so are locals that the program would not have read any more. Globals of those types are
//! proper ones, but for references, which are null since the functions are not there.
//!
//! [tool conventions]: https://github.com/WebAssembly/tool-conventions/blob/main/Coredump.md

mod instance;
mod memory;
mod stack;

pub use instance::InstanceDumpError;

use crate::memory::{GuestMemory, MemoryError};
use gate_compiler::{ValType, Value};
use gate_wire::WASM_PAGE_SIZE;
use std::io::{self, Write};
use std::ops::Range;
use wasm_encoder::{ConstExpr, CoreDumpInstancesSection, CoreDumpModulesSection, CoreDumpSection, Section};

/// What a core dump tells.
#[derive(Clone, Copy, Debug)]
pub struct CoreDump<'a> {
    /// Name of the module: usually the file's.
    pub name: &'a str,
    /// Functions on the stack, the innermost first.
    pub frames: &'a [CoreFrame],
    /// All globals, and whether they are mutable.
    pub globals: &'a [(Value, bool)],
    /// All linear memories.
    pub memories: &'a [CoreMemory<'a>],
}

/// A function on the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreFrame {
    /// Index of the function.
    pub function: u32,
    /// Where in the function's body it was, in bytes.
    pub body_offset: u32,
    /// Indices and values of the locals that were live, ascending.
    pub locals: Vec<(u32, Value)>,
    /// The operands, bottom first.
    pub operands: Vec<Value>,
}

/// A linear memory.
#[derive(Clone, Copy)]
pub struct CoreMemory<'a> {
    /// Size in bytes: whole WebAssembly pages.
    pub size: u64,
    /// Greatest size in WebAssembly pages, if the module declares one.
    pub max_pages: Option<u64>,
    /// Whether addresses are 64-bit.
    pub memory64: bool,
    /// What is in it. Must not change meanwhile: it is read twice.
    pub contents: &'a dyn MemoryContents,
}

/// Contents of a linear memory.
pub trait MemoryContents {
    /// The parts which may be something else than zeros, ascending.
    fn extents(&self) -> io::Result<Vec<Range<u64>>>;

    /// Copies from the memory.
    fn read(&self, addr: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl MemoryContents for GuestMemory {
    fn extents(&self) -> io::Result<Vec<Range<u64>>> {
        GuestMemory::extents(self)
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> io::Result<()> {
        GuestMemory::read(self, addr, buf).map_err(|err| match err {
            MemoryError::Host(err) => err,
            err => io::Error::other(err),
        })
    }
}

/// Why a core dump could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreDumpError {
    /// A section would be larger than WebAssembly allows.
    #[error(
        "the {section} section of the core dump would have {size} bytes, but may have {} at most",
        u32::MAX
    )]
    TooLarge {
        /// Name of the section.
        section: &'static str,
        /// Size in bytes.
        size: u64,
    },
    /// The memory cannot be read.
    #[error("read the program's memory: {0}")]
    Read(io::Error),
    /// The core dump cannot be written.
    #[error("write the core dump: {0}")]
    Write(io::Error),
}

impl CoreDump<'_> {
    /// Writes the core dump. Memory is read in small pieces, and parts that are zero are left out.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), CoreDumpError> {
        let mut head = wasm_encoder::Module::HEADER.to_vec();
        CoreDumpSection::new(self.name).append_to(&mut head);
        CoreDumpModulesSection::new().module(self.name).append_to(&mut head);
        let memories = 0..self.memories.len() as u32;
        let globals = 0..self.globals.len() as u32;
        CoreDumpInstancesSection::new()
            .instance(0, memories.collect::<Vec<_>>(), globals.collect::<Vec<_>>())
            .append_to(&mut head);
        out.write_all(&head).map_err(CoreDumpError::Write)?;

        stack::write(self.frames, out)?;

        let mut declarations = Vec::new();
        self.declare_memories().append_to(&mut declarations);
        self.declare_globals().append_to(&mut declarations);
        out.write_all(&declarations).map_err(CoreDumpError::Write)?;

        memory::write(self.memories, out)?;
        out.flush().map_err(CoreDumpError::Write)
    }

    fn declare_memories(&self) -> wasm_encoder::MemorySection {
        let mut section = wasm_encoder::MemorySection::new();
        for memory in self.memories {
            let minimum = memory.size / WASM_PAGE_SIZE;
            section.memory(wasm_encoder::MemoryType {
                minimum,
                maximum: memory.max_pages.map(|max| max.max(minimum)),
                memory64: memory.memory64,
                shared: false,
                page_size_log2: None,
            });
        }
        section
    }

    fn declare_globals(&self) -> wasm_encoder::GlobalSection {
        let mut section = wasm_encoder::GlobalSection::new();
        for &(value, mutable) in self.globals {
            let ty = wasm_encoder::GlobalType { val_type: val_type(value.ty()), mutable, shared: false };
            section.global(ty, &constant(value));
        }
        section
    }
}

impl CoreDumpError {
    /// Checks that a section is not too large.
    fn check_size(section: &'static str, size: u64) -> Result<u32, Self> {
        u32::try_from(size).map_err(|_| Self::TooLarge { section, size })
    }
}

impl std::fmt::Debug for CoreMemory<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CoreMemory")
            .field("size", &self.size)
            .field("max_pages", &self.max_pages)
            .finish_non_exhaustive()
    }
}

fn val_type(ty: ValType) -> wasm_encoder::ValType {
    match ty.general() {
        ValType::I32 => wasm_encoder::ValType::I32,
        ValType::I64 => wasm_encoder::ValType::I64,
        ValType::F32 => wasm_encoder::ValType::F32,
        ValType::F64 => wasm_encoder::ValType::F64,
        ValType::V128 => wasm_encoder::ValType::V128,
        ValType::FuncRef => wasm_encoder::ValType::FUNCREF,
        ValType::ExternRef => wasm_encoder::ValType::EXTERNREF,
        ValType::ExnRef | ValType::Ref(_) => wasm_encoder::ValType::EXNREF,
    }
}

fn constant(value: Value) -> ConstExpr {
    match value {
        Value::I32(v) => ConstExpr::i32_const(v),
        Value::I64(v) => ConstExpr::i64_const(v),
        Value::F32(bits) => ConstExpr::f32_const(wasm_encoder::Ieee32::new(bits)),
        Value::F64(bits) => ConstExpr::f64_const(wasm_encoder::Ieee64::new(bits)),
        Value::V128(v) => ConstExpr::v128_const(v as i128),
        Value::FuncRef(_) => ConstExpr::ref_null(wasm_encoder::HeapType::FUNC),
        Value::ExternRef(_) => ConstExpr::ref_null(wasm_encoder::HeapType::EXTERN),
        Value::ExnRef(_) => ConstExpr::ref_null(wasm_encoder::HeapType::Abstract {
            shared: false,
            ty: wasm_encoder::AbstractHeapType::Exn,
        }),
    }
}
