//! Running programs while stopping them again and again.

use gate_image::Instance;
use gate_runtime::{Executor, HostFunctions, Outcome, ProcessPolicy, TrapId};
use std::ops::Range;
use std::time::Duration;

/// When to stop.
pub(crate) struct Stops {
    /// After so many the program is left alone.
    pub(crate) most: usize,
    /// Microseconds between the program's start and its suspension.
    pub(crate) delays: Range<u64>,
}

/// Runs the instance to its end, suspending it at random moments, and letting it go on. Returns the number of stops, too.
pub(crate) async fn run_with_stops(
    executor: &Executor,
    instance: &mut Instance,
    host: &mut impl HostFunctions,
    stops: Stops,
) -> (Outcome, usize) {
    let program = instance.program().clone();
    let mut count = 0;
    loop {
        let mut process = executor.new_process().await.expect("process");
        process.start(&program, instance, ProcessPolicy::default()).expect("start");
        let delay = Duration::from_micros(rand::random_range(stops.delays.clone()));
        let outcome = if count < stops.most {
            let killer = process.killer();
            let task = tokio::task::spawn_blocking(move || {
                std::thread::sleep(delay);
                killer.suspend();
            });
            let outcome = process.serve(host).await.expect("outcome");
            task.await.expect("suspension");
            outcome
        } else {
            process.serve(host).await.expect("outcome")
        };
        match outcome.trap {
            TrapId::Suspended => count += 1,
            _ => return (outcome, count),
        }
    }
}
