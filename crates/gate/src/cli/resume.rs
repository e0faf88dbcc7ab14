//! `gate resume`.

use super::shared::{CacheArgs, CompilationArgs, GrantArgs, ServiceArgs, SuspendArgs, parse_place};
use crate::exit;
use crate::packets::Place;
use crate::quantity::{parse_duration, parse_size, parse_stack_size};
use clap::{Args, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  Let a program go on, and write its state down again if it takes longer than an hour:
    gate resume --suspend-after 1h --snapshot next.wasm state.wasm

  The same over and over, until it is done:
    while gate resume --suspend-after 1h --snapshot state.wasm state.wasm; [ $? -eq 75 ]; do :; done

  Give it a service that it had, wherever that is now:
    gate resume --service notes=grpc:http://10.0.0.7:50051 state.wasm

  Hand it on without a file:
    gate run --suspend-after 1s --snapshot - search.wasm | gate resume -";

/// Let a suspended program go on
///
/// The snapshot contains the module, so that nothing else is needed. It may have been written on another machine, by
/// another version, and with other options for compilation. The program's arguments and environment, and the function
/// that is running, are part of it, and cannot be changed.
///
/// The program gets the standard streams of this command. Input that had been read, but had not yet been taken by the
/// program, is in the snapshot, and comes first; what had not been read is still where it was. So a program whose
/// standard input is a pipe or a terminal goes on reading without a gap; one that was reading a file has to get the
/// same open file (`{ gate run ...; gate resume ...; } <file`), because a file that is opened anew begins at its start.
/// All that the program has written has been written.
///
/// Directories are given to it again by the names that it knows: with what was `--dir data::/in` there, `--dir copy::/in`
/// is another one in its place. Files that it has open are opened again by their names. Images must be the same files; listeners come in the same
/// order as before. Connections are lost.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{}\n\n{EXAMPLES}", exit::HELP))]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    /// Let the program go on without files, directories, images and listeners that it had and that are missing here: using them fails
    #[arg(long)]
    pub(crate) missing_files_fail: bool,

    /// Stop the program after this time: 10s, 1m30s, 500ms; a number alone is seconds
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,

    /// How large the program's linear memories may become together: 64m, 1.5g; a number alone is bytes. The default is what
    /// the program had
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_memory: Option<u64>,

    /// Size of the program's stack. The default is what the program had
    #[arg(long, value_name = "SIZE", value_parser = parse_stack_size)]
    pub(crate) stack_size: Option<u64>,

    /// How exactly the program can tell the time
    #[arg(long, value_name = "DURATION", default_value = "1ns", value_parser = parse_duration)]
    pub(crate) time_resolution: Duration,

    /// What is attached to the service `origin`: stdio, listen=ADDRESS:PORT, or none. The default is stdio for programs that
    /// exchange packets with services: their WASI input is empty then, and their WASI output goes to standard error
    #[arg(long, value_name = "PLACE", value_parser = parse_place)]
    pub(crate) origin: Option<Place>,

    #[command(flatten)]
    pub(crate) services: ServiceArgs,

    #[command(flatten)]
    pub(crate) suspend: SuspendArgs,

    #[command(flatten)]
    pub(crate) compilation: CompilationArgs,

    #[command(flatten)]
    pub(crate) cache: CacheArgs,

    /// The snapshot; `-` reads it from standard input, which the program finds at its end then
    #[arg(value_name = "SNAPSHOT", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}
