//! In which functions a program ended.

use crate::error::ImageError;
use crate::exit;
use crate::placement::Placement;
use crate::program::Program;
use crate::state::State;
use gate_compiler::{AddressMapping, Maps};
use gate_wire::context::ExitKind;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest chain of frames that is followed.
const MAX_FRAMES: usize = 65536;

/// How many frames are kept and printed; of the others only the number.
pub(crate) const MAX_PRINTED: usize = 50;

/// Longest function name that is printed, in characters.
const MAX_NAME: usize = 256;

/// The functions in which a program was when it ended, innermost first.
///
/// It is read from what the program has left on its stack, so that a program which has escaped its compiled code
/// can make it say anything; but nothing worse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backtrace {
    frames: Vec<BacktraceFrame>,
    omitted: usize,
}

/// A function on the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BacktraceFrame {
    /// Index of the function.
    pub function: u32,
    /// Name from the module's name section, else of an export.
    pub name: Option<String>,
    /// Offset in the module of the instruction that was being executed, where known.
    pub wasm_offset: Option<u32>,
}

impl Backtrace {
    /// Walks the frame pointers from where the exit record says that the program stopped.
    pub(crate) fn capture(
        program: &Program,
        state: &State,
        placement: &Placement,
    ) -> Result<Self, ImageError> {
        let record = exit::read_record(state).map_err(ImageError::system("read the exit record"))?;
        // A fault is at its instruction, everything else behind a call.
        let mut pc = match ExitKind::from_number(record.kind) {
            Some(ExitKind::Faulted) => record.pc,
            Some(ExitKind::Trapped) => record.pc.wrapping_sub(1),
            _ => return Ok(Self::default()),
        };
        let maps = program.maps()?;
        let mut stack = StackReader::new(state, placement.state_addr);
        let mut backtrace = Self::default();
        let mut fp = record.fp;
        for _ in 0..MAX_FRAMES {
            let offset = pc.wrapping_sub(placement.text_addr);
            if offset >= program.text_size() {
                break;
            }
            // Code between functions, such as trampolines and import thunks, has no name.
            if let Some(frame) = find_function(maps, offset) {
                match backtrace.frames.len() {
                    MAX_PRINTED => backtrace.omitted += 1,
                    _ => backtrace.frames.push(frame),
                }
            }
            let next = stack.frame(fp).map_err(ImageError::system("read the stack"))?;
            // The stack grows down, so that frames further out are at higher addresses.
            match next {
                Some((next_fp, return_addr)) if next_fp > fp => {
                    fp = next_fp;
                    pc = return_addr.wrapping_sub(1);
                }
                _ => break,
            }
        }
        Ok(backtrace)
    }

    /// Puts one together of functions, with offsets in the module, and the number of further frames. `None` if there is no such
    /// function.
    pub(crate) fn from_places(
        program: &Program,
        places: &[(u32, Option<u32>)],
        omitted: usize,
    ) -> Result<Option<Self>, ImageError> {
        let maps = program.maps()?;
        let frame = |&(function, wasm_offset): &(u32, Option<u32>)| {
            // They are those that are not imported, in order.
            let index = function.checked_sub(program.info().imported_functions)?;
            let name = maps.functions.get(index as usize)?.name.clone();
            Some(BacktraceFrame { function, name, wasm_offset })
        };
        let frames: Option<Vec<_>> = places.iter().map(frame).collect();
        Ok(frames.map(|frames| Self { frames, omitted }))
    }

    /// The innermost frames.
    pub fn frames(&self) -> &[BacktraceFrame] {
        &self.frames
    }

    /// Number of further frames, which are not kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

impl fmt::Display for Backtrace {
    /// A line for each frame, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, frame) in self.frames.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{number:3}: {frame}")?;
        }
        match self.omitted {
            0 => Ok(()),
            1 => write!(f, "\n     1 more frame"),
            n => write!(f, "\n     {n} more frames"),
        }
    }
}

impl fmt::Display for BacktraceFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(&printable(name))?,
            None => write!(f, "function {}", self.function)?,
        }
        match self.wasm_offset {
            Some(offset) => write!(f, " (wasm offset {offset:#x})"),
            None => Ok(()),
        }
    }
}

/// A name as a person would write it, on one line whatever the module says.
fn printable(name: &str) -> String {
    let demangled = match rustc_demangle::try_demangle(name) {
        Ok(demangled) => format!("{demangled:#}"),
        Err(_) => name.to_owned(),
    };
    let mut chars = demangled.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    let mut printable: String = chars.by_ref().take(MAX_NAME).collect();
    if chars.next().is_some() {
        printable.push('…');
    }
    printable
}

fn find_function(maps: &Maps, offset: u64) -> Option<BacktraceFrame> {
    let offset = u32::try_from(offset).ok()?;
    let index = maps.functions.partition_point(|f| f.text_offset <= offset).checked_sub(1)?;
    let function = &maps.functions[index];
    if offset - function.text_offset >= function.text_size {
        return None;
    }
    let index = maps.addresses.partition_point(|a| a.text_offset <= offset).checked_sub(1);
    let wasm_offset = index
        .map(|index| maps.addresses[index])
        .filter(|a| a.text_offset >= function.text_offset && a.code_offset != AddressMapping::NONE)
        .map(|a| a.code_offset);
    Some(BacktraceFrame { function: function.function, name: function.name.clone(), wasm_offset })
}

/// Reads frames from the stack, upwards.
struct StackReader<'a> {
    state: &'a State,
    stack_addr: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> StackReader<'a> {
    const WINDOW: u64 = 64 << 10;

    fn new(state: &'a State, stack_addr: u64) -> Self {
        Self { state, stack_addr, window: Vec::new(), window_start: 0 }
    }

    /// The caller's frame pointer and the return address, unless the frame pointer points somewhere else than to the
    /// stack.
    fn frame(&mut self, fp: u64) -> Result<Option<(u64, u64)>, Errno> {
        let size = self.state.stack_size;
        let offset = fp.wrapping_sub(self.stack_addr);
        if !fp.is_multiple_of(8) || offset >= size || size - offset < 16 {
            return Ok(None);
        }
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + 16 > window_end {
            self.window.resize((size - offset).min(Self::WINDOW) as usize, 0);
            self.window_start = offset;
            self.state.read(self.state.stack_offset() + offset, &mut self.window)?;
        }
        let start = (offset - self.window_start) as usize;
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&self.window[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Ok(Some((word(start), word(start + 8))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line() {
        assert_eq!(printable("main"), "main");
        assert_eq!(printable("_ZN4core3fmt5write17h01e5b6bbb0fd3bbeE"), "core::fmt::write");
        assert_eq!(printable("a\nb\x1b[31m"), "a\u{fffd}b\u{fffd}[31m");
        assert_eq!(printable(&"x".repeat(10_000)).chars().count(), MAX_NAME + 1);
    }

    #[test]
    fn long_traces_say_how_many_frames_are_left_out() {
        let frame = BacktraceFrame { function: 3, name: None, wasm_offset: Some(0x1a3) };
        let trace = Backtrace { frames: vec![frame], omitted: 12 };
        assert_eq!(trace.to_string(), "  0: function 3 (wasm offset 0x1a3)\n     12 more frames");
    }
}
