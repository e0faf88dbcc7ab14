//! Programs that are suspended, written down and resumed by the command.

mod command;

use command::chain::{SUSPENDED, chain, inspect};
use command::{all_gone, descendants, finish, gate, program, run, wait_within};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

/// What the hops of a chain are resumed with: never twice in a row the same text.
const HOPS: [&[&str]; 3] = [
    &["--suspend-after", "20ms", "--opt", "none"],
    &["--suspend-after", "20ms", "--target", "x86-64"],
    &["--suspend-after", "20ms"],
];

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn results_are_the_same_after_any_number_of_stops() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let whole = finish(&mut run(&["--invoke", "total"], "collatz.wat", &["400000"]), b"").quietly(0);
    let mut first = gate(&["run", "--suspend-after", "20ms", "--invoke", "total", "--snapshot"]);
    first.arg(&snapshot).arg(program("collatz.wat")).arg("400000");
    let chain = chain(first, &snapshot, &HOPS, Stdio::null);
    assert_eq!((chain.code, chain.stdout), (0, whole.stdout));
    assert!(chain.hops >= 2, "{} hops", chain.hops);
    assert_eq!(names(dir.path()), ["state.wasm"]);
    assert_eq!(fs::metadata(&snapshot).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_program_that_ends_in_time_leaves_no_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let mut command = gate(&["run", "--suspend-after", "1h", "--snapshot"]);
    finish(command.arg(&snapshot).arg(program("exit.wat")), b"").quietly(41);
    let mut command = gate(&["run", "--timeout", "100ms", "--suspend-after", "1h", "--snapshot"]);
    let ended = finish(command.arg(&snapshot).arg(program("spin.wat")), b"");
    ended.with_line(124, &["stopped after the time limit"]);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn snapshots_can_be_piped() {
    let mut first = gate(&["run", "--suspend-after", "20ms", "--invoke", "total", "--snapshot", "-"]);
    let ended = finish(first.arg(program("collatz.wat")).arg("400000"), b"");
    ended.with_line(SUSPENDED, &["collatz.wat: suspended; its state is in standard output"]);
    let ended = finish(&mut gate(&["resume", "-"]), &ended.stdout).quietly(0);
    let whole = finish(&mut run(&["--invoke", "total"], "collatz.wat", &["400000"]), b"").quietly(0);
    assert_eq!(ended.stdout, whole.stdout);

    // What the program prints does not get into the snapshot.
    let mut first = gate(&["run", "--suspend-after", "300ms", "--snapshot", "-"]);
    let ended = finish(first.arg(program("sleep.wat")), b"");
    assert_eq!(ended.code, Some(SUSPENDED), "{ended:?}");
    assert!(ended.stdout.starts_with(b"\0asm") && ended.stderr.starts_with("up\n"), "{ended:?}");
}

#[test]
fn input_goes_on_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let data: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    // Every hop has the same pipe.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let feeder = {
        let data = data.clone();
        std::thread::spawn(move || {
            for part in data.chunks(3000) {
                writer.write_all(part).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    let mut first = gate(&["run", "--suspend-after", "20ms", "--snapshot"]);
    first.arg(&snapshot).arg(program("cat.wat"));
    let hops: &[&[&str]] = &[&["--suspend-after", "30ms"], &["--suspend-after", "50ms", "--opt", "none"]];
    let chain = chain(first, &snapshot, hops, || reader.try_clone().unwrap().into());
    feeder.join().unwrap();
    assert_eq!(chain.code, 0);
    assert!(chain.stdout == data, "{} of {} bytes came back", chain.stdout.len(), data.len());
    assert!(chain.hops >= 3, "{} hops", chain.hops);
}

#[test]
fn arguments_and_environment_travel() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let wasm = wat::parse_file(program("show.wat")).unwrap();
    // At the first call of `_start`, before it has looked at anything.
    let call = (0..wasm.len()).filter(|&at| wasm[at] == 0x10).find(|at| {
        let mut command = gate(&["run", "--env", "MODE=fast", "--breakpoint", &at.to_string(), "--snapshot"]);
        let ended = finish(command.arg(&snapshot).arg(program("show.wat")).args(["one", "two"]), b"");
        ended.code == Some(SUSPENDED) && ended.stdout.is_empty()
    });
    assert!(call.is_some(), "no breakpoint stops it");
    let ended = finish(gate(&["resume"]).arg(&snapshot), b"");
    let whole = finish(&mut run(&["--env", "MODE=fast"], "show.wat", &["one", "two"]), b"");
    assert_eq!((ended.code, &ended.stdout, &ended.stderr), (whole.code, &whole.stdout, &whole.stderr));
    assert!(whole.stderr.contains("MODE=fast"), "{whole:?}");
    // They are not to be changed.
    let ended = finish(gate(&["resume", "--env", "MODE=slow"]).arg(&snapshot), b"");
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

#[test]
fn a_sleeping_program_sleeps_on() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let mut command = gate(&["run", "--suspend-after", "400ms", "--invoke", "sleep", "--snapshot"]);
    let ended = finish(command.arg(&snapshot).arg(program("sleep.wat")).arg("1000000000"), b"");
    ended.with_line(SUSPENDED, &["suspended"]);
    // Time does not pass for it while it is suspended.
    std::thread::sleep(Duration::from_millis(800));
    let start = Instant::now();
    let ended = finish(gate(&["resume"]).arg(&snapshot), b"").quietly(0);
    let slept: u64 = ended.stdout().trim().parse().unwrap();
    assert!((1_000_000_000..1_900_000_000).contains(&slept), "{slept}");
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
}

#[test]
fn what_is_to_be_called_next_travels() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let mut first = gate(&["run", "--suspend-after", "50ms", "--invoke", "add", "--snapshot"]);
    first.arg(&snapshot).arg(program("slow_reactor.wat")).args(["5", "0x123456789abcdef0123456789abcdef0"]);
    let ended = finish(&mut first, b"");
    ended.with_line(SUSPENDED, &["suspended"]);
    let stack = inspect(&["--stack"], &snapshot).quietly(0);
    assert!(stack.stdout().contains("_initialize (function 0"), "{stack:?}");
    let ended = finish(gate(&["resume"]).arg(&snapshot), b"").quietly(0);
    assert_eq!(ended.stdout(), format!("1005\n{}\n", 0x1234_5678_9abc_def0_1234_5678_9abc_def0u128));
}

#[test]
fn signals_suspend_if_there_is_a_place_for_the_state() {
    for signal in [Signal::INT, Signal::TERM] {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = dir.path().join("state.wasm");
        let (mut child, processes) = start_sleeper(&snapshot);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(wait_within(&mut child, SOON), Some(SUSPENDED));
        assert!(all_gone(&processes, SOON), "{processes:?}");
        let seen = inspect(&[], &snapshot).quietly(0);
        assert!(seen.stdout().contains("_start (function 3"), "{seen:?}");
    }
    // Who hangs up does not wait.
    let dir = tempfile::tempdir().unwrap();
    let (mut child, processes) = start_sleeper(&dir.path().join("state.wasm"));
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    assert_eq!(wait_within(&mut child, SOON), Some(129));
    assert!(all_gone(&processes, SOON), "{processes:?}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_second_signal_interrupts_the_writing() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    fs::write(&snapshot, "old").unwrap();
    let mut child = start_touching(4000, &snapshot);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(wait_within(&mut child, SOON), Some(130));
    assert_eq!(names(dir.path()), ["state.wasm"]);
    assert_eq!(fs::read(&snapshot).unwrap(), b"old");
}

#[test]
fn whoever_is_killed_leaves_the_old_snapshot_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let mut command = gate(&["run", "--suspend-after", "20ms", "--snapshot"]);
    let ended = finish(command.arg(&snapshot).arg(program("spin.wat")), b"");
    ended.with_line(SUSPENDED, &["spin.wat"]);
    let old = fs::read(&snapshot).unwrap();
    let mut replaced = 0;
    for delay in [0, 5, 20, 60, 120, 250, 1000] {
        let mut child = start_touching(800, &snapshot);
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        let code = wait_within(&mut child, SOON);
        assert_eq!(names(dir.path()), ["state.wasm"], "after {delay} ms");
        if fs::read(&snapshot).unwrap() != old {
            replaced += 1;
            let seen = inspect(&["--json"], &snapshot).quietly(0);
            assert!(seen.stdout().contains("\"touched\": 52"), "after {delay} ms: {seen:?}");
            fs::write(&snapshot, &old).unwrap();
        } else {
            assert_eq!(code, None, "after {delay} ms");
        }
    }
    assert!(replaced <= 6, "it was never too early");
    let mut child = start_touching(800, &snapshot);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait_within(&mut child, SOON), Some(SUSPENDED));
    assert_ne!(fs::read(&snapshot).unwrap(), old);
}

#[test]
fn breakpoints_stop_and_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first.wasm"), dir.path().join("second.wasm"));
    let wasm = wat::parse_file(program("values.wat")).unwrap();
    let marker = wasm.windows(3).position(|bytes| bytes == [0x41, 0x92, 0x21]).unwrap();
    let offset = format!("{marker:#x}");

    let mut command = gate(&["run", "--breakpoint", &offset, "--snapshot"]);
    let ended = finish(command.arg(&first).arg(program("values.wat")), b"");
    ended.with_line(SUSPENDED, &["values.wat: stopped at a breakpoint; its state is in", "first.wasm"]);
    // Without a place for the state, it is a trap.
    let ended = finish(&mut run(&["--breakpoint", &offset], "values.wat", &[]), b"");
    assert_eq!(ended.code, Some(134), "{ended:?}");
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert!(lines[0].ends_with("values.wat: trap: breakpoint"), "{ended:?}");
    assert_eq!(lines[1], format!("   0: inner (function 1, wasm offset {offset})"));
    assert_eq!(lines.len(), 6, "{ended:?}");

    finish(gate(&["resume"]).arg(&first), b"").quietly(0);
    // To the next breakpoint, a call instruction: `call $outer` in `_start`'s else branch is behind it by now.
    let call = wasm.windows(2).rposition(|bytes| bytes == [0x10, 0x01]).unwrap();
    let ended = finish(
        gate(&["run", "--breakpoint", &format!("{call}"), "--snapshot"])
            .arg(&second)
            .arg(program("values.wat")),
        b"",
    );
    ended.with_line(SUSPENDED, &["breakpoint"]);
    let mut command = gate(&["resume", "--breakpoint", &offset, "--snapshot"]);
    let ended = finish(command.arg(&second).arg(&second), b"");
    ended.with_line(SUSPENDED, &["stopped at a breakpoint"]);
    let stack = inspect(&["--stack"], &second).quietly(0);
    assert!(
        stack.stdout().starts_with(&format!("   0: inner (function 1, wasm offset {offset})")),
        "{stack:?}"
    );
    finish(gate(&["resume"]).arg(&second), b"").quietly(0);

    let ended = finish(&mut run(&["--breakpoint", "3"], "values.wat", &[]), b"");
    ended.with_line(126, &["values.wat", "breakpoint", "0x3"]);
}

#[test]
fn breakpoints_in_loops_are_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let wasm = wat::parse_file(program("collatz.wat")).unwrap();
    // `i64.mul`, a million times.
    let offset = wasm.windows(3).position(|bytes| bytes == [0x42, 0x03, 0x7e]).unwrap() + 2;
    let offset = offset.to_string();
    let mut command = gate(&["run", "--breakpoint", &offset, "--invoke", "total", "--snapshot"]);
    let ended = finish(command.arg(&snapshot).arg(program("collatz.wat")).arg("20000"), b"");
    ended.with_line(SUSPENDED, &["breakpoint"]);
    let start = Instant::now();
    let ended = finish(gate(&["resume"]).arg(&snapshot), b"").quietly(0);
    let whole = finish(&mut run(&["--invoke", "total"], "collatz.wat", &["20000"]), b"").quietly(0);
    assert_eq!(ended.stdout, whole.stdout);
    assert!(start.elapsed() < SOON);
}

#[test]
fn limits_are_kept_or_changed() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let mut child = start_touching(100, &snapshot);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait_within(&mut child, SOON), Some(SUSPENDED));
    let ended = finish(gate(&["resume", "--max-memory", "1m"]).arg(&snapshot), b"");
    ended.with_line(126, &["state.wasm", "memory 0", "1048576"]);
    let ended = finish(gate(&["resume", "--max-memory", "1g", "--timeout", "100ms"]).arg(&snapshot), b"");
    ended.with_line(124, &["time limit"]);
}

/// A program that has said that it is there, and the processes which it is made of.
fn start_sleeper(snapshot: &Path) -> (Child, Vec<u32>) {
    let mut command = gate(&["run", "--snapshot"]);
    let child = start(command.arg(snapshot).arg(program("sleep.wat")));
    let processes = descendants(child.id());
    assert!(processes.len() >= 2, "executor and program: {processes:?}");
    (child, processes)
}

/// A program that has touched so many pages.
fn start_touching(pages: u32, snapshot: &Path) -> Child {
    let mut command = gate(&["run", "--invoke", "touch", "--snapshot"]);
    start(command.arg(snapshot).arg(program("touch.wat")).arg(pages.to_string()))
}

fn start(command: &mut Command) -> Child {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    child
}

#[test]
fn suspended_when_it_first_wants_input() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.wasm");
    let mut command = gate(&["run", "--suspend-at-input", "--snapshot"]);
    let ended = finish(command.arg(&state).arg(program("cat.wat")), b"not read\n");
    assert_eq!((ended.code, ended.stdout()), (Some(75), ""), "{ended:?}");
    for input in ["one", "two"] {
        let output = finish(gate(&["resume"]).arg(&state), input.as_bytes()).quietly(0);
        assert_eq!(output.stdout(), input);
    }
}
