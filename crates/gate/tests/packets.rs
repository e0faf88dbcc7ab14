//! Programs that exchange packets with services, and `origin` on the command line.

mod command;

use command::{finish, gate, wait_within};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/echo.wat");

fn echo(args: &[&str]) -> Command {
    let mut command = gate(&["run"]);
    command.args(args).arg(ECHO);
    command
}

/// The same program, but it exchanges packets by the descriptor.
fn echo_by_descriptor(dir: &Path) -> PathBuf {
    let by_call = r#"(import "gate" "io_65536" (func $io (param i32 i32 i32 i32 i32 i32 i64 i32)))"#;
    let text = std::fs::read_to_string(ECHO).unwrap();
    let (head, tail) = text.split_once(by_call).unwrap();
    let file = dir.join("echo-by-descriptor.wat");
    std::fs::write(&file, [head, include_str!("packets/descriptor.wat"), tail].concat()).unwrap();
    file
}

fn data(size: u32) -> Vec<u8> {
    (0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn standard_streams_are_attached() {
    assert_eq!(finish(&mut echo(&[]), b"hello\n").quietly(0).stdout(), "hello\n");
    assert_eq!(finish(&mut echo(&[]), b"").quietly(0).stdout(), "");
    let data = data(3_000_000);
    assert!(finish(&mut echo(&["--origin", "stdio"]), &data).quietly(0).stdout == data);
}

#[test]
fn without_origin_the_program_is_told_what_it_does_wrong() {
    let ended = finish(&mut echo(&["--origin", "none"]), b"");
    assert_eq!((ended.code, ended.stdout()), (Some(134), ""));
    let line = ended.stderr.lines().next().unwrap_or_default();
    let what = "echo.wat: trap: guest ABI violated: service \"origin\" was addressed, but is not available";
    assert!(line.ends_with(what), "{ended:?}");
}

#[test]
fn services_are_listed() {
    let ended = finish(&mut gate(&["services"]), b"").quietly(0);
    let names: Vec<_> = ended.stdout().lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["NAME", "catalog", "clock", "identity", "logger", "origin", "random", "scope"]);
}

/// A program which listens, and where.
fn listen() -> (Child, String) {
    let mut child = echo(&["--origin", "listen=127.0.0.1:0"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let addr = line.trim_end().strip_prefix("gate: origin listens on ").expect(&line).to_owned();
    (child, addr)
}

#[test]
fn many_connect_at_once() {
    let (mut child, addr) = listen();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let addr = &addr;
            scope.spawn(move || {
                let sent = data(200_000 + client);
                let mut stream = TcpStream::connect(addr).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let to_send = sent.clone();
                scope.spawn(move || {
                    writer.write_all(&to_send).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
            });
        }
    });
    // Nobody is there, but somebody may come.
    let mut stream = TcpStream::connect(&addr).unwrap();
    stream.write_all(b"again").unwrap();
    let mut received = [0; 5];
    stream.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"again");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(wait_within(&mut child, LIMIT), Some(143));
}

#[test]
fn nothing_is_lost_or_doubled_by_suspension() {
    let dir = tempfile::tempdir().unwrap();
    echo_suspended(ECHO.as_ref(), dir.path(), 40_000_000);
}

#[test]
fn nothing_is_lost_or_doubled_through_the_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let program = echo_by_descriptor(dir.path());
    let mut command = gate(&["run"]);
    command.arg("--dir").arg(dir.path()).arg("--dir").arg("/::/root").arg(&program);
    // With so many directories its number is not 4.
    assert_eq!(finish(&mut command, b"hello").quietly(0).stdout(), "hello");
    echo_suspended(&program, dir.path(), 40_000_000);
}

/// Has a program echo data while it is suspended again and again.
fn echo_suspended(program: &Path, dir: &Path, size: u32) {
    let state = dir.join("state.wasm");
    let state = state.to_str().unwrap();
    let data = data(size);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (mut output, stdout) = std::io::pipe().unwrap();
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in data.chunks(100_000) {
                // Slowly enough for the program to be suspended amid it.
                std::thread::sleep(Duration::from_micros(500));
                writer.write_all(piece).unwrap();
            }
            drop(writer);
        });
        let all = scope.spawn(move || {
            let mut received = Vec::new();
            output.read_to_end(&mut received).unwrap();
            received
        });
        let suspend = ["--suspend-after", "60ms", "--snapshot", state];
        let mut command = gate(&["run"]);
        command.args(suspend).arg(program);
        let mut stops = 0;
        loop {
            command
                .stdin(reader.try_clone().unwrap())
                .stdout(stdout.try_clone().unwrap())
                .stderr(Stdio::null());
            match command.status().unwrap().code() {
                Some(75) => stops += 1,
                code => {
                    assert_eq!(code, Some(0));
                    break;
                }
            }
            command = gate(&["resume"]);
            command.args(suspend).arg(state);
        }
        assert!(stops >= 3, "suspended {stops} times");
        drop((command, stdout, reader));
        all.join().unwrap()
    });
    assert!(received == data, "{} of {} bytes", received.len(), data.len());
}

#[test]
fn a_violation_through_the_descriptor_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.wat");
    let wat = r#"(module
        (import "gate" "fd_65536" (func $fd (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\08\00\00\00")
        (data (i32.const 16) "\08\00\00\00\07\00\00\00")
        (func (export "_start")
          (drop (call $write (call $fd) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;
    std::fs::write(&file, wat).unwrap();
    let ended = finish(gate(&["run"]).arg(&file), b"");
    assert_eq!((ended.code, ended.stdout()), (Some(134), ""));
    let what = "wrong.wat: trap: guest ABI violated: packet code 7, but 0 services discovered";
    assert!(ended.stderr.lines().next().unwrap_or_default().ends_with(what), "{ended:?}");
}

#[test]
fn keys_and_values_are_kept_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let service = format!("kv={}", dir.path().join("counters.db").display());
    let count = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/count.wat");
    for expected in 1..=3 {
        let mut command = gate(&["run", "--service", &service, count]);
        finish(&mut command, b"").quietly(expected);
    }
    // A program cannot do without what it was not given.
    let ended = finish(&mut gate(&["run", count]), b"");
    assert!(ended.code == Some(134) && ended.stderr.contains("service \"kv\""), "{ended:?}");
    for (service, what) in [
        ("kv=/nowhere/x.db", "service kv in /nowhere/x.db"),
        ("localhost=a=ftp://localhost", "service localhost"),
        ("kv", "kv=FILE"),
        ("localhost=http://localhost", "NAME="),
    ] {
        let ended = finish(&mut gate(&["run", "--service", service, count]), b"");
        assert!(ended.code != Some(0) && ended.stderr.contains(what), "{ended:?}");
    }
}

#[test]
fn copies_find_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packets/peers.wat");
    let mut command = gate(&["run", "--suspend-after", "100ms", "--snapshot"]);
    assert_eq!(finish(command.arg(&snapshot).arg(program), b"").code, Some(75));
    let mut command = gate(&["fork", "-n", "2", "--timeout", "20s", "--service", "peer=g"]);
    finish(command.arg(&snapshot), b"").with_line(0, &["2 copies: 2 exited with 0"]);
}
