//! Line number programs: from addresses to files and lines.

use super::functions::{self, Calls};
use super::{Bytes, Search, SourceFrame, SourcePlace, Stop, text};
use gimli::{AttributeValue, ColumnType, DebugLineOffset, Dwarf, Unit, UnitHeader, constants as dw};
use std::collections::{BTreeMap, BTreeSet};

/// Longest header of a line number program: its lists of files become some hundred times as large in memory.
const MAX_LINE_HEADER: u64 = 1 << 20;

/// Looks through all compilation units.
pub(super) fn search(dwarf: &Dwarf<Bytes<'_>>, search: &mut Search) -> Result<(), Stop> {
    let mut headers = dwarf.units();
    while !search.wanted.is_empty() {
        search.clock.check()?;
        // Without a header, there is no way to the next unit.
        let Some(header) = headers.next()? else { break };
        match search_unit(dwarf, header, search) {
            Ok(()) | Err(Stop::Damaged) => {}
            Err(Stop::TooLong) => return Err(Stop::TooLong),
        }
    }
    Ok(())
}

fn search_unit<'a>(
    dwarf: &Dwarf<Bytes<'a>>,
    header: UnitHeader<Bytes<'a>>,
    search: &mut Search,
) -> Result<(), Stop> {
    let abbreviations = dwarf.abbreviations(&header)?;
    let mut entries = header.entries(&abbreviations);
    let Some(root) = entries.next_dfs()? else { return Ok(()) };
    if let Some(AttributeValue::DebugLineRef(offset)) = root.attr_value(dw::DW_AT_stmt_list) {
        check_line_header(dwarf, offset)?;
    }
    let unit = Unit::new_with_abbreviations(dwarf, header, abbreviations.clone())?;
    let unit = unit.unit_ref(dwarf);

    let wanted = wanted_of_unit(dwarf, &unit, search)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let places = find_places(dwarf, &unit, &wanted, search)?;
    let effective = |address| places.get(&address).map_or(address, |found| found.address);
    let addresses = wanted.iter().map(|&address| effective(address)).collect();
    // Lines without functions are better than nothing.
    let calls = match functions::find(dwarf, &unit, &addresses, &mut search.clock) {
        Ok(calls) => calls,
        Err(Stop::Damaged) => BTreeMap::new(),
        Err(Stop::TooLong) => return Err(Stop::TooLong),
    };
    for address in wanted {
        let place = places.get(&address).map(|found| found.place.clone());
        let calls = calls.get(&effective(address));
        if place.is_some() || calls.is_some() {
            search.wanted.remove(&address);
            search.found.insert(address, frames(&unit, place, calls));
        }
    }
    Ok(())
}

/// Checks that the header of a line number program is of a sensible size, before it is decoded.
fn check_line_header(dwarf: &Dwarf<Bytes<'_>>, offset: DebugLineOffset) -> Result<(), Stop> {
    use gimli::{Reader, Section};
    let mut input = *dwarf.debug_line.reader();
    input.skip(offset.0)?;
    let (_, format) = input.read_initial_length()?;
    if input.read_u16()? >= 5 {
        // Sizes of addresses and of segment selectors.
        input.skip(2)?;
    }
    match input.read_length(format)? {
        length if length as u64 <= MAX_LINE_HEADER => Ok(()),
        _ => Err(Stop::Damaged),
    }
}

/// Those of the wanted addresses which the unit says are its own; all if it does not say.
fn wanted_of_unit(
    dwarf: &Dwarf<Bytes<'_>>,
    unit: &Unit<Bytes<'_>>,
    search: &mut Search,
) -> Result<BTreeSet<u64>, Stop> {
    let mut entries = unit.entries();
    let Some(root) = entries.next_dfs()? else { return Ok(BTreeSet::new()) };
    let Search { wanted, clock, .. } = search;
    let mut own = BTreeSet::new();
    let known = functions::for_each_range(dwarf, unit, root, clock, |range| {
        // Others have the address zero: functions that the linker has dropped.
        if range.start > 0 {
            own.extend(wanted.range(range).copied());
        }
    })?;
    Ok(if known { own } else { wanted.clone() })
}

/// Where an instruction is.
struct Found {
    place: SourcePlace,
    /// Its address; or that of the next instruction which has a line, if the compiler made it up. The `loop` instruction
    /// is often like that.
    address: u64,
}

/// Runs the line number program.
fn find_places(
    dwarf: &Dwarf<Bytes<'_>>,
    unit: &Unit<Bytes<'_>>,
    wanted: &BTreeSet<u64>,
    search: &mut Search,
) -> Result<BTreeMap<u64, Found>, Stop> {
    let mut found = BTreeMap::new();
    let Some(program) = unit.line_program.clone() else { return Ok(found) };
    let mut rows = program.rows();
    // The row before, which holds until the next one's address, and whether its sequence is that of living code.
    let mut last: Option<Row> = None;
    let mut dead = false;
    // What has no line in this sequence yet.
    let mut pending = Vec::new();
    while let Some((_, row)) = rows.next_row()? {
        search.clock.step()?;
        if last.is_none() {
            dead = row.address() == 0;
        }
        if let Some(last) = last
            && last.start < row.address()
            && !dead
        {
            pending.extend(wanted.range(last.start..row.address()));
            if let (Some(line), false) = (last.line, pending.is_empty())
                && let Some(file) = file_path(dwarf, unit, last.file)
            {
                for wanted in pending.drain(..) {
                    let place = SourcePlace { file: file.clone(), line, column: last.column };
                    found.entry(wanted).or_insert(Found { place, address: wanted.max(last.start) });
                }
            }
        }
        let column = match row.column() {
            ColumnType::LeftEdge => None,
            ColumnType::Column(column) => Some(column.get()),
        };
        let line = row.line().map(|line| line.get());
        last = Some(Row { start: row.address(), file: row.file_index(), line, column });
        if row.end_sequence() {
            last = None;
            pending.clear();
        }
    }
    Ok(found)
}

/// A row of the line number table.
#[derive(Clone, Copy)]
struct Row {
    start: u64,
    file: u64,
    line: Option<u64>,
    column: Option<u64>,
}

/// The path of a file, by its number in the unit.
fn file_path(dwarf: &Dwarf<Bytes<'_>>, unit: &Unit<Bytes<'_>>, index: u64) -> Option<String> {
    let header = unit.line_program.as_ref()?.header();
    let file = header.file(index)?;
    let name = text(dwarf.attr_string(unit, file.path_name()).ok()?);
    let directory = file.directory(header).and_then(|dir| dwarf.attr_string(unit, dir).ok()).map(text);
    let unit_directory = unit.comp_dir.map(text);
    // An absolute path replaces what is before it.
    let mut path = unit_directory.unwrap_or_default();
    for part in [directory.unwrap_or_default(), name] {
        if part.starts_with('/') || path.is_empty() {
            path = part;
        } else if !part.is_empty() {
            path = format!("{}/{part}", path.trim_end_matches('/'));
        }
    }
    (!path.is_empty()).then_some(path)
}

/// Puts together where an instruction is, and where the functions around it were called.
fn frames(
    unit: &gimli::UnitRef<'_, Bytes<'_>>,
    place: Option<SourcePlace>,
    calls: Option<&Calls>,
) -> Vec<SourceFrame> {
    let mut frames = Vec::new();
    let mut place = place;
    for call in calls.into_iter().flatten() {
        frames.push(SourceFrame { function: call.function.clone(), place: place.take() });
        place = call.file.zip(call.line).and_then(|(file, line)| {
            let file = file_path(unit.dwarf, unit, file)?;
            Some(SourcePlace { file, line, column: call.column })
        });
    }
    if frames.is_empty() {
        frames.push(SourceFrame { function: None, place });
    }
    frames
}
