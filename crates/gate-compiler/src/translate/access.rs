//! Which accesses can touch the same bytes, and which can trap.

use crate::trap;
use cranelift_codegen::ir::{AliasRegionData, Endianness, Function, MemFlagsData};
use gate_wire::trap::TrapId;

/// Flags of loads and stores, by what is accessed.
///
/// Each kind is a region of its own to alias analysis. A call is a barrier to all of them, so nothing read before a
/// check or a call is taken for current after it: rt may have stopped and resumed the program meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Access {
    /// The context, descriptors and segment lengths.
    pub(super) context: MemFlagsData,
    pub(super) globals: MemFlagsData,
    /// Table elements. Their bounds have been checked.
    pub(super) tables: MemFlagsData,
    /// The function table. Never written.
    pub(super) function_table: MemFlagsData,
    /// Frames being written down or read.
    pub(super) frames: MemFlagsData,
    /// Arguments of rt functions and entries.
    pub(super) arguments: MemFlagsData,
    /// Operands that are kept in memory. See [`resume`](super::resume).
    pub(super) operands: MemFlagsData,
    /// Linear memory 0.
    memory: MemFlagsData,
}

/// Number of the region of linear memory 0; others follow.
const MEMORIES: u32 = 16;

impl Access {
    pub(super) fn new(func: &mut Function) -> Self {
        let mut region =
            |number, name| MemFlagsData::trusted().with_alias_region(Some(insert(func, number, name)));
        let context = region(0, "context");
        let globals = region(1, "globals");
        let tables = region(2, "tables");
        let function_table = region(3, "function table").with_readonly();
        // Frames end where the previous one did.
        let frames = MemFlagsData::new().with_notrap().with_alias_region(region(4, "frames").alias_region());
        let arguments =
            MemFlagsData::new().with_notrap().with_alias_region(region(5, "arguments").alias_region());
        let operands =
            MemFlagsData::new().with_notrap().with_alias_region(region(6, "operands").alias_region());
        let memory = memory_flags(func, 0);
        Self { context, globals, tables, function_table, frames, arguments, operands, memory }
    }

    /// A linear memory. Accesses beyond its end trap by hitting inaccessible address space.
    pub(super) fn memory(&self, func: &mut Function, memory: u32) -> MemFlagsData {
        if memory == 0 { self.memory } else { memory_flags(func, memory) }
    }
}

fn memory_flags(func: &mut Function, memory: u32) -> MemFlagsData {
    MemFlagsData::new()
        .with_trap_code(Some(trap::code(TrapId::MemoryAccessOutOfBounds)))
        .with_endianness(Endianness::Little)
        .with_alias_region(Some(insert(func, MEMORIES + memory, "linear memory")))
}

fn insert(
    func: &mut Function,
    user_id: u32,
    description: &'static str,
) -> cranelift_codegen::ir::AliasRegion {
    func.dfg.alias_regions.insert(AliasRegionData { user_id, description: description.into() })
}
