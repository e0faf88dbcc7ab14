//! Whether what a worker has answered has the form of what a compiler makes.
//!
//! What is checked is what the rest of Gate relies on without looking again: that indices, offsets and distances are within what
//! they refer to, that lists are in order, and that sizes are within limits.

use crate::compiled::{
    Callee, CompiledModule, ExportKind, InitialState, Layout, Maps, ModuleInfo, Safepoint, Trampoline,
};
use crate::options::Limits;
use crate::resumed::{CompiledBase, ResumePoint, ResumeText};
use crate::value::ValType;
use gate_wire::context::{Context, MemoryDesc, TableDesc, memory_desc_distance};
use gate_wire::frames::FRAMES_GUARD;
use gate_wire::trap::TrapId;
use gate_wire::{PAGE_SIZE, WASM_PAGE_SIZE};
use std::collections::BTreeSet;

/// What is wrong.
type Wrong = &'static str;

fn ensure(right: bool, what: Wrong) -> Result<(), Wrong> {
    if right { Ok(()) } else { Err(what) }
}

pub(super) fn check_module(module: &CompiledModule, limits: &Limits) -> Result<(), Wrong> {
    let CompiledModule { text, info, maps } = module;
    let size = text.len() as u64;
    ensure(
        size > 0 && size.is_multiple_of(PAGE_SIZE) && text.len() <= text_limit(limits),
        "size of the text",
    )?;
    check_info(info, size, limits)?;
    check_maps(maps, info, 0..size)?;
    let defined = info.imported_functions..info.functions.len() as u32;
    ensure(maps.functions.iter().map(|map| map.function).eq(defined), "functions of the maps")?;
    let table_size = 8 * (1 + info.functions.len() as u64);
    let anchors = &maps.anchors;
    ensure(u64::from(anchors.function_table) + table_size <= size, "place of the function table")?;
    let within = |offset: &u32| u64::from(*offset) <= size;
    ensure(anchors.data.iter().chain(&anchors.elements).all(within), "place of a segment")
}

pub(super) fn check_resume(
    resume: &ResumeText,
    base: &CompiledBase<'_>,
    points: &BTreeSet<ResumePoint>,
    outermost: &BTreeSet<u32>,
    limits: &Limits,
) -> Result<(), Wrong> {
    let start = base.text.len() as u64;
    let size = resume.text.len() as u64;
    let right = size.is_multiple_of(PAGE_SIZE) && base.text.len() + resume.text.len() <= text_limit(limits);
    ensure(right, "size of the text")?;
    ensure(resume.entries.iter().map(|entry| &entry.point).eq(points), "points")?;
    let table = i64::from(base.maps.anchors.function_table);
    let within = |word: u64| {
        let offset = table.checked_add(word.cast_signed()).and_then(|offset| u64::try_from(offset).ok());
        offset.is_some_and(|offset| (start..start + size).contains(&offset))
    };
    ensure(resume.entries.iter().all(|entry| within(entry.word)), "place of a point")?;
    ensure(resume.trampolines.iter().map(|t| &t.function).eq(outermost), "outermost functions")?;
    check_trampolines(&resume.trampolines, base.info, start..start + size)?;
    ensure(resume.maps.safepoints.is_empty() && resume.maps.signatures.is_empty(), "maps")?;
    check_maps(&resume.maps, base.info, start..start + size)
}

/// Places in the text are numbers of 32 bits with a sign.
fn text_limit(limits: &Limits) -> usize {
    limits.text_size.min(i32::MAX as usize).next_multiple_of(PAGE_SIZE as usize)
}

fn check_info(info: &ModuleInfo, text_size: u64, limits: &Limits) -> Result<(), Wrong> {
    let functions = info.functions.len();
    ensure(functions <= limits.functions as usize, "number of functions")?;
    ensure(info.imported_functions as usize <= functions, "number of imported functions")?;
    ensure(info.start.is_none_or(|start| (start as usize) < functions), "start function")?;
    for export in &info.exports {
        let count = match export.kind {
            ExportKind::Function => functions,
            ExportKind::Table => info.tables.len(),
            ExportKind::Memory => info.memories.len(),
            ExportKind::Global => info.globals.len(),
        };
        ensure((export.index as usize) < count, "index of an export")?;
    }
    check_trampolines(&info.trampolines, info, 0..text_size)?;
    check_layout(info, limits)?;
    check_initial(&info.initial, info)
}

fn check_trampolines(
    trampolines: &[Trampoline],
    info: &ModuleInfo,
    text: std::ops::Range<u64>,
) -> Result<(), Wrong> {
    ensure(trampolines.is_sorted_by(|a, b| a.function < b.function), "order of trampolines")?;
    let right = |t: &Trampoline| {
        (t.function as usize) < info.functions.len() && text.contains(&u64::from(t.text_offset))
    };
    ensure(trampolines.iter().all(right), "trampoline")
}

fn check_layout(info: &ModuleInfo, limits: &Limits) -> Result<(), Wrong> {
    let Layout { instance_size, entry_distance, entry_size } = info.layout;
    ensure(u64::from(instance_size).is_multiple_of(PAGE_SIZE), "size of the instance region")?;
    // Something of a size, at a distance below the context address, is above the region's start and below the context.
    let fixed = size_of::<Context>() as u64;
    let within = |distance: u32, size: u64| {
        distance <= instance_size && u64::from(distance) >= fixed.saturating_add(size)
    };
    ensure(entry_size == 0 || within(entry_distance, entry_size.into()), "entry area")?;
    ensure(info.globals.len() <= limits.globals as usize, "number of globals")?;
    for global in &info.globals {
        ensure(within(global.distance, global.ty.slot_size().into()), "place of a global")?;
    }
    ensure(info.tables.len() <= limits.tables as usize, "number of tables")?;
    for table in &info.tables {
        ensure(table.min <= table.max, "size of a table")?;
        ensure(is_reference(table.ty), "type of a table")?;
        ensure(table.max == 0 || within(table.distance, 4 * u64::from(table.max)), "place of a table")?;
        ensure(within(table.desc_distance, size_of::<TableDesc>() as u64), "descriptor of a table")?;
    }
    ensure(info.memories.len() <= limits.memories as usize, "number of memories")?;
    for (index, memory) in (0..).zip(&info.memories) {
        ensure(memory.max_pages.is_none_or(|max| memory.min_pages <= max), "size of a memory")?;
        let right = u64::from(memory.desc_distance) == memory_desc_distance(index);
        let fits = within(memory.desc_distance, size_of::<MemoryDesc>() as u64);
        ensure(right && fits, "descriptor of a memory")?;
    }
    Ok(())
}

fn is_reference(ty: ValType) -> bool {
    !matches!(ty, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 | ValType::V128)
}

fn check_initial(initial: &InitialState, info: &ModuleInfo) -> Result<(), Wrong> {
    for item in &initial.instance {
        let right = item.distance <= info.layout.instance_size && item.bytes.len() <= item.distance as usize;
        ensure(right, "initial contents of the instance region")?;
    }
    for item in &initial.memory {
        let memory = info.memories.get(item.memory as usize).ok_or("initial contents of a memory")?;
        let size = memory.min_pages.checked_mul(WASM_PAGE_SIZE);
        let end = item.offset.checked_add(item.bytes.len() as u64);
        let right = matches!((size, end), (Some(size), Some(end)) if end <= size);
        ensure(right, "initial contents of a memory")?;
    }
    let trap = initial.trap.as_ref();
    ensure(trap.is_none_or(|trap| TrapId::from_number(trap.trap.into()).is_some()), "initial trap")
}

fn check_maps(maps: &Maps, info: &ModuleInfo, text: std::ops::Range<u64>) -> Result<(), Wrong> {
    let functions = info.functions.len();
    let defined = |function: u32| (function as usize) < functions;
    ensure(maps.functions.is_sorted_by(|a, b| a.text_offset <= b.text_offset), "order of functions")?;
    for function in &maps.functions {
        let start = u64::from(function.text_offset);
        let end = start + u64::from(function.text_size);
        ensure(defined(function.function) && start >= text.start && end <= text.end, "place of a function")?;
    }
    ensure(maps.traps.is_sorted_by(|a, b| a.text_offset <= b.text_offset), "order of traps")?;
    for site in &maps.traps {
        let right = text.contains(&u64::from(site.text_offset));
        ensure(right && TrapId::from_number(site.trap.into()).is_some(), "trap")?;
    }
    ensure(maps.addresses.is_sorted_by(|a, b| a.text_offset <= b.text_offset), "order of addresses")?;
    let within = |offset: u32| (text.start..=text.end).contains(&u64::from(offset));
    ensure(maps.addresses.iter().all(|mapping| within(mapping.text_offset)), "address")?;
    let key = |safepoint: &Safepoint| (safepoint.function, safepoint.code_offset);
    ensure(maps.safepoints.is_sorted_by(|a, b| key(a) < key(b)), "order of safepoints")?;
    for safepoint in &maps.safepoints {
        ensure(defined(safepoint.function), "function of a safepoint")?;
        match safepoint.callee {
            Some(Callee::Function(function)) => ensure(defined(function), "callee")?,
            Some(Callee::Signature(number)) => {
                ensure((number as usize) < maps.signatures.len(), "signature of a callee")?;
            }
            None => {}
        }
        ensure(safepoint.locals.is_sorted_by(|a, b| a.0 < b.0), "order of locals")?;
        let types = safepoint.locals.iter().map(|(_, ty)| ty).chain(&safepoint.operands);
        let size: u64 = types.map(|ty| u64::from(ty.slot_size())).sum();
        ensure(size + 8 <= FRAMES_GUARD, "size of a frame")?;
    }
    Ok(())
}
