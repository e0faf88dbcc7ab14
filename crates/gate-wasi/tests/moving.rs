//! Real programs that read, write and sleep, and are stopped meanwhile.

use gate_compiler::{Options, WasiImports};
use gate_image::{Instance, InstanceOptions, Program, Restored, SnapshotLimits};
use gate_runtime::{Config, Executor, HostFunctions, Outcome, ProcessPolicy, TrapId};
use gate_wasi::WasiCtx;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Copies standard input to standard output, in pieces of changing size, and waits for input now and then.
const COPY: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func $check (param i32) (if (local.get 0) (then unreachable)))
    (func (export "_start") (local $round i32) (local $left i32) (local $at i32)
        (loop $again
            (local.set $round (i32.add (local.get $round) (i32.const 1)))
            (if (i32.eqz (i32.and (local.get $round) (i32.const 3))) (then
                (i32.store8 (i32.const 1032) (i32.const 1))
                (call $check (call $poll (i32.const 1024) (i32.const 1100) (i32.const 1) (i32.const 1200)))))
            (i32.store (i32.const 0) (i32.const 4096))
            (i32.store (i32.const 4) (i32.add (i32.and (i32.mul (local.get $round) (i32.const 37)) (i32.const 255))
                (i32.const 1)))
            (call $check (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.eqz (i32.load (i32.const 8))) (then return))
            (local.set $left (i32.load (i32.const 8)))
            (local.set $at (i32.const 4096))
            (loop $rest
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $left))
                (call $check (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
                (br_if $rest (local.tee $left (i32.sub (local.get $left) (i32.load (i32.const 8))))))
            (br $again))))"#;

/// Sleeps for 600 ms.
const SLEEP: &str = r#"(module
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start") (result i32)
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 600000000))
        (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200))))"#;

fn compile(wat: &str) -> (Vec<u8>, Program) {
    let wasm = wat::parse_str(wat).unwrap();
    let module = gate_compiler::compile(&wasm, &Options::default(), &WasiImports).unwrap();
    (wasm, Program::new(module).unwrap())
}

fn instance(program: &Program) -> Instance {
    let mut instance = Instance::new(program, &InstanceOptions::default()).unwrap();
    instance.set_program_entry("_start").unwrap();
    instance
}

async fn run_for(
    executor: &Executor,
    instance: &mut Instance,
    wasi: &mut WasiCtx,
    time: Duration,
) -> Outcome {
    let mut process = executor.new_process().await.unwrap();
    process.start(&instance.program().clone(), instance, ProcessPolicy::default()).unwrap();
    process.serve_until(wasi, tokio::time::sleep(time)).await.unwrap()
}

/// Writes a snapshot, and makes an instance and a host of it.
async fn move_elsewhere(
    executor: &Executor,
    (wasm, program): &(Vec<u8>, Program),
    instance: &mut Instance,
    wasi: &mut WasiCtx,
    new: WasiCtx,
) -> (Instance, WasiCtx) {
    let mut snapshot = Vec::new();
    executor.snapshot(instance, wasm, wasi, &mut snapshot).await.unwrap();
    let restored = Restored::read(&snapshot[..], &SnapshotLimits::default()).unwrap();
    let mut wasi = new;
    HostFunctions::restore(&mut wasi, restored.services()).unwrap();
    let options = restored.options();
    let mut instance = restored.instance(program, &options).unwrap();
    instance.prepare_resume(wasm, &Options::default(), &WasiImports).unwrap();
    (instance, wasi)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_neither_lost_nor_doubled() {
    const LINES: usize = 20_000;
    let executor = Executor::new(Config::default()).await.unwrap();
    let both = compile(COPY);
    let text: String = (0..LINES).map(|number| format!("line {number}\n")).collect();
    let (input, mut feed) = std::io::pipe().unwrap();
    let (mut drain, output) = std::io::pipe().unwrap();
    let sent = text.clone();
    let feeder = std::thread::spawn(move || {
        for chunk in sent.as_bytes().chunks(997) {
            feed.write_all(chunk).unwrap();
            std::thread::sleep(Duration::from_micros(rand::random_range(0..2000)));
        }
    });
    let drainer = std::thread::spawn(move || {
        let mut got = Vec::new();
        let mut buf = [0; 1500];
        loop {
            match drain.read(&mut buf).unwrap() {
                0 => return got,
                n => got.extend_from_slice(&buf[..n]),
            }
            std::thread::sleep(Duration::from_micros(rand::random_range(0..2000)));
        }
    });
    let context = || {
        let (input, output) = (input.try_clone().unwrap(), output.try_clone().unwrap());
        WasiCtx::builder().args(["copy"]).stdin_fd(input.into()).stdout_fd(output.into()).build().unwrap()
    };
    let mut wasi = context();
    let mut program = instance(&both.1);
    let (mut stops, mut moves) = (0, 0);
    loop {
        let time = Duration::from_micros(rand::random_range(0..5000));
        match run_for(&executor, &mut program, &mut wasi, time).await {
            Outcome { trap: TrapId::Suspended, .. } => stops += 1,
            Outcome { trap: TrapId::Exit, result } => {
                assert_eq!(result.value(), 0);
                break;
            }
            outcome => panic!("{outcome}"),
        }
        // One that has not begun to run has no frames, and needs none.
        if stops % 10 == 0 {
            (program, wasi) = move_elsewhere(&executor, &both, &mut program, &mut wasi, context()).await;
            moves += 1;
        }
    }
    drop((wasi, input, output));
    println!("{stops} stops, {moves} moves");
    assert!(stops > 30 && moves > 3);
    feeder.join().unwrap();
    let got = drainer.join().unwrap();
    assert!(got == text.as_bytes(), "{} of {} bytes, or others", got.len(), text.len());
    executor.close().await;
}

#[tokio::test]
async fn a_blocking_read_is_stopped_and_goes_on() {
    let executor = Executor::new(Config::default()).await.unwrap();
    let both = compile(COPY);
    let (input, mut feed) = std::io::pipe().unwrap();
    let (mut drain, output) = std::io::pipe().unwrap();
    let mut wasi = WasiCtx::builder().stdin_fd(input.into()).stdout_fd(output.into()).build().unwrap();
    let mut program = instance(&both.1);
    for _ in 0..20 {
        let outcome = run_for(&executor, &mut program, &mut wasi, Duration::from_millis(3)).await;
        assert_eq!(outcome.trap, TrapId::Suspended);
    }
    feed.write_all(b"at last").unwrap();
    drop(feed);
    let outcome = run_for(&executor, &mut program, &mut wasi, Duration::from_secs(60)).await;
    assert_eq!(outcome.trap, TrapId::Exit);
    drop(wasi);
    let mut got = String::new();
    drain.read_to_string(&mut got).unwrap();
    assert_eq!(got, "at last");
    executor.close().await;
}

#[tokio::test]
async fn a_sleep_goes_on_where_it_was() {
    let executor = Executor::new(Config::default()).await.unwrap();
    let both = compile(SLEEP);
    for elsewhere in [false, true] {
        let mut wasi = WasiCtx::builder().build().unwrap();
        let mut program = instance(&both.1);
        for _ in 0..2 {
            let outcome = run_for(&executor, &mut program, &mut wasi, Duration::from_millis(200)).await;
            assert_eq!(outcome.trap, TrapId::Suspended);
            if elsewhere {
                let new = WasiCtx::builder().build().unwrap();
                (program, wasi) = move_elsewhere(&executor, &both, &mut program, &mut wasi, new).await;
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        let start = Instant::now();
        let outcome = run_for(&executor, &mut program, &mut wasi, Duration::from_secs(60)).await;
        let rest = start.elapsed();
        assert_eq!((outcome.trap, outcome.result.value()), (TrapId::Exit, 0));
        assert!((Duration::from_millis(50)..Duration::from_millis(400)).contains(&rest), "{rest:?}");
    }
    executor.close().await;
}

#[tokio::test]
async fn a_program_that_has_not_run_moves_too() {
    let executor = Executor::new(Config::default()).await.unwrap();
    let both = compile(COPY);
    let mut program = instance(&both.1);
    let mut process = executor.new_process().await.unwrap();
    process.suspend();
    process.start(&both.1, &mut program, ProcessPolicy::default()).unwrap();
    let mut wasi = WasiCtx::builder().build().unwrap();
    assert_eq!(process.serve(&mut wasi).await.unwrap().trap, TrapId::Suspended);
    let (sink, mut output) = tokio::io::duplex(100);
    let new = WasiCtx::builder().stdin(&b"hello"[..]).stdout(sink).build().unwrap();
    let (mut program, mut wasi) = move_elsewhere(&executor, &both, &mut program, &mut wasi, new).await;
    let outcome = run_for(&executor, &mut program, &mut wasi, Duration::from_secs(60)).await;
    assert_eq!(outcome.trap, TrapId::Exit);
    drop(wasi);
    let mut got = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut output, &mut got).await.unwrap();
    assert_eq!(got, "hello");
    executor.close().await;
}
