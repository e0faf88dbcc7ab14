//! Compilation under limits, and in a process of its own.

mod command;

use command::{finish, gate, program};
use gate_compiler::worker::Worker;
use gate_compiler::{ErrorKind, GateImports, Options, compile};
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

fn worker(memory: Option<u64>) -> Worker {
    Worker { program: env!("CARGO_BIN_EXE_gate").into(), args: vec!["compile-worker".into()], memory }
}

/// A function for which a compiler needs long, of so many instructions.
fn giant(instructions: usize) -> String {
    let mut text = String::from("(module (memory 1) (func (export \"f\") (param i32 i32) (result i32)");
    for index in 0..instructions / 8 {
        let _ = write!(
            text,
            "(i32.store offset={index} (local.get 0) (i32.add (local.get 1) (i32.load offset={index} (local.get 1))))"
        );
    }
    text.push_str("(local.get 0)))");
    text
}

/// Modules that are small for what they make a compiler do.
fn expensive() -> Vec<(&'static str, String)> {
    let depth = 5_000;
    let nested = format!("(module (func {} {}))", "block ".repeat(depth), "end ".repeat(depth));
    let targets = "0 ".repeat(60_000);
    let tables =
        format!("(module (func (param i32) {}))", format!("(br_table {targets} (local.get 0))").repeat(3));
    let locals = format!("(module (func (local {})))", "i64 ".repeat(49_000));
    let live = {
        let sets: String = (0..900).map(|index| format!("(local.set {index} (i64.const {index}))")).collect();
        let calls = "(call 0)".repeat(2000);
        let gets: String =
            (0..900).map(|index| format!("(i64.store (i32.const 0) (local.get {index}))")).collect();
        format!("(module (memory 1) (func (local {}) {sets} {calls} {gets}))", "i64 ".repeat(900))
    };
    let loops = format!(
        "(module (func (param i32) {} {}))",
        "loop ".repeat(1500),
        "local.get 0 br_if 0 end ".repeat(1500)
    );
    vec![
        ("deep nesting", nested),
        ("large branch tables", tables),
        ("many locals", locals),
        ("many live values at many calls", live),
        ("nested loops", loops),
        ("a giant function", giant(100_000)),
    ]
}

#[test]
fn the_result_is_the_same_in_a_process_of_its_own() {
    for name in ["functions.wat", "wc.wat"] {
        let path = program(name);
        let path = if fs::exists(&path).unwrap() {
            path
        } else {
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/wc.wat").into()
        };
        let wasm = wat::parse_file(path).unwrap();
        let here = compile(&wasm, &Options::default(), &GateImports).unwrap();
        let options = Options { worker: Some(worker(None)), ..Options::default() };
        assert!(compile(&wasm, &options, &GateImports).unwrap() == here);
        let options = Options { worker: Some(worker(Some(2 << 30))), threads: Some(1), ..options };
        assert!(compile(&wasm, &options, &GateImports).unwrap() == here);
    }
}

#[test]
fn errors_are_the_same_in_a_process_of_its_own() {
    for text in [
        "(module (func (i32.add)))",
        "(module (import \"a\" \"b\" (func)))",
        "(module (table 100000000 funcref))",
        "(module (memory i64 1))",
    ] {
        let wasm = wat::parse_str(text).unwrap();
        let here = compile(&wasm, &Options::default(), &GateImports);
        let options = Options { worker: Some(worker(None)), ..Options::default() };
        assert_eq!(compile(&wasm, &options, &GateImports), here, "{text}");
    }
}

#[test]
fn expensive_modules_are_refused_or_compiled_within_limits() {
    let (timeout, memory) = (Duration::from_secs(3), 1 << 30);
    for (what, text) in expensive() {
        let wasm = wat::parse_str(&text).unwrap();
        let options = Options {
            timeout: Some(timeout),
            worker: Some(worker(Some(memory))),
            threads: Some(1),
            ..Options::default()
        };
        let start = Instant::now();
        let result = compile(&wasm, &options, &GateImports);
        let took = start.elapsed();
        println!(
            "{what}: {} bytes, {took:?}, {:?}",
            wasm.len(),
            result.as_ref().map(|module| module.text.len())
        );
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::Limit, "{what}: {error}");
        }
        // It may have been ended late on a machine that is busy, but it was.
        assert!(took < 10 * timeout, "{what}: {took:?}");
    }
}

#[test]
fn time_and_memory_are_limited() {
    let wasm = wat::parse_str(giant(800_000)).unwrap();
    let compile_in = |timeout, memory| {
        let options =
            Options { timeout, worker: Some(worker(memory)), threads: Some(1), ..Options::default() };
        compile(&wasm, &options, &GateImports).map(|_| ()).unwrap_err()
    };
    let start = Instant::now();
    let error = compile_in(Some(Duration::from_millis(50)), None);
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert_eq!(error.to_string(), "compilation takes longer than the limit of 50ms");
    assert!(start.elapsed() < Duration::from_secs(20));

    let error = compile_in(None, Some(160 << 20));
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert_eq!(error.to_string(), "compilation needs more memory than the limit of 167772160 bytes");
}

#[test]
fn the_command_compiles_and_resumes_in_a_process_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("count.wat");
    let text = "(module (memory 1) (func (export \"_start\") (local i64)
        (loop (br_if 0 (i64.lt_u (local.tee 0 (i64.add (local.get 0) (i64.const 1))) (i64.const 3000000000))))))";
    fs::write(&path, text).unwrap();
    let (path, snapshot) = (path.to_str().unwrap(), dir.path().join("snapshot"));
    let snapshot = snapshot.to_str().unwrap();
    let limits =
        ["--no-cache", "--compile-timeout", "20s", "--compile-memory", "2g", "--compile-threads", "1"];
    let mut run = gate(&["run"]);
    run.args(limits).args(["--suspend-after", "300ms", "--snapshot", snapshot, path]);
    let ended = finish(&mut run, b"");
    assert_eq!(ended.code, Some(75), "{}", ended.stderr);
    let mut resume = gate(&["resume"]);
    resume.args(limits).arg(snapshot);
    let ended = finish(&mut resume, b"");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn the_command_refuses_what_takes_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("giant.wasm");
    fs::write(&path, wat::parse_str(giant(400_000)).unwrap()).unwrap();
    let mut run = gate(&["run", "--no-cache", "--compile-timeout", "50ms", "--compile-isolated"]);
    finish(run.arg(&path), b"").with_line(
        126,
        &["giant.wasm", "module too large", "compilation takes longer than the limit of 50ms"],
    );
}
