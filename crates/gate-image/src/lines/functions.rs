//! Functions of the source code, and functions inlined into them.

use super::{Bytes, Clock, Stop};
use crate::text::function_name;
use gimli::{AttributeValue, DebuggingInformationEntry, Dwarf, Unit, UnitOffset, UnitRef, constants as dw};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// How deep functions may be inlined into each other.
const MAX_INLINED: usize = 100;

/// How many entries may refer to each other before one has a name.
const MAX_REFERENCES: usize = 8;

/// The functions that an address belongs to, innermost first.
pub(super) type Calls = Vec<Call>;

/// A function, and where it was inlined if it was.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) function: Option<String>,
    /// Number of the file in the unit.
    pub(super) file: Option<u64>,
    pub(super) line: Option<u64>,
    pub(super) column: Option<u64>,
}

/// Finds the functions of a unit to which the addresses belong.
pub(super) fn find(
    dwarf: &Dwarf<Bytes<'_>>,
    unit: &UnitRef<'_, Bytes<'_>>,
    wanted: &BTreeSet<u64>,
    clock: &mut Clock,
) -> Result<BTreeMap<u64, Calls>, Stop> {
    let mut found: BTreeMap<u64, Calls> = BTreeMap::new();
    let mut entries = unit.entries();
    while let Some(entry) = entries.next_dfs()? {
        clock.step()?;
        let inlined = match entry.tag() {
            dw::DW_TAG_subprogram => false,
            dw::DW_TAG_inlined_subroutine => true,
            _ => continue,
        };
        let mut own = BTreeSet::new();
        for_each_range(dwarf, unit, entry, clock, |range| {
            if range.start > 0 {
                own.extend(wanted.range(range).copied());
            }
        })?;
        if own.is_empty() {
            continue;
        }
        let number = |name| entry.attr_value(name).and_then(|value| value.udata_value()).filter(|&n| n != 0);
        let file = match entry.attr_value(dw::DW_AT_call_file) {
            Some(AttributeValue::FileIndex(index)) => Some(index),
            _ => None,
        };
        let call = Call {
            function: name(unit, entry),
            file,
            line: number(dw::DW_AT_call_line),
            column: number(dw::DW_AT_call_column),
        };
        for address in own {
            let calls = found.entry(address).or_default();
            // Entries come from the outside to the inside.
            if calls.is_empty() != inlined && calls.len() < MAX_INLINED {
                calls.insert(0, call.clone());
            }
        }
    }
    Ok(found.into_iter().filter(|(_, calls)| !calls.is_empty()).collect())
}

/// Goes through the address ranges of an entry. Returns whether it has any.
pub(super) fn for_each_range(
    dwarf: &Dwarf<Bytes<'_>>,
    unit: &Unit<Bytes<'_>>,
    entry: &DebuggingInformationEntry<Bytes<'_>>,
    clock: &mut Clock,
    mut visit: impl FnMut(Range<u64>),
) -> Result<bool, Stop> {
    if let Some(value) = entry.attr_value(dw::DW_AT_ranges)
        && let Some(mut ranges) = dwarf.attr_ranges(unit, value)?
    {
        while let Some(range) = ranges.next()? {
            clock.step()?;
            if range.begin < range.end {
                visit(range.begin..range.end);
            }
        }
        return Ok(true);
    }
    let address = |name| match entry.attr_value(name) {
        Some(value) => dwarf.attr_address(unit, value),
        None => Ok(None),
    };
    let Some(start) = address(dw::DW_AT_low_pc)? else { return Ok(false) };
    let end = match entry.attr_value(dw::DW_AT_high_pc) {
        Some(AttributeValue::Udata(size)) => start.checked_add(size),
        _ => address(dw::DW_AT_high_pc)?,
    };
    let Some(end) = end else { return Ok(false) };
    if start < end {
        visit(start..end);
    }
    Ok(true)
}

/// The name of a function: the linker's if it has one, since that is qualified.
fn name<'a>(unit: &UnitRef<'_, Bytes<'a>>, entry: &DebuggingInformationEntry<Bytes<'a>>) -> Option<String> {
    let mut short = None;
    let mut next = look_at(unit, entry, &mut short);
    for _ in 0..MAX_REFERENCES {
        match next {
            Next::Name(name) => return Some(name),
            Next::End => break,
            Next::Entry(offset) => next = look_at(unit, &unit.entry(offset).ok()?, &mut short),
        }
    }
    short
}

enum Next {
    Name(String),
    Entry(UnitOffset),
    End,
}

fn look_at<'a>(
    unit: &UnitRef<'_, Bytes<'a>>,
    entry: &DebuggingInformationEntry<Bytes<'a>>,
    short: &mut Option<String>,
) -> Next {
    let string = |name| {
        let string = unit.attr_string(entry.attr_value(name)?).ok()?;
        Some(function_name(&string.to_string_lossy())).filter(|name| !name.is_empty())
    };
    if let Some(name) = string(dw::DW_AT_linkage_name).or_else(|| string(dw::DW_AT_MIPS_linkage_name)) {
        return Next::Name(name);
    }
    if short.is_none() {
        *short = string(dw::DW_AT_name);
    }
    let reference =
        entry.attr_value(dw::DW_AT_abstract_origin).or_else(|| entry.attr_value(dw::DW_AT_specification));
    match reference {
        Some(AttributeValue::UnitRef(offset)) => Next::Entry(offset),
        // Units refer to others after optimisation of the whole program. Those entries have the names' own.
        Some(AttributeValue::DebugInfoRef(offset)) => {
            offset.to_unit_offset(&unit.header).map_or(Next::End, Next::Entry)
        }
        _ => Next::End,
    }
}
