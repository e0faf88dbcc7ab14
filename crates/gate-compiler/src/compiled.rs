//! What compilation produces.

use crate::function_types::FunctionTypes;
use crate::value::{FuncType, ValType};
use serde::{Deserialize, Serialize};

/// A compiled module.
///
/// The parts are separate because they are needed at different times: text and [`ModuleInfo`] to start a
/// program, [`Maps`] only to explain or to write down where it stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledModule {
    /// Position-independent machine code, followed by the read-only data that it uses. A multiple of the page
    /// size long. Mapped readable and executable.
    pub text: Vec<u8>,
    /// What is needed to make instances and to start them.
    pub info: ModuleInfo,
    /// Where in the text things are.
    pub maps: Maps,
}

/// What is needed to make instances of a module and to start them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// Types of all functions, imported ones first.
    pub functions: FunctionTypes,
    /// Number of imported functions.
    pub imported_functions: u32,
    /// Names of the imported functions: of their modules, and their own. By index.
    pub imports: Vec<(String, String)>,
    /// Exported items, in the order of the module.
    pub exports: Vec<Export>,
    /// Function which instantiation calls before anything else.
    pub start: Option<u32>,
    /// Trampolines by ascending function index: of the start function and of every exported function.
    pub trampolines: Vec<Trampoline>,
    /// Linear memories.
    pub memories: Vec<MemoryInfo>,
    /// Tables.
    pub tables: Vec<TableInfo>,
    /// Globals.
    pub globals: Vec<GlobalInfo>,
    /// Where things are in the instance region.
    pub layout: Layout,
    /// What a new instance's state contains besides zeros.
    pub initial: InitialState,
}

/// An exported item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ExportKind,
    /// Its index among its kind.
    pub index: u32,
}

/// Kinds of exported items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportKind {
    /// A function.
    Function,
    /// A table.
    Table,
    /// A linear memory.
    Memory,
    /// A global.
    Global,
}

/// Code through which rt calls a function: `extern "sysv64" fn(context)`. It takes the arguments from the entry
/// area and stores the results there, one slot each ([`ValType::slot_size`]), without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trampoline {
    /// Index of the function.
    pub function: u32,
    /// Offset of the trampoline in the text.
    pub text_offset: u32,
}

/// A linear memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryInfo {
    /// Initial size in WebAssembly pages.
    pub min_pages: u64,
    /// Greatest size in WebAssembly pages, if the module declares one.
    pub max_pages: Option<u64>,
    /// Distance of the [`MemoryDesc`](gate_wire::context::MemoryDesc) below the context address.
    pub desc_distance: u32,
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableInfo {
    /// Type of the elements.
    pub ty: ValType,
    /// Initial number of elements.
    pub min: u32,
    /// Greatest number of elements: the declared maximum or the compiler's limit, whichever is less. So much
    /// space is reserved in the instance region.
    pub max: u32,
    /// Distance of the elements (4 bytes each) below the context address.
    pub distance: u32,
    /// Distance of the [`TableDesc`](gate_wire::context::TableDesc) below the context address.
    pub desc_distance: u32,
}

/// A global.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalInfo {
    /// Type of the value.
    pub ty: ValType,
    /// Whether the program may change it.
    pub mutable: bool,
    /// Distance of the slot ([`ValType::slot_size`]) below the context address.
    pub distance: u32,
}

/// Where things are in the instance region. Distances are in bytes below the context address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Size of the instance region, a multiple of the page size.
    pub instance_size: u32,
    /// Distance of the entry area.
    pub entry_distance: u32,
    /// Size of the entry area.
    pub entry_size: u32,
}

/// What a new instance's state contains besides zeros.
///
/// Memory descriptors are not included: they depend on the instance's memory limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialState {
    /// Globals, table descriptors, table elements, segment lengths.
    pub instance: Vec<InstanceBytes>,
    /// Active data segments, in order. Each is within its memory's initial size.
    pub memory: Vec<MemoryBytes>,
    /// Set if instantiation traps in an active segment: those before it are included.
    pub trap: Option<InitialTrap>,
}

/// Bytes in the instance region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceBytes {
    /// Distance below the context address.
    pub distance: u32,
    /// The bytes, upwards from there.
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
}

/// Bytes in a linear memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryBytes {
    /// Index of the memory.
    pub memory: u32,
    /// Offset in the memory.
    pub offset: u64,
    /// The bytes.
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
}

/// An active segment does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialTrap {
    /// Number of the [`TrapId`](gate_wire::trap::TrapId).
    pub trap: u8,
    /// Which segment, with its offset and size.
    pub message: String,
}

/// Where in the text things are. Lists are sorted by their first field, unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maps {
    /// Distinct types of functions, as [`Callee::Signature`] refers to them. In no particular order.
    pub signatures: Vec<FuncType>,
    /// Functions that the module defines.
    pub functions: Vec<FunctionMap>,
    /// Instructions that trap, and how.
    pub traps: Vec<TrapSite>,
    /// From text offsets to code offsets: each entry holds from its text offset on.
    pub addresses: Vec<AddressMapping>,
    /// Where the program can stop, by ascending function and code offset.
    pub safepoints: Vec<Safepoint>,
    /// What text that is appended refers to.
    pub anchors: Anchors,
}

impl Maps {
    /// The safepoint of a function at a code offset.
    pub fn safepoint(&self, function: u32, code_offset: u32) -> Option<&Safepoint> {
        let key = (function, code_offset);
        let index = self
            .safepoints
            .binary_search_by_key(&key, |safepoint| (safepoint.function, safepoint.code_offset));
        index.ok().map(|index| &self.safepoints[index])
    }
}

/// What text that is appended refers to, by offset in the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchors {
    /// The function table: eight bytes for null and then for each function, imported ones first. The second half of them is
    /// the function's distance from the table (`i32`).
    pub function_table: u32,
    /// Bytes of data segments, by index. Only those of passive segments exist.
    pub data: Vec<u32>,
    /// Items of element segments, by index. Only those of passive segments exist.
    pub elements: Vec<u32>,
}

/// Code of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionMap {
    /// Start in the text.
    pub text_offset: u32,
    /// Size in the text.
    pub text_size: u32,
    /// Index of the function.
    pub function: u32,
    /// Start of the function's body in the module.
    pub code_offset: u32,
    /// Size of its stack frame, in bytes.
    pub frame_size: u32,
    /// Whether the program can stop while the function has been called.
    pub can_stop: bool,
    /// Whether the function's entry is a safepoint.
    pub entry_check: bool,
    /// Greatest number of instructions that a call executes before there is a check.
    pub unchecked_instructions: u32,
    /// Name from the module's name section, else its first export name.
    pub name: Option<String>,
}

/// An instruction that traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrapSite {
    /// Its offset in the text.
    pub text_offset: u32,
    /// Number of the [`TrapId`](gate_wire::trap::TrapId).
    pub trap: u8,
}

/// Which instruction of the module some text was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressMapping {
    /// Offset in the text.
    pub text_offset: u32,
    /// Offset of the instruction in the module, or [`AddressMapping::NONE`].
    pub code_offset: u32,
}

impl AddressMapping {
    /// No instruction in particular.
    pub const NONE: u32 = u32::MAX;
}

/// A place where a program can stop, and what a frame that stopped there consists of.
///
/// A dumped frame is the function index and the code offset (`u32` each), and then one slot
/// ([`ValType::slot_size`]) for each live local, ascending, and for each operand, bottom first. No frame is larger than
/// [`FRAMES_GUARD`](gate_wire::frames::FRAMES_GUARD).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Safepoint {
    /// Index of the function.
    pub function: u32,
    /// Offset of the instruction in the module. A function has only one safepoint with the same offset: a breakpoint at
    /// a call instruction has the offset of that instruction's second byte.
    pub code_offset: u32,
    /// What the program was about to do.
    pub kind: SafepointKind,
    /// What is called, if the kind is [`SafepointKind::Call`].
    pub callee: Option<Callee>,
    /// Indices and types of the live locals.
    pub locals: Vec<(u32, ValType)>,
    /// Types of the operands.
    pub operands: Vec<ValType>,
}

/// What the program does when it goes on at a safepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SafepointKind {
    /// The function is called. The code offset is that of the body (zero for imported functions).
    Entry,
    /// Control is at the header of the loop; the operands include the loop's parameters.
    Loop,
    /// The call's frame is the next inner one. The operands are those below its arguments.
    Call,
    /// The instruction is executed (again). The operands include its own. If it is a call, the code offset is that of its second
    /// byte.
    Instruction,
    /// The instruction, at which there is a breakpoint, is executed. The operands include its own.
    ///
    /// A breakpoint at an instruction that has a safepoint with the same meaning is not one by itself: `loop`, and bulk
    /// operations.
    Breakpoint,
}

/// What a call instruction calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Callee {
    /// A function, by index.
    Function(u32),
    /// Any function of a type, by index in [`Maps::signatures`].
    Signature(u32),
}

mod bytes {
    //! Byte vectors as one run, not as a sequence of numbers.
    use serde::{Deserializer, Serializer, de};
    use std::fmt;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}
