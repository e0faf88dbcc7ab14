//! Packets between programs and services, beside bytes between two processes with nothing but pipes between them.

mod bare;
mod programs;
mod traffic;

pub(crate) use bare::{Role, play};

use crate::density::raise_limits;
use bare::Bare;
use clap::Args;
use programs::{Programs, Role as Program};
use std::time::Duration;

/// Of small packets.
const SMALL: u64 = 8;

/// Of large ones, what is on its way to and fro.
const LARGE: u64 = 1 << 20;

/// What to measure.
#[derive(Args)]
pub(crate) struct Selected {
    /// Only lines which contain one of these.
    names: Vec<String>,
    /// Number of rounds.
    #[arg(long, short = 'n', default_value_t = 7)]
    rounds: usize,
    /// Milliseconds of each measurement.
    #[arg(long, default_value_t = 300)]
    time: u64,
    /// How many programs there are when there are many.
    #[arg(long, default_value_t = 1000)]
    many: usize,
    /// Threads that serve the programs. Zero is the thread that starts them.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// A line of the table: what programs do, and what two bare processes do for comparison.
struct Line {
    name: &'static str,
    role: Program,
    many: bool,
    bare: Role,
}

const fn line(name: &'static str, role: Program, many: bool, bare: Role) -> Line {
    Line { name, role, many, bare }
}

const LINES: [Line; 10] = [
    line("empty call, one", Program::Call, false, Role::Echo),
    line("echo of 8 bytes, one", Program::Echo { ahead: SMALL }, false, Role::Echo),
    line("bulk out, one", Program::Source, false, Role::Source),
    line("bulk in, one", Program::Sink, false, Role::Sink),
    line("bulk echo, one", Program::Echo { ahead: LARGE }, false, Role::Echo),
    line("empty call, many", Program::Call, true, Role::Echo),
    line("echo of 8 bytes, many", Program::Echo { ahead: SMALL }, true, Role::Echo),
    line("bulk out, many", Program::Source, true, Role::Source),
    line("bulk in, many", Program::Sink, true, Role::Sink),
    line("bulk echo, many", Program::Echo { ahead: LARGE }, true, Role::Echo),
];

impl Line {
    /// Whether round trips are counted, not bytes.
    fn is_small(&self) -> bool {
        matches!(self.role, Program::Call | Program::Echo { ahead: SMALL })
    }

    /// What its numbers are divided by.
    fn unit(&self) -> f64 {
        match self.role {
            Program::Echo { ahead: SMALL } => SMALL as f64,
            Program::Call => 1.0,
            _ => 1e6,
        }
    }

    fn measure_bare(&self, time: Duration) -> anyhow::Result<f64> {
        let bare = Bare::new(self.bare)?;
        match self.bare {
            Role::Echo if self.is_small() => bare.ping_pong(time),
            Role::Echo => Ok(bare.echo(time)? / 1e6),
            Role::Source => Ok(bare.drain(time)? / 1e6),
            Role::Sink => Ok(bare.fill(time)? / 1e6),
        }
    }
}

/// Alternates between Gate and bare processes.
pub(crate) fn run(selected: &Selected) -> anyhow::Result<()> {
    raise_limits(selected.many)?;
    let runtime = match selected.threads {
        0 => crate::runtime()?,
        threads => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?
        }
    };
    let time = Duration::from_millis(selected.time);
    let programs = runtime.block_on(Programs::new())?;
    println!("{:<24} {:>12} {:>12} {:>9}", "per second", "gate", "bare", "gate/bare");
    let is_selected = |line: &&Line| {
        selected.names.is_empty() || selected.names.iter().any(|name| line.name.contains(name))
    };
    for line in LINES.iter().filter(is_selected) {
        let count = if line.many { selected.many } else { 1 };
        let (mut gate, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..selected.rounds.max(1) {
            let ours = runtime.block_on(programs.measure(line.role, count, time))? / line.unit();
            let theirs = line.measure_bare(time)?;
            gate.push(ours);
            bare.push(theirs);
            ratios.push(ours / theirs);
        }
        let unit = if line.is_small() { "" } else { " MB" };
        let [gate, bare, ratio] = [gate, bare, ratios].map(median);
        println!(
            "{:<24} {:>12} {:>12} {ratio:>9.2}",
            line.name,
            format!("{gate:.0}{unit}"),
            format!("{bare:.0}{unit}")
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
