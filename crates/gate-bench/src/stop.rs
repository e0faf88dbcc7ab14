//! Time of stopping programs that do their best not to stop.

// The same that a test stops.
#[path = "../../gate-runtime/tests/runtime/prompt/stubborn.rs"]
mod stubborn;

use crate::Selection;
use crate::stats::{Samples, milliseconds};
use crate::subject::Subject;
use anyhow::{Context, ensure};
use gate_image::{Instance, InstanceOptions, Program};
use gate_runtime::{NoHostFunctions, ProcessPolicy, TrapId};
use std::time::{Duration, Instant};

/// Programs may have so much memory, in bytes.
const MAX_MEMORY: u64 = 512 << 20;

/// The promise.
const LIMIT: Duration = Duration::from_millis(10);

/// Stops each program at different moments, and fails if one takes longer than is promised more often than once in a hundred times.
pub(crate) async fn measure(selection: &Selection) -> anyhow::Result<()> {
    let rounds = selection.rounds(10, 100);
    let subject = Subject::new().await?;
    println!("Stopping programs that try not to, {rounds} rounds; from the request to its end, milliseconds");
    println!("{:<48} {:>8} {:>8} {:>8}", "", "p50", "p99", "cpu p99");
    let mut late = Vec::new();
    for (name, text) in stubborn::programs(10).into_iter().filter(|(name, _)| selection.includes(name)) {
        let program = Subject::compile(&wat::parse_str(text)?).with_context(|| name.to_owned())?;
        let (mut wall, mut cpu) = (Samples::default(), Samples::default());
        for round in 0..rounds {
            let delay = Duration::from_micros(500 + 397 * round as u64 % 20_000);
            let (stopped, used) = stop(&subject, &program, delay).await?;
            wall.push(stopped);
            cpu.push(used);
        }
        let high = cpu.percentile(99);
        println!(
            "{name:<48} {:>8.2} {:>8.2} {:>8.2}",
            milliseconds(wall.median()),
            milliseconds(wall.percentile(99)),
            milliseconds(high)
        );
        if high > LIMIT {
            late.push(name);
        }
    }
    ensure!(late.is_empty(), "stopped too late: {}", late.join(", "));
    Ok(())
}

/// Time and processor time from the request until it is known that the program is suspended.
async fn stop(subject: &Subject, program: &Program, delay: Duration) -> anyhow::Result<(Duration, Duration)> {
    let options = InstanceOptions { max_memory: Some(MAX_MEMORY), ..InstanceOptions::default() };
    let mut instance = Instance::new(program, &options)?;
    instance.set_entry("run", &[])?;
    let mut process = subject.process().await?;
    process.start(program, &mut instance, ProcessPolicy::default())?;
    tokio::time::sleep(delay).await;
    let used = process.cpu_time().await;
    let start = Instant::now();
    process.suspend();
    let outcome = process.serve(&mut NoHostFunctions).await?;
    let time = start.elapsed();
    let used = process.cpu_time().await.saturating_sub(used);
    process.close().await;
    ensure!(outcome.trap == TrapId::Suspended, "trap: {outcome}");
    Ok((time, used))
}
