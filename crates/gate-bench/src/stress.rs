//! What the runtime's tests do for seconds, for as long as one likes.

#[path = "../../gate-runtime/tests/stress/engine.rs"]
mod engine;

use anyhow::{Context, ensure};
use std::time::Duration;

pub(crate) fn run(minutes: f64) -> anyhow::Result<()> {
    let time = Duration::try_from_secs_f64(minutes * 60.0).context("a strange number of minutes")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(engine::stress(time));
    println!("{report}");
    ensure!(report.wrongs.is_empty(), "something went wrong");
    Ok(())
}
