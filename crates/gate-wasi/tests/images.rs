//! Tar files as directories: what programs find in them, how they go along, and what hostile ones do.

mod guest;

use gate_wasi::{ImageError, StateError, TarImage, WasiCtx};
use gate_wire::wasi::WasiFunction as F;
use guest::{Memory, errno};
use proptest::prelude::*;
use std::fs;
use std::io::{Seek, Write};
use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;

const READ: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 14 | 1 << 21 | 1 << 27;
const ALL: u64 = (1 << 30) - 1;
const CREAT: u64 = 1;
const DIRECTORY: u64 = 2;
const TRUNC: u64 = 8;
const DIR: u64 = 3;

/// An entry: its type, its name, and what is in it or where it leads.
type Entry<'a> = (EntryType, &'a str, &'a str);

fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for &(ty, path, contents) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(ty);
        header.set_mtime(1_000_000_007);
        header.set_mode(0o644);
        match ty {
            EntryType::Link | EntryType::Symlink => {
                header.set_size(0);
                builder.append_link(&mut header, path, contents).unwrap();
            }
            _ => {
                header.set_size(contents.len() as u64);
                builder.append_data(&mut header, path, contents.as_bytes()).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// A tar file with names as they are, which no tool would make.
fn crafted(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(ty, path, contents) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(ty);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        if ty == EntryType::Link || ty == EntryType::Symlink {
            header.set_link_name_literal(contents).unwrap();
            header.set_size(0);
        } else {
            header.set_size(contents.len() as u64);
        }
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        if ty != EntryType::Link && ty != EntryType::Symlink {
            bytes.extend_from_slice(contents.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn image(bytes: &[u8]) -> Result<(TarImage, NamedTempFile), ImageError> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Ok((TarImage::open(file.path())?, file))
}

fn context(image: &TarImage) -> WasiCtx {
    WasiCtx::builder().image(image, "/").build().unwrap()
}

async fn open(
    ctx: &mut WasiCtx,
    memory: &Memory,
    path: &str,
    oflags: u64,
    rights: u64,
) -> Result<u64, &'static str> {
    memory.put(4096, path.as_bytes());
    let args = [DIR, 1, 4096, path.len() as u64, oflags, rights, ALL, 0, 8];
    match errno(ctx, memory, F::PathOpen, &args).await.name() {
        "ESUCCESS" => Ok(memory.u32(8).into()),
        name => Err(name),
    }
}

async fn read(ctx: &mut WasiCtx, memory: &Memory, fd: u64) -> Result<Vec<u8>, &'static str> {
    memory.iovecs(0, &[(16384, 8000)]);
    match errno(ctx, memory, F::FdRead, &[fd, 0, 1, 16]).await.name() {
        "ESUCCESS" => Ok(memory.bytes(16384, memory.u32(16) as usize)),
        name => Err(name),
    }
}

async fn contents(ctx: &mut WasiCtx, memory: &Memory, path: &str) -> Result<String, &'static str> {
    let fd = open(ctx, memory, path, 0, READ).await?;
    let bytes = read(ctx, memory, fd).await?;
    assert_eq!(errno(ctx, memory, F::FdClose, &[fd]).await.name(), "ESUCCESS");
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn on_path(ctx: &mut WasiCtx, memory: &Memory, f: F, path: &str) -> &'static str {
    memory.put(4096, path.as_bytes());
    let len = path.len() as u64;
    let args: &[u64] = match f {
        F::PathFilestatGet => &[DIR, 0, 4096, len, 1024],
        F::PathReadlink => &[DIR, 4096, len, 1024, 100, 16],
        F::PathFilestatSetTimes => &[DIR, 0, 4096, len, 5, 7, 5],
        F::PathSymlink => &[4096, len, DIR, 4096, len],
        _ => &[DIR, 4096, len],
    };
    errno(ctx, memory, f, args).await.name()
}

/// Names in a directory, listed with little room at a time.
async fn list(ctx: &mut WasiCtx, memory: &Memory, fd: u64) -> Vec<String> {
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        assert_eq!(errno(ctx, memory, F::FdReaddir, &[fd, 8192, 50, cookie, 16]).await.name(), "ESUCCESS");
        let used = memory.u32(16);
        if used < 25 {
            return names;
        }
        let len = memory.u32(8192 + 16);
        assert!(24 + len <= 50, "one has room");
        names.push(String::from_utf8(memory.bytes(8192 + 24, len as usize)).unwrap());
        cookie = memory.u64(8192);
    }
}

const LONG: &str = "d/a/name/which/is/so/long/that/there/is/no/room/for/it/in/a/header/of/a/tar/file/because/there/are/only/a/hundred/bytes/f";

fn sample() -> Vec<u8> {
    tar(&[
        (EntryType::Directory, "d/", ""),
        (EntryType::Regular, "./d/f", "contents"),
        (EntryType::Regular, "old", "first"),
        (EntryType::Regular, "old", "second"),
        (EntryType::Link, "hard", "d/f"),
        (EntryType::Symlink, "soft", "d/../hard"),
        (EntryType::Symlink, "d/out", "../../etc/passwd"),
        (EntryType::Symlink, "top", "/etc"),
        (EntryType::Fifo, "pipe", ""),
        (EntryType::Regular, LONG, "deep"),
        (EntryType::Regular, "empty", ""),
    ])
}

#[tokio::test]
async fn a_tar_file_is_a_directory() {
    let (image, _file) = image(&sample()).unwrap();
    let (mut ctx, memory) = (context(&image), Memory::new(65536));
    for (path, expected) in [
        ("d/f", Ok("contents")),
        ("old", Ok("second")),
        ("hard", Ok("contents")),
        ("soft", Ok("contents")),
        (LONG, Ok("deep")),
        ("empty", Ok("")),
        ("d/out", Err("EPERM")),
        ("top/passwd", Err("EPERM")),
        ("../x", Err("EPERM")),
        ("/d/f", Err("EPERM")),
        ("pipe", Err("ENOENT")),
        ("d/f/", Err("ENOTDIR")),
        ("d/f/x", Err("ENOTDIR")),
        ("no", Err("ENOENT")),
    ] {
        assert_eq!(contents(&mut ctx, &memory, path).await, expected.map(Into::into), "{path}");
    }
    assert_eq!(on_path(&mut ctx, &memory, F::PathReadlink, "soft").await, "ESUCCESS");
    assert_eq!(memory.bytes(1024, 9), b"d/../hard");
    assert_eq!(on_path(&mut ctx, &memory, F::PathReadlink, "top").await, "EPERM");
    assert_eq!(on_path(&mut ctx, &memory, F::PathReadlink, "d").await, "EINVAL");
    assert_eq!(on_path(&mut ctx, &memory, F::PathFilestatGet, "hard").await, "ESUCCESS");
    let (ino, ty, links, size) =
        (memory.u64(1032), memory.bytes(1040, 1)[0], memory.u64(1048), memory.u64(1056));
    assert_eq!((ty, links, size, memory.u64(1072)), (4, 2, 8, 1_000_000_007_000_000_000));
    assert_eq!(on_path(&mut ctx, &memory, F::PathFilestatGet, "d/f").await, "ESUCCESS");
    assert_eq!(memory.u64(1032), ino);

    let fd = open(&mut ctx, &memory, ".", DIRECTORY, ALL).await.unwrap();
    for _ in 0..2 {
        let names = list(&mut ctx, &memory, fd).await;
        assert_eq!(names, [".", "..", "d", "empty", "hard", "old", "soft", "top"]);
    }
    let fd = open(&mut ctx, &memory, "d/f", 0, READ).await.unwrap();
    assert_eq!(errno(&mut ctx, &memory, F::FdSeek, &[fd, -3i64 as u64, 2, 32]).await.name(), "ESUCCESS");
    assert_eq!(read(&mut ctx, &memory, fd).await.unwrap(), b"nts");
    assert_eq!(read(&mut ctx, &memory, fd).await.unwrap(), b"");
}

#[tokio::test]
async fn nothing_in_it_can_be_changed() {
    let (image, _file) = image(&sample()).unwrap();
    let (mut ctx, memory) = (context(&image), Memory::new(65536));
    for (oflags, rights) in [(CREAT, READ), (TRUNC, READ), (0, ALL)] {
        assert_eq!(open(&mut ctx, &memory, "old", oflags, rights).await, Err("ENOTCAPABLE"));
    }
    for f in [
        F::PathUnlinkFile,
        F::PathCreateDirectory,
        F::PathRemoveDirectory,
        F::PathFilestatSetTimes,
        F::PathSymlink,
    ] {
        assert_eq!(on_path(&mut ctx, &memory, f, "old").await, "ENOTCAPABLE", "{}", f.name());
    }
    let fd = open(&mut ctx, &memory, "old", 0, READ).await.unwrap();
    memory.iovecs(0, &[(100, 1)]);
    assert_eq!(errno(&mut ctx, &memory, F::FdWrite, &[fd, 0, 1, 16]).await.name(), "EBADF");
    for f in [F::FdFilestatSetSize, F::FdAllocate, F::FdFilestatSetTimes] {
        assert_eq!(errno(&mut ctx, &memory, f, &[fd, 0, 1, 1]).await.name(), "ENOTCAPABLE");
    }
}

#[tokio::test]
async fn open_files_go_along_if_the_image_is_the_same() {
    let (one, file) = image(&sample()).unwrap();
    let memory = Memory::new(65536);
    let mut ctx = context(&one);
    // The name by which it is opened is not the one that the file has still.
    let fd = open(&mut ctx, &memory, "soft", 0, READ).await.unwrap();
    memory.iovecs(0, &[(100, 3)]);
    assert_eq!(errno(&mut ctx, &memory, F::FdRead, &[fd, 0, 1, 16]).await.name(), "ESUCCESS");
    let directory = open(&mut ctx, &memory, "d", DIRECTORY, ALL).await.unwrap();
    let state = ctx.save();
    assert_eq!(state[0], 4, "only later versions have images");

    let same = TarImage::open(file.path()).unwrap();
    for image in [&one, &same] {
        let mut other = context(image);
        other.restore(&state).unwrap();
        assert_eq!(other.save(), state);
        assert_eq!(read(&mut other, &memory, fd).await.unwrap(), b"tents");
        assert!(list(&mut other, &memory, directory).await.contains(&"out".into()));
    }

    let (wrong, _file) = image(&tar(&[(EntryType::Regular, "d/f", "contents")])).unwrap();
    let message = context(&wrong).restore(&state).unwrap_err();
    assert!(matches!(message, StateError::WrongImage { .. }));
    assert!(message.to_string().contains(&blake3::Hash::from_bytes(one.hash()).to_string()));
    let mut none = WasiCtx::builder().build().unwrap();
    assert!(matches!(none.restore(&state), Err(StateError::MissingImage { .. })));
    let mut memory_instead = WasiCtx::builder().memory_directory("/", 1000).build().unwrap();
    assert!(matches!(memory_instead.restore(&state), Err(StateError::MissingImage { .. })));
    let mut elsewhere = WasiCtx::builder().image(&one, "/else").build().unwrap();
    assert!(matches!(elsewhere.restore(&state), Err(StateError::MissingImage { .. })));

    for wrong in [Some(&wrong), None] {
        let builder = WasiCtx::builder().tolerate_missing_files();
        let builder = wrong.into_iter().fold(builder, |builder, image| builder.image(image, "/"));
        let mut other = builder.build().unwrap();
        other.restore(&state).unwrap();
        assert_eq!(read(&mut other, &memory, fd).await, Err("EBADF"));
        assert_eq!(open(&mut other, &memory, "old", 0, READ).await, Err("EBADF"));
    }
    for n in 0..state.len() {
        assert!(context(&one).restore(&state[..n]).is_err(), "{n} bytes");
    }
}

#[test]
fn impossible_tar_files_are_refused() {
    let entry = |entries: &[Entry<'_>]| match image(&crafted(entries)) {
        Err(ImageError::Entry { problem, .. }) => problem,
        other => panic!("{entries:?}: {other:?}"),
    };
    use EntryType as E;
    for (entries, problem) in [
        (&[(E::Regular, "../x", "")][..], "leads out"),
        (&[(E::Regular, "a/../b", "")], "leads out"),
        (&[(E::Regular, "/", "x")], "has contents"),
        (&[(E::Regular, "", "")], "has no name"),
        (&[(E::Directory, "a", "contents")], "has contents"),
        (&[(E::Link, "a", "a")], "not there"),
        (&[(E::Directory, "d", ""), (E::Link, "a", "d")], "not there"),
        (&[(E::Link, "a", "../x")], "leads out"),
        (&[(E::Symlink, "a", "")], "impossible target"),
        (&[(E::Regular, "a", ""), (E::Regular, "a/b", "")], "no directory"),
        (&[(E::Symlink, "a", "."), (E::Regular, "a/b", "")], "no directory"),
        (&[(E::Regular, "a", ""), (E::Directory, "a", "")], "no directory"),
        (&[(E::Directory, "a", ""), (E::Regular, "a", "")], "in place of a directory"),
        (&[(E::GNUSparse, "a", "")], "sparse"),
        (&[(E::XHeader, "x", "22 GNU.sparse.major=1\n"), (E::Regular, "a", "")], "sparse"),
        (&[(E::new(b'Q'), "a", "")], "unknown type"),
    ] {
        let told = entry(entries);
        assert!(told.contains(problem), "{entries:?}: {told}");
    }
    let whole = sample();
    for n in (0..whole.len() - 1024).step_by(100) {
        assert!(matches!(image(&whole[..n]), Err(ImageError::Truncated)), "{n} bytes");
    }
    assert!(matches!(image(&[b'x'; 2048]), Err(ImageError::Header(0))));
    assert!(matches!(image(&[&b"\x1f\x8b"[..], &[0; 2000]].concat()), Err(ImageError::Compressed)));
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(TarImage::open(dir.path()), Err(ImageError::Directory)));
    assert!(matches!(TarImage::open("/dev/null"), Err(ImageError::NotFile)));
    assert!(matches!(TarImage::open(dir.path().join("x")), Err(ImageError::Read(_))));
    // Names are cut off nowhere, and do not take as much memory as they say.
    for ty in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut header = Header::new_gnu();
        header.set_entry_type(ty);
        header.set_size(1 << 40);
        header.set_cksum();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.set_len(1 << 41).unwrap();
        file.rewind().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        assert!(matches!(TarImage::open(path), Err(ImageError::TooLarge)), "{ty:?}");
    }
}

#[test]
fn large_sizes_are_told_by_attributes() {
    // The header says that it is empty.
    let mut bytes = crafted(&[(EntryType::XHeader, "x", "10 size=5\n15 path=longer\n")]);
    bytes.truncate(1024);
    let mut entry = crafted(&[(EntryType::Regular, "a", "")]);
    entry.truncate(512);
    entry.extend_from_slice(b"12345");
    entry.resize(2048, 0);
    let (image, _file) = image(&[bytes, entry].concat()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut ctx, memory) = (context(&image), Memory::new(65536));
        assert_eq!(contents(&mut ctx, &memory, "longer").await, Ok("12345".into()));
    });
}

#[tokio::test]
async fn a_file_that_becomes_shorter_is_an_error() {
    let (image, file) = image(&sample()).unwrap();
    let (mut ctx, memory) = (context(&image), Memory::new(65536));
    fs::OpenOptions::new().write(true).open(file.path()).unwrap().set_len(100).unwrap();
    assert_eq!(contents(&mut ctx, &memory, "d/f").await, Err("EIO"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_tar_files_do_no_harm(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        mend in any::<bool>(),
    ) {
        let mut bytes = sample();
        for (place, byte) in edits {
            let at = place.index(bytes.len());
            bytes[at] = byte;
            if mend {
                // Else it would be noticed by the sum alone.
                let block = at / 512 * 512;
                let mut header = Header::new_old();
                header.as_mut_bytes().copy_from_slice(&bytes[block..block + 512]);
                header.set_cksum();
                bytes[block..block + 512].copy_from_slice(header.as_bytes());
            }
        }
        if let Ok((image, _file)) = image(&bytes) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (mut ctx, memory) = (context(&image), Memory::new(65536));
                for path in ["d/f", "old", "hard", "soft", "d/out", LONG, "empty"] {
                    let _ = contents(&mut ctx, &memory, path).await;
                }
                let state = ctx.save();
                let mut other = context(&image);
                other.restore(&state).unwrap();
                prop_assert_eq!(other.save(), state);
                Ok(())
            })?;
        }
    }
}
