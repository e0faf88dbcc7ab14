//! Programs that do not end as they should: traps, limits, interruptions.

mod command;

use command::{all_gone, descendants, finish, run, wait_within};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn traps_are_named_with_the_functions_in_which_they_happen() {
    for (number, trap) in [
        (0, "unreachable instruction executed"),
        (1, "out of bounds memory access"),
        (2, "integer divide by zero"),
        (3, "uninitialized element"),
        (4, "undefined element"),
        (6, "invalid conversion to integer"),
    ] {
        let ended = finish(&mut run(&["--invoke", "fail"], "functions.wat", &[&number.to_string()]), b"");
        assert_eq!((ended.code, ended.stdout()), (Some(134), ""), "{ended:?}");
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert!(
            lines[0].starts_with("gate: ") && lines[0].ends_with(&format!("functions.wat: trap: {trap}")),
            "{ended:?}"
        );
        assert!(lines[1].starts_with("  0: inner (wasm offset 0x"), "{ended:?}");
        assert!(lines[2].starts_with("  1: outer (wasm offset 0x"), "{ended:?}");
        assert_eq!(lines.len(), 3, "{ended:?}");
    }
}

#[test]
fn the_stack_is_as_large_as_asked_for() {
    let ended = finish(&mut run(&["--invoke", "fail"], "functions.wat", &["5"]), b"");
    assert_eq!(ended.code, Some(134), "{ended:?}");
    assert!(ended.stderr.contains("trap: call stack exhausted\n  0: endless (wasm offset"), "{ended:?}");
    assert!(ended.stderr.lines().count() < 60, "{ended:?}");

    let recurse = |size, depth: &str| {
        finish(&mut run(&["--invoke", "recurse", "--stack-size", size], "functions.wat", &[depth]), b"")
    };
    assert_eq!(recurse("256k", "100000").code, Some(134));
    assert_eq!(recurse("64m", "100000").quietly(0).stdout(), "100000\n");
}

#[test]
fn memory_is_limited() {
    let grow = |limit, pages: &str| {
        let ended =
            finish(&mut run(&["--invoke", "grow", "--max-memory", limit], "functions.wat", &[pages]), b"");
        ended.quietly(0).stdout().to_owned()
    };
    assert_eq!(grow("128k", "1"), "1\n");
    assert_eq!(grow("128k", "2"), "-1\n");
    assert_eq!(grow("1g", "99"), "1\n");
    assert_eq!(grow("1g", "100"), "-1\n");
    let ended = finish(&mut run(&["--max-memory", "100k"], "cat.wat", &[]), b"");
    ended.with_line(126, &["cat.wat", "memory", "131072"]);
}

#[test]
fn time_is_limited() {
    let start = Instant::now();
    for name in ["spin.wat", "cat.wat", "sleep.wat"] {
        // Standard input stays open: neither a program nor the command waits for it.
        let mut child = run(&["--timeout", "100ms"], name, &[])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        assert_eq!(wait_within(&mut child, SOON), Some(124));
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert!(stderr.ends_with(&format!("{name}: stopped after the time limit\n")), "{stderr}");
        drop(stdin);
    }
    assert!(start.elapsed() >= Duration::from_millis(300));
    finish(&mut run(&["--timeout", "1h"], "exit.wat", &[]), b"").quietly(41);
}

#[test]
fn interruptions_leave_nothing_behind() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let (mut child, processes) = start_sleeper();
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(wait_within(&mut child, SOON), Some(code));
        assert!(all_gone(&processes, Duration::from_millis(100)), "{processes:?}");
    }
}

#[test]
fn programs_die_with_the_command() {
    let (mut child, processes) = start_sleeper();
    child.kill().unwrap();
    assert_eq!(wait_within(&mut child, SOON), None);
    assert!(all_gone(&processes, SOON), "{processes:?}");
}

#[test]
fn programs_killed_by_others_are_told() {
    let (mut child, processes) = start_sleeper();
    // The program is the last one, as it is made by the executor.
    let program = Pid::from_raw(*processes.last().unwrap() as i32).unwrap();
    kill_process(program, Signal::KILL).unwrap();
    assert_eq!(wait_within(&mut child, SOON), Some(137));
    assert!(all_gone(&processes, SOON), "{processes:?}");
}

#[test]
fn nothing_is_left_after_an_ordinary_end() {
    let mut child = run(&[], "cat.wat", &[]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    let mut processes = descendants(child.id());
    while processes.len() < 2 && start.elapsed() < SOON {
        processes = descendants(child.id());
    }
    drop(child.stdin.take());
    assert_eq!(wait_within(&mut child, SOON), Some(0));
    assert!(all_gone(&processes, SOON), "{processes:?}");
}

/// A program that has said that it is there, and the processes which it is made of.
fn start_sleeper() -> (Child, Vec<u32>) {
    let mut child = run(&[], "sleep.wat", &[])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let processes = descendants(child.id());
    assert!(processes.len() >= 2, "executor and program: {processes:?}");
    (child, processes)
}
