//! Files and directories: what programs do with them, what they cannot, and how they go along.

mod guest;

use gate_wasi::{Access, StateError, WasiCtx};
use gate_wire::wasi::WasiFunction as F;
use guest::{Memory, errno};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const ALL: u64 = (1 << 30) - 1;
const READ: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 14;
const CREAT: u64 = 1;
const DIRECTORY: u64 = 2;
const EXCL: u64 = 4;
const TRUNC: u64 = 8;

fn context(dir: &Path, access: Access) -> WasiCtx {
    WasiCtx::builder().preopen(dir, "/data", access).build().unwrap()
}

/// Calls with a path at address 1000.
async fn on_path(ctx: &mut WasiCtx, memory: &Memory, f: F, path: &str) -> &'static str {
    memory.put(1000, path.as_bytes());
    let len = path.len() as u64;
    let args: &[u64] = match f {
        F::PathFilestatGet => &[3, 0, 1000, len, 4096],
        F::PathReadlink => &[3, 1000, len, 4096, 100, 16],
        F::PathFilestatSetTimes => &[3, 0, 1000, len, 5_000_000_001, 7_000_000_002, 5],
        _ => &[3, 1000, len],
    };
    errno(ctx, memory, f, args).await.name()
}

async fn open(
    ctx: &mut WasiCtx,
    memory: &Memory,
    path: &str,
    oflags: u64,
    rights: u64,
) -> Result<u64, &'static str> {
    open_with(ctx, memory, path, oflags, rights, 0).await
}

async fn open_with(
    ctx: &mut WasiCtx,
    memory: &Memory,
    path: &str,
    oflags: u64,
    rights: u64,
    flags: u64,
) -> Result<u64, &'static str> {
    memory.put(1000, path.as_bytes());
    let args = [3, 1, 1000, path.len() as u64, oflags, rights, ALL, flags, 8];
    match errno(ctx, memory, F::PathOpen, &args).await.name() {
        "ESUCCESS" => Ok(memory.u32(8).into()),
        name => Err(name),
    }
}

async fn write(ctx: &mut WasiCtx, memory: &Memory, fd: u64, data: &[u8]) -> &'static str {
    memory.put(2048, data);
    memory.iovecs(0, &[(2048, data.len() as u32)]);
    errno(ctx, memory, F::FdWrite, &[fd, 0, 1, 16]).await.name()
}

async fn read(ctx: &mut WasiCtx, memory: &Memory, fd: u64, len: u32) -> Result<Vec<u8>, &'static str> {
    memory.iovecs(0, &[(2048, len)]);
    match errno(ctx, memory, F::FdRead, &[fd, 0, 1, 16]).await.name() {
        "ESUCCESS" => Ok(memory.bytes(2048, memory.u32(16) as usize)),
        name => Err(name),
    }
}

/// Names in the directory, listed with little room at a time.
async fn list(ctx: &mut WasiCtx, memory: &Memory, fd: u64) -> Vec<String> {
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        assert_eq!(errno(ctx, memory, F::FdReaddir, &[fd, 8192, 60, cookie, 16]).await.name(), "ESUCCESS");
        let used = memory.u32(16);
        let mut at = 0;
        while at + 24 <= used {
            let len = memory.u32(8192 + at + 16);
            if at + 24 + len > used {
                break;
            }
            names.push(String::from_utf8(memory.bytes(8192 + at + 24, len as usize)).unwrap());
            cookie = memory.u64(8192 + at);
            at += 24 + len;
        }
        if used < 60 {
            return names;
        }
    }
}

#[tokio::test]
async fn files_are_made_read_changed_and_removed() {
    let temp = tempfile::tempdir().unwrap();
    let (mut ctx, memory) = (context(temp.path(), Access::ReadWrite), Memory::new(65536));
    assert_eq!(errno(&mut ctx, &memory, F::FdPrestatGet, &[3, 0]).await.name(), "ESUCCESS");
    assert_eq!((memory.u32(0), memory.u32(4)), (0, 5));
    assert_eq!(errno(&mut ctx, &memory, F::FdPrestatDirName, &[3, 0, 5]).await.name(), "ESUCCESS");
    assert_eq!(memory.bytes(0, 5), b"/data");
    assert_eq!(errno(&mut ctx, &memory, F::FdPrestatGet, &[4, 0]).await.name(), "EBADF");

    assert_eq!(on_path(&mut ctx, &memory, F::PathCreateDirectory, "sub").await, "ESUCCESS");
    assert_eq!(on_path(&mut ctx, &memory, F::PathCreateDirectory, "sub").await, "EEXIST");
    let fd = open(&mut ctx, &memory, "sub/f", CREAT | EXCL, ALL).await.unwrap();
    assert_eq!(open(&mut ctx, &memory, "sub/f", CREAT | EXCL, ALL).await, Err("EEXIST"));
    assert_eq!(write(&mut ctx, &memory, fd, b"hello world").await, "ESUCCESS");
    assert_eq!(errno(&mut ctx, &memory, F::FdSeek, &[fd, -5i64 as u64, 2, 32]).await.name(), "ESUCCESS");
    assert_eq!(memory.u64(32), 6);
    assert_eq!(read(&mut ctx, &memory, fd, 100).await.unwrap(), b"world");
    assert_eq!(read(&mut ctx, &memory, fd, 100).await.unwrap(), b"");
    assert_eq!(errno(&mut ctx, &memory, F::FdSeek, &[fd, -12i64 as u64, 1, 32]).await.name(), "EINVAL");
    memory.iovecs(0, &[(2048, 3)]);
    assert_eq!(errno(&mut ctx, &memory, F::FdPread, &[fd, 0, 1, 1, 16]).await.name(), "ESUCCESS");
    assert_eq!(memory.bytes(2048, 3), b"ell");
    assert_eq!(errno(&mut ctx, &memory, F::FdPwrite, &[fd, 0, 1, 20, 16]).await.name(), "ESUCCESS");
    assert_eq!(errno(&mut ctx, &memory, F::FdTell, &[fd, 32]).await.name(), "ESUCCESS");
    assert_eq!(memory.u64(32), 11, "positioned operations do not move");
    assert_eq!(fs::read(temp.path().join("sub/f")).unwrap().len(), 23);
    assert_eq!(errno(&mut ctx, &memory, F::FdFilestatSetSize, &[fd, 4]).await.name(), "ESUCCESS");
    assert_eq!(errno(&mut ctx, &memory, F::FdFilestatGet, &[fd, 64]).await.name(), "ESUCCESS");
    assert_eq!((memory.bytes(80, 1), memory.u64(96)), (vec![4], 4));
    for f in [F::FdSync, F::FdDatasync] {
        assert_eq!(errno(&mut ctx, &memory, f, &[fd]).await.name(), "ESUCCESS");
    }

    let more = open_with(&mut ctx, &memory, "sub/f", 0, ALL, 1).await.unwrap();
    assert_eq!(write(&mut ctx, &memory, more, b"!!").await, "ESUCCESS");
    assert_eq!(fs::read(temp.path().join("sub/f")).unwrap(), b"hell!!");
    assert_eq!(on_path(&mut ctx, &memory, F::PathFilestatSetTimes, "sub/f").await, "ESUCCESS");
    assert_eq!(on_path(&mut ctx, &memory, F::PathFilestatGet, "sub/f").await, "ESUCCESS");
    assert_eq!((memory.u64(4136), memory.u64(4144)), (5_000_000_001, 7_000_000_002));
    assert_eq!(on_path(&mut ctx, &memory, F::PathUnlinkFile, "sub").await, "EISDIR");
    assert_eq!(on_path(&mut ctx, &memory, F::PathRemoveDirectory, "sub").await, "ENOTEMPTY");
    assert_eq!(on_path(&mut ctx, &memory, F::PathUnlinkFile, "sub/f/").await, "ENOTDIR");
    open(&mut ctx, &memory, "sub/f", TRUNC, ALL).await.unwrap();
    assert_eq!(fs::read(temp.path().join("sub/f")).unwrap(), b"");
    assert_eq!(on_path(&mut ctx, &memory, F::PathUnlinkFile, "sub/f").await, "ESUCCESS");
    assert_eq!(on_path(&mut ctx, &memory, F::PathRemoveDirectory, "sub/").await, "ESUCCESS");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn nothing_outside_is_reached() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(temp.path().join("secret"), "x").unwrap();
    symlink("../secret", root.join("link")).unwrap();
    symlink(temp.path(), root.join("sub/up")).unwrap();
    let (mut ctx, memory) = (context(&root, Access::ReadWrite), Memory::new(65536));
    for path in ["../secret", "/etc/passwd", "link", "sub/up/secret", "sub/../../secret", "/"] {
        assert_eq!(open(&mut ctx, &memory, path, 0, READ).await, Err("EPERM"), "{path}");
        assert_eq!(open(&mut ctx, &memory, path, CREAT, ALL).await, Err("EPERM"), "{path}");
    }
    for path in ["../secret", "../new", "/tmp/x", "sub/up/secret", ".."] {
        for f in [F::PathUnlinkFile, F::PathCreateDirectory, F::PathRemoveDirectory] {
            assert_eq!(on_path(&mut ctx, &memory, f, path).await, "EPERM", "{path}");
        }
    }
    assert_eq!(on_path(&mut ctx, &memory, F::PathReadlink, "link").await, "ESUCCESS");
    assert_eq!(memory.bytes(4096, 9), b"../secret");
    assert_eq!(on_path(&mut ctx, &memory, F::PathReadlink, "sub/up").await, "EPERM");
    assert_eq!(on_path(&mut ctx, &memory, F::PathCreateDirectory, "").await, "ENOENT");
    assert_eq!(on_path(&mut ctx, &memory, F::PathCreateDirectory, "a\0b").await, "EINVAL");
    assert_eq!(on_path(&mut ctx, &memory, F::PathCreateDirectory, &"a/".repeat(4000)).await, "ENAMETOOLONG");
    assert!(temp.path().join("secret").exists());
}

#[tokio::test]
async fn what_is_read_only_stays_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "text").unwrap();
    let (mut ctx, memory) = (context(temp.path(), Access::ReadOnly), Memory::new(65536));
    for (oflags, rights) in [(CREAT, READ), (TRUNC, READ), (0, ALL)] {
        assert_eq!(open(&mut ctx, &memory, "f", oflags, rights).await, Err("ENOTCAPABLE"));
    }
    for f in [F::PathUnlinkFile, F::PathCreateDirectory, F::PathRemoveDirectory, F::PathFilestatSetTimes] {
        assert_eq!(on_path(&mut ctx, &memory, f, "f").await, "ENOTCAPABLE");
    }
    let fd = open(&mut ctx, &memory, "f", 0, READ).await.unwrap();
    assert_eq!(read(&mut ctx, &memory, fd, 10).await.unwrap(), b"text");
    assert_eq!(write(&mut ctx, &memory, fd, b"x").await, "EBADF");
    assert_eq!(errno(&mut ctx, &memory, F::FdFilestatSetSize, &[fd, 0]).await.name(), "ENOTCAPABLE");
    assert_eq!(fs::read(temp.path().join("f")).unwrap(), b"text");
}

#[tokio::test]
async fn directories_are_listed_once_through() {
    let temp = tempfile::tempdir().unwrap();
    let mut expected: Vec<String> = (0..300).map(|i| format!("file{i}")).collect();
    for name in &expected {
        fs::write(temp.path().join(name), "").unwrap();
    }
    expected.extend([".".into(), "..".into()]);
    expected.sort();
    let (mut ctx, memory) = (context(temp.path(), Access::ReadOnly), Memory::new(65536));
    let fd = open(&mut ctx, &memory, ".", DIRECTORY, ALL).await.unwrap();
    for _ in 0..2 {
        let mut names = list(&mut ctx, &memory, fd).await;
        assert_eq!(names[..2], [".", ".."]);
        names.sort();
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn open_files_go_along() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&here, &there] {
        fs::create_dir(dir.path().join("sub")).unwrap();
    }
    let memory = Memory::new(65536);
    let mut ctx = context(here.path(), Access::ReadWrite);
    let fd = open(&mut ctx, &memory, "sub/f", CREAT, ALL).await.unwrap();
    assert_eq!(write(&mut ctx, &memory, fd, b"0123456789").await, "ESUCCESS");
    assert_eq!(errno(&mut ctx, &memory, F::FdSeek, &[fd, 4, 0, 32]).await.name(), "ESUCCESS");
    fs::rename(here.path().join("sub/f"), here.path().join("sub/g")).unwrap();
    let state = ctx.save();

    let mut other = WasiCtx::builder().build().unwrap();
    assert_eq!(other.restore(&state), Err(StateError::MissingDirectory("/data".into())));
    let mut other = context(there.path(), Access::ReadWrite);
    assert!(matches!(other.restore(&state), Err(StateError::MissingFile { path, .. }) if path == "sub/g"));
    fs::copy(here.path().join("sub/g"), there.path().join("sub/g")).unwrap();
    assert!(context(there.path(), Access::ReadOnly).restore(&state).is_err());
    other.restore(&state).unwrap();
    assert_eq!(other.save(), state);
    assert_eq!(read(&mut other, &memory, fd, 3).await.unwrap(), b"456");

    let mut other = WasiCtx::builder().tolerate_missing_files().build().unwrap();
    other.restore(&state).unwrap();
    assert_eq!(read(&mut other, &memory, fd, 3).await, Err("EBADF"));
    assert_eq!(errno(&mut other, &memory, F::FdPrestatGet, &[3, 0]).await.name(), "EBADF");
    for n in 0..state.len() {
        assert!(context(there.path(), Access::ReadWrite).restore(&state[..n]).is_err(), "{n} bytes");
    }
}
