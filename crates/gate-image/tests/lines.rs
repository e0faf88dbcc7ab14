//! Places in source code, from debugging information that was made for the purpose, and from damaged one.

use gate_image::{Lines, SourceFrame, SourcePlace};
use gimli::constants as dw;
use gimli::write::{
    Address, AttributeValue, DwarfUnit, EndianVec, FileId, LineProgram, LineString, Sections, UnitEntryId,
};
use gimli::{Encoding, Format, LineEncoding, LittleEndian};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Two functions, and three instructions in each that are a byte long.
const MODULE: &str = "(module (func nop nop nop) (func nop nop nop))";

/// Offsets in the module, and in the code section's contents: in front of the module's first function are a header and
/// sections, in front of its instructions a count, a size and the number of locals.
const CODE_START: u32 = 21;
const FIRST: u64 = 3;
const SECOND: u64 = FIRST + 6;

#[test]
fn instructions_have_lines_and_functions() {
    for version in [4, 5] {
        let wasm = module(&sections(version));
        let lines = Lines::new(&wasm).expect("debugging information");
        let offsets: BTreeSet<u32> = (0..40).collect();
        let found = lines.find(&offsets);
        let at =
            |address: u64| found.get(&(CODE_START + address as u32)).map(Vec::as_slice).unwrap_or_default();
        let frame = |function: &str, file: &str, line, column| SourceFrame {
            function: Some(function.into()),
            place: Some(SourcePlace { file: file.into(), line, column }),
        };
        assert_eq!(at(FIRST), [frame("first", "/build/src/main.c", 10, None)], "DWARF {version}");
        assert_eq!(
            at(FIRST + 1),
            [
                frame("one::inner", "/usr/include/inner.h", 3, Some(7)),
                frame("first", "/build/src/main.c", 11, Some(5)),
            ],
        );
        assert_eq!(at(FIRST + 2), [frame("first", "/build/src/main.c", 12, Some(1))]);
        assert_eq!(at(SECOND), [frame("second", "/build/src/main.c", 20, None)]);
        assert_eq!(at(FIRST - 1), []);
        assert_eq!(at(SECOND + 3), []);
        assert_eq!(found.len(), 6, "only the functions' instructions: {found:?}");
    }
}

#[test]
fn instructions_without_a_line_are_where_the_next_one_is() {
    let mut sections = sections(4);
    let line = &mut sections.iter_mut().find(|(name, _)| name == ".debug_line").unwrap().1;
    // The row of the first instruction: its line is advanced from 1 to 10. Now it is 0, and the next one is as before.
    let advance = line.windows(2).position(|bytes| bytes == [dw::DW_LNS_advance_line.0, 9]).expect("a row");
    line[advance + 1] = 0x7f;
    let next =
        line[advance + 2..].windows(2).position(|bytes| bytes[0] == dw::DW_LNS_advance_line.0).unwrap();
    assert_eq!(line[advance + next + 3], 0x79, "from 10 to 3");
    line[advance + next + 3] = 3;
    let wasm = module(&sections);
    let offset = CODE_START + FIRST as u32;
    let found = Lines::new(&wasm).unwrap().find(&BTreeSet::from([offset]));
    let frame = &found[&offset][0];
    assert_eq!(frame.function.as_deref(), Some("one::inner"));
    assert_eq!(frame.place.as_ref().unwrap().to_string(), "/usr/include/inner.h:3:7");
}

#[test]
fn modules_without_debugging_information_have_no_lines() {
    assert!(Lines::new(&wat::parse_str(MODULE).unwrap()).is_none());
    assert!(Lines::new(b"\0asm\x01\0\0\0").is_none());
    assert!(Lines::new(b"not a module").is_none());
}

#[test]
fn damaged_information_does_no_harm() {
    let sections = sections(5);
    let offsets: BTreeSet<u32> = (0..40).chain([u32::MAX]).collect();
    let start = Instant::now();
    for index in 0..sections.len() {
        for at in 0..sections[index].1.len() {
            for change in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut damaged = sections.clone();
                damaged[index].1[at] = change;
                if let Some(lines) = Lines::new(&module(&damaged)) {
                    lines.find(&offsets);
                }
            }
        }
        let mut truncated = sections.clone();
        let half = truncated[index].1.len() / 2;
        truncated[index].1.truncate(half);
        if let Some(lines) = Lines::new(&module(&truncated)) {
            lines.find(&offsets);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn searches_end_after_a_while() {
    // Every unit refers to the same long line number program, in which nothing is found.
    let mut sections = sections(4);
    let section = |name| sections.iter().position(|(n, _)| n == name).unwrap();
    let (info, line) = (section(".debug_info"), section(".debug_line"));
    let program = &mut sections[line].1;
    // Each byte of these makes a row.
    program.resize(20 << 20, dw::DW_LNS_copy.0);
    let length = program.len() as u32 - 4;
    program[..4].copy_from_slice(&length.to_le_bytes());
    let unit = sections[info].1.clone();
    sections[info].1 = unit.repeat(10_000);
    let start = Instant::now();
    let wasm = module(&sections);
    // One is found at once, the other one is between two functions.
    let offsets = [FIRST + 2, SECOND - 1].map(|address| CODE_START + address as u32);
    let found = Lines::new(&wasm).unwrap().find(&BTreeSet::from(offsets));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!((1..20).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[test]
fn what_terminals_obey_is_not_shown() {
    let mut sections = sections(4);
    for (_, data) in &mut sections {
        while let Some(at) = data.windows(5).position(|window| window == b"first") {
            data[at..at + 5].copy_from_slice(b"\x1b[2J\n");
        }
    }
    let wasm = module(&sections);
    let found = Lines::new(&wasm).unwrap().find(&BTreeSet::from([CODE_START + FIRST as u32]));
    let frames = &found[&(CODE_START + FIRST as u32)];
    assert_eq!(frames[0].function.as_deref(), Some("\u{fffd}[2J\u{fffd}"));
}

/// The module with sections behind its own.
fn module(sections: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut wasm = wat::parse_str(MODULE).unwrap();
    for (name, data) in sections {
        let name = Cow::Borrowed(name.as_str());
        let data = Cow::Borrowed(data.as_slice());
        wasm_encoder::Section::append_to(&wasm_encoder::CustomSection { name, data }, &mut wasm);
    }
    wasm
}

/// What a compiler would have said about the module's functions.
fn sections(version: u16) -> Vec<(String, Vec<u8>)> {
    let encoding = Encoding { format: Format::Dwarf32, version, address_size: 4 };
    let mut dwarf = DwarfUnit::new(encoding);
    let string = |text: &str| LineString::String(text.into());
    let mut program =
        LineProgram::new(encoding, LineEncoding::default(), string("/build"), None, string("main.c"), None);
    let sources = program.add_directory(string("src"));
    let include = program.add_directory(string("/usr/include"));
    let main = program.add_file(string("main.c"), sources, None);
    let inner = program.add_file(string("inner.h"), include, None);
    sequence(&mut program, FIRST, &[(main, 10, 0), (inner, 3, 7), (main, 12, 1)]);
    sequence(&mut program, SECOND, &[(main, 20, 0), (main, 20, 0), (main, 21, 0)]);
    // A function that the linker has dropped.
    sequence(&mut program, 0, &[(main, 99, 0); 30]);
    dwarf.unit.line_program = program;

    let root = dwarf.unit.root();
    let unit = dwarf.unit.get_mut(root);
    unit.set(dw::DW_AT_comp_dir, AttributeValue::String(b"/build".into()));
    unit.set(dw::DW_AT_low_pc, AttributeValue::Address(Address::Constant(FIRST)));
    unit.set(dw::DW_AT_high_pc, AttributeValue::Udata(SECOND + 3 - FIRST));
    let origin = dwarf.unit.add(root, dw::DW_TAG_subprogram);
    let entry = dwarf.unit.get_mut(origin);
    entry.set(dw::DW_AT_name, AttributeValue::String(b"inner".into()));
    entry.set(dw::DW_AT_linkage_name, AttributeValue::String(b"_ZN3one5inner17h01e5b6bbb0fd3bbeE".into()));
    let first = function(&mut dwarf, root, dw::DW_TAG_subprogram, FIRST, 3);
    dwarf.unit.get_mut(first).set(dw::DW_AT_name, AttributeValue::String(b"first".into()));
    let inlined = function(&mut dwarf, first, dw::DW_TAG_inlined_subroutine, FIRST + 1, 1);
    let entry = dwarf.unit.get_mut(inlined);
    entry.set(dw::DW_AT_abstract_origin, AttributeValue::UnitRef(origin));
    entry.set(dw::DW_AT_call_file, AttributeValue::FileIndex(Some(main)));
    entry.set(dw::DW_AT_call_line, AttributeValue::Udata(11));
    entry.set(dw::DW_AT_call_column, AttributeValue::Udata(5));
    let second = function(&mut dwarf, root, dw::DW_TAG_subprogram, SECOND, 3);
    dwarf.unit.get_mut(second).set(dw::DW_AT_name, AttributeValue::String(b"second".into()));

    let mut sections = Sections::new(EndianVec::new(LittleEndian));
    dwarf.write(&mut sections).unwrap();
    let mut written = Vec::new();
    sections
        .for_each(|id, data| {
            if !data.slice().is_empty() {
                written.push((id.name().to_owned(), data.slice().to_vec()));
            }
            Ok::<_, gimli::write::Error>(())
        })
        .unwrap();
    written
}

fn sequence(program: &mut LineProgram, address: u64, rows: &[(FileId, u64, u64)]) {
    program.begin_sequence(Some(Address::Constant(address)));
    for (offset, &(file, line, column)) in rows.iter().enumerate() {
        let row = program.row();
        row.address_offset = offset as u64;
        row.file = file;
        row.line = line;
        row.column = column;
        program.generate_row();
    }
    program.end_sequence(rows.len() as u64);
}

fn function(
    dwarf: &mut DwarfUnit,
    parent: UnitEntryId,
    tag: gimli::DwTag,
    address: u64,
    size: u64,
) -> UnitEntryId {
    let id = dwarf.unit.add(parent, tag);
    let entry = dwarf.unit.get_mut(id);
    entry.set(dw::DW_AT_low_pc, AttributeValue::Address(Address::Constant(address)));
    entry.set(dw::DW_AT_high_pc, AttributeValue::Udata(size));
    id
}
