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

/// A module with something of everything, as it is compiled here.
fn everything() -> (Vec<u8>, CompiledModule) {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
        (type $t (func (param i32) (result i32)))
        (memory (export "memory") 1 2) (table (export "table") 3 9 funcref) (elem (i32.const 0) $f $g)
        (data (i32.const 5) "hello") (data $passive "passive")
        (global (export "global") (mut i64) (i64.const 7))
        (func $f (export "f") (type $t) (local i64)
            (loop (drop (call $yield)) (br_if 0 (local.get 0)))
            (call_indirect (type $t) (local.get 0) (i32.const 1)))
        (func $g (type $t) (call $f (i32.div_u (i32.const 5) (local.get 0))))
        (start $s) (func $s (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 3))))"#;
    let wasm = wat::parse_str(text).unwrap();
    let module = compile(&wasm, &Options::default(), &WasiImports).unwrap();
    (wasm, module)
}

/// Compiles with a process that answers with a module made before.
fn compile_to(wasm: &[u8], module: &CompiledModule) -> Result<CompiledModule, CompileError> {
    let mut answer = vec![0];
    answer.extend(postcard::to_stdvec(&module.text).unwrap());
    answer.extend(postcard::to_stdvec(&module.info).unwrap());
    answer.extend(postcard::to_stdvec(&module.maps).unwrap());
    let file = std::env::temp_dir().join(format!("gate-answer-{}-{:p}", std::process::id(), &answer));
    std::fs::write(&file, answer).unwrap();
    let args = vec!["-c".into(), format!("cat >/dev/null; cat {}", file.display()).into()];
    let worker = Worker { program: "/bin/sh".into(), args, memory: None };
    let result = compile(wasm, &Options { worker: Some(worker), ..Options::default() }, &WasiImports);
    std::fs::remove_file(&file).unwrap();
    result
}

#[test]
fn an_answer_of_another_form_is_refused() {
    let (wasm, module) = everything();
    assert!(compile_to(&wasm, &module).unwrap() == module);
    type Change = fn(&mut CompiledModule);
    let changes: &[(&str, Change)] = &[
        ("size of the text", |m| m.text.clear()),
        ("size of the text", |m| m.text.push(0)),
        ("number of imported functions", |m| m.info.imported_functions = 100),
        ("start function", |m| m.info.start = Some(77)),
        ("index of an export", |m| m.info.exports[0].index = 9),
        ("index of an export", |m| m.info.exports.iter_mut().for_each(|export| export.index = u32::MAX)),
        ("trampoline", |m| m.info.trampolines[0].text_offset = u32::MAX),
        ("order of trampolines", |m| m.info.trampolines.reverse()),
        ("size of the instance region", |m| m.info.layout.instance_size += 1),
        ("entry area", |m| m.info.layout.entry_distance = u32::MAX),
        ("entry area", |m| m.info.layout.entry_distance = 4),
        ("place of a global", |m| m.info.globals[0].distance = 0),
        ("place of a global", |m| m.info.globals[0].distance = u32::MAX),
        ("size of a table", |m| m.info.tables[0].min = 10),
        ("place of a table", |m| m.info.tables[0].max = u32::MAX),
        ("place of a table", |m| m.info.tables[0].distance = 64),
        ("type of a table", |m| m.info.tables[0].ty = gate_compiler::ValType::I32),
        ("descriptor of a table", |m| m.info.tables[0].desc_distance = 0),
        ("size of a memory", |m| m.info.memories[0].min_pages = u64::MAX),
        ("descriptor of a memory", |m| m.info.memories[0].desc_distance = 16),
        ("initial contents of the instance region", |m| m.info.initial.instance[0].distance = u32::MAX),
        ("initial contents of a memory", |m| m.info.initial.memory[0].offset = u64::MAX),
        ("initial contents of a memory", |m| m.info.initial.memory[0].memory = 1),
        ("place of the function table", |m| m.maps.anchors.function_table = u32::MAX),
        ("place of a segment", |m| m.maps.anchors.data[0] = u32::MAX),
        ("functions of the maps", |m| drop(m.maps.functions.pop())),
        ("place of a function", |m| m.maps.functions[0].text_size = u32::MAX),
        ("place of a function", |m| m.maps.functions[0].function = 100),
        ("order of functions", |m| m.maps.functions.reverse()),
        ("trap", |m| m.maps.traps[0].trap = 200),
        ("order of traps", |m| m.maps.traps.reverse()),
        ("order of addresses", |m| m.maps.addresses.reverse()),
        ("order of safepoints", |m| m.maps.safepoints.reverse()),
        ("function of a safepoint", |m| m.maps.safepoints.last_mut().unwrap().function = 100),
        ("signature of a callee", |m| m.maps.signatures.clear()),
    ];
    for (what, change) in changes {
        let mut changed = module.clone();
        change(&mut changed);
        let error = compile_to(&wasm, &changed).map(|_| *what).unwrap_err();
        assert_eq!(error.to_string(), format!("the compiler's process has answered nonsense: {what}"));
    }
}
