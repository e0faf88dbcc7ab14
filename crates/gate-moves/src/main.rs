//! Makes random journeys for as long as is wanted, and reports.

#![forbid(unsafe_code)]

use anyhow::Context;
use clap::Parser;
use gate_moves::{Exchanged, Journeys, Plan, Subject, exchange_packets, hand_written, real};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Suspends programs at random moments, lets them go on in random ways, and compares how they end with uninterrupted
/// runs, and these with other engines.
#[derive(Parser)]
#[command(name = "gate-moves")]
struct Command {
    /// Number of suspensions.
    #[arg(long, short = 'n', default_value_t = 100_000)]
    suspensions: u64,
    /// How long to go on instead, such as `1h`.
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "suspensions", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Where modules of programs are written that differ.
    #[arg(long, default_value = "target/differences")]
    save: PathBuf,
    /// Greatest number of suspensions of one run.
    #[arg(long, default_value_t = 40)]
    per_journey: usize,
    /// Of the random decisions.
    #[arg(long)]
    seed: Option<u64>,
    /// How many of ten runs are of random modules.
    #[arg(long, default_value_t = 5)]
    generated: u32,
    /// Only programs whose names contain one of these.
    #[arg(long)]
    only: Vec<String>,
    /// Where `tools/build-programs` has put programs; none of them are run if it is not there.
    #[arg(long, default_value = "target/programs")]
    programs: PathBuf,
    /// Programs that exchange numbered packets with services, instead of all others.
    #[arg(long)]
    packets: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let command = Command::parse();
    if command.packets {
        return packets(&command).await;
    }
    let mut subjects = hand_written()?;
    if command.programs.join("wasm").exists() {
        subjects.extend(real(&command.programs, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?);
    } else {
        eprintln!("without real programs: {} does not exist", command.programs.display());
    }
    subjects.retain(|Subject { name, .. }| {
        command.only.is_empty() || command.only.iter().any(|part| name.contains(part.as_str()))
    });
    let seed = command.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let plan = Plan {
        suspensions: command.suspensions,
        per_journey: command.per_journey,
        seed,
        generated: command.generated,
        until: command.duration.map(|duration| Instant::now() + duration),
    };
    let (mut told, mut saved) = (0, 0);
    let report = Journeys::new()
        .await?
        .make(&subjects, &plan, |report| {
            for difference in &report.differences[saved..] {
                saved += 1;
                eprintln!("{}: {}", difference.subject.name, difference.message);
                if let Err(error) = save(&command.save, &difference.subject) {
                    eprintln!("{error:#}");
                }
            }
            if report.suspensions() >= told + 2000 {
                told = report.suspensions();
                eprintln!(
                    "{told} suspensions, {} modules, {} differences",
                    report.modules,
                    report.differences.len()
                );
            }
        })
        .await?;
    println!("{report}");
    Ok(if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn packets(command: &Command) -> anyhow::Result<ExitCode> {
    let seed = command.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut told = 0;
    let progress = |exchanged: &Exchanged| {
        if exchanged.suspensions() >= told + 2000 {
            told = exchanged.suspensions();
            eprintln!("{told} suspensions");
        }
    };
    println!("{}", exchange_packets(command.suspensions, seed, progress).await?);
    Ok(ExitCode::SUCCESS)
}

/// Writes a module down, to be looked into.
fn save(directory: &Path, subject: &Subject) -> anyhow::Result<()> {
    let path = directory.join(format!("{}.wasm", subject.name.replace(' ', "-")));
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&path, &subject.wasm))
        .with_context(|| format!("write {}", path.display()))
}
