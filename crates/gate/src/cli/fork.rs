//! `gate fork`.

use super::shared::{CacheArgs, CompilationArgs, GrantArgs, ServiceArgs};
use crate::exit;
use crate::quantity::{parse_duration, parse_size, parse_stack_size};
use clap::{Args, ValueHint, value_parser};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  Four copies at once; each line of their output begins with the number of the copy:
    gate fork -n 4 state.wasm

  A thousand copies, whose output goes to out/0.out, out/0.err, out/1.out, ...:
    gate fork -n 1000 --output-dir out state.wasm

  A hundred scripts for an interpreter that was stopped when it wanted input:
    gate fork -n 100 --input scripts/{}.py --output-dir out python.snapshot

  Eight copies that find each other by their numbers, and share keys and values:
    gate fork -n 8 --service peer=workers --service kv=results.db state.wasm

  Explore ten ways for a second, and keep the states:
    gate fork -n 10 --suspend-after 1s --snapshot-dir states state.wasm";

/// Let many copies of a suspended program go on at once
///
/// The copies share the program's memory until they write to it. Clocks go on from where they stood, randomness is fresh
/// for each. Their standard input is empty unless there is --input, but for what had been read before and is part of the
/// snapshot.
///
/// Directories are given to all copies by the names that the program knows, as `gate resume` does. What it has in memory (`gate run
/// --tmpfs`) each copy has of its own. Each connection to a listener is accepted by one of the copies.
///
/// At the end a line on standard error tells how many ended in which way. The exit code is zero if all copies exited
/// with zero, else that of the first copy, by number, which did not.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{}\n\n{EXAMPLES}", exit::HELP))]
pub(crate) struct ForkArgs {
    /// How many copies to make
    #[arg(short = 'n', long, value_name = "N", value_parser = value_parser!(u32).range(1..=16384))]
    pub(crate) count: u32,

    /// Let the copies read this file as their standard input. `{}` in its name stands for the number of the copy, from 0 on
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<String>,

    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    /// Let the copies go on without files, directories, images and listeners that the program had and that are missing here: using them fails
    #[arg(long)]
    pub(crate) missing_files_fail: bool,

    #[command(flatten)]
    pub(crate) services: ServiceArgs,

    /// Write the copies' output to files in this directory: N.out and N.err, numbered from 0. The directory is made if it does
    /// not exist
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) output_dir: Option<PathBuf>,

    /// Write the states of copies which are suspended to files in this directory: N.wasm. The directory is made if it does
    /// not exist
    #[arg(long, help_heading = "Suspension", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) snapshot_dir: Option<PathBuf>,

    /// Suspend the copies after this time
    #[arg(
        long,
        help_heading = "Suspension",
        value_name = "DURATION",
        value_parser = parse_duration,
        requires = "snapshot_dir"
    )]
    pub(crate) suspend_after: Option<Duration>,

    /// Stop the copies after this time: 10s, 1m30s, 500ms; a number alone is seconds
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,

    /// How large the program's linear memories may become together: 64m, 1.5g; a number alone is bytes. The default is what
    /// the program had
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_memory: Option<u64>,

    /// Size of the program's stack. The default is what the program had
    #[arg(long, value_name = "SIZE", value_parser = parse_stack_size)]
    pub(crate) stack_size: Option<u64>,

    /// How exactly the copies can tell the time
    #[arg(long, value_name = "DURATION", default_value = "1ns", value_parser = parse_duration)]
    pub(crate) time_resolution: Duration,

    #[command(flatten)]
    pub(crate) compilation: CompilationArgs,

    #[command(flatten)]
    pub(crate) cache: CacheArgs,

    /// The snapshot; `-` reads it from standard input
    #[arg(value_name = "SNAPSHOT", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}
