//! Computes what a new instance's state contains.

use crate::compiled::{ExceptionsInfo, InitialState, InitialTrap, InstanceBytes, MemoryBytes};
use crate::layout::InstanceLayout;
use crate::module::{Module, SegmentMode};
use gate_wire::WASM_PAGE_SIZE;
use gate_wire::context::ExceptionDesc;
use gate_wire::trap::TrapId;

/// Computes what a new instance's state contains besides zeros.
pub(crate) fn initial_state(module: &Module<'_>, layout: &InstanceLayout) -> InitialState {
    let mut state = InitialState::default();

    for (global, info) in module.globals.iter().zip(&layout.globals) {
        let bits = global.initial.bits();
        if bits != 0 {
            let bytes = bits.to_le_bytes()[..info.ty.slot_size() as usize].to_vec();
            state.instance.push(InstanceBytes { distance: info.distance, bytes });
        }
    }
    for table in &layout.tables {
        // A `TableDesc`.
        let mut bytes = u64::from(table.distance).to_le_bytes().to_vec();
        bytes.extend(table.min.to_le_bytes());
        bytes.extend(table.max.to_le_bytes());
        state.instance.push(InstanceBytes { distance: table.desc_distance, bytes });
    }
    for (table, info) in module.tables.iter().zip(&layout.tables).filter(|(table, _)| table.initial != 0) {
        let bytes = table.initial.to_le_bytes().repeat(table.min as usize);
        state.instance.push(InstanceBytes { distance: info.distance, bytes });
    }
    if let Some(info) = &layout.exceptions {
        state.instance.push(exception_desc(info, layout));
    }
    let data = module.data.iter().map(|segment| segment.bytes.len());
    let elements = module.elements.iter().map(|segment| segment.items.len());
    let data = layout.data_lengths.iter().zip(data);
    let elements = layout.element_lengths.iter().zip(elements);
    for (&distance, length) in data.chain(elements) {
        if let Some(distance) = distance {
            state.instance.push(InstanceBytes { distance, bytes: (length as u32).to_le_bytes().to_vec() });
        }
    }
    state.trap = active_segments(module, layout, &mut state).err();
    state
}

/// An [`ExceptionDesc`](gate_wire::context::ExceptionDesc).
fn exception_desc(info: &ExceptionsInfo, layout: &InstanceLayout) -> InstanceBytes {
    let lowest = layout.globals.iter().map(|global| global.distance).max().unwrap_or(0);
    let ends = layout.globals.iter().map(|global| global.distance - global.ty.slot_size());
    let globals_size = lowest - ends.min().unwrap_or(0);
    let table_descs = layout.tables.first().map_or(0, |table| table.desc_distance);
    let mut bytes = u64::from(info.distance).to_le_bytes().to_vec();
    for field in [info.record_size, info.capacity, 0, 0, 0, layout.tables.len() as u32] {
        bytes.extend(field.to_le_bytes());
    }
    for field in [table_descs, lowest, globals_size, layout.region.instance_size] {
        bytes.extend(u64::from(field).to_le_bytes());
    }
    debug_assert_eq!(bytes.len(), size_of::<ExceptionDesc>());
    InstanceBytes { distance: info.desc_distance, bytes }
}

/// Does what instantiation does with active segments, up to the first that traps.
fn active_segments(
    module: &Module<'_>,
    layout: &InstanceLayout,
    state: &mut InitialState,
) -> Result<(), InitialTrap> {
    for segment in &module.elements {
        let SegmentMode::Active { target, offset } = segment.mode else { continue };
        let table = &layout.tables[target as usize];
        let end = offset.checked_add(segment.items.len() as u64);
        if end.is_none_or(|end| end > u64::from(table.min)) {
            let end = end.unwrap_or(u64::MAX);
            let message = format!(
                "element segment at offset {:#x}: elements {offset}..{end} of table {target} exceed its size of {}",
                segment.offset, table.min
            );
            return Err(InitialTrap { trap: TrapId::TableAccessOutOfBounds as u8, message });
        }
        if !segment.items.is_empty() {
            let bytes = segment.items.iter().flat_map(|item| item.to_le_bytes()).collect();
            state.instance.push(InstanceBytes { distance: table.distance - 4 * offset as u32, bytes });
        }
    }
    for segment in &module.data {
        let SegmentMode::Active { target, offset } = segment.mode else { continue };
        let size = layout.memories[target as usize].min_pages * WASM_PAGE_SIZE;
        let end = offset.checked_add(segment.bytes.len() as u64);
        if end.is_none_or(|end| end > size) {
            let end = end.unwrap_or(u64::MAX);
            let message = format!(
                "data segment at offset {:#x}: bytes {offset:#x}..{end:#x} of memory {target} exceed its size of {size:#x}",
                segment.offset
            );
            return Err(InitialTrap { trap: TrapId::MemoryAccessOutOfBounds as u8, message });
        }
        if !segment.bytes.is_empty() {
            let bytes = segment.bytes.to_vec();
            state.memory.push(MemoryBytes { memory: target, offset, bytes });
        }
    }
    Ok(())
}
