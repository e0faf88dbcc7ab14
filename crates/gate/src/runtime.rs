//! Where the command waits.

use crate::exit::{Problem, Status};
use anyhow::Context;
use std::future::Future;

/// Waits for the end of a command, on this thread. What it has begun on others is not waited for: an interrupted compilation,
/// for instance.
pub(crate) fn block_on(work: impl Future<Output = Result<Status, Problem>>) -> Result<Status, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")
        .map_err(Problem::gate_failed)?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
