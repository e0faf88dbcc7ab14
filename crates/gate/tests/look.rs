//! What can be seen of suspended programs.

mod command;

use command::chain::{SUSPENDED, inspect};
use command::{finish, gate, program};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use wasmparser::{
    BinaryReader, CoreDumpInstancesSection, CoreDumpStackSection, CoreDumpValue, Parser, Payload, Validator,
    WasmFeatures,
};

/// A snapshot of `values.wat` at its breakpoint.
fn values(dir: &Path) -> PathBuf {
    let snapshot = dir.join("state.wasm");
    let wasm = wat::parse_file(program("values.wat")).unwrap();
    let marker = wasm.windows(3).position(|bytes| bytes == [0x41, 0x92, 0x21]).unwrap();
    let mut command = gate(&["run", "--breakpoint", &marker.to_string(), "--snapshot"]);
    let ended = finish(command.arg(&snapshot).arg(program("values.wat")), b"");
    ended.with_line(SUSPENDED, &["breakpoint"]);
    snapshot
}

/// Without what differs from run to run, and with every compiler of the text form.
fn stable(text: &str, snapshot: &Path) -> String {
    let text = text.replace(snapshot.to_str().unwrap(), "SNAPSHOT");
    let line = |line: &str| match line.trim_start().split([' ', ':']).next() {
        Some("clock") => "  clock   TIME".to_owned(),
        Some("blake3") => "  blake3  HASH".to_owned(),
        Some("\"hash\"") => "    \"hash\": HASH".to_owned(),
        Some("\"monotonic_time\"") => "    \"monotonic_time\": TIME,".to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn people_get_an_overview() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = values(dir.path());
    let ended = inspect(&[], &snapshot).quietly(0);
    insta::assert_snapshot!("overview", stable(ended.stdout(), &snapshot));
    let ended =
        inspect(&["--stack", "--memory", "4090..4112", "--memory", "0:0x1000+5", "--table", "0"], &snapshot);
    insta::assert_snapshot!("parts", stable(ended.quietly(0).stdout(), &snapshot));
}

#[test]
fn programs_get_json() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = values(dir.path());
    let ended = inspect(&["--json"], &snapshot).quietly(0);
    insta::assert_snapshot!("json", stable(ended.stdout(), &snapshot));
    let json: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(json["stack"][0]["name"], "inner");
    assert_eq!(json["state"]["frames"], json["stack"].as_array().unwrap().len());

    let ended = inspect(&["--json", "--memory", "4096+14", "--table", "1"], &snapshot).quietly(0);
    let json: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(json["memory"][0]["bytes"], "48656c6c6f2c206d656d6f727921");
    assert_eq!(json["elements"][0]["elements"][1]["value"], "null");
    assert_eq!(json.as_object().unwrap().len(), 2, "only what was asked for: {json}");
}

#[test]
fn what_does_not_exist_cannot_be_seen() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = values(dir.path());
    for (option, value, texts) in [
        ("--memory", "1:0..1", &["no memory 1", "the program has 1"][..]),
        ("--memory", "0x1fff0..0x20001", &["0x1fff0..0x20001", "memory 0", "0x20000"]),
        ("--table", "2", &["no table 2"]),
    ] {
        inspect(&[option, value], &snapshot).with_line(2, texts);
    }
    for option in ["--memory=5..4", "--memory=x", "--table=x"] {
        assert_eq!(inspect(&[option], &snapshot).code, Some(2));
    }
}

#[test]
fn snapshots_come_from_standard_input_too() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = values(dir.path());
    let ended = finish(&mut gate(&["inspect", "-"]), &fs::read(&snapshot).unwrap()).quietly(0);
    assert!(ended.stdout().starts_with("standard input: stopped at a breakpoint\n"), "{ended:?}");
}

#[test]
fn debuggers_get_core_dumps() {
    let dir = tempfile::tempdir().unwrap();
    let (snapshot, core) = (values(dir.path()), dir.path().join("core.wasm"));
    finish(gate(&["coredump", "-o"]).arg(&core).arg(&snapshot), b"").quietly(0);
    let wasm = fs::read(&core).unwrap();
    let piped = finish(gate(&["coredump", "-o", "-"]).arg(&snapshot), b"").quietly(0);
    assert!(piped.stdout == wasm);

    Validator::new_with_features(WasmFeatures::all()).validate_all(&wasm).unwrap();
    let mut globals = 0;
    for payload in Parser::new(0).parse_all(&wasm) {
        match payload.unwrap() {
            Payload::CustomSection(section) if section.name() == "corestack" => {
                let stack = CoreDumpStackSection::new(BinaryReader::new(section.data(), 0)).unwrap();
                let functions: Vec<_> = stack.frames.iter().map(|frame| frame.funcidx).collect();
                assert_eq!(functions, [1, 2, 2, 2, 3]);
                // The second parameter and the vector have types that the format does not know.
                let frame = &stack.frames[0];
                assert!(
                    frame.locals.iter().all(|value| matches!(value, CoreDumpValue::Missing)),
                    "{frame:?}"
                );
                let [CoreDumpValue::F64(nan)] = frame.stack.as_slice() else { panic!("{frame:?}") };
                assert_eq!(nan.bits(), 0x7ff8_0000_0000_0123);
                assert!(frame.codeoffset > 0 && frame.codeoffset < 40, "within the body: {frame:?}");
                let [CoreDumpValue::I32(1)] = stack.frames[2].locals.as_slice() else {
                    panic!("{stack:?}", stack = stack.frames)
                };
            }
            Payload::CustomSection(section) if section.name() == "coreinstances" => {
                let instances = CoreDumpInstancesSection::new(BinaryReader::new(section.data(), 0)).unwrap();
                assert_eq!(instances.instances[0].globals.len(), 6);
            }
            Payload::GlobalSection(section) => globals = section.count(),
            Payload::DataSection(section) => {
                let data: Vec<_> = section.into_iter().map(|data| data.unwrap().data.to_vec()).collect();
                assert_eq!(data.len(), 1, "pages of zeros are left out");
                assert!(data[0].starts_with(b"Hello, memory!"));
            }
            _ => {}
        }
    }
    assert_eq!(globals, 6);
}

/// With debugging information there are lines, and functions that were inlined.
#[test]
fn source_lines_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (source, module) = (dir.path().join("spin.c"), dir.path().join("spin.wasm"));
    fs::write(
        &source,
        "static volatile int sink;\n\
         static inline __attribute__((always_inline)) void turn(int by) {\n\
         \x20   for (;;)\n\
         \x20       sink += by;\n\
         }\n\
         __attribute__((noinline)) static void outer(int by) {\n\
         \x20   turn(by + 1);\n\
         }\n\
         void spin(int by) {\n\
         \x20   outer(by);\n\
         }\n",
    )
    .unwrap();
    let clang = Command::new(std::env::var_os("WASM_CLANG").unwrap_or("clang".into()))
        .args(["--target=wasm32", "-g", "-O1", "-nostdlib", "-Wl,--no-entry", "-Wl,--export=spin", "-o"])
        .args([&module, &source])
        .output()
        .expect("clang; tools/install-test-deps installs it");
    assert!(clang.status.success(), "{}", String::from_utf8_lossy(&clang.stderr));

    let snapshot = dir.path().join("state.wasm");
    let mut command = gate(&["run", "--suspend-after", "100ms", "--invoke", "spin", "--snapshot"]);
    finish(command.arg(&snapshot).arg(&module).arg("41"), b"").with_line(SUSPENDED, &["suspended"]);
    let ended = inspect(&["--stack"], &snapshot).quietly(0);
    let source = source.display();
    for text in [
        "   0: outer (function ".to_owned(),
        format!("        inlined turn at {source}:4:"),
        format!("        at {source}:7:"),
        "   1: spin (function ".to_owned(),
        format!("        at {source}:10:"),
        ": i32 42\n".to_owned(),
    ] {
        assert!(ended.stdout().contains(&text), "{text:?} is missing:\n{}", ended.stdout());
    }
}
