//! Time from asking for a program to its end, for one that does nothing.

use crate::Selection;
use crate::floor::Floor;
use crate::peer::Peer;
use crate::stats::{Samples, microseconds};
use crate::subject::{Subject, run_in};
use anyhow::ensure;
use gate_image::Program;
use gate_runtime::{Process, TrapId};
use gate_wasi::WasiCtx;
use std::time::{Duration, Instant};

/// Does nothing.
pub(crate) const PROGRAM: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// How long a prepared process has had time to become ready.
const PREPARATION: Duration = Duration::from_millis(2);

/// Alternates between the ways of starting.
pub(crate) async fn measure(selection: &Selection) -> anyhow::Result<()> {
    let rounds = selection.rounds(200, 2000);
    let wasm = wat::parse_str(PROGRAM)?;
    let program = Subject::compile(&wasm)?;
    let subject = Subject::new().await?;
    let peer = Peer::new()?;
    let module = peer.compile(&wasm)?;
    let floor = Floor::new()?;
    let (mut native, mut to_end, mut to_reaped, mut prepared, mut instances) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default(), Samples::default());

    for _ in 0..rounds {
        native.push(floor.run()?);

        let mut wasi = WasiCtx::builder().args(["noop"]).build()?;
        let start = Instant::now();
        let mut process = subject.process().await?;
        run_once(&mut process, &program, &mut wasi).await?;
        to_end.push(start.elapsed());
        process.close().await;
        to_reaped.push(start.elapsed());

        let mut process = subject.process().await?;
        tokio::time::sleep(PREPARATION).await;
        let mut wasi = WasiCtx::builder().args(["noop"]).build()?;
        let start = Instant::now();
        run_once(&mut process, &program, &mut wasi).await?;
        prepared.push(start.elapsed());
        process.close().await;

        instances.push(peer.run(&module, vec!["noop".into()], Vec::new())?.time);
    }

    println!("A program that does nothing, {rounds} alternating rounds; microseconds");
    println!("{:<52} {:>8} {:>8}", "", "p50", "p99");
    for (what, samples) in [
        ("floor: spawn, exec, wait of an empty static program", &native),
        ("gate: new process, request to the program's end", &to_end),
        ("gate: new process, request to reaped", &to_reaped),
        ("gate: prepared process, request to the program's end", &prepared),
        ("peer: instance within the host's process", &instances),
    ] {
        let (median, high) = (samples.median(), samples.percentile(99));
        println!("{what:<52} {:>8.1} {:>8.1}", microseconds(median), microseconds(high));
    }
    Ok(())
}

/// Runs a program that does nothing, in a process that is there.
pub(crate) async fn run_once(
    process: &mut Process,
    program: &Program,
    wasi: &mut WasiCtx,
) -> anyhow::Result<()> {
    let outcome = run_in(process, program, wasi).await?;
    ensure!(outcome.trap == TrapId::Exit, "trap: {outcome}");
    Ok(())
}
