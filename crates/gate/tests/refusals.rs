//! Input that cannot be run: one line that says what and where, and the documented exit code.

mod command;

use command::{Ended, finish, gate, program, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Runs a file of this content.
fn run_content(name: &str, content: &[u8], options: &[&str], args: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let mut command = gate(&["run"]);
    let ended = finish(command.args(options).arg(&path).args(args), b"");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is left behind");
    ended
}

#[test]
fn unreadable_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let missing = format!("{path}/missing.wasm");
    finish(&mut gate(&["run", &missing]), b"").with_line(127, &[&missing, "No such file"]);
    finish(&mut gate(&["run", path]), b"").with_line(127, &[path, "directory"]);
    let looped = dir.path().join("loop.wasm");
    symlink("loop.wasm", &looped).unwrap();
    finish(&mut gate(&["run", looped.to_str().unwrap()]), b"")
        .with_line(127, &["loop.wasm", "symbolic links"]);
    finish(&mut gate(&["compile", &missing]), b"").with_line(127, &[&missing, "No such file"]);
    finish(&mut gate(&["run", "a\nb\x1b[31m.wasm"]), b"").with_line(127, &["a; b\u{fffd}[31m.wasm"]);
}

#[test]
fn invalid_modules() {
    run_content("m.wasm", b"", &[], &[]).with_line(126, &["m.wasm", "not a WebAssembly module", "empty"]);
    run_content("m.wasm", b"\x7fELF\x02\x01\x01\0\0\0\0\0", &[], &[])
        .with_line(126, &["m.wasm", "invalid module"]);
    run_content("m.wasm", b"\0asm\x02\0\0\0", &[], &[]).with_line(126, &["m.wasm", "offset 0x"]);
    run_content("m.wasm", b"\0asm\x0d\0\x01\0", &[], &[]).with_line(126, &["m.wasm", "offset 0x"]);
    run_content("m.wasm", b"\0asm", &[], &[]).with_line(126, &["m.wasm"]);
    // A section that is said to be longer than the file.
    run_content("m.wasm", b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f", &[], &[])
        .with_line(126, &["m.wasm", "offset 0x"]);
    // A million functions of which there is no code.
    run_content("m.wasm", b"\0asm\x01\0\0\0\x03\x04\xc0\x84\x3d\0", &[], &[])
        .with_line(126, &["m.wasm", "offset 0x"]);
    let mut type_error =
        b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x0a\x04\x01\x02\0".to_vec();
    type_error.push(0x0b);
    run_content("m.wasm", &type_error, &[], &[]).with_line(126, &["m.wasm", "type mismatch", "offset 0x"]);
}

#[test]
fn truncated_modules() {
    let whole = wat_to_binary(&fs::read_to_string(program("functions.wat")).unwrap());
    for len in (1..whole.len()).step_by(whole.len() / 12) {
        let ended = run_content("m.wasm", &whole[..len], &["--invoke", "gcd"], &["2", "3"]);
        // At the end of a section, less is a module, too.
        assert_eq!(ended.code, Some(126), "{len}: {ended:?}");
        ended.with_line(126, &["m.wasm"]);
    }
}

#[test]
fn text_that_is_not_a_module() {
    run_content("m.wat", b"(module\n  (func (i32.konst 1)))", &[], &[])
        .with_line(126, &["m.wat", "text form", "line 2, column 10"]);
    run_content("m.wat", b"#!/bin/sh\necho hello\n", &[], &[]).with_line(126, &["m.wat", "line 1"]);
    run_content("m.wat", b"(component)", &[], &[]).with_line(126, &["m.wat"]);
    let deep = [b"(module (func ".to_vec(), b"(block ".repeat(100_000)].concat();
    run_content("m.wat", &deep, &[], &[]).with_line(126, &["m.wat"]);
}

#[test]
fn missing_and_wrong_imports() {
    run_content(
        "m.wat",
        br#"(module (import "env" "fopen" (func (param i32))) (func (export "_start")))"#,
        &[],
        &[],
    )
    .with_line(126, &["m.wat", "env", "fopen"]);
    let wrong = br#"(module (import "wasi_snapshot_preview1" "fd_close" (func (param i64))) (func (export "_start")))"#;
    run_content("m.wat", wrong, &[], &[]).with_line(126, &["m.wat", "fd_close", "(i32) -> (i32)"]);
    run_content(
        "m.wat",
        br#"(module (import "env" "memory" (memory 1)) (func (export "_start")))"#,
        &[],
        &[],
    )
    .with_line(126, &["m.wat", "env", "memory"]);
}

#[test]
fn wrong_entry_functions() {
    let library = program("functions.wat");
    finish(&mut gate(&["run", library.to_str().unwrap()]), b"")
        .with_line(126, &["functions.wat", "no exported function \"_start\"", "\"gcd\"", "\"swap\""]);
    run_content("m.wat", b"(module)", &[], &[]).with_line(126, &["m.wat", "exports no functions"]);
    run_content("m.wat", br#"(module (func (export "_start") (param i32)))"#, &[], &[])
        .with_line(126, &["m.wat", "wrong entry signature", "(i32) -> ()"]);
    run_content("m.wat", br#"(module (memory (export "_start") 1))"#, &[], &[])
        .with_line(126, &["m.wat", "_start"]);
    let call = |args: &[&str]| finish(&mut run(&["--invoke", args[0]], "functions.wat", &args[1..]), b"");
    call(&["gdc", "1", "2"]).with_line(126, &["no exported function \"gdc\"", "\"gcd\""]);
    call(&["gcd", "1"]).with_line(126, &["takes 2 arguments", "got 1", "(i64 i64) -> (i64)"]);
    call(&["gcd", "1", "two"]).with_line(126, &["argument 2", "\"two\"", "i64"]);
    call(&["memory"]).with_line(126, &["no exported function \"memory\""]);
}

#[test]
fn modules_that_want_too_much() {
    run_content("m.wat", br#"(module (memory 65537) (func (export "_start")))"#, &[], &[])
        .with_line(126, &["m.wat"]);
    run_content("m.wat", br#"(module (memory 2) (func (export "_start")))"#, &["--max-memory", "64k"], &[])
        .with_line(126, &["m.wat", "memory", "131072", "65536"]);
    run_content("m.wat", br#"(module (table 4000000000 funcref) (func (export "_start")))"#, &[], &[])
        .with_line(126, &["m.wat", "table"]);
    let oversized =
        [&b"(module (func (export \"_start\")"[..], &b"(drop (i32.const 0))".repeat(3_000_000)[..], b"))"]
            .concat();
    run_content("m.wat", &oversized, &[], &[]).with_line(126, &["m.wat", "offset 0x"]);
    run_content(
        "m.wat",
        br#"(module (memory 1) (data (i32.const 65530) "0123456789") (func (export "_start")))"#,
        &[],
        &[],
    )
    .with_line(126, &["m.wat", "out of bounds memory access"]);
}

#[test]
fn wrong_usage() {
    for args in [&["run"][..], &["run", "--timeout", "never", "x"], &["jump"], &["completions", "cobol"]] {
        let ended = finish(&mut gate(args), b"");
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    }
    finish(&mut gate(&["--log", "x=y=z", "completions", "bash"]), b"").with_line(2, &["log filter"]);
    finish(&mut gate(&["compile", "-"]), b"(module)").with_line(2, &["standard input", "-o"]);
}

#[test]
fn unusable_caches() {
    // One that was asked for must do; the default one need not.
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello.wat");
    let mut command = gate(&["run", "--cache-dir", "/proc/nonsense"]);
    finish(command.arg(&hello), b"").with_line(125, &["/proc/nonsense"]);
    let mut command = gate(&["run"]);
    let ended = finish(command.env("XDG_CACHE_HOME", "/proc/nonsense").arg(&hello), b"").quietly(0);
    assert_eq!(ended.stdout(), "Hello, world!\n");
    let mut command = gate(&["run", "--log", "debug"]);
    let ended = finish(command.env("XDG_CACHE_HOME", "/proc/nonsense").arg(&hello), b"");
    assert!(ended.stderr.contains("no cache") && ended.stderr.contains("/proc/nonsense"), "{ended:?}");
}

fn wat_to_binary(text: &str) -> Vec<u8> {
    let buf = wast::parser::ParseBuffer::new(text).unwrap();
    wast::parser::parse::<wast::Wat<'_>>(&buf).unwrap().encode().unwrap()
}
