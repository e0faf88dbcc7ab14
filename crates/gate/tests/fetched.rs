//! Programs that others have built, as they come: they do the same as in Wasmtime, and can be stopped, moved and copied.
//!
//! `tools/fetch-programs` fetches them.

mod command;

use command::fetched::{fetch, source};
use command::{Ended, finish, gate};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Where the programs are.
static FETCHED: LazyLock<PathBuf> = LazyLock::new(|| fetch(&[]));

fn fetched(name: &str) -> PathBuf {
    FETCHED.join(name)
}

/// Runs a program here and in Wasmtime, in directories with the same contents. It must end in the same way.
fn same(program: &str, files: &[&str], args: &[&str]) -> Ended {
    let run = |mut command: Command| {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let to = dir.path().join(Path::new(file).file_name().unwrap());
            fs::copy(source(file), to).unwrap();
        }
        command.arg("--dir").arg(format!("{}::/data", dir.path().display()));
        finish(command.arg(fetched(program)).args(args), b"")
    };
    let mut peer = Command::new(fetched("venv/bin/python"));
    peer.arg(source("programs/fetched/in_wasmtime.py"));
    let (ours, peers) = (run(gate(&["run"])), run(peer));
    assert_eq!((ours.code, ours.stdout()), (peers.code, peers.stdout()), "{}\n{}", ours.stderr, peers.stderr);
    assert_eq!(ours.stderr, peers.stderr);
    ours
}

#[test]
fn python() {
    let script = "programs/fetched/work.py";
    let ended = same("python.wasm", &[script], &["/data/work.py"]).quietly(0);
    assert!(ended.stdout().lines().count() == 14 && ended.stdout().contains("3245 29989"), "{ended:?}");
    assert_eq!(same("python.wasm", &[script], &["/data/work.py", "exit"]).code, Some(3));
    let raised = same("python.wasm", &[script], &["/data/work.py", "raise"]);
    assert!(raised.code == Some(1) && raised.stderr.contains("IndexError"), "{raised:?}");
}

#[test]
fn esbuild() {
    let dir = source("programs/fetched/bundle");
    let dir = format!("{}::/", dir.display());
    let args = ["--bundle", "--minify", "--format=esm", "/main.ts"];
    let run = |mut command: Command| {
        finish(command.args(["--dir", &dir]).arg(fetched("esbuild.wasm")).args(args), b"")
    };
    let mut peer = Command::new(fetched("venv/bin/python"));
    peer.arg(source("programs/fetched/in_wasmtime.py"));
    let (ours, peers) = (run(gate(&["run"])).quietly(0), run(peer));
    assert_eq!((ours.code, ours.stdout()), (peers.code, peers.stdout()));
    assert!(ours.stdout().contains("**2*") && !ours.stdout().contains("left out"), "{ours:?}");
}

#[test]
fn go() {
    let files = ["README.md", "CONTRIBUTING.md"];
    assert!(same("go.wasm", &files, &[]).quietly(0).stdout().contains("slept true"));
}

#[test]
fn go_panics() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = gate(&["run", "--dir"]);
    let ended = finish(
        command.arg(format!("{}::/data", dir.path().display())).arg(fetched("go.wasm")).arg("at the end"),
        b"",
    );
    // Where the stack is does not have to be the same.
    assert!(ended.code == Some(2) && ended.stderr.starts_with("panic: at the end"), "{ended:?}");
}

#[test]
fn zig() {
    let ended = same("zig.wasm", &[], &[]).quietly(0);
    assert!(ended.stdout().contains("10000 lines") && ended.stdout().contains("refused"), "{ended:?}");
    assert_eq!(same("zig.wasm", &[], &["7"]).code, Some(7));
}

const COMPUTATION: &str = "
import hashlib
digest, total = hashlib.sha256(), 0
for n in range(1_500_000):
    total += n * n % 7
    if n % 1000 == 0:
        digest.update(str(total).encode())
print(total, digest.hexdigest())
";

#[test]
fn python_amid_a_computation() {
    let python = fetched("python.wasm");
    let expected = finish(gate(&["run"]).arg(&python).args(["-c", COMPUTATION]), b"").quietly(0);
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.wasm");
    let mut command = gate(&["run", "--suspend-after", "400ms", "--snapshot"]);
    command.arg(&state).arg(&python).args(["-c", COMPUTATION]);
    assert_eq!(finish(&mut command, b"").code, Some(75));
    // As it is, with other text, and stopped again.
    assert_eq!(finish(gate(&["resume"]).arg(&state), b"").quietly(0).stdout, expected.stdout);
    let again = dir.path().join("again.wasm");
    let mut command = gate(&["resume", "--opt", "none", "--suspend-after", "200ms", "--snapshot"]);
    assert_eq!(finish(command.arg(&again).arg(&state), b"").code, Some(75));
    assert_eq!(finish(gate(&["resume"]).arg(&again), b"").quietly(0).stdout, expected.stdout);
    // Ten copies.
    let output = dir.path().join("out");
    let mut command = gate(&["fork", "-n", "10", "--output-dir"]);
    let ended = finish(command.arg(&output).arg(&state), b"");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for copy in 0..10 {
        assert_eq!(fs::read(output.join(format!("{copy}.out"))).unwrap(), expected.stdout);
    }
}

#[test]
fn python_that_was_started_once() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.wasm");
    let mut command = gate(&["run", "--suspend-at-input", "--snapshot"]);
    command.arg(&state).arg(fetched("python.wasm"));
    command.args(["-c", "import sys, json; exec(sys.stdin.read())"]);
    assert_eq!(finish(&mut command, b"print('not yet')").code, Some(75));
    let ended = finish(gate(&["resume"]).arg(&state), b"print(json.dumps([6 * 7]))").quietly(0);
    assert_eq!(ended.stdout(), "[42]\n");
    for copy in 0..10 {
        fs::write(dir.path().join(format!("{copy}.py")), format!("print({copy} ** 20)")).unwrap();
    }
    let scripts = format!("{}/{{}}.py", dir.path().display());
    let mut command = gate(&["fork", "-n", "10", "--input", &scripts, "--output-dir"]);
    assert_eq!(finish(command.arg(dir.path()).arg(&state), b"").code, Some(0));
    for copy in 0..10u128 {
        let output = fs::read_to_string(dir.path().join(format!("{copy}.out"))).unwrap();
        assert_eq!(output, format!("{}\n", copy.pow(20)));
    }
}
