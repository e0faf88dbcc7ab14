//! Runs WebAssembly programs, each in an isolated process of its own.
#![forbid(unsafe_code)]

mod cli;
mod compile;
mod completions;
mod coredump;
mod detour;
mod drive;
mod exit;
mod fork;
mod grants;
mod host;
mod inspect;
mod load;
mod log;
mod module;
mod output;
mod packets;
mod plan;
mod profile;
mod progress;
mod quantity;
mod replace;
mod resume;
mod run;
mod runtime;
mod runtime_daemon;
mod services;
mod session;
mod signals;
mod snapshot;
mod streams;
mod values;
mod wasm;
mod writing;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(cli::parse())
}
