//! Makes one text of all functions and the data they use.
//!
//! Functions come first, by index (those of imported ones are thunks), then trampolines, the function table, and the
//! contents of passive segments.

use crate::codegen::Code;
use crate::compiled::{Safepoint, Trampoline};
use crate::error::CompileError;
use crate::module::{Module, SegmentMode};
use crate::symbol::Symbol;
use gate_wire::PAGE_SIZE;

/// The text, and where the parts of each function are in it.
pub(crate) struct Linked {
    pub(crate) text: Vec<u8>,
    /// By index.
    pub(crate) functions: Vec<LinkedFunction>,
    pub(crate) trampolines: Vec<Trampoline>,
}

/// A function in the text. Offsets within it are from its start.
pub(crate) struct LinkedFunction {
    pub(crate) text_offset: u32,
    pub(crate) text_size: u32,
    pub(crate) frame_size: u32,
    pub(crate) traps: Vec<(u32, u8)>,
    pub(crate) addresses: Vec<(u32, u32, u32)>,
    pub(crate) safepoints: Vec<Safepoint>,
}

/// Filling between functions: an instruction that traps (`int3`).
const PADDING: u8 = 0xcc;

/// Signature of the function table's first entry, which is for null: that of no function.
const NULL_SIGNATURE: u32 = u32::MAX;

/// Links functions (by index) and trampolines (with the indices of their functions).
pub(crate) fn link(
    module: &Module<'_>,
    functions: Vec<Code>,
    trampolines: Vec<(u32, Code)>,
    max_size: usize,
) -> Result<Linked, CompileError> {
    // Distances are signed 32-bit numbers.
    let mut text = Text { bytes: Vec::new(), max_size: max_size.min(i32::MAX as usize) };
    let offsets = functions.iter().map(|code| text.code(code)).collect::<Result<Vec<_>, _>>()?;
    let entries = trampolines.iter().map(|(_, code)| text.code(code)).collect::<Result<Vec<_>, _>>()?;

    let function_table = text.align(64)?;
    text.append(&table(module, &offsets, function_table))?;
    let mut data = Vec::with_capacity(module.data.len());
    for segment in &module.data {
        data.push(text.align(16)?);
        if matches!(segment.mode, SegmentMode::Passive) {
            text.append(segment.bytes)?;
        }
    }
    let mut elements = Vec::with_capacity(module.elements.len());
    for segment in &module.elements {
        elements.push(text.align(16)?);
        if matches!(segment.mode, SegmentMode::Passive) {
            let bytes: Vec<_> = segment.items.iter().flat_map(|item| item.to_le_bytes()).collect();
            text.append(&bytes)?;
        }
    }
    text.align(PAGE_SIZE as u32)?;

    let address = |symbol| match symbol {
        Symbol::Function(index) => offsets[index as usize],
        Symbol::FunctionTable => function_table,
        Symbol::Data(index) => data[index as usize],
        Symbol::Elements(index) => elements[index as usize],
    };
    let trampoline_codes = trampolines.iter().map(|(_, code)| code);
    for (code, &offset) in functions.iter().chain(trampoline_codes).zip(offsets.iter().chain(&entries)) {
        text.relocate(code, offset, address)?;
    }

    let trampolines = trampolines
        .iter()
        .zip(entries)
        .map(|(&(function, _), text_offset)| Trampoline { function, text_offset })
        .collect();
    let functions = functions
        .into_iter()
        .zip(offsets)
        .map(|(code, text_offset)| LinkedFunction {
            text_offset,
            text_size: code.bytes.len() as u32,
            frame_size: code.frame_size,
            traps: code.traps,
            addresses: code.addresses,
            safepoints: code.safepoints,
        })
        .collect();
    Ok(Linked { text: text.bytes, functions, trampolines })
}

/// The function table: for null and then for each function, the number of its signature (`u32`) and its
/// distance from the table (`i32`). Indirect calls go through it.
fn table(module: &Module<'_>, offsets: &[u32], table_offset: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 * (1 + offsets.len()));
    bytes.extend(NULL_SIGNATURE.to_le_bytes());
    bytes.extend(0_i32.to_le_bytes());
    for (function, &offset) in offsets.iter().enumerate() {
        bytes.extend(module.function_signature(function as u32).to_le_bytes());
        bytes.extend((offset as i32 - table_offset as i32).to_le_bytes());
    }
    bytes
}

struct Text {
    bytes: Vec<u8>,
    max_size: usize,
}

impl Text {
    /// Appends code, and returns its offset.
    fn code(&mut self, code: &Code) -> Result<u32, CompileError> {
        let offset = self.align(code.alignment)?;
        self.append(&code.bytes)?;
        Ok(offset)
    }

    /// Pads the text, and returns its size.
    fn align(&mut self, alignment: u32) -> Result<u32, CompileError> {
        let size = self.bytes.len().next_multiple_of(alignment as usize);
        self.check_size(size)?;
        self.bytes.resize(size, PADDING);
        Ok(size as u32)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), CompileError> {
        self.check_size(self.bytes.len() + bytes.len())?;
        self.bytes.extend(bytes);
        Ok(())
    }

    fn check_size(&self, size: usize) -> Result<(), CompileError> {
        if size > self.max_size {
            return Err(CompileError::limit(None, "size of the text", size, self.max_size));
        }
        Ok(())
    }

    fn relocate(
        &mut self,
        code: &Code,
        offset: u32,
        address: impl Fn(Symbol) -> u32,
    ) -> Result<(), CompileError> {
        for relocation in &code.relocations {
            let place = i64::from(offset) + i64::from(relocation.offset);
            let distance = i64::from(address(relocation.target)) + relocation.addend - place;
            let distance = i32::try_from(distance)
                .map_err(|_| CompileError::internal(format!("{:?} is out of reach", relocation.target)))?;
            let place = place as usize;
            self.bytes[place..place + 4].copy_from_slice(&distance.to_le_bytes());
        }
        Ok(())
    }
}
