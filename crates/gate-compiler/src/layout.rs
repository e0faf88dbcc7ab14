//! Decides where things are in the instance region.
//!
//! From the context address down: the context, descriptors of memories (which rt has to find), globals, descriptors of
//! tables, lengths of passive segments, the entry area, exceptions, and tables.

use crate::compiled::{ExceptionsInfo, GlobalInfo, Layout, MemoryInfo, TableInfo};
use crate::error::CompileError;
use crate::module::{Module, SegmentMode};
use crate::value::ValType;
use gate_wire::PAGE_SIZE;
use gate_wire::context::{
    ExceptionDesc, ExceptionHead, MAX_EXCEPTIONS, MAX_EXCEPTIONS_SIZE, MIN_EXCEPTIONS, TableDesc,
    memory_desc_distance,
};

/// Where everything is. Distances are in bytes below the context address.
pub(crate) struct InstanceLayout {
    pub(crate) memories: Vec<MemoryInfo>,
    pub(crate) tables: Vec<TableInfo>,
    pub(crate) globals: Vec<GlobalInfo>,
    /// Distances of the current lengths (`u32`) of the data segments that are passive.
    pub(crate) data_lengths: Vec<Option<u32>>,
    /// Distances of the current lengths (`u32`) of the element segments that are passive.
    pub(crate) element_lengths: Vec<Option<u32>>,
    pub(crate) exceptions: Option<ExceptionsInfo>,
    pub(crate) region: Layout,
}

/// Compiled code addresses everything by a signed 32-bit displacement. What is not given to tables
/// is enough for a million of anything else.
const MAX_INSTANCE_SIZE: u64 = i32::MAX as u64 + 1 - (64 << 20);

impl InstanceLayout {
    pub(crate) fn new(module: &Module<'_>) -> Result<Self, CompileError> {
        let memories: Vec<_> = (0..)
            .zip(&module.memories)
            .map(|(index, memory)| MemoryInfo {
                min_pages: memory.min_pages,
                max_pages: memory.max_pages,
                memory64: memory.memory64,
                desc_distance: memory_desc_distance(index) as u32,
            })
            .collect();
        // There is always a descriptor of memory 0.
        let last = module.memories.len().saturating_sub(1) as u32;
        let mut space = Space { top: memory_desc_distance(last) };

        let globals = module
            .globals
            .iter()
            .map(|global| {
                let size = u64::from(global.ty.slot_size());
                GlobalInfo { ty: global.ty, mutable: global.mutable, distance: space.take(size, size) }
            })
            .collect();
        let table_descs: Vec<_> =
            module.tables.iter().map(|_| space.take(size_of::<TableDesc>() as u64, 16)).collect();
        let mut length = |mode: &SegmentMode| matches!(mode, SegmentMode::Passive).then(|| space.take(4, 4));
        let data_lengths = module.data.iter().map(|segment| length(&segment.mode)).collect();
        let element_lengths = module.elements.iter().map(|segment| length(&segment.mode)).collect();

        let entry_size = entry_size(module);
        let entry_distance = space.take(u64::from(entry_size), 16);

        let exceptions = (!module.tags.is_empty()).then(|| exceptions(module, &mut space));

        let maxima = table_maxima(module)?;
        let tables = module
            .tables
            .iter()
            .zip(maxima)
            .zip(table_descs)
            .map(|((table, max), desc_distance)| TableInfo {
                ty: table.ty,
                initial: table.initial,
                min: table.min,
                max,
                table64: table.table64,
                distance: space.take(4 * u64::from(max), 64),
                desc_distance,
            })
            .collect();

        let instance_size = space.take(0, PAGE_SIZE);
        let region = Layout { instance_size, entry_distance, entry_size };
        Ok(Self { memories, tables, globals, data_lengths, element_lengths, exceptions, region })
    }
}

/// Space taken so far, from the context address down.
struct Space {
    top: u64,
}

impl Space {
    /// Takes some more, and returns its distance, which is a multiple of `align`.
    fn take(&mut self, size: u64, align: u64) -> u32 {
        self.top = (self.top + size).next_multiple_of(align);
        u32::try_from(self.top).expect("tables are bounded, and the number of everything else")
    }
}

/// Takes space for exceptions. Programs that are moved rely on the number of records: it must never become less.
fn exceptions(module: &Module<'_>, space: &mut Space) -> ExceptionsInfo {
    let sizes = (0..module.tags.len() as u32)
        .map(|tag| module.tag_values(tag).iter().map(|ty| ty.slot_size()).sum::<u32>());
    let record_size = size_of::<ExceptionHead>() as u32 + sizes.max().unwrap_or(0);
    let fitting = MAX_EXCEPTIONS_SIZE / u64::from(record_size);
    let capacity = fitting.clamp(MIN_EXCEPTIONS.into(), MAX_EXCEPTIONS.into()) as u32;
    let desc_distance = space.take(size_of::<ExceptionDesc>() as u64, 16);
    let distance = space.take(u64::from(record_size) * u64::from(capacity), 16);
    let tags = module.tags.iter().map(|&ty| module.signatures[ty as usize]).collect();
    ExceptionsInfo { tags, desc_distance, distance, record_size, capacity }
}

/// Space that an entry's arguments or results take, whichever are more.
fn entry_size(module: &Module<'_>) -> u32 {
    let size = |types: &[ValType]| types.iter().map(|ty| ty.slot_size()).sum();
    entry_functions(module)
        .into_iter()
        .map(|function| {
            let ty = module.function_type(function);
            u32::max(size(&ty.params), size(&ty.results))
        })
        .max()
        .unwrap_or(0)
}

/// The start function and every exported function, by ascending index.
pub(crate) fn entry_functions(module: &Module<'_>) -> Vec<u32> {
    use crate::compiled::ExportKind;
    let exported = module.exports.iter().filter(|export| export.kind == ExportKind::Function);
    let mut functions: Vec<_> = exported.map(|export| export.index).chain(module.start).collect();
    functions.sort_unstable();
    functions.dedup();
    functions
}

/// How far each table can grow: as far as declared if there is room for that, else they share the room.
fn table_maxima(module: &Module<'_>) -> Result<Vec<u32>, CompileError> {
    let room = MAX_INSTANCE_SIZE / 4;
    let sum = |bound: u64| -> u64 {
        module.tables.iter().map(|table| u64::from(table.max).min(bound).max(table.min.into()) + 16).sum()
    };
    let mut bound = u64::from(u32::MAX);
    while sum(bound) > room {
        bound /= 2;
        if bound == 0 {
            return Err(CompileError::limit(None, "number of elements of all tables", sum(0), room));
        }
    }
    Ok(module
        .tables
        .iter()
        .map(|table| u32::max(table.min, u64::min(table.max.into(), bound) as u32))
        .collect())
}
