//! Snapshots that are damaged, or come from somebody who means no good: one line that says what is wrong, and the documented
//! exit code.

mod command;

use command::chain::SUSPENDED;
use command::{Ended, finish, gate, program};
use std::fs;
use std::path::Path;

/// A snapshot of a program with a stack, and its original module.
fn snapshot(dir: &Path) -> Vec<u8> {
    let path = dir.join("state.wasm");
    let mut command = gate(&["run", "--suspend-after", "20ms", "--invoke", "total", "--snapshot"]);
    let ended = finish(command.arg(&path).arg(program("collatz.wat")).arg("100000000"), b"");
    ended.with_line(SUSPENDED, &["suspended"]);
    fs::read(path).unwrap()
}

fn resume(bytes: &[u8]) -> Ended {
    finish(&mut gate(&["resume", "--timeout", "50ms", "-"]), bytes)
}

#[test]
fn what_is_no_snapshot_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    for subcommand in [&["resume"][..], &["inspect"], &["coredump", "-o", "-"], &["fork", "-n", "1"]] {
        finish(gate(subcommand).arg(format!("{path}/missing.wasm")), b"")
            .with_line(127, &["missing.wasm", "No such file"]);
        finish(gate(subcommand).arg(path), b"").with_line(127, &[path, "directory"]);
        finish(gate(subcommand).arg("-"), b"")
            .with_line(126, &["standard input", "not a WebAssembly module"]);
        finish(gate(subcommand).arg("-"), &[b'x'; 100_000]).with_line(126, &["not a WebAssembly module"]);
        finish(gate(subcommand).arg("-"), b"\0asm\x01\0\0\0").with_line(126, &["not a snapshot", "gate run"]);
    }
    let bytes = snapshot(dir.path());
    finish(&mut gate(&["run", "-"]), &bytes).with_line(126, &["it is a snapshot", "gate resume"]);
    finish(&mut gate(&["compile", "-", "-o", "-"]), &bytes).with_line(126, &["it is a snapshot"]);
}

#[test]
fn truncated_snapshots_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = snapshot(dir.path());
    for end in (8..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        let ended = resume(&bytes[..end]);
        ended.with_line(126, &["standard input"]);
    }
    resume(&[bytes.as_slice(), b"\0"].concat()).with_line(126, &["standard input"]);
    resume(&bytes).with_line(124, &["time limit"]);
}

#[test]
fn changed_snapshots_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = snapshot(dir.path());
    for at in (0..bytes.len()).step_by(3) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let ended = resume(&changed);
        // Numbers that the program computes with are nobody else's business.
        assert!(matches!(ended.code, Some(124 | 126 | 134 | 0)), "byte {at:#x}: {ended:?}");
        if ended.code != Some(0) {
            assert!(ended.stderr.starts_with("gate: "), "byte {at:#x}: {ended:?}");
        }
    }
}

#[test]
fn snapshots_that_cannot_be_written_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    for place in [path.to_owned(), format!("{path}/no/such/place.wasm"), "/dev/full".to_owned()] {
        let mut command = gate(&["run", "--suspend-after", "20ms", "--snapshot", &place]);
        let ended = finish(command.arg(program("spin.wat")), b"");
        ended.with_line(125, &[&format!("write {place}: ")]);
    }
    let null = finish(
        gate(&["run", "--suspend-after", "20ms", "--snapshot", "/dev/null"]).arg(program("spin.wat")),
        b"",
    );
    null.with_line(SUSPENDED, &["/dev/null"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
