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
    let isa = isa::target(options)?;
    let disassembler = isa
        .to_capstone()
        .map_err(|error| CompileError::internal(format!("cannot make a disassembler: {error}")))?;
    let disassemble = |offset: u32, end: u32| {
        let bytes = module.text.get(offset as usize..end as usize).unwrap_or_default();
        disassembler
            .disasm_count(bytes, u64::from(offset), CHUNK)
            .map_err(|error| CompileError::internal(format!("cannot disassemble: {error}")))
    };
    let mut listing = Listing { module, out, code_offset: AddressMapping::NONE };
    for section in sections(module) {
        listing.heading(section.start, &section.title).map_err(cannot_write)?;
        let mut next = section.start;
        'section: while next < section.end {
            let instructions = disassemble(next, section.end)?;
            if instructions.is_empty() {
                // Jump tables are among the instructions.
                let byte =
                    module.text.get(next as usize).map_or_else(String::new, |byte| format!("{byte:#04x}"));
                listing.instruction(next, ".byte", &byte).map_err(cannot_write)?;
                next += 1;
            }
            for instruction in instructions.iter() {
                let mnemonic = instruction.mnemonic().unwrap_or("?");
                let operands = instruction.op_str().unwrap_or_default();
                listing.instruction(next, mnemonic, operands).map_err(cannot_write)?;
                next += instruction.len() as u32;
                if section.trampoline && mnemonic.starts_with("ret") {
                    break 'section;
                }
            }
        }
    }
    Ok(())
}

/// Number of instructions that are disassembled at a time. They take a kilobyte each.
const CHUNK: usize = 1000;

fn cannot_write(_: fmt::Error) -> CompileError {
    CompileError::internal("cannot write the listing")
}

/// Code of a function.
struct Section {
    start: u32,
    /// If it is a trampoline, it ends before.
    end: u32,
    title: String,
    /// Whether it is a trampoline: it ends with its only return instruction.
    trampoline: bool,
}

/// All code, in order.
fn sections(module: &CompiledModule) -> Vec<Section> {
    let functions = module.maps.functions.iter().map(|function| {
        let name = function.name.as_deref().unwrap_or("(no name)");
        let title = format!(
            "function {} {name}: wasm offset {:#x}, {} bytes, frame of {} bytes",
            function.function, function.code_offset, function.text_size, function.frame_size
        );
        let (start, end) = (function.text_offset, function.text_offset.saturating_add(function.text_size));
        Section { start, end, title, trampoline: false }
    });
    let trampolines = module.info.trampolines.iter().map(|trampoline| {
        let title = format!("trampoline of function {}", trampoline.function);
        Section { start: trampoline.text_offset, end: module.text.len() as u32, title, trampoline: true }
    });
    functions.chain(trampolines).collect()
}

struct Listing<'a> {
    module: &'a CompiledModule,
    out: &'a mut dyn Write,
    /// Where in the module the last instruction came from.
    code_offset: u32,
}

impl Listing<'_> {
    fn heading(&mut self, start: u32, title: &str) -> fmt::Result {
        self.code_offset = AddressMapping::NONE;
        writeln!(self.out, "\n{start:08x} ; {title}")
    }

    /// Notes from which WebAssembly instruction the following comes, if that changes.
    fn place(&mut self, text_offset: u32) -> fmt::Result {
        let addresses = &self.module.maps.addresses;
        let index = addresses.partition_point(|mapping| mapping.text_offset <= text_offset);
        let found = index.checked_sub(1).map_or(AddressMapping::NONE, |index| addresses[index].code_offset);
        if std::mem::replace(&mut self.code_offset, found) == found || found == AddressMapping::NONE {
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
                SafepointKind::Breakpoint => "breakpoint",
            };
            let (locals, operands) = (safepoint.locals.len(), safepoint.operands.len());
            write!(self.out, ", safepoint ({kind}, {locals} locals, {operands} operands)")?;
        }
        writeln!(self.out)
    }

    fn instruction(&mut self, text_offset: u32, mnemonic: &str, operands: &str) -> fmt::Result {
        self.place(text_offset)?;
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
