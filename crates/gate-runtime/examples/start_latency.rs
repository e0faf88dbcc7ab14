//! Measures how long it takes to run a program that does nothing.
//!
//! Usage: `cargo run --release -p gate-runtime --example start_latency [ROUNDS]`
//!
//! Two kinds of runs, interleaved: from having a program to knowing how it ended, and the same with a process that was
//! made in advance.

use gate_compiler::{Options, WasiImports};
use gate_image::{Instance, InstanceOptions, Program};
use gate_runtime::{Config, Executor, NoHostFunctions, Process, ProcessPolicy, TrapId};
use std::error::Error;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a process made in advance is left alone before it is used.
const PREPARATION: Duration = Duration::from_millis(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(2000), |s| s.parse())?;
    let wasm = wat::parse_str(r#"(module (memory 1) (func (export "_start")))"#)?;
    let program = Program::new(gate_compiler::compile(&wasm, &Options::default(), &WasiImports)?)?;
    let executor = Executor::new(Config::default()).await?;

    let mut fresh = Vec::with_capacity(rounds);
    let mut prepared = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begin = Instant::now();
        let process = executor.new_process().await?;
        run(process, &program).await?;
        fresh.push(begin.elapsed());

        let process = executor.new_process().await?;
        tokio::time::sleep(PREPARATION).await;
        let begin = Instant::now();
        run(process, &program).await?;
        prepared.push(begin.elapsed());
    }
    print("nothing prepared", fresh);
    print("process prepared", prepared);
    executor.close().await;
    Ok(())
}

async fn run(mut process: Process, program: &Program) -> Result<()> {
    let mut instance = Instance::new(program, &InstanceOptions::default())?;
    instance.set_program_entry("_start")?;
    process.start(program, &mut instance, ProcessPolicy::default())?;
    let outcome = process.serve(&mut NoHostFunctions).await?;
    match outcome.trap {
        TrapId::Exit => Ok(()),
        trap => Err(trap.to_string().into()),
    }
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let percentile = |p: usize| times[(times.len() - 1) * p / 100].as_nanos() as f64 / 1000.0;
    println!(
        "{what}: p50 {:.1} us, p90 {:.1} us, p99 {:.1} us",
        percentile(50),
        percentile(90),
        percentile(99)
    );
}
