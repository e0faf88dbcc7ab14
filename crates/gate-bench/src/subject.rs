//! Gate, set up as it comes.

use crate::stats::Run;
use anyhow::bail;
use gate_compiler::{Options, WasiImports};
use gate_image::{Instance, InstanceOptions, Program};
use gate_runtime::{Config, Executor, Outcome, Process, ProcessPolicy};
use gate_wasi::WasiCtx;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::AsyncWrite;

/// An executor.
pub(crate) struct Subject {
    executor: Executor,
}

impl Subject {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Ok(Self { executor: Executor::new(Config::default()).await? })
    }

    pub(crate) fn compile(wasm: &[u8]) -> anyhow::Result<Program> {
        Ok(Program::new(gate_compiler::compile(wasm, &Options::default(), &WasiImports)?)?)
    }

    /// The executor.
    pub(crate) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Asks for a process, which gets ready by and by.
    pub(crate) async fn process(&self) -> anyhow::Result<Process> {
        Ok(self.executor.new_process().await?)
    }

    /// Runs a WASI command.
    pub(crate) async fn run(
        &self,
        program: &Program,
        args: Vec<String>,
        stdin: Vec<u8>,
    ) -> anyhow::Result<Run> {
        let output = Output::default();
        let mut wasi =
            WasiCtx::builder().args(args).stdin(io::Cursor::new(stdin)).stdout(output.clone()).build()?;

        let start = Instant::now();
        let mut process = self.process().await?;
        let outcome = run_in(&mut process, program, &mut wasi).await?;
        let time = start.elapsed();
        process.close().await;

        if outcome.trap != gate_runtime::TrapId::Exit {
            bail!("trap: {outcome}");
        }
        let stdout = std::mem::take(&mut *output.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Run { stdout, code: outcome.result.value(), time })
    }
}

/// Makes an instance, and runs it to its end.
pub(crate) async fn run_in(
    process: &mut Process,
    program: &Program,
    wasi: &mut WasiCtx,
) -> anyhow::Result<Outcome> {
    let mut instance = Instance::new(program, &InstanceOptions::default())?;
    instance.set_program_entry("_start")?;
    process.start(program, &mut instance, ProcessPolicy::default())?;
    Ok(process.serve(wasi).await?)
}

/// What a program has written.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
