//! Collects where in the text things are.

use crate::compiled::{AddressMapping, ExportKind, FunctionMap, Maps, TrapSite};
use crate::link::Linked;
use crate::module::Module;
use std::collections::HashMap;

/// Maps of a linked module.
pub(crate) fn maps(module: &Module<'_>, linked: &Linked) -> Maps {
    let mut exports = HashMap::new();
    for export in module.exports.iter().filter(|export| export.kind == ExportKind::Function) {
        exports.entry(export.index).or_insert(&export.name);
    }

    let mut maps = Maps::default();
    for (index, function) in linked.functions.iter().enumerate() {
        let index = index as u32;
        let start = function.text_offset;
        if index >= module.imported_functions() {
            maps.functions.push(FunctionMap {
                text_offset: start,
                text_size: function.text_size,
                function: index,
                code_offset: module.body(index).body.range().start as u32,
                frame_size: function.frame_size,
                name: module.names.get(&index).or_else(|| exports.get(&index).copied()).cloned(),
            });
        }
        let traps = function.traps.iter();
        maps.traps.extend(traps.map(|&(offset, trap)| TrapSite { text_offset: start + offset, trap }));
        add_addresses(&mut maps.addresses, start, &function.addresses);
        let mut safepoints = function.safepoints.clone();
        safepoints.sort_by_key(|safepoint| safepoint.code_offset);
        maps.safepoints.extend(safepoints);
    }
    maps
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
