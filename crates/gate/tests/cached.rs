//! Programs that were run before: what is known of their files, and what becomes of it when these change.

mod command;

use command::{finish, gate, program};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Until it is certain that a file has not been changed at the same tick of the clock.
const SETTLING: Duration = Duration::from_millis(60);

fn exits_with(code: u8) -> Vec<u8> {
    let text = format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (func (export "_start") (call $exit (i32.const {code}))))"#
    );
    wat::parse_str(text).unwrap()
}

fn run(path: &Path) -> i32 {
    let ended = finish(gate(&["run"]).arg(path), b"");
    assert_eq!(ended.stderr, "");
    ended.code.unwrap()
}

#[test]
fn changed_modules_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("exit.wasm");
    fs::write(&path, exits_with(3)).unwrap();
    std::thread::sleep(SETTLING);
    assert_eq!([run(&path), run(&path)], [3, 3]);
    // In place, with the same size.
    fs::write(&path, exits_with(4)).unwrap();
    assert_eq!(run(&path), 4);
    std::thread::sleep(SETTLING);
    assert_eq!([run(&path), run(&path)], [4, 4]);
    fs::write(path.with_extension("new"), exits_with(5)).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    assert_eq!(run(&path), 5);
    fs::write(&path, "nonsense").unwrap();
    finish(gate(&["run"]).arg(&path), b"").with_line(126, &["exit.wasm"]);
}

#[test]
fn snapshots_are_the_same_however_often_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("echo.wasm");
    fs::write(&module, wat::parse_file(program("cat.wat")).unwrap()).unwrap();
    let snapshot = dir.path().join("echo.snapshot");
    std::thread::sleep(SETTLING);
    let suspend = || {
        let mut command = gate(&["run", "--suspend-at-input", "--snapshot"]);
        let ended = finish(command.arg(&snapshot).arg(&module), b"");
        assert_eq!(ended.code, Some(75), "{ended:?}");
        fs::read(&snapshot).unwrap()
    };
    // The second time, the module is read only for the snapshot.
    let (first, second) = (suspend(), suspend());
    // The time that has passed takes more or fewer bytes.
    assert!(first.len().abs_diff(second.len()) < 8, "{} {}", first.len(), second.len());
    std::thread::sleep(SETTLING);
    for round in 0..4 {
        let input = format!("round {round}");
        let ended = finish(gate(&["resume"]).arg(&snapshot), input.as_bytes()).quietly(0);
        assert_eq!(ended.stdout(), input);
    }
    // What goes on by what was kept can be written down and copied, too.
    let again = dir.path().join("again.snapshot");
    let mut command = gate(&["resume", "--suspend-at-input", "--snapshot"]);
    let ended = finish(command.arg(&again).arg(&snapshot), b"");
    assert_eq!(ended.code, Some(75), "{ended:?}");
    let ended = finish(gate(&["resume"]).arg(&again), b"again").quietly(0);
    assert_eq!(ended.stdout(), "again");
    let ended = finish(gate(&["fork", "-n", "3", "--output-dir"]).arg(dir.path()).arg(&snapshot), b"");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // One that has changed is read again.
    fs::write(&snapshot, &first[..first.len() / 2]).unwrap();
    assert_eq!(finish(gate(&["resume"]).arg(&snapshot), b"").code, Some(126));
}
