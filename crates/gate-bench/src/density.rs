//! Thousands of idle programs in one executor: what they cost, and how quick one is among them.
//!
//! Nothing needs to be cleaned up when this is interrupted: the executor ends with its host, and the container with
//! the executor.

mod machine;

pub(crate) use machine::raise_limits;

use crate::floor::Floor;
use crate::start::{PROGRAM, run_once};
use crate::stats::{Samples, microseconds, milliseconds};
use crate::subject::Subject;
use anyhow::{Context, ensure};
use gate_image::{GuestMemory, Instance, InstanceOptions, Program};
use gate_runtime::{HostFault, HostFunctions, Killer, Outcome, ProcessPolicy, TrapId};
use gate_wasi::WasiCtx;
use gate_wire::call::{CallReply, CallRequest};
use machine::{Busy, Memory};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// Calls the host for ever.
const CALLS: &str = r#"(module
    (import "wasi_snapshot_preview1" "random_get" (func $call (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start") (loop $l (drop (call $call (i32.const 0) (i32.const 0))) (br $l))))"#;

/// How many are being started at once: the kernel limits the descriptors that are on their way.
const STARTING: usize = 32;

/// How long the idle ones are watched.
const WATCHED: Duration = Duration::from_secs(3);

/// How many are killed and suspended one by one.
const ONE_BY_ONE: usize = 100;

/// How many are suspended at once.
const AT_ONCE: usize = 500;

/// An idle program.
struct Idle {
    killer: Killer,
    end: JoinHandle<anyhow::Result<Outcome>>,
}

/// Never answers. Lets the next one start.
struct Silent(Option<OwnedSemaphorePermit>);

impl HostFunctions for Silent {
    async fn call(&mut self, _: &CallRequest, _: &GuestMemory) -> Result<CallReply, HostFault> {
        self.0 = None;
        std::future::pending().await
    }
}

/// Answers at once, and measures how long it takes until the next call.
struct Echo {
    killer: Killer,
    count: usize,
    replied: Option<Instant>,
    samples: Samples,
}

impl HostFunctions for Echo {
    async fn call(&mut self, _: &CallRequest, _: &GuestMemory) -> Result<CallReply, HostFault> {
        if let Some(replied) = self.replied {
            self.samples.push(replied.elapsed());
        }
        if self.count == 0 {
            self.killer.suspend();
            std::future::pending::<()>().await;
        }
        self.count -= 1;
        self.replied = Some(Instant::now());
        Ok(CallReply::Return(0))
    }
}

pub(crate) async fn measure(programs: u32) -> anyhow::Result<()> {
    let wanted = programs as usize;
    let (possible, missing) = machine::raise_limits(wanted)?;
    if !missing.is_empty() {
        println!("not enough for {wanted}: {}", missing.join(", "));
    }
    let calls = Subject::compile(&wat::parse_str(CALLS)?)?;
    let noop = Subject::compile(&wat::parse_str(PROGRAM)?)?;
    let subject = Subject::new().await?;
    let floor = Floor::new()?;
    let count = possible.min(subject.executor().max_procs() as usize);
    let mut table = Table::default();

    table.latencies("alone", &subject, &calls, &noop, &floor).await?;
    let idle_before = Busy::watch(WATCHED).await?;
    let before = Memory::now()?;
    let start = Instant::now();
    let mut idle = start_idle(&subject, &calls, count).await?;
    let started = start.elapsed();
    let used = Memory::now()?.since(&before);
    let idle_after = Busy::watch(WATCHED).await?;

    println!("{count} idle programs in one executor");
    println!(
        "started, and in a host call each, in {:.2} s: {:.0} us each",
        started.as_secs_f64(),
        microseconds(started) / count as f64
    );
    println!("memory: {}", used.per_program(count));
    println!("processors while they are idle: {idle_after} (before: {idle_before})");

    let mut killed = Samples::default();
    for _ in 0..ONE_BY_ONE.min(count / 2) {
        let (time, outcome) = idle.pop().context("nothing to kill")?.end_by(Killer::kill).await?;
        ensure!(outcome.trap == TrapId::Killed, "trap: {outcome}");
        killed.push(time);
    }
    table.add("among", "kill an idle one, to reaped", killed);
    let mut suspended = Samples::default();
    for _ in 0..ONE_BY_ONE.min(idle.len() / 2) {
        let (time, outcome) = idle.pop().context("nothing to suspend")?.end_by(Killer::suspend).await?;
        ensure!(outcome.trap == TrapId::Suspended, "trap: {outcome}");
        suspended.push(time);
    }
    table.add("among", "suspend an idle one, to reaped", suspended);
    table.latencies("among", &subject, &calls, &noop, &floor).await?;
    table.print();

    let some = idle.split_off(idle.len().saturating_sub(AT_ONCE));
    let number = some.len();
    let time = suspend_all(some).await?;
    println!("{number} suspended at once, to the last one reaped: {:.1} ms", milliseconds(time));
    let number = idle.len();
    let time = suspend_all(idle).await?;
    println!("the other {number} suspended at once: {:.1} ms", milliseconds(time));
    Ok(())
}

/// Starts all, and waits until they have nothing to do.
async fn start_idle(subject: &Subject, program: &Program, count: usize) -> anyhow::Result<Vec<Idle>> {
    let turns = Arc::new(Semaphore::new(STARTING));
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        let turn = Arc::clone(&turns).acquire_owned().await?;
        let mut process = subject.process().await?;
        let mut instance = started(program)?;
        process.start(program, &mut instance, ProcessPolicy::default())?;
        let killer = process.killer();
        let end = tokio::spawn(async move {
            let outcome = process.serve(&mut Silent(Some(turn))).await?;
            process.close().await;
            Ok(outcome)
        });
        idle.push(Idle { killer, end });
    }
    let _all = turns.acquire_many(STARTING as u32).await?;
    Ok(idle)
}

impl Idle {
    /// Time until it is reaped.
    async fn end_by(self, how: impl FnOnce(&Killer)) -> anyhow::Result<(Duration, Outcome)> {
        let start = Instant::now();
        how(&self.killer);
        let outcome = self.end.await??;
        Ok((start.elapsed(), outcome))
    }
}

async fn suspend_all(idle: Vec<Idle>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    for one in &idle {
        one.killer.suspend();
    }
    for one in idle {
        let outcome = one.end.await??;
        ensure!(outcome.trap == TrapId::Suspended, "trap: {outcome}");
    }
    Ok(start.elapsed())
}

fn started(program: &Program) -> anyhow::Result<Instance> {
    let mut instance = Instance::new(program, &InstanceOptions::default())?;
    instance.set_program_entry("_start")?;
    Ok(instance)
}

/// Latencies, with and without company.
#[derive(Default)]
struct Table {
    rows: Vec<(&'static str, &'static str, Samples)>,
}

impl Table {
    fn add(&mut self, company: &'static str, what: &'static str, samples: Samples) {
        self.rows.push((company, what, samples));
    }

    /// One more program, beside the floor, and host calls.
    async fn latencies(
        &mut self,
        company: &'static str,
        subject: &Subject,
        calls: &Program,
        noop: &Program,
        floor: &Floor,
    ) -> anyhow::Result<()> {
        const STARTS: usize = 300;
        const CALLS: usize = 5000;
        let (mut spawned, mut starts) = (Samples::default(), Samples::default());
        for _ in 0..STARTS {
            spawned.push(floor.run()?);
            let mut wasi = WasiCtx::builder().args(["noop"]).build()?;
            let start = Instant::now();
            let mut process = subject.process().await?;
            run_once(&mut process, noop, &mut wasi).await?;
            process.close().await;
            starts.push(start.elapsed());
        }
        self.add(company, "floor: spawn, exec, wait of an empty static program", spawned);
        self.add(company, "one more that does nothing, request to reaped", starts);

        let mut process = subject.process().await?;
        let mut instance = started(calls)?;
        process.start(calls, &mut instance, ProcessPolicy::default())?;
        let mut echo =
            Echo { killer: process.killer(), count: CALLS, replied: None, samples: Samples::default() };
        let outcome = process.serve(&mut echo).await?;
        ensure!(outcome.trap == TrapId::Suspended, "trap: {outcome}");
        process.close().await;
        self.add(company, "host call, from one reply to the next request", echo.samples);
        Ok(())
    }

    fn print(&self) {
        println!("{:<6} {:<52} {:>9} {:>9}", "", "microseconds", "p50", "p99");
        for (company, what, samples) in &self.rows {
            let (median, high) = (microseconds(samples.median()), microseconds(samples.percentile(99)));
            println!("{company:<6} {what:<52} {median:>9.1} {high:>9.1}");
        }
    }
}
