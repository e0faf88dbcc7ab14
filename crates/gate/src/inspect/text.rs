//! For people to read.

use super::{BytesView, ElementsView, Overview, View};
use gate_image::{FrameView, ValueView};
use std::fmt::{self, Write};
use std::time::Duration;

/// How much of each kind is shown in an overview.
const MOST: usize = 30;

/// Bytes in a line of a hexadecimal dump.
const LINE: usize = 16;

/// Bytes as hexadecimal digits.
pub(super) struct Hexadecimal<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// All that is in the view.
pub(super) fn format(subject: &str, view: &View) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_view(&mut out, subject, view);
    out
}

/// Where the functions on the stack are.
pub(super) fn format_stack(stack: &[FrameView]) -> String {
    let mut out = String::new();
    let _ = write_frames(&mut out, stack, Detail::Places);
    out
}

fn write_view(out: &mut String, subject: &str, view: &View) -> fmt::Result {
    match (&view.overview, &view.stack) {
        (Some(overview), stack) => {
            write_head(out, subject, overview)?;
            write_stack(out, stack.as_deref().unwrap_or_default(), Detail::Places)?;
            write_regions(out, overview)?;
        }
        (None, Some(stack)) => write_stack(out, stack, Detail::Values)?,
        (None, None) => {}
    }
    view.memory.iter().try_for_each(|bytes| write_bytes(out, bytes))?;
    view.elements.iter().try_for_each(|elements| write_elements(out, elements))
}

fn write_head(out: &mut String, subject: &str, overview: &Overview) -> fmt::Result {
    let super::StateView { status, detail, monotonic_time, frames, stack_size } = &overview.state;
    let status = match *status {
        "breakpoint" => "stopped at a breakpoint",
        "fresh" => "not begun",
        status => status,
    };
    write!(out, "{}: {status}", crate::exit::one_line(subject))?;
    match detail {
        Some(detail) => writeln!(out, ": {detail}")?,
        None => writeln!(out)?,
    }
    let module = &overview.module;
    let name = module.name.as_deref().unwrap_or("without a name");
    writeln!(out, "  module  {name}, {} bytes", module.size)?;
    writeln!(out, "  blake3  {}", module.hash)?;
    writeln!(out, "  clock   {:?}", Duration::from_nanos(*monotonic_time))?;
    writeln!(out, "  stack   {frames} frames, at most {stack_size} bytes")
}

/// How much of a frame is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Where it is.
    Places,
    /// Also its values.
    Values,
}

fn write_stack(out: &mut String, stack: &[FrameView], detail: Detail) -> fmt::Result {
    if detail == Detail::Places {
        if stack.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nStack, innermost first:")?;
    }
    write_frames(out, stack, detail)
}

fn write_frames(out: &mut String, stack: &[FrameView], detail: Detail) -> fmt::Result {
    let shown = if detail == Detail::Places { stack.len().min(MOST) } else { stack.len() };
    for (number, frame) in stack[..shown].iter().enumerate() {
        write_frame(out, number, frame, detail)?;
    }
    write_rest(out, stack.len() - shown, "frames; --stack shows all")
}

fn write_frame(out: &mut String, number: usize, frame: &FrameView, detail: Detail) -> fmt::Result {
    let FrameView { function, name, wasm_offset, next, source, locals, operands, .. } = frame;
    write!(out, "{number:4}: ")?;
    match name {
        Some(name) => write!(out, "{name} (function {function}")?,
        None => write!(out, "function {function} (")?,
    }
    // Imported functions are nowhere in the module.
    match (wasm_offset, name) {
        (0, Some(_)) => writeln!(out, ")")?,
        (0, None) => writeln!(out, "imported)")?,
        (offset, Some(_)) => writeln!(out, ", wasm offset {offset:#x})")?,
        (offset, None) => writeln!(out, "wasm offset {offset:#x})")?,
    }
    for (depth, place) in source.iter().enumerate() {
        let function = place.function.as_deref().filter(|_| source.len() > 1);
        match (&place.place, function) {
            (Some(at), Some(function)) if depth + 1 < source.len() => {
                writeln!(out, "        inlined {function} at {at}")?;
            }
            (Some(at), _) => writeln!(out, "        at {at}")?,
            (None, _) => {}
        }
    }
    if detail == Detail::Places {
        return Ok(());
    }
    if *next != "call" {
        writeln!(out, "        next: {next}")?;
    }
    for local in locals {
        let ValueView { ty, value } = &local.value;
        match &local.name {
            Some(name) => writeln!(out, "        local {} {name}: {ty} {value}", local.index)?,
            None => writeln!(out, "        local {}: {ty} {value}", local.index)?,
        }
    }
    for (index, ValueView { ty, value }) in operands.iter().enumerate() {
        writeln!(out, "        operand {index}: {ty} {value}")?;
    }
    Ok(())
}

fn write_regions(out: &mut String, overview: &Overview) -> fmt::Result {
    let Overview { globals, tables, memories, services, .. } = overview;
    if !memories.is_empty() {
        writeln!(out, "\nMemories:")?;
    }
    for memory in memories.iter().take(MOST) {
        write_name(out, memory.index, memory.name.as_deref())?;
        write!(out, "{} bytes, {} touched", memory.size, memory.touched)?;
        match memory.max_pages {
            Some(pages) => writeln!(out, ", at most {} bytes", pages.saturating_mul(64 << 10))?,
            None => writeln!(out)?,
        }
    }
    write_rest(out, memories.len().saturating_sub(MOST), "memories; --json shows all")?;
    if !globals.is_empty() {
        writeln!(out, "\nGlobals:")?;
    }
    for global in globals.iter().take(MOST) {
        write_name(out, global.index, global.name.as_deref())?;
        let mutable = if global.mutable { "mutable " } else { "" };
        writeln!(out, "{mutable}{} {}", global.value.ty, global.value.value)?;
    }
    write_rest(out, globals.len().saturating_sub(MOST), "globals; --json shows all")?;
    if !tables.is_empty() {
        writeln!(out, "\nTables:")?;
    }
    for table in tables.iter().take(MOST) {
        write_name(out, table.index, table.name.as_deref())?;
        writeln!(
            out,
            "{} of {} elements {} not null, at most {}",
            table.used, table.size, table.ty, table.max
        )?;
    }
    write_rest(out, tables.len().saturating_sub(MOST), "tables; --json shows all")?;
    if !services.is_empty() {
        writeln!(out, "\nServices:")?;
    }
    for service in services.iter().take(MOST) {
        writeln!(out, "      {}: {} bytes", service.name, service.size)?;
    }
    write_rest(out, services.len().saturating_sub(MOST), "services; --json shows all")
}

fn write_name(out: &mut String, index: u32, name: Option<&str>) -> fmt::Result {
    match name {
        Some(name) => write!(out, "{index:4}: {name}: "),
        None => write!(out, "{index:4}: "),
    }
}

fn write_rest(out: &mut String, count: usize, what: &str) -> fmt::Result {
    match count {
        0 => Ok(()),
        count => writeln!(out, "      {count} more {what}"),
    }
}

fn write_bytes(out: &mut String, view: &BytesView) -> fmt::Result {
    if !out.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "Memory {}:", view.index)?;
    let mut addr = view.start;
    for line in view.bytes.chunks(LINE) {
        write!(out, "{addr:08x} ")?;
        for index in 0..LINE {
            let gap = if index == LINE / 2 { " " } else { "" };
            match line.get(index) {
                Some(byte) => write!(out, "{gap} {byte:02x}")?,
                None => write!(out, "{gap}   ")?,
            }
        }
        let shown = |&byte: &u8| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' };
        writeln!(out, "  |{}|", line.iter().map(shown).collect::<String>())?;
        addr += LINE as u64;
    }
    Ok(())
}

fn write_elements(out: &mut String, view: &ElementsView) -> fmt::Result {
    if !out.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "Table {}, without null:", view.index)?;
    let used = view.elements.iter().enumerate().filter(|(_, element)| element.value != "null");
    for (index, element) in used {
        writeln!(out, "{index:6}: {}", element.value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_lines() {
        let mut out = String::new();
        let bytes = b"Hello, world!\n\x00\xff\x7f~".to_vec();
        write_bytes(&mut out, &BytesView { index: 1, start: 0x1000, bytes }).unwrap();
        assert_eq!(
            out,
            "Memory 1:\n\
             00001000  48 65 6c 6c 6f 2c 20 77  6f 72 6c 64 21 0a 00 ff  |Hello, world!...|\n\
             00001010  7f 7e                                             |.~|\n"
        );
        assert_eq!(Hexadecimal(&[0, 0x1f, 0xff]).to_string(), "001fff");
    }
}
