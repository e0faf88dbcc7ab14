//! Time of stopping programs, and of letting them go on.

use crate::Selection;
use crate::stats::{Samples, microseconds};
use crate::subject::Subject;
use anyhow::ensure;
use gate_compiler::{Options, WasiImports};
use gate_image::{GuestMemory, Instance, InstanceOptions, Program, Restored, SnapshotLimits};
use gate_runtime::{HostFault, HostFunctions, Killer, NoHostFunctions, ProcessPolicy, TrapId};
use gate_wasi::WasiCtx;
use gate_wire::call::{CallReply, CallRequest};
use std::time::{Duration, Instant};

const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#;

/// Touches 64 MiB, and then calls the host for ever.
const TOUCH: &str = r#"(module
    (import "wasi_snapshot_preview1" "random_get" (func $call (param i32 i32) (result i32)))
    (memory (export "memory") 1024)
    (func (export "_start")
        (memory.fill (i32.const 0) (i32.const 0x5a) (i32.const 0x4000000))
        (loop $l (drop (call $call (i32.const 0) (i32.const 0))) (br $l))))"#;

const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\0e\00\00\00")
    (data (i32.const 16) "Hello, world!\0a")
    (func (export "_start")
        (loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))))"#;

/// How long a program spins before it is stopped.
const SPINNING: Duration = Duration::from_millis(1);

/// What is measured, in the order of the table.
const ROWS: [&str; 9] = [
    "suspend a spinning program, request to its end",
    "suspend a spinning program, request to reaped",
    "thaw, 64 MiB touched, to the first host call",
    "export the frames, 64 MiB touched",
    "snapshot of 64 MiB to memory, frames known",
    "restore 64 MiB from memory, text compiled: the instance",
    "  and on to the first host call",
    "fork, 64 MiB touched",
    "  and on to the first host call",
];

/// Notes when the program calls, and stops it there.
struct FirstCall {
    killer: Killer,
    time: Option<Instant>,
}

impl HostFunctions for FirstCall {
    async fn call(&mut self, _: &CallRequest, _: &GuestMemory) -> Result<CallReply, HostFault> {
        self.time = Some(Instant::now());
        self.killer.suspend();
        std::future::pending().await
    }
}

/// Does everything once per round.
pub(crate) async fn measure(selection: &Selection) -> anyhow::Result<()> {
    let rounds = selection.rounds(30, 300);
    let subject = Subject::new().await?;
    let mut rows: [Samples; ROWS.len()] = Default::default();

    let spinning = Subject::compile(&wat::parse_str(SPIN)?)?;
    for _ in 0..rounds {
        let (end, reaped) = suspend_spinning(&subject, &spinning).await?;
        rows[0].push(end);
        rows[1].push(reaped);
    }

    let wasm = wat::parse_str(TOUCH)?;
    let program = Subject::compile(&wasm)?;
    let mut instance = started(&program)?;
    to_first_call(&subject, &mut instance).await?;
    // Whatever is done for the first time only.
    let mut snapshot = Vec::new();
    subject.executor().snapshot(&mut instance, &wasm, &mut NoHostFunctions, &mut snapshot).await?;
    for _ in 0..rounds {
        rows[2].push(to_first_call(&subject, &mut instance).await?);

        let start = Instant::now();
        subject.executor().export(&mut instance).await?;
        rows[3].push(start.elapsed());

        snapshot.clear();
        let start = Instant::now();
        subject.executor().snapshot(&mut instance, &wasm, &mut NoHostFunctions, &mut snapshot).await?;
        rows[4].push(start.elapsed());

        let start = Instant::now();
        let restored = Restored::read(&snapshot[..], &SnapshotLimits::default())?;
        let options = restored.options();
        let mut restored = restored.instance(&program, &options)?;
        restored.prepare_resume(&wasm, &Options::default(), &WasiImports)?;
        let made = start.elapsed();
        rows[5].push(made);
        rows[6].push(made + to_first_call(&subject, &mut restored).await?);
    }
    // The first one makes the memory one that is shared.
    drop(instance.fork()?);
    for _ in 0..rounds {
        let start = Instant::now();
        let mut fork = instance.fork()?;
        let made = start.elapsed();
        rows[7].push(made);
        rows[8].push(made + to_first_call(&subject, &mut fork).await?);
    }

    println!("Stopping and going on, {rounds} rounds; microseconds");
    println!("{:<60} {:>9} {:>9}", "", "p50", "p99");
    for (what, samples) in ROWS.iter().zip(&rows) {
        let (median, high) = (samples.median(), samples.percentile(99));
        println!("{what:<60} {:>9.1} {:>9.1}", microseconds(median), microseconds(high));
    }
    let (module, snapshot) = hello_sizes(&subject).await?;
    println!(
        "snapshot of a program that says hello: {} bytes beyond its module of {module}",
        snapshot - module
    );
    Ok(())
}

/// Time from the request until it is known that the program is suspended, and until its process is gone.
async fn suspend_spinning(subject: &Subject, program: &Program) -> anyhow::Result<(Duration, Duration)> {
    let mut instance = started(program)?;
    let mut process = subject.process().await?;
    process.start(program, &mut instance, ProcessPolicy::default())?;
    tokio::time::sleep(SPINNING).await;
    let start = Instant::now();
    process.suspend();
    let outcome = process.serve(&mut NoHostFunctions).await?;
    let end = start.elapsed();
    process.close().await;
    ensure!(outcome.trap == TrapId::Suspended, "trap: {outcome}");
    Ok((end, start.elapsed()))
}

/// Time from asking for a process to the first call that the program makes. It is suspended in it.
async fn to_first_call(subject: &Subject, instance: &mut Instance) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let mut process = subject.process().await?;
    process.start(&instance.program().clone(), instance, ProcessPolicy::default())?;
    let mut host = FirstCall { killer: process.killer(), time: None };
    let outcome = process.serve(&mut host).await?;
    process.close().await;
    ensure!(outcome.trap == TrapId::Suspended, "trap: {outcome}");
    Ok(host.time.map_or(Duration::MAX, |time| time - start))
}

/// Sizes of a module, and of its snapshot.
async fn hello_sizes(subject: &Subject) -> anyhow::Result<(usize, usize)> {
    let wasm = wat::parse_str(HELLO)?;
    let program = Subject::compile(&wasm)?;
    let mut instance = started(&program)?;
    let mut wasi = WasiCtx::builder().args(["hello"]).env("LANG", "C").build()?;
    let mut process = subject.process().await?;
    process.start(&program, &mut instance, ProcessPolicy::default())?;
    let outcome = process.serve_until(&mut wasi, tokio::time::sleep(SPINNING)).await?;
    ensure!(outcome.trap == TrapId::Suspended, "trap: {outcome}");
    let mut snapshot = Vec::new();
    subject.executor().snapshot(&mut instance, &wasm, &mut wasi, &mut snapshot).await?;
    Ok((wasm.len(), snapshot.len()))
}

fn started(program: &Program) -> anyhow::Result<Instance> {
    let mut instance = Instance::new(program, &InstanceOptions::default())?;
    instance.set_program_entry("_start")?;
    Ok(instance)
}
