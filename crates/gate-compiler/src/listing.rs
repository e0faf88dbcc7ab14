//! Lists compiled text for inspection.

use crate::compiled::{AddressMapping, CompiledModule, SafepointKind};
use crate::error::CompileError;
use crate::isa;
use crate::options::Options;
use gate_wire::trap::TrapId;
use std::fmt::{self, Write};

/// Writes the text of a compiled module as assembly language: each instruction with its offset in the text, and where
/// it starts, the offset of the WebAssembly instruction from which it was made; traps and safepoints are noted.
///
/// # Errors
///
/// The module was compiled for another kind of machine, or `out` fails.
pub fn write_listing(
    module: &CompiledModule,
    options: &Options,
    out: &mut dyn Write,
) -> Result<(), CompileError> {
    let isa = isa::host(options)?;
    let disassembler = isa
        .to_capstone()
        .map_err(|error| CompileError::internal(format!("cannot make a disassembler: {error}")))?;
    let mut listing = Listing { module, out };
    for (start, end, title) in sections(module) {
        listing.write(start, &title, |_| Ok(()))?;
        let mut code_offset = AddressMapping::NONE;
        let mut next = start;
        while next < end {
            let bytes = module.text.get(next as usize..end as usize).unwrap_or_default();
            let instructions = disassembler
                .disasm_count(bytes, u64::from(next), CHUNK)
                .map_err(|error| CompileError::internal(format!("cannot disassemble: {error}")))?;
            for instruction in instructions.iter() {
                next = instruction.address() as u32;
                listing.place(next, &mut code_offset)?;
                listing.instruction(next, instruction.mnemonic(), instruction.op_str())?;
                next += instruction.len() as u32;
            }
            // What follows a function's instructions are constants.
            if instructions.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

/// Start, end and title of all code, in order.
fn sections(module: &CompiledModule) -> Vec<(u32, u32, String)> {
    let functions = module.maps.functions.iter().map(|function| {
        let name = function.name.as_deref().unwrap_or("(no name)");
        let title = format!(
            "function {} {name}: wasm offset {:#x}, {} bytes, frame of {} bytes",
            function.function, function.code_offset, function.text_size, function.frame_size
        );
        (function.text_offset, function.text_offset + function.text_size, title)
    });
    let trampolines = &module.info.trampolines;
    let trampolines = trampolines.iter().enumerate().map(|(index, trampoline)| {
        let start = trampoline.text_offset;
        let next = trampolines.get(index + 1).map(|next| next.text_offset);
        let end = next.unwrap_or_else(|| end_of_code(&module.text, start));
        (start, end, format!("trampoline of function {}", trampoline.function))
    });
    functions.chain(trampolines).collect()
}

/// Where the code that starts somewhere is followed by filling.
fn end_of_code(text: &[u8], start: u32) -> u32 {
    let rest = text.get(start as usize..).unwrap_or_default();
    start + rest.iter().position(|&byte| byte == crate::link::PADDING).unwrap_or(rest.len()) as u32
}

struct Listing<'a> {
    module: &'a CompiledModule,
    out: &'a mut dyn Write,
}

impl Listing<'_> {
    fn heading(&mut self, start: u32, title: &str) -> fmt::Result {
        writeln!(self.out, "{start:08x} ; {title}")
    }

    /// Notes from which WebAssembly instruction the following comes, if that changes.
    fn place(&mut self, text_offset: u32, code_offset: &mut u32) -> fmt::Result {
        let addresses = &self.module.maps.addresses;
        let index = addresses.partition_point(|mapping| mapping.text_offset <= text_offset);
        let found = index.checked_sub(1).map_or(AddressMapping::NONE, |index| addresses[index].code_offset);
        if found == *code_offset {
            return Ok(());
        }
        *code_offset = found;
        if found == AddressMapping::NONE {
            return Ok(());
        }
        write!(self.out, "         ; wasm {found:#x}")?;
        // Thunks come first, at offset zero; other functions' offsets ascend with their indices.
        let safepoints = &self.module.maps.safepoints;
        if let Ok(index) = safepoints.binary_search_by_key(&found, |safepoint| safepoint.code_offset) {
            let safepoint = &safepoints[index];
            let kind = match safepoint.kind {
                SafepointKind::Entry => "entry",
                SafepointKind::Loop => "loop",
                SafepointKind::Call => "call",
                SafepointKind::Instruction => "instruction",
            };
            let (locals, operands) = (safepoint.locals.len(), safepoint.operands.len());
            write!(self.out, ", safepoint ({kind}, {locals} locals, {operands} operands)")?;
        }
        writeln!(self.out)
    }

    fn instruction(&mut self, text_offset: u32, mnemonic: &str, operands: &str) -> fmt::Result {
        write!(self.out, "{text_offset:08x}   {mnemonic} {operands}")?;
        let traps = &self.module.maps.traps;
        if let Ok(index) = traps.binary_search_by_key(&text_offset, |site| site.text_offset) {
            write!(
                self.out,
                " ; trap: {}",
                TrapId::from_number(traps[index].trap.into()).map_or("?", TrapId::name)
            )?;
        }
        writeln!(self.out)
    }
}
