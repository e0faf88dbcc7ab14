//! `gate inspect` and `gate coredump`.

use super::shared::CacheArgs;
use crate::exit;
use crate::quantity::parse_range;
use clap::{Args, ValueHint};
use std::ops::Range;
use std::path::PathBuf;

const INSPECT_EXAMPLES: &str = "\
Examples:
  gate inspect state.wasm                               an overview
  gate inspect --stack state.wasm                       every frame, with all values
  gate inspect --memory 0x1000..0x1100 state.wasm       256 bytes of the memory
  gate inspect --memory 1:4096+64 --table 0 state.wasm  bytes of memory 1, and the elements of table 0
  gate inspect --json state.wasm | jq '.stack[0]'";

const COREDUMP_EXAMPLES: &str = "\
Examples:
  gate coredump state.wasm -o core.wasm
  gate coredump state.wasm -o - | wasm-tools print";

/// Show what a suspended program is doing
///
/// Shows the stack with functions, places in the source code and values; globals, tables, memories, services and clocks.
/// Function names come from the module's name section, places in the source code from its debugging information
/// (DWARF), if it has any. The program is not run.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{}\n\n{INSPECT_EXAMPLES}", exit::LOOK_HELP))]
pub(crate) struct InspectArgs {
    /// Write a JSON object for programs to read
    #[arg(long)]
    pub(crate) json: bool,

    /// Show only the stack, but all of it
    #[arg(long)]
    pub(crate) stack: bool,

    /// Show only bytes of a memory: START..END or START+LENGTH, with `1:` before it for memory 1. Can be given several
    /// times
    #[arg(long, value_name = "RANGE", value_parser = parse_memory_range)]
    pub(crate) memory: Vec<MemoryRange>,

    /// Show only the elements of the table with this index. Can be given several times
    #[arg(long, value_name = "N")]
    pub(crate) table: Vec<u32>,

    #[command(flatten)]
    pub(crate) cache: CacheArgs,

    /// The snapshot; `-` reads it from standard input
    #[arg(value_name = "SNAPSHOT", value_hint = ValueHint::FilePath)]
    pub(crate) snapshot: PathBuf,
}

/// Write a core dump of a suspended program, for debuggers
///
/// The format is that of WebAssembly's tool conventions: a module with the sections `core`, `coremodules`,
/// `coreinstances` and `corestack`, and with memories, globals and data as they are. Values of the types v128,
/// funcref and externref on the stack are marked as missing, because the format does not have them.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{}\n\n{COREDUMP_EXAMPLES}", exit::LOOK_HELP))]
pub(crate) struct CoredumpArgs {
    /// Where to write the core dump; `-` is standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) cache: CacheArgs,

    /// The snapshot; `-` reads it from standard input
    #[arg(value_name = "SNAPSHOT", value_hint = ValueHint::FilePath)]
    pub(crate) snapshot: PathBuf,
}

/// Part of a linear memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryRange {
    pub(crate) memory: u32,
    pub(crate) range: Range<u64>,
}

fn parse_memory_range(text: &str) -> Result<MemoryRange, String> {
    /// More than this is not for people to read.
    const MAX_SIZE: u64 = 64 << 20;

    let (memory, range) = match text.split_once(':') {
        Some((memory, range)) => {
            (memory.parse().map_err(|_| format!("{memory:?} is not the index of a memory"))?, range)
        }
        None => (0, text),
    };
    let range = parse_range(range)?;
    match range.end - range.start {
        size if size <= MAX_SIZE => Ok(MemoryRange { memory, range }),
        _ => Err(format!("is larger than {MAX_SIZE} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_a_memory() {
        assert_eq!(parse_memory_range("16..32"), Ok(MemoryRange { memory: 0, range: 16..32 }));
        assert_eq!(parse_memory_range("2:0x10+1"), Ok(MemoryRange { memory: 2, range: 16..17 }));
        for bad in [":1..2", "x:1..2", "1:", "0..0x8000000", "-1:0..1"] {
            assert!(parse_memory_range(bad).is_err(), "{bad}");
        }
    }
}
