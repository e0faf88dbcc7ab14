//! Paths while somebody moves directories and swaps them for symbolic links: none leads out, whatever is done with it.

mod guest;

use gate_wasi::{Access, WasiCtx};
use gate_wire::wasi::WasiFunction as F;
use guest::{Memory, errno};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ALL: u64 = (1 << 30) - 1;
const CREAT: u64 = 1;
const DIRECTORY: u64 = 2;
const TRUNC: u64 = 8;

/// How long each test goes on.
const TIME: Duration = Duration::from_millis(1500);

/// Makes a directory that programs are given, `root`, beside one that they are not, with the same names in both.
fn places(temp: &Path) {
    for (directory, text) in [("root/a/b", "inside"), ("outside/b", "secret")] {
        let directory = temp.join(directory);
        fs::create_dir_all(&directory).unwrap();
        for file in ["f", "../f"] {
            fs::write(directory.join(file), text).unwrap();
        }
    }
    fs::write(temp.join("f"), "secret").unwrap();
}

/// What is outside, and when it was last changed.
fn outside(temp: &Path) -> Vec<(String, String, i64, u64)> {
    let mut found = Vec::new();
    for name in ["f", "outside", "outside/f", "outside/b", "outside/b/f"] {
        let path = temp.join(name);
        let meta = fs::symlink_metadata(&path).unwrap_or_else(|err| panic!("{name}: {err}"));
        let what = match meta.is_dir() {
            true => {
                let names = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
                let mut names: Vec<_> = names.collect();
                names.sort();
                format!("{names:?}")
            }
            false => fs::read_to_string(&path).unwrap(),
        };
        found.push((name.to_owned(), what, meta.mtime_nsec(), meta.nlink()));
    }
    let names = fs::read_dir(temp).unwrap().count();
    assert_eq!(names, 3, "something came into the outer directory");
    found
}

/// Until it is stopped: puts a link to the outside in the place of `a`, moves `a/b` out and in again, and mends what the
/// program has removed.
fn disturb(root: &Path, stop: &AtomicBool) {
    let temp = root.parent().unwrap();
    let mut round = 0u32;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let (a, hidden) = (root.join("a"), root.join(format!("hidden{}", round % 2)));
        let _ = fs::rename(&a, &hidden);
        let target = ["../outside", "..", "../../..", "/"][round as usize % 4];
        let _ = symlink(target, &a);
        std::thread::yield_now();
        let _ = fs::remove_file(&a);
        let _ = fs::remove_dir_all(&a);
        let _ = fs::rename(&hidden, &a);
        // The program may have put a link there, which is not to lead out whoever tests it.
        if !fs::symlink_metadata(&a).is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        // A directory in which the program may be: what is above it is suddenly something else.
        let elsewhere = root.join("elsewhere");
        let _ = fs::rename(a.join("b"), &elsewhere);
        let _ = symlink(temp.join("outside/b"), a.join("b"));
        std::thread::yield_now();
        let _ = fs::remove_file(a.join("b"));
        let _ = fs::rename(&elsewhere, a.join("b"));
        let _ = fs::create_dir_all(a.join("b"));
        for file in ["a/f", "a/b/f"] {
            if fs::symlink_metadata(root.join(file)).is_err() {
                let _ = fs::write(root.join(file), "inside");
            }
        }
    }
}

/// Calls with one path, and with two.
const ONE: [F; 7] = [
    F::PathCreateDirectory,
    F::PathFilestatGet,
    F::PathFilestatSetTimes,
    F::PathReadlink,
    F::PathRemoveDirectory,
    F::PathSymlink,
    F::PathUnlinkFile,
];
const TWO: [F; 2] = [F::PathLink, F::PathRename];

const PATHS: [&str; 12] = [
    "a/f",
    "a/b/f",
    "a/b/../f",
    "a/b/../../a/f",
    "a/b",
    "a/../f",
    "a/b/../../f",
    "a/new",
    "a/b/new",
    "a/b/../new",
    "a",
    "a/outside/f",
];

#[test]
fn no_path_leads_out_whoever_moves_directories() {
    let temp = tempfile::tempdir().unwrap();
    places(temp.path());
    let before = outside(temp.path());
    let inodes: Vec<u64> = ["f", "outside", "outside/f", "outside/b", "outside/b/f", "", ".."]
        .map(|name| fs::metadata(temp.path().join(name)).unwrap().ino())
        .into();
    let root = temp.path().join("root");
    let stop = AtomicBool::new(false);
    let mut done = [0u32; 46];
    std::thread::scope(|scope| {
        scope.spawn(|| disturb(&root, &stop));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(work(&root, &inodes, &mut done));
        }));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!(outside(temp.path()), before);
    // All of it has been tried, and has worked some of the time.
    for f in ONE.iter().chain(&TWO).chain(&[F::PathOpen]) {
        assert!(done[*f as usize - 1] > 0, "{} has never worked", f.name());
    }
}

async fn work(root: &Path, outside: &[u64], done: &mut [u32; 46]) {
    let memory = Memory::new(65536);
    let mut ctx = WasiCtx::builder().preopen(root, "/", Access::ReadWrite).build().unwrap();
    let put = |addr: u32, path: &str| {
        memory.put(addr, path.as_bytes());
        (u64::from(addr), path.len() as u64)
    };
    let start = Instant::now();
    while start.elapsed() < TIME {
        let path = PATHS[rand::random_range(0..PATHS.len())];
        let (at, len) = put(1000, path);
        let lookup = rand::random_range(0..2);
        let f = ONE[rand::random_range(0..ONE.len())];
        let args: &[u64] = match f {
            F::PathFilestatGet => &[3, lookup, at, len, 512],
            F::PathFilestatSetTimes => &[3, lookup, at, len, 5, 7, 5],
            F::PathReadlink => &[3, at, len, 512, 64, 16],
            F::PathSymlink => &[at, len, 3, at, len],
            _ => &[3, at, len],
        };
        if errno(&mut ctx, &memory, f, args).await.name() == "ESUCCESS" {
            done[f as usize - 1] += 1;
            if f == F::PathFilestatGet {
                assert!(!outside.contains(&memory.u64(520)), "{path} was looked at");
            }
        }
        let (to, to_len) = put(3000, PATHS[rand::random_range(0..PATHS.len())]);
        for f in TWO {
            let args: &[u64] = match f {
                F::PathLink => &[3, 0, at, len, 3, to, to_len],
                _ => &[3, at, len, 3, to, to_len],
            };
            if errno(&mut ctx, &memory, f, args).await.name() == "ESUCCESS" {
                done[f as usize - 1] += 1;
            }
        }
        let oflags = [0, CREAT, TRUNC, CREAT | TRUNC, DIRECTORY][rand::random_range(0..5)];
        open(&mut ctx, &memory, (3, at, len), (lookup, oflags), outside, done).await;
    }
}

/// Opens, and looks what was opened; of a directory, also what is opened from there.
async fn open(
    ctx: &mut WasiCtx,
    memory: &Memory,
    (dir, at, len): (u64, u64, u64),
    (lookup, oflags): (u64, u64),
    outside: &[u64],
    done: &mut [u32; 46],
) {
    let args = [dir, lookup, at, len, oflags, ALL, ALL, 0, 8];
    if errno(ctx, memory, F::PathOpen, &args).await.name() != "ESUCCESS" {
        return;
    }
    done[F::PathOpen as usize - 1] += 1;
    let fd = memory.u32(8).into();
    assert_eq!(errno(ctx, memory, F::FdFilestatGet, &[fd, 512]).await.name(), "ESUCCESS");
    assert!(!outside.contains(&memory.u64(520)), "something outside was opened");
    if memory.bytes(528, 1) == [4] {
        memory.iovecs(0, &[(4096, 64)]);
        assert_eq!(errno(ctx, memory, F::FdRead, &[fd, 0, 1, 16]).await.name(), "ESUCCESS");
        assert!(!memory.bytes(4096, memory.u32(16) as usize).starts_with(b"secret"));
    } else {
        for path in ["../f", "../../f", "f", "../outside/f", "../b/f"] {
            memory.put(2000, path.as_bytes());
            Box::pin(open(ctx, memory, (fd, 2000, path.len() as u64), (1, 0), outside, done)).await;
        }
    }
    assert_eq!(errno(ctx, memory, F::FdClose, &[fd]).await.name(), "ESUCCESS");
}
