//! Reading files, and small calls.

use crate::Selection;
use crate::peer_process::{PeerProcess, Request};
use crate::stats::{Samples, ratio};
use crate::subject::{Subject, run_in};
use anyhow::ensure;
use gate_runtime::TrapId;
use gate_wasi::{Access, WasiCtx};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Size of the file that is read, in bytes. It is in the page cache.
const FILE_SIZE: usize = 16 << 20;

/// Size of a block, in bytes.
const BLOCK: usize = 64 << 10;

/// What is called again and again.
struct Case {
    name: &'static str,
    /// How often.
    calls: u32,
    /// Bytes moved by each call.
    bytes: usize,
    /// The call, in WebAssembly's text form.
    call: &'static str,
}

const CASES: [Case; 4] = [
    Case {
        name: "fd_pread, 64 KiB",
        calls: 8192,
        bytes: BLOCK,
        call: "(call $pread (local.get $fd) (i32.const 16) (i32.const 1) \
               (i64.extend_i32_u (i32.and (i32.mul (local.get $i) (i32.const 65536)) (i32.const 0xffffff))) \
               (i32.const 8))",
    },
    Case {
        name: "fd_pread, 4 KiB",
        calls: 20_000,
        bytes: 4096,
        call: "(call $pread (local.get $fd) (i32.const 24) (i32.const 1) \
               (i64.extend_i32_u (i32.and (i32.mul (local.get $i) (i32.const 4096)) (i32.const 0xffffff))) \
               (i32.const 8))",
    },
    Case {
        name: "fd_write, 1 byte to /dev/null",
        calls: 50_000,
        bytes: 1,
        call: "(call $write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 8))",
    },
    Case {
        name: "clock_time_get",
        calls: 1_000_000,
        bytes: 0,
        call: "(call $clock (i32.const 1) (i64.const 1) (i32.const 8))",
    },
];

/// A program that opens `data` in its first directory, and then makes calls, each of which must succeed.
fn program(case: &Case) -> String {
    let Case { calls, call, .. } = case;
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
            (memory (export "memory") 4)
            (data (i32.const 0) "data")
            (data (i32.const 16) "\00\00\01\00\00\00\01\00" "\00\00\01\00\00\10\00\00" "\00\00\00\00\01\00\00\00")
            (func (export "_start") (local $fd i32) (local $i i32)
                (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0)
                        (i64.const 6) (i64.const 0) (i32.const 0) (i32.const 12))
                    (then unreachable))
                (local.set $fd (i32.load (i32.const 12)))
                (loop $again
                    (if {call} (then unreachable))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $i) (i32.const {calls}))))))"#
    )
}

/// Alternates between the sides.
pub(crate) async fn measure(selection: &Selection) -> anyhow::Result<()> {
    let rounds = selection.rounds(3, 11);
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("data"), vec![7; FILE_SIZE])?;
    let subject = Subject::new().await?;
    let mut peer = PeerProcess::new()?;
    println!("Calls of WASI, medians of {rounds} alternating rounds; the peer is Wasmtime for Python");
    println!(
        "{:<32} {:>12} {:>12} {:>10} {:>10} {:>7}",
        "", "gate ns/call", "peer ns/call", "gate MB/s", "peer MB/s", "ratio"
    );
    for case in CASES.iter().filter(|case| selection.includes(case.name)) {
        let wasm = wat::parse_str(program(case))?;
        let file = dir.path().join("program.wasm");
        fs::write(&file, &wasm)?;
        let _ = fs::remove_file(dir.path().join("program.wasm.cwasm"));
        let program = Subject::compile(&wasm)?;
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for round in 0..=rounds {
            let mine = run(&subject, &program, dir.path()).await?;
            let request = Request {
                file: &file,
                args: &["program"],
                dirs: &[dir.path()],
                stdout: Path::new("/dev/null"),
            };
            let other = peer.run(&request)?.program;
            // The first round warms both up.
            if round > 0 {
                ours.push(mine);
                theirs.push(other);
            }
        }
        let (mine, other) = (ours.median(), theirs.median());
        let per_call = |time: Duration| time.as_nanos() as f64 / f64::from(case.calls);
        let speed = |time| case.bytes as f64 / per_call(time) * 1e3;
        println!(
            "{:<32} {:>12.0} {:>12.0} {:>10.0} {:>10.0} {:>7.2}",
            case.name,
            per_call(mine),
            per_call(other),
            speed(mine),
            speed(other),
            ratio(mine, other)
        );
    }
    Ok(())
}

/// Runs the program in a prepared process.
async fn run(subject: &Subject, program: &gate_image::Program, dir: &Path) -> anyhow::Result<Duration> {
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let mut wasi =
        WasiCtx::builder().preopen(dir, "data", Access::ReadOnly).stdout_fd(null.into()).build()?;
    let mut process = subject.process().await?;
    let start = Instant::now();
    let outcome = run_in(&mut process, program, &mut wasi).await?;
    let time = start.elapsed();
    process.close().await;
    ensure!(outcome.trap == TrapId::Exit, "trap: {outcome}");
    Ok(time)
}
