//! `gate compile`.

use super::shared::CompilationArgs;
use clap::{Args, ValueHint};
use std::path::PathBuf;

const COMPILE_EXAMPLES: &str = "\
Examples:
  gate compile math.wat                      writes math.text
  gate compile --listing math.wat            writes math.text and math.lst
  gate compile -o - math.wasm | objdump -D -b binary -m i386:x86-64 /dev/stdin";

/// Compile a module and write its native text, for inspection
///
/// The text is position-independent machine code without any headers.
#[derive(Debug, Args)]
#[command(after_long_help = COMPILE_EXAMPLES)]
pub(crate) struct CompileArgs {
    /// Where to write the text; `-` is standard output. The default is FILE with the extension .text
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Write also a listing of each function's code, next to the text, with the extension .lst
    #[arg(long)]
    pub(crate) listing: bool,

    #[command(flatten)]
    pub(crate) compilation: CompilationArgs,

    /// The module, in binary or text form; `-` reads it from standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}
