//! Directories of the host, given to programs by options.

mod command;

use command::{finish, gate, run};
use std::fs;
use std::path::Path;

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

/// A tar file with one file in it.
fn tar(path: &Path, contents: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(contents.len() as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    builder.append_data(&mut header, "data", contents).unwrap();
    builder.into_inner().unwrap();
}

#[test]
fn images_are_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let name = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (image, same, other, snapshot) = (name("a.tar"), name("b.tar"), name("c.tar"), name("state.wasm"));
    tar(image.as_ref(), b"from an image");
    tar(same.as_ref(), b"from an image");
    tar(other.as_ref(), b"from another one");
    assert_eq!(
        finish(&mut run(&["--image", &image], "image.wat", &[]), b"").quietly(0).stdout(),
        "m an image"
    );
    fs::write(name("bad.tar"), "no tar file").unwrap();
    let options = ["--image", &name("bad.tar")];
    finish(&mut run(&options, "image.wat", &[]), b"").with_line(126, &["bad.tar", "too early"]);
    let options = ["--image", &name("no.tar")];
    finish(&mut run(&options, "image.wat", &[]), b"").with_line(127, &["no.tar"]);

    let options = ["--image", &format!("{image}::/d"), "--suspend-after", "300ms", "--snapshot", &snapshot];
    finish(&mut run(&options, "image.wat", &[]), b"").with_line(75, &["suspended"]);
    let resume = |options: &[&str]| finish(&mut gate(&[&["resume"], options, &[&snapshot]].concat()), b"");
    let given = format!("{same}::/d");
    assert_eq!(resume(&["--image", &given]).quietly(0).stdout(), "m an image");
    resume(&[]).with_line(126, &["invalid snapshot", "BLAKE3", "/d"]);
    resume(&["--image", &format!("{other}::/d")]).with_line(126, &["invalid snapshot", "BLAKE3", "/d"]);
    resume(&["--image", &format!("{other}::/d"), "--missing-files-fail"]).quietly(8);
    let ended = finish(&mut gate(&["fork", "-n", "2", "--image", &given, &snapshot]), b"");
    assert_eq!(ended.stdout.iter().filter(|&&b| b == b'g').count(), 2, "{ended:?}");
    ended.with_line(0, &["2 copies"]);
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
