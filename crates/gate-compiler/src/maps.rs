//! Collects where in the text things are.

use crate::callgraph::CallGraph;
use crate::compiled::{AddressMapping, Anchors, ExportKind, FunctionMap, Maps, Safepoint, TrapSite};
use crate::link::{Linked, LinkedFunction};
use crate::module::Module;
use std::collections::HashMap;

/// Maps of a linked module.
pub(crate) fn maps(module: &Module<'_>, graph: &CallGraph, linked: &Linked, anchors: Anchors) -> Maps {
    let mut exports = HashMap::new();
    for export in module.exports.iter().filter(|export| export.kind == ExportKind::Function) {
        exports.entry(export.index).or_insert(&export.name);
    }

    let mut maps = Maps { signatures: module.distinct_types(), anchors, ..Maps::default() };
    for (index, function) in (0..).zip(&linked.functions) {
        if index >= module.imported_functions() {
            let name = module.names.get(&index).or_else(|| exports.get(&index).copied()).cloned();
            maps.functions.push(FunctionMap {
                text_offset: function.text_offset,
                text_size: function.text_size,
                function: index,
                code_offset: module.body(index).body.range().start as u32,
                frame_size: function.frame_size,
                can_stop: graph.reaches_safepoint(index),
                entry_check: graph.needs_entry_check(index),
                unchecked_instructions: graph.unchecked_instructions(index),
                name,
            });
        }
        add_code(&mut maps, function);
        let mut safepoints = function.safepoints.clone();
        safepoints.sort_by_key(|safepoint| safepoint.code_offset);
        maps.safepoints.extend(safepoints);
    }
    maps
}

/// Additional maps of the linked bodies with which functions go on. `base` are those of the module.
pub(crate) fn resume_maps(base: &Maps, imported: u32, points: &[&Safepoint], linked: &Linked) -> Maps {
    let mut maps = Maps::default();
    for (point, function) in points.iter().zip(&linked.functions) {
        let index = point.function.checked_sub(imported);
        maps.functions.extend(index.and_then(|index| base.functions.get(index as usize)).map(|original| {
            FunctionMap {
                text_offset: function.text_offset,
                text_size: function.text_size,
                frame_size: function.frame_size,
                ..original.clone()
            }
        }));
        add_code(&mut maps, function);
    }
    maps
}

/// Adds a function's traps and addresses.
fn add_code(maps: &mut Maps, function: &LinkedFunction) {
    let start = function.text_offset;
    let traps = function.traps.iter();
    maps.traps.extend(traps.map(|&(offset, trap)| TrapSite { text_offset: start + offset, trap }));
    add_addresses(&mut maps.addresses, start, &function.addresses);
}

/// Adds a function's address ranges, merging what comes from one instruction, and marking what comes from none.
fn add_addresses(addresses: &mut Vec<AddressMapping>, start: u32, ranges: &[(u32, u32, u32)]) {
    let mut push = |text_offset, code_offset| {
        if addresses.last().is_none_or(|last| last.code_offset != code_offset) {
            addresses.push(AddressMapping { text_offset, code_offset });
        }
    };
    push(start, AddressMapping::NONE);
    let mut end = start;
    for &(from, to, code_offset) in ranges {
        if start + from > end {
            push(end, AddressMapping::NONE);
        }
        push(start + from, code_offset);
        end = start + to;
    }
    push(end, AddressMapping::NONE);
}
