//! Runs WebAssembly programs, each in an isolated process of its own.
#![forbid(unsafe_code)]

mod cli;
mod compile;
mod completions;
mod exit;
mod load;
mod log;
mod module;
mod output;
mod quantity;
mod run;
mod signals;
mod values;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(cli::parse())
}
