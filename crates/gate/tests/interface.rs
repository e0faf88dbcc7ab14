//! What the command has for people: help, completions, listings, logs.

mod command;

use command::{finish, gate, program};
use std::fs;
use std::path::PathBuf;

#[test]
fn help_has_examples_and_exit_codes() {
    let ended = finish(&mut gate(&["--help"]), b"").quietly(0);
    for text in ["Usage: gate", "run", "compile", "completions", "Examples:", "gate run hello.wasm"] {
        assert!(ended.stdout().contains(text), "{text:?} is missing");
    }
    let ended = finish(&mut gate(&["run", "--help"]), b"").quietly(0);
    let options = [
        "--invoke",
        "--env",
        "--timeout",
        "--max-memory",
        "--stack-size",
        "--time-resolution",
        "--cache-dir",
    ];
    for text in options.into_iter().chain(["--no-cache", "--opt", "Examples:", "Exit codes:"]) {
        assert!(ended.stdout().contains(text), "{text:?} is missing");
    }
    for code in [2, 75, 124, 125, 126, 127, 130, 134, 137, 141] {
        assert!(ended.stdout().contains(&format!("\n  {code} ")), "{code} is missing");
    }
    for (command, options) in [
        (
            "resume",
            &["--snapshot", "--suspend-after", "--breakpoint", "--max-memory", "--opt", "\n  75 "][..],
        ),
        ("fork", &["--count", "--output-dir", "--snapshot-dir", "--timeout", "\n  75 "]),
        ("inspect", &["--json", "--stack", "--memory", "--table", "\n  126 "]),
        ("coredump", &["--output", "\n  127 "]),
        ("compile", &["--listing", "--target", "--compile-timeout", "--compile-memory"]),
        ("services", &["--service", "grpc:unix:"]),
        ("completions", &["bash"]),
    ] {
        let ended = finish(&mut gate(&[command, "--help"]), b"").quietly(0);
        for text in options.iter().chain(&["Examples:"]) {
            assert!(ended.stdout().contains(text), "{command}: {text:?} is missing");
        }
    }
}

#[test]
fn version_names_the_code_generator() {
    let ended = finish(&mut gate(&["--version"]), b"").quietly(0);
    let version = ended.stdout().strip_prefix("gate ").unwrap().strip_suffix(")\n").unwrap();
    let (own, cranelift) = version.split_once(" (cranelift ").unwrap();
    assert_eq!(own, env!("CARGO_PKG_VERSION"));
    assert!(cranelift.starts_with("0."), "{cranelift}");
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = finish(&mut gate(&["completions", shell]), b"").quietly(0);
        for text in ["max-memory", "suspend-after", "coredump"] {
            assert!(ended.stdout().contains(text), "{shell}: {text}");
        }
    }
}

#[test]
fn text_and_listing_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("m.wat");
    fs::copy(program("functions.wat"), &module).unwrap();
    finish(gate(&["compile", "--listing"]).arg(&module), b"").quietly(0);
    let text = fs::read(dir.path().join("m.text")).unwrap();
    assert!(!text.is_empty() && text.len().is_multiple_of(4096));
    let listing = fs::read_to_string(dir.path().join("m.lst")).unwrap();
    assert!(listing.contains("inner") && listing.contains("outer"), "{listing}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);

    // The same module gives the same text, wherever it goes.
    let ended = finish(gate(&["compile", "-o", "-"]).arg(&module), b"").quietly(0);
    assert!(ended.stdout == text);
    let other = dir.path().join("other");
    let ended =
        finish(gate(&["compile", "--opt", "none", "-", "-o"]).arg(&other), &fs::read(&module).unwrap());
    ended.quietly(0);
    assert!(fs::read(&other).unwrap() != text);

    let nowhere = dir.path().join("no/such/place");
    let ended = finish(gate(&["compile"]).arg(&module).arg("-o").arg(&nowhere), b"");
    ended.with_line(125, &["no/such/place", "No such file"]);
}

#[test]
fn modules_are_compiled_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let run = || {
        let mut command = gate(&["run", "--log", "gate=debug", "--cache-dir"]);
        let ended =
            finish(command.arg(&cache).args(["--invoke", "nothing"]).arg(program("functions.wat")), b"");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stderr
    };
    assert!(run().contains("stored in cache"));
    assert!(run().contains("found in cache"));
    let is_entry = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gate");
    let entries = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    let entries: Vec<_> = entries.filter(is_entry).collect();
    assert_eq!(entries.len(), 1);
    let mut content = fs::read(&entries[0]).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&entries[0], content).unwrap();
    assert!(run().contains("damaged"));
    assert!(run().contains("found in cache"));
}

#[test]
fn logs_can_be_read_by_machines() {
    let mut command =
        gate(&["--log", "gate=debug", "--log-format", "json", "run", "--no-cache", "--invoke", "nothing"]);
    let ended = finish(command.arg(program("functions.wat")), b"");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.is_empty());
    for line in ended.stderr.lines() {
        assert!(
            line.starts_with('{') && line.ends_with('}') && line.contains("\"level\":\"DEBUG\""),
            "{line}"
        );
    }
}
