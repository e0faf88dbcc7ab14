//! Measures Gate side by side with Wasmtime.
//!
//! Each sub-command alternates between the sides within one run, so that whatever else the machine is doing
//! disturbs both alike, and prints medians and their ratios.

#![forbid(unsafe_code)]

mod compile;
mod density;
mod files;
mod floor;
mod packets;
mod peer;
mod peer_process;
mod python;
mod run;
mod start;
mod stats;
mod stop;
mod stress;
mod subject;
mod suspend;
mod throughput;
mod wasi_shim;
mod workload;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Measures Gate side by side with Wasmtime.
#[derive(Parser)]
#[command(name = "gate-bench")]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Time of running programs, compiled beforehand.
    Run(Selection),
    /// Time of starting a program that does nothing, to its end.
    Start(Selection),
    /// Programs per second, by how many are run at once.
    Throughput(Selection),
    /// What thousands of idle programs in one executor cost, and how quick one is among them.
    Density {
        /// How many.
        #[arg(long, short = 'n', default_value_t = gate_runtime::MAX_PROCS)]
        programs: u32,
    },
    /// Time of stopping programs, and of letting them go on: here, elsewhere, and as copies.
    Suspend(Selection),
    /// Packets between programs and services, and bytes between two processes with nothing between them.
    Packets(packets::Selected),
    /// What the latter of these processes does.
    #[command(hide = true)]
    BarePeer {
        /// Its part.
        role: packets::Role,
    },
    /// Time of stopping programs that do their best not to stop. Fails if it is not what is promised.
    Stop(Selection),
    /// Time of compilation and size of the text, one thread each.
    Compile(Selection),
    /// Time of starting Python, and other large programs, as whole commands.
    Python(Selection),
    /// Speed of reading files, and of small calls.
    Files(Selection),
    /// Runs programs while they, their loaders and their executors are killed, and counts what is lost or left behind.
    Stress {
        /// For how long.
        #[arg(long, default_value_t = 1.0)]
        minutes: f64,
    },
    /// Runs a program in Wasmtime: its arguments follow, standard streams are passed on.
    Peer {
        /// WebAssembly file.
        file: PathBuf,
        /// Arguments of the program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// What to measure, and how often.
#[derive(Args)]
struct Selection {
    /// Only programs whose names contain one of these.
    names: Vec<String>,
    /// Number of rounds of each program.
    #[arg(long, short = 'n')]
    rounds: Option<usize>,
    /// Few rounds: numbers to look at, not to write down.
    #[arg(long)]
    quick: bool,
}

impl Selection {
    fn includes(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }

    fn rounds(&self, quick: usize, usual: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { quick } else { usual }).max(1)
    }
}

fn main() -> anyhow::Result<()> {
    match Command::parse().action {
        Action::Run(selection) => runtime()?.block_on(run::measure(&selection)),
        Action::Start(selection) => runtime()?.block_on(start::measure(&selection)),
        Action::Throughput(selection) => runtime()?.block_on(throughput::measure(&selection)),
        Action::Density { programs } => runtime()?.block_on(density::measure(programs)),
        Action::Suspend(selection) => runtime()?.block_on(suspend::measure(&selection)),
        Action::Packets(selected) => packets::run(&selected),
        Action::BarePeer { role } => packets::play(role),
        Action::Stop(selection) => runtime()?.block_on(stop::measure(&selection)),
        Action::Compile(selection) => compile::measure(&selection),
        Action::Python(selection) => python::measure(&selection),
        Action::Files(selection) => runtime()?.block_on(files::measure(&selection)),
        Action::Stress { minutes } => stress::run(minutes),
        Action::Peer { file, args } => std::process::exit(peer::run_file(&file, args)?),
    }
}

/// One thread, as the `gate` command has: handing work to another one costs as much as starting a process.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
