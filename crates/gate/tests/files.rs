//! Directories of the host, given to programs by options.

mod command;

use command::{finish, gate, run};
use std::fs;

#[test]
fn a_program_writes_where_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let mount = format!("{}::/d", dir.path().display());
    finish(&mut run(&["--dir", &mount], "files.wat", &[]), b"").quietly(0);
    assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"first second");
    fs::remove_file(dir.path().join("out")).unwrap();
    // ENOTCAPABLE, and EBADF without a directory.
    finish(&mut run(&["--dir", &format!("{mount}:ro")], "files.wat", &[]), b"").quietly(76);
    finish(&mut run(&[], "files.wat", &[]), b"").quietly(8);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn files_in_memory_go_along() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let snapshot = snapshot.to_str().unwrap();
    // ENOSPC: there is no room for a name.
    finish(&mut run(&["--tmpfs", "/d=100"], "files.wat", &[]), b"").quietly(51);
    finish(&mut run(&["--tmpfs", "/d"], "files.wat", &[]), b"").quietly(0);
    let options = ["--tmpfs", "/d=64k", "--suspend-after", "300ms", "--snapshot", snapshot];
    finish(&mut run(&options, "files.wat", &[]), b"").with_line(75, &["suspended"]);
    finish(&mut gate(&["resume", snapshot]), b"").quietly(0);
    finish(&mut gate(&["fork", "-n", "2", snapshot]), b"").with_line(0, &["2 copies"]);
    let mount = format!("{}::/e", dir.path().display());
    for command in [&["resume"][..], &["fork", "-n", "2"]] {
        let line = [command, &["--dir", &mount, snapshot]].concat();
        finish(&mut gate(&line), b"").with_line(126, &["no directory by the name", "/e"]);
    }
}

#[test]
fn copies_get_directories() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("state.wasm");
    let snapshot = snapshot.to_str().unwrap();
    let mount = format!("{}::/d", dir.path().display());
    let options = ["--dir", &mount, "--suspend-after", "300ms", "--snapshot", snapshot];
    finish(&mut run(&options, "files.wat", &[]), b"").with_line(75, &["suspended"]);
    finish(&mut gate(&["fork", "-n", "2", snapshot]), b"").with_line(126, &["invalid snapshot", "/d"]);
    finish(&mut gate(&["fork", "-n", "2", "--dir", &mount, snapshot]), b"").with_line(0, &["2 copies"]);
    assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"first second");
}

#[test]
fn open_files_are_found_again() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let snapshot = here.path().join("state.wasm");
    let snapshot = snapshot.to_str().unwrap();
    let mount = format!("{}::/d", here.path().display());
    let options = ["--dir", &mount, "--suspend-after", "300ms", "--snapshot", snapshot];
    finish(&mut run(&options, "files.wat", &[]), b"").with_line(75, &["suspended"]);
    assert_eq!(fs::read(here.path().join("out")).unwrap(), b"first ");

    finish(&mut gate(&["resume", snapshot]), b"").with_line(126, &["invalid snapshot", "/d"]);
    let mount = format!("{}::/d", there.path().display());
    finish(&mut gate(&["resume", "--dir", &mount, snapshot]), b"").with_line(126, &["out", "ENOENT"]);
    finish(&mut gate(&["resume", "--missing-files-fail", "--dir", &mount, snapshot]), b"").quietly(8);
    fs::copy(here.path().join("out"), there.path().join("out")).unwrap();
    finish(&mut gate(&["resume", "--dir", &mount, snapshot]), b"").quietly(0);
    assert_eq!(fs::read(there.path().join("out")).unwrap(), b"first second");
    assert_eq!(fs::read(here.path().join("out")).unwrap(), b"first ");
}
