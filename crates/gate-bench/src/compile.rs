//! Compilation: time and size of the text.

use crate::Selection;
use crate::peer::Peer;
use crate::stats::{Samples, geometric_mean, milliseconds, ratio};
use crate::workload::{self, WORKLOADS};
use anyhow::Context;
use gate_compiler::{Options, WasiImports};
use std::time::Instant;

/// What takes long enough to be measured, and is large enough to say something about the text's size.
const SMALLEST: usize = 90_000;

pub(crate) fn measure(selection: &Selection) -> anyhow::Result<()> {
    workload::build()?;
    let rounds = selection.rounds(1, 5);
    let peer = Peer::new()?;
    let options = Options { threads: Some(1), ..Options::default() };
    let (mut times, mut sizes) = (Vec::new(), Vec::new());

    println!("Compilation, one thread, medians of {rounds} alternating rounds; text without data");
    println!(
        "{:<12} {:>9} {:>10} {:>10} {:>7} {:>11} {:>11} {:>7}",
        "module", "bytes", "gate ms", "peer ms", "ratio", "gate bytes", "peer bytes", "ratio"
    );
    for workload in WORKLOADS.iter().filter(|w| selection.includes(w.name)) {
        let wasm = workload.wasm()?;
        if wasm.len() < SMALLEST && selection.names.is_empty() {
            continue;
        }
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        let (mut our_size, mut their_size) = (0, 0);
        for _ in 0..rounds {
            let start = Instant::now();
            let module = gate_compiler::compile(&wasm, &options, &WasiImports)
                .with_context(|| format!("compile {}", workload.name))?;
            ours.push(start.elapsed());
            our_size = module.text.len();

            let start = Instant::now();
            let module = peer.compile(&wasm)?;
            theirs.push(start.elapsed());
            their_size = module.text().len();
        }
        let (our_time, their_time) = (ours.median(), theirs.median());
        times.push(ratio(our_time, their_time));
        sizes.push(our_size as f64 / their_size as f64);
        println!(
            "{:<12} {:>9} {:>10.1} {:>10.1} {:>7.2} {:>11} {:>11} {:>7.2}",
            workload.name,
            wasm.len(),
            milliseconds(our_time),
            milliseconds(their_time),
            ratio(our_time, their_time),
            our_size,
            their_size,
            our_size as f64 / their_size as f64,
        );
    }
    println!("geometric mean: time {:.2}, size {:.2}", geometric_mean(&times), geometric_mean(&sizes));
    Ok(())
}
