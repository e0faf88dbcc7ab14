//! Speed of running programs.

use crate::Selection;
use crate::peer::Peer;
use crate::stats::{Samples, geometric_mean, milliseconds, ratio};
use crate::subject::Subject;
use crate::workload::{self, WORKLOADS};
use anyhow::{Context, ensure};

/// Times whole runs of compiled programs, from instantiation to the end. Starting takes about a thousandth of that.
pub(crate) async fn measure(selection: &Selection) -> anyhow::Result<()> {
    workload::build()?;
    let rounds = selection.rounds(3, 11);
    let peer = Peer::new()?;
    let subject = Subject::new().await?;
    let mut ratios = Vec::new();
    let mut core_ratios = Vec::new();

    println!("Whole runs of compiled programs, medians of {rounds} alternating rounds");
    println!("{:<12} {:>10} {:>10} {:>7}", "program", "gate ms", "peer ms", "ratio");
    for workload in WORKLOADS.iter().filter(|w| selection.includes(w.name)) {
        let about = || format!("run {}", workload.name);
        let wasm = workload.wasm()?;
        let program = Subject::compile(&wasm).with_context(about)?;
        let module = peer.compile(&wasm)?;
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        // The first round warms both up: it is not counted.
        for round in 0..=rounds {
            let mine = subject.run(&program, workload.args(), workload.input()?).await.with_context(about)?;
            let other = peer.run(&module, workload.args(), workload.input()?)?;
            ensure!(mine.stdout == other.stdout, "{}: the outputs differ", workload.name);
            ensure!(mine.code == other.code, "{}: exit code {} and {}", workload.name, mine.code, other.code);
            if round > 0 {
                ours.push(mine.time);
                theirs.push(other.time);
            }
        }
        let (our_time, their_time) = (ours.median(), theirs.median());
        let ratio = ratio(our_time, their_time);
        ratios.push(ratio);
        if workload.core {
            core_ratios.push(ratio);
        }
        println!(
            "{:<12} {:>10.1} {:>10.1} {:>7.3}{}",
            workload.name,
            milliseconds(our_time),
            milliseconds(their_time),
            ratio,
            if workload.core { "" } else { "  +" },
        );
    }
    if !core_ratios.is_empty() {
        println!("geometric mean of those without +: {:.3}", geometric_mean(&core_ratios));
    }
    println!("geometric mean of all: {:.3}", geometric_mean(&ratios));
    Ok(())
}
