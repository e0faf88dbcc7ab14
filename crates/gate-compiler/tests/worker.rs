//! Compilers' processes that answer nonsense, or nothing, or too much, or never.
//!
//! That a real one compiles as this process does is for the crate `gate` to show, which has an executable that is one.

use gate_compiler::worker::Worker;
use gate_compiler::{CompileError, CompiledModule, ErrorKind, Limits, Options, WasiImports, compile};
use std::time::{Duration, Instant};

/// Compiles with a shell script as the compiler's process.
fn compile_by(script: &str, options: Options) -> Result<CompiledModule, CompileError> {
    let args = vec!["-c".into(), script.into()];
    let worker = Worker { program: "/bin/sh".into(), args, memory: None };
    let wasm = wat::parse_str(r#"(module (memory 1) (func (export "f")))"#).unwrap();
    compile(&wasm, &Options { worker: Some(worker), ..options }, &WasiImports)
}

fn error(script: &str) -> String {
    let error = compile_by(script, Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    error.to_string()
}

#[test]
fn what_is_not_an_answer_is_an_error() {
    for script in [
        "true",
        "cat >/dev/null",
        "cat",
        "cat >/dev/null; printf '\\000'",
        "cat >/dev/null; printf '\\003'",
        "cat >/dev/null; head -c 100000 /dev/urandom",
        "cat >/dev/null; head -c 100000 /dev/zero",
        // Lists that are said to be longer than memory is.
        "cat >/dev/null; printf '\\000\\377\\377\\377\\377\\377\\377\\377\\377\\377\\001'",
        "cat >/dev/null; printf '\\000\\000\\377\\377\\377\\377\\017'",
    ] {
        let error = error(script);
        assert!(error.contains("the compiler's process"), "{script}: {error}");
    }
}

#[test]
fn a_process_that_fails_is_an_error() {
    let failed = error("echo 'some\\033thing' >&2; exit 3");
    assert!(failed.contains("exit status: 3") && failed.contains("some thing"), "{failed}");
    assert!(error("kill -ABRT $$").contains("signal: 6"));
    let worker = Worker { program: "/nowhere".into(), args: Vec::new(), memory: None };
    let options = Options { worker: Some(worker), ..Options::default() };
    let error = compile(b"\0asm\x01\0\0\0", &options, &WasiImports).unwrap_err();
    assert!(error.to_string().contains("cannot start the compiler's process /nowhere"), "{error}");
}

#[test]
fn a_process_that_never_ends_is_ended() {
    let timeout = Some(Duration::from_millis(200));
    for script in ["exec sleep 100", "exec cat /dev/zero >/dev/null", "while :; do :; done"] {
        let start = Instant::now();
        let error = compile_by(script, Options { timeout, ..Options::default() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains("longer than the limit of 200ms"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn an_endless_answer_is_cut() {
    let limits = Limits { text_size: 1 << 20, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let error = compile_by("cat >/dev/null; exec cat /dev/zero", options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().starts_with("the compiler's answer exceeds the limit"), "{error}");
}

#[test]
fn an_endless_compilation_is_ended_here_as_well() {
    let functions = "(func (param i32) (local.set 0 (i32.add (local.get 0) (i32.const 1))))".repeat(2000);
    let wasm = wat::parse_str(format!("(module {functions})")).unwrap();
    let timeout = Some(Duration::from_millis(1));
    let error = compile(&wasm, &Options { timeout, ..Options::default() }, &WasiImports).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert_eq!(error.to_string(), "compilation takes longer than the limit of 1ms");
}
