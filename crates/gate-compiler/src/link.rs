//! Makes one text of all functions and the data they use.
//!
//! Functions come first, by index (those of imported ones are thunks), then trampolines, the function table, and the
//! contents of passive segments. Text with which stopped programs go on is linked separately, to be appended.

use crate::codegen::{Code, RelocationKind};
use crate::compiled::{Anchors, Safepoint, Trampoline};
use crate::error::CompileError;
use crate::module::{Module, SegmentMode};
use crate::symbol::Symbol;
use gate_wire::PAGE_SIZE;

/// The text, and where the parts of each function are in it.
pub(crate) struct Linked {
    pub(crate) text: Vec<u8>,
    /// Functions, in the order in which they were given.
    pub(crate) functions: Vec<LinkedFunction>,
    pub(crate) trampolines: Vec<Trampoline>,
}

/// A function in the text. Offsets within it are from its start.
pub(crate) struct LinkedFunction {
    pub(crate) text_offset: u32,
    pub(crate) text_size: u32,
    pub(crate) frame_size: u32,
    pub(crate) tail_calls: bool,
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
) -> Result<(Linked, Anchors), CompileError> {
    let mut text = Text::new(0, max_size);
    let offsets = text.codes(&functions)?;
    let entries = text.codes(trampolines.iter().map(|(_, code)| code))?;

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

    let anchors = Anchors { function_table, data, elements };
    let address = |symbol| match symbol {
        Symbol::Function(index) => offsets.get(index as usize).copied(),
        other => anchor(&anchors, other),
    };
    Ok((text.finish(functions, &offsets, trampolines, &entries, address)?, anchors))
}

/// Links resume bodies and trampolines that go behind the text of a module.
pub(crate) fn link_behind(
    base: &[u8],
    anchors: &Anchors,
    functions: Vec<Code>,
    trampolines: Vec<(u32, Code)>,
    max_size: usize,
) -> Result<Linked, CompileError> {
    if !base.len().is_multiple_of(PAGE_SIZE as usize) {
        return Err(CompileError::internal("the module's text is not a multiple of the page size"));
    }
    let mut text = Text::new(base.len(), max_size);
    let offsets = text.codes(&functions)?;
    let entries = text.codes(trampolines.iter().map(|(_, code)| code))?;
    text.align(PAGE_SIZE as u32)?;
    let address = |symbol| match symbol {
        Symbol::Function(index) => {
            let entry = anchors.function_table as usize + 8 * (1 + index as usize);
            let distance = base.get(entry + 4..entry + 8)?.try_into().ok()?;
            anchors.function_table.checked_add_signed(i32::from_le_bytes(distance))
        }
        other => anchor(anchors, other),
    };
    text.finish(functions, &offsets, trampolines, &entries, address)
}

fn anchor(anchors: &Anchors, symbol: Symbol) -> Option<u32> {
    match symbol {
        Symbol::Function(_) => None,
        Symbol::FunctionTable => Some(anchors.function_table),
        Symbol::Data(index) => anchors.data.get(index as usize).copied(),
        Symbol::Elements(index) => anchors.elements.get(index as usize).copied(),
    }
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
    /// Offset of the first byte.
    start: usize,
    max_size: usize,
}

impl Text {
    fn new(start: usize, max_size: usize) -> Self {
        // Distances are signed 32-bit numbers.
        Self { bytes: Vec::new(), start, max_size: max_size.min(i32::MAX as usize) }
    }

    /// Appends code, and returns the offset of each piece.
    fn codes<'c>(&mut self, codes: impl IntoIterator<Item = &'c Code>) -> Result<Vec<u32>, CompileError> {
        let mut offsets = Vec::new();
        for code in codes {
            offsets.push(self.align(code.alignment)?);
            self.append(&code.bytes)?;
        }
        Ok(offsets)
    }

    /// Pads the text, and returns its size.
    fn align(&mut self, alignment: u32) -> Result<u32, CompileError> {
        let size = (self.start + self.bytes.len()).next_multiple_of(alignment as usize);
        self.check_size(size)?;
        self.bytes.resize(size - self.start, PADDING);
        Ok(size as u32)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), CompileError> {
        self.check_size(self.start + self.bytes.len() + bytes.len())?;
        self.bytes.extend(bytes);
        Ok(())
    }

    fn check_size(&self, size: usize) -> Result<(), CompileError> {
        if size > self.max_size {
            return Err(CompileError::limit(None, "size of the text", size, self.max_size));
        }
        Ok(())
    }

    /// Fills in distances to symbols.
    fn finish(
        mut self,
        functions: Vec<Code>,
        offsets: &[u32],
        trampolines: Vec<(u32, Code)>,
        entries: &[u32],
        address: impl Fn(Symbol) -> Option<u32>,
    ) -> Result<Linked, CompileError> {
        let trampoline_codes = trampolines.iter().map(|(_, code)| code);
        for (code, &offset) in functions.iter().chain(trampoline_codes).zip(offsets.iter().chain(entries)) {
            self.relocate(code, offset, &address)?;
        }
        let trampolines = trampolines
            .iter()
            .zip(entries)
            .map(|(&(function, _), &text_offset)| Trampoline { function, text_offset })
            .collect();
        let functions = functions
            .into_iter()
            .zip(offsets)
            .map(|(code, &text_offset)| LinkedFunction {
                text_offset,
                text_size: code.bytes.len() as u32,
                frame_size: code.frame_size,
                tail_calls: code.tail_calls,
                traps: code.traps,
                addresses: code.addresses,
                safepoints: code.safepoints,
            })
            .collect();
        Ok(Linked { text: self.bytes, functions, trampolines })
    }

    fn relocate(
        &mut self,
        code: &Code,
        offset: u32,
        address: impl Fn(Symbol) -> Option<u32>,
    ) -> Result<(), CompileError> {
        for relocation in &code.relocations {
            let symbol = relocation.target;
            let target = address(symbol)
                .ok_or_else(|| CompileError::internal(format!("{symbol:?} is not in the text")))?;
            let target = i64::from(target) + relocation.addend;
            let place = i64::from(offset) + i64::from(relocation.offset);
            let index = place as usize - self.start;
            let field = self.bytes[index..].first_chunk_mut().expect("relocations are within the code");
            let word =
                fill_in(relocation.kind, u32::from_le_bytes(*field), place, target).ok_or_else(|| {
                    let distance = (target - place).unsigned_abs();
                    let reach =
                        if relocation.kind == RelocationKind::Branch26 { 128 << 20 } else { i32::MAX };
                    CompileError::limit(None, "distance of a called function in the text", distance, reach)
                })?;
            *field = word.to_le_bytes();
        }
        Ok(())
    }
}

/// The word at a place, with the target filled in. `None` if that is out of reach. Text is mapped at a page's start.
fn fill_in(kind: RelocationKind, word: u32, place: i64, target: i64) -> Option<u32> {
    /// The low bits of a number, if it is a signed one of so many.
    fn signed(number: i64, bits: u32) -> Option<u32> {
        let half = 1 << (bits - 1);
        (-half..half).contains(&number).then_some(number as u32 & (u32::MAX >> (32 - bits)))
    }
    Some(match kind {
        RelocationKind::Distance32 => signed(target - place, 32)?,
        RelocationKind::Branch26 => word & 0xfc00_0000 | signed((target - place) >> 2, 26)?,
        RelocationKind::Page21 => {
            let pages = signed((target >> 12) - (place >> 12), 21)?;
            word & 0x9f00_001f | (pages & 3) << 29 | (pages >> 2) << 5
        }
        RelocationKind::PageOffset12 => word & 0xffc0_03ff | (target as u32 & 0xfff) << 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_in() {
        let call = |place, target| fill_in(RelocationKind::Branch26, 0x9400_0000, place, target);
        assert_eq!(call(0x1000, 0x1008), Some(0x9400_0002));
        assert_eq!(call(0x1008, 0x1000), Some(0x97ff_fffe));
        assert_eq!(call(0, (128 << 20) - 4), Some(0x95ff_ffff));
        assert_eq!(call(0, 128 << 20), None);
        // adrp x3, 0x1235000
        let page = |place, target| fill_in(RelocationKind::Page21, 0x9000_0003, place, target);
        assert_eq!(page(0x1000, 0x5678), Some(0x9000_0023));
        assert_eq!(page(0x1fff, 0x2000), Some(0xb000_0003));
        assert_eq!(page(0x2000, 0x1fff), Some(0xf0ff_ffe3));
        // add x3, x3, #0x678
        assert_eq!(fill_in(RelocationKind::PageOffset12, 0x9100_0063, 0, 0x5678), Some(0x9119_e063));
        let distance = |place, target| fill_in(RelocationKind::Distance32, 0, place, target);
        assert_eq!(distance(8, 4), Some(u32::MAX - 3));
        assert_eq!(distance(0, 1 << 31), None);
    }
}
