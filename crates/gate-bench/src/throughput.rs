//! How many programs that do nothing can be run in a second, by how many are run at once.

use crate::Selection;
use crate::floor::Floor;
use crate::start::{PROGRAM, run_once};
use crate::stats::{Samples, microseconds};
use crate::subject::Subject;
use gate_image::Program;
use gate_wasi::WasiCtx;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const AT_ONCE: [usize; 5] = [1, 2, 4, 8, 16];

/// What came of running many.
struct Rate {
    per_second: f64,
    each: Samples,
}

impl Rate {
    fn new(count: usize, elapsed: Duration, each: Samples) -> Self {
        Self { per_second: count as f64 / elapsed.as_secs_f64(), each }
    }
}

/// Alternates between Gate and the least that the kernel needs.
pub(crate) async fn measure(selection: &Selection) -> anyhow::Result<()> {
    let programs = selection.rounds(2000, 16_000);
    let program = Subject::compile(&wat::parse_str(PROGRAM)?)?;
    let subject = Arc::new(Subject::new().await?);
    let floor = Floor::new()?;
    // Whatever is done for the first time only.
    run_gate(&subject, &program, 4, 200).await?;

    println!(
        "Programs that do nothing, {programs} for each line, new processes, each reaped; times in microseconds"
    );
    println!(
        "{:>7} | {:>8} {:>6} {:>6} | floor: {:>8} {:>6} {:>6}",
        "at once", "per s", "p50", "p99", "per s", "p50", "p99"
    );
    for at_once in AT_ONCE {
        let gate = run_gate(&subject, &program, at_once, programs).await?;
        let floor = run_floor(&floor, at_once, programs)?;
        let columns = [&gate, &floor].map(|rate| {
            let (median, high) = (rate.each.median(), rate.each.percentile(99));
            format!("{:>8.0} {:>6.0} {:>6.0}", rate.per_second, microseconds(median), microseconds(high))
        });
        println!("{at_once:>7} | {} | floor: {}", columns[0], columns[1]);
    }
    Ok(())
}

async fn run_gate(
    subject: &Arc<Subject>,
    program: &Program,
    at_once: usize,
    programs: usize,
) -> anyhow::Result<Rate> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let (subject, program) = (Arc::clone(subject), program.clone());
            tokio::spawn(async move {
                let mut samples = Samples::default();
                for _ in 0..programs / at_once {
                    let start = Instant::now();
                    let mut wasi = WasiCtx::builder().args(["noop"]).build()?;
                    let mut process = subject.process().await?;
                    run_once(&mut process, &program, &mut wasi).await?;
                    process.close().await;
                    samples.push(start.elapsed());
                }
                anyhow::Ok(samples)
            })
        })
        .collect();
    let mut each = Samples::default();
    for task in tasks {
        each.append(task.await??);
    }
    Ok(Rate::new(programs / at_once * at_once, start.elapsed(), each))
}

/// An empty static program, spawned and waited for by so many threads.
fn run_floor(floor: &Floor, at_once: usize, programs: usize) -> anyhow::Result<Rate> {
    let start = Instant::now();
    let each = thread::scope(|scope| {
        let run = || {
            let mut samples = Samples::default();
            for _ in 0..programs / at_once {
                samples.push(floor.run()?);
            }
            anyhow::Ok(samples)
        };
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(run)).collect();
        let mut each = Samples::default();
        for thread in threads {
            each.append(thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        }
        anyhow::Ok(each)
    })?;
    Ok(Rate::new(programs / at_once * at_once, start.elapsed(), each))
}
