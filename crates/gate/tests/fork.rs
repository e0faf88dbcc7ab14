//! Copies of a suspended program.

mod command;

use command::chain::{SUSPENDED, inspect};
use command::{finish, gate, program, run, wait_within};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// A snapshot of a program that was suspended after some time, with these options and arguments.
fn suspended(dir: &Path, after: &str, options: &[&str], name: &str, args: &[&str]) -> PathBuf {
    let snapshot = dir.join("state.wasm");
    let mut command = gate(&["run", "--suspend-after", after]);
    command.args(options).arg("--snapshot").arg(&snapshot).arg(program(name)).args(args);
    finish(&mut command, b"").with_line(SUSPENDED, &["suspended"]);
    snapshot
}

#[test]
fn copies_come_to_the_same_result() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = suspended(dir.path(), "20ms", &["--invoke", "total"], "collatz.wat", &["300000"]);
    let whole = finish(&mut run(&["--invoke", "total"], "collatz.wat", &["300000"]), b"").quietly(0);

    let ended = finish(gate(&["fork", "-n", "5"]).arg(&snapshot), b"");
    ended.with_line(0, &["state.wasm: 5 copies: 5 exited with 0"]);
    for number in 0..5 {
        let prefix = format!("[{number}] ");
        let own: String = ended
            .stdout()
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(own, whole.stdout());
    }
    assert_eq!(ended.stdout().lines().count(), 10);

    let out = dir.path().join("a/b");
    let mut command = gate(&["fork", "-n", "3", "--output-dir"]);
    let ended = finish(command.arg(&out).arg(&snapshot), b"");
    ended.with_line(0, &["3 copies"]);
    assert_eq!(ended.stdout(), "");
    for number in 0..3 {
        assert_eq!(fs::read(out.join(format!("{number}.out"))).unwrap(), whole.stdout);
        assert_eq!(fs::read(out.join(format!("{number}.err"))).unwrap(), b"");
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), 6);
}

#[test]
fn copies_are_apart_from_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = suspended(dir.path(), "300ms", &["--invoke", "random_bytes"], "late.wat", &[]);
    let ended = finish(gate(&["fork", "-n", "8"]).arg(&snapshot), b"");
    ended.with_line(0, &["8 copies: 8 exited with 0"]);
    // Each has added something random to what all had in common.
    let lines: BTreeSet<_> = ended.stdout().lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(lines.len(), 8, "{ended:?}");
}

#[test]
fn copies_can_be_suspended_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = suspended(dir.path(), "20ms", &["--invoke", "total"], "collatz.wat", &["3000000"]);
    let states = dir.path().join("states");
    let mut command = gate(&["fork", "-n", "3", "--suspend-after", "50ms", "--snapshot-dir"]);
    let ended = finish(command.arg(&states).arg(&snapshot), b"");
    ended.with_line(SUSPENDED, &["3 copies: 3 suspended"]);
    let progress = |path: &Path| {
        let seen = inspect(&["--stack"], path).quietly(0);
        let line = seen.stdout().lines().find(|line| line.contains(" i: i64 ")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    for number in 0..3 {
        let state = states.join(format!("{number}.wasm"));
        assert!(progress(&state) > progress(&snapshot));
        // A copy of a copy.
        let again = dir.path().join("again");
        let mut command = gate(&["fork", "-n", "2", "--suspend-after", "1ms", "--snapshot-dir"]);
        finish(command.arg(&again).arg(&state), b"").with_line(SUSPENDED, &["2 copies: 2 suspended"]);
        assert!(progress(&again.join("1.wasm")) >= progress(&state));
    }
    assert_eq!(fs::read_dir(&states).unwrap().count(), 3);
}

#[test]
fn ends_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = suspended(dir.path(), "300ms", &["--invoke", "trap"], "late.wat", &[]);
    let ended = finish(gate(&["fork", "-n", "2"]).arg(&snapshot), b"");
    assert_eq!(ended.code, Some(134), "{ended:?}");
    assert!(ended.stderr.contains("state.wasm: copy 1: trap: unreachable"), "{ended:?}");
    assert!(ended.stderr.ends_with("state.wasm: 2 copies: 2 trapped\n"), "{ended:?}");
    let ended = finish(gate(&["fork", "-n", "2", "--timeout", "100ms"]).arg(&snapshot), b"");
    assert_eq!(ended.code, Some(124), "{ended:?}");
    assert!(ended.stderr.ends_with("2 copies: 2 stopped after the time limit\n"), "{ended:?}");
}

#[test]
fn signals_end_or_suspend_all_copies() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = suspended(dir.path(), "20ms", &[], "spin.wat", &[]);
    let states = dir.path().join("states");
    for (options, code) in [(vec![], 143), (vec!["--snapshot-dir", states.to_str().unwrap()], SUSPENDED)] {
        let mut child = gate(&["fork", "-n", "4"])
            .args(options)
            .arg(&snapshot)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs(1));
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(wait_within(&mut child, Duration::from_secs(20)), Some(code));
    }
    assert_eq!(fs::read_dir(&states).unwrap().count(), 4);
}

#[test]
fn senseless_numbers_are_usage_errors() {
    for args in [&["-n", "0"][..], &["-n", "16385"], &["-n", "x"], &[], &["-n", "1", "--suspend-after", "1s"]]
    {
        let ended = finish(gate(&["fork"]).args(args).arg("x.wasm"), b"");
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
    }
    finish(&mut gate(&["fork", "-n", "1", "no-such.wasm"]), b"")
        .with_line(127, &["no-such.wasm", "No such file"]);
}
