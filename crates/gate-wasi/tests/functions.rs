//! Each function of preview 1, with what it returns: the same for a directory of the host, and for one in memory.

mod guest;

use gate_wasi::{Access, WasiCtx};
use gate_wire::wasi::WasiFunction as F;
use guest::{Memory, errno};
use std::collections::BTreeSet;
use tokio::io::AsyncReadExt;

const ALL: u64 = (1 << 30) - 1;
const SIZE: u64 = 65536;
/// A number that is returned.
const OUT: u64 = 64;
/// A record that is returned.
const RECORD: u64 = 128;
/// One buffer of five bytes.
const BUFFERS: u64 = 16;
const BYTES: u32 = 2048;
/// The given directory, and a file in it that is opened first.
const DIR: u64 = 3;
const FILE: u64 = 4;

/// Addresses of names, each of one byte.
const F_NAME: u64 = 1000;
const D_NAME: u64 = 1001;
const G_NAME: u64 = 1002;
const L_NAME: u64 = 1003;
const DOT: u64 = 1004;

/// Calls one after the other, and what they return. After some, a number at [`OUT`].
type Step = (F, &'static [u64], &'static str, Option<u64>);

const fn step(f: F, args: &'static [u64], errno: &'static str) -> Step {
    (f, args, errno, None)
}

const fn gives(f: F, args: &'static [u64], number: u64) -> Step {
    (f, args, "ESUCCESS", Some(number))
}

const STEPS: &[Step] = &[
    step(F::ArgsSizesGet, &[RECORD, OUT], "ESUCCESS"),
    step(F::ArgsGet, &[RECORD, 256], "ESUCCESS"),
    step(F::EnvironSizesGet, &[RECORD, OUT], "ESUCCESS"),
    step(F::EnvironGet, &[RECORD, 256], "ESUCCESS"),
    step(F::ClockResGet, &[0, OUT], "ESUCCESS"),
    step(F::ClockResGet, &[4, OUT], "EINVAL"),
    step(F::ClockTimeGet, &[1, 0, OUT], "ESUCCESS"),
    step(F::ClockTimeGet, &[2, 0, OUT], "ENOTSUP"),
    step(F::FdPrestatGet, &[DIR, RECORD], "ESUCCESS"),
    step(F::FdPrestatGet, &[0, RECORD], "EBADF"),
    step(F::FdPrestatDirName, &[DIR, RECORD, 2], "ESUCCESS"),
    step(F::FdPrestatDirName, &[DIR, RECORD, 1], "ENAMETOOLONG"),
    // Without O_CREAT, with it, and once more.
    step(F::PathOpen, &[DIR, 0, F_NAME, 1, 0, ALL, ALL, 0, OUT], "ENOENT"),
    gives(F::PathOpen, &[DIR, 0, F_NAME, 1, 1, ALL, ALL, 0, OUT], FILE),
    step(F::PathOpen, &[DIR, 0, F_NAME, 1, 5, ALL, ALL, 0, OUT], "EEXIST"),
    step(F::PathOpen, &[DIR, 0, F_NAME, 1, 2, ALL, ALL, 0, OUT], "ENOTDIR"),
    step(F::PathOpen, &[FILE, 0, F_NAME, 1, 0, ALL, ALL, 0, OUT], "ENOTDIR"),
    step(F::PathOpen, &[DIR, 0, F_NAME, 1, 0, ALL, ALL, 32, OUT], "EINVAL"),
    step(F::FdPrestatGet, &[FILE, RECORD], "EBADF"),
    gives(F::FdWrite, &[FILE, BUFFERS, 1, OUT], 5),
    gives(F::FdTell, &[FILE, OUT], 5),
    gives(F::FdSeek, &[FILE, 2, 0, OUT], 2),
    gives(F::FdSeek, &[FILE, 1, 1, OUT], 3),
    gives(F::FdSeek, &[FILE, 0, 2, OUT], 5),
    step(F::FdSeek, &[FILE, 0, 3, OUT], "EINVAL"),
    step(F::FdSeek, &[FILE, u64::MAX, 0, OUT], "EINVAL"),
    step(F::FdSeek, &[0, 0, 1, OUT], "ESPIPE"),
    step(F::FdTell, &[1, OUT], "ESPIPE"),
    step(F::FdTell, &[DIR, OUT], "EBADF"),
    gives(F::FdRead, &[FILE, BUFFERS, 1, OUT], 0),
    gives(F::FdPread, &[FILE, BUFFERS, 1, 3, OUT], 2),
    gives(F::FdPread, &[FILE, BUFFERS, 1, 99, OUT], 0),
    step(F::FdPread, &[0, BUFFERS, 1, 0, OUT], "ESPIPE"),
    gives(F::FdPwrite, &[FILE, BUFFERS, 1, 2, OUT], 5),
    step(F::FdPwrite, &[1, BUFFERS, 1, 0, OUT], "ESPIPE"),
    step(F::FdRead, &[DIR, BUFFERS, 1, OUT], "EBADF"),
    step(F::FdWrite, &[DIR, BUFFERS, 1, OUT], "EBADF"),
    step(F::FdRead, &[1, BUFFERS, 1, OUT], "EBADF"),
    step(F::FdWrite, &[0, BUFFERS, 1, OUT], "EBADF"),
    gives(F::FdRead, &[0, BUFFERS, 1, OUT], 5),
    gives(F::FdWrite, &[1, BUFFERS, 1, OUT], 5),
    // Room for more, which is part of the file then.
    step(F::FdAllocate, &[FILE, 5, 15], "ESUCCESS"),
    gives(F::FdSeek, &[FILE, 0, 2, OUT], 20),
    step(F::FdAllocate, &[FILE, 0, 0], "EINVAL"),
    step(F::FdAllocate, &[0, 0, 1], "ESPIPE"),
    step(F::FdAllocate, &[DIR, 0, 1], "EBADF"),
    step(F::FdAdvise, &[FILE, 0, 0, 5], "ESUCCESS"),
    step(F::FdAdvise, &[FILE, 0, 0, 6], "EINVAL"),
    step(F::FdAdvise, &[1, 0, 0, 0], "ESPIPE"),
    step(F::FdFilestatSetSize, &[FILE, 8], "ESUCCESS"),
    gives(F::FdSeek, &[FILE, 0, 2, OUT], 8),
    step(F::FdFilestatSetSize, &[1, 8], "EINVAL"),
    step(F::FdFilestatGet, &[FILE, RECORD], "ESUCCESS"),
    step(F::FdFilestatGet, &[9, RECORD], "EBADF"),
    step(F::FdFilestatSetTimes, &[FILE, 5, 7, 5], "ESUCCESS"),
    step(F::FdFilestatSetTimes, &[FILE, 5, 7, 3], "EINVAL"),
    step(F::FdFilestatSetTimes, &[FILE, 5, 7, 16], "EINVAL"),
    step(F::FdSync, &[FILE], "ESUCCESS"),
    step(F::FdDatasync, &[FILE], "ESUCCESS"),
    step(F::FdSync, &[DIR], "ESUCCESS"),
    // Whatever is written comes at the end from here on, wherever the position is.
    step(F::FdFdstatSetFlags, &[FILE, 1], "ESUCCESS"),
    gives(F::FdSeek, &[FILE, 0, 0, OUT], 0),
    gives(F::FdWrite, &[FILE, BUFFERS, 1, OUT], 5),
    gives(F::FdTell, &[FILE, OUT], 13),
    step(F::FdFdstatSetFlags, &[FILE, 0], "ESUCCESS"),
    gives(F::FdSeek, &[FILE, 1, 0, OUT], 1),
    gives(F::FdWrite, &[FILE, BUFFERS, 1, OUT], 5),
    gives(F::FdTell, &[FILE, OUT], 6),
    step(F::FdFdstatSetFlags, &[FILE, 2], "ENOTSUP"),
    step(F::FdFdstatSetFlags, &[FILE, 64], "EINVAL"),
    step(F::FdFdstatGet, &[FILE, RECORD], "ESUCCESS"),
    step(F::PathCreateDirectory, &[DIR, D_NAME, 1], "ESUCCESS"),
    step(F::PathCreateDirectory, &[DIR, D_NAME, 1], "EEXIST"),
    step(F::PathCreateDirectory, &[DIR, D_NAME, 0], "ENOENT"),
    step(F::PathSymlink, &[F_NAME, 1, DIR, L_NAME, 1], "ESUCCESS"),
    step(F::PathSymlink, &[F_NAME, 1, DIR, L_NAME, 1], "EEXIST"),
    step(F::PathReadlink, &[DIR, L_NAME, 1, RECORD, 9, OUT], "ESUCCESS"),
    step(F::PathReadlink, &[DIR, F_NAME, 1, RECORD, 9, OUT], "EINVAL"),
    step(F::PathOpen, &[DIR, 0, L_NAME, 1, 0, ALL, ALL, 0, OUT], "ELOOP"),
    step(F::PathFilestatGet, &[DIR, 1, L_NAME, 1, RECORD], "ESUCCESS"),
    step(F::PathFilestatGet, &[DIR, 0, G_NAME, 1, RECORD], "ENOENT"),
    step(F::PathFilestatSetTimes, &[DIR, 1, L_NAME, 1, 5, 7, 5], "ESUCCESS"),
    step(F::PathFilestatSetTimes, &[DIR, 0, F_NAME, 1, 5, 7, 12], "EINVAL"),
    step(F::PathLink, &[DIR, 0, F_NAME, 1, DIR, G_NAME, 1], "ESUCCESS"),
    step(F::PathLink, &[DIR, 0, F_NAME, 1, DIR, G_NAME, 1], "EEXIST"),
    step(F::PathLink, &[DIR, 0, D_NAME, 1, DIR, G_NAME, 1], "EEXIST"),
    step(F::PathLink, &[DIR, 1, F_NAME, 1, DIR, G_NAME, 1], "EINVAL"),
    step(F::PathRename, &[DIR, F_NAME, 1, DIR, D_NAME, 1], "EISDIR"),
    step(F::PathRename, &[DIR, D_NAME, 1, DIR, F_NAME, 1], "ENOTDIR"),
    step(F::PathRename, &[DIR, L_NAME, 1, DIR, G_NAME, 1], "ESUCCESS"),
    step(F::PathUnlinkFile, &[DIR, D_NAME, 1], "EISDIR"),
    step(F::PathUnlinkFile, &[DIR, G_NAME, 1], "ESUCCESS"),
    step(F::PathUnlinkFile, &[DIR, G_NAME, 1], "ENOENT"),
    step(F::PathRemoveDirectory, &[DIR, F_NAME, 1], "ENOTDIR"),
    gives(F::PathOpen, &[DIR, 0, D_NAME, 1, 2, ALL, ALL, 0, OUT], 5),
    // Two entries, and a few bytes of the second one.
    gives(F::FdReaddir, &[5, 4096, 100, 0, OUT], 51),
    gives(F::FdReaddir, &[5, 4096, 30, 0, OUT], 30),
    gives(F::FdReaddir, &[5, 4096, 100, 1, OUT], 26),
    gives(F::FdReaddir, &[5, 4096, 100, 2, OUT], 0),
    gives(F::FdReaddir, &[5, 4096, 100, u64::MAX, OUT], 0),
    step(F::FdReaddir, &[FILE, 4096, 100, 0, OUT], "ENOTDIR"),
    step(F::PathRemoveDirectory, &[DIR, D_NAME, 1], "ESUCCESS"),
    // In a directory that is no more.
    step(F::PathOpen, &[5, 0, F_NAME, 1, 1, ALL, ALL, 0, OUT], "ENOENT"),
    // In place of it, so that its own number is free.
    step(F::FdRenumber, &[FILE, 5], "ESUCCESS"),
    gives(F::FdTell, &[5, OUT], 6),
    step(F::FdTell, &[FILE, OUT], "EBADF"),
    step(F::FdRenumber, &[5, FILE], "EBADF"),
    step(F::FdRenumber, &[9, 5], "EBADF"),
    step(F::FdRenumber, &[5, 5], "ESUCCESS"),
    gives(F::PathOpen, &[DIR, 0, DOT, 1, 2, ALL, ALL, 0, OUT], FILE),
    step(F::FdFdstatSetRights, &[5, 1 << 5, 0], "ESUCCESS"),
    step(F::FdFdstatSetRights, &[5, 1 << 1, 0], "ENOTCAPABLE"),
    step(F::FdRead, &[5, BUFFERS, 1, OUT], "ENOTCAPABLE"),
    step(F::FdClose, &[5], "ESUCCESS"),
    step(F::FdClose, &[5], "EBADF"),
    gives(F::RandomGet, &[RECORD, 8], 7),
    step(F::SchedYield, &[], "ESUCCESS"),
    step(F::ProcRaise, &[0], "ESUCCESS"),
    step(F::ProcRaise, &[31], "EINVAL"),
    step(F::SockAccept, &[0, 0, OUT], "ENOTSOCK"),
    step(F::SockRecv, &[FILE, BUFFERS, 1, 0, OUT, RECORD], "ENOTSOCK"),
    step(F::SockSend, &[1, BUFFERS, 1, 0, OUT], "ENOTSOCK"),
    step(F::SockShutdown, &[9, 1], "EBADF"),
    step(F::PollOneoff, &[4096, 8192, 0, OUT], "EINVAL"),
];

#[tokio::test]
async fn functions_return_what_is_expected() {
    let called: BTreeSet<u32> = STEPS.iter().map(|(f, ..)| *f as u32).chain([F::ProcExit as u32]).collect();
    assert_eq!(called.len(), F::ALL.len(), "each is called; a program's own process ends it");
    let temp = tempfile::tempdir().unwrap();
    for on_host in [true, false] {
        let builder = WasiCtx::builder().args(["name"]).env("A", "b").stdin(&b"input"[..]);
        let builder = match on_host {
            true => builder.preopen(temp.path(), "/d", Access::ReadWrite),
            false => builder.memory_directory("/d", 1 << 20),
        };
        let (mut ctx, memory) = (builder.build().unwrap(), Memory::new(SIZE as usize));
        memory.put(F_NAME as u32, b"fdgl.");
        memory.iovecs(BUFFERS as u32, &[(BYTES, 5)]);
        memory.put(BYTES, b"bytes");
        for (number, &(f, args, expected, gives)) in STEPS.iter().enumerate() {
            memory.put(OUT as u32, &7u64.to_le_bytes());
            let got = errno(&mut ctx, &memory, f, args).await.name();
            let what = format!("step {number}: {}{args:?}, on the host: {on_host}", f.name());
            assert_eq!(got, expected, "{what}");
            if let Some(gives) = gives {
                assert_eq!(memory.u64(OUT as u32) & 0xffff_ffff, gives, "{what}");
            }
        }
    }
}

/// A subscription to a descriptor, or to the monotonic clock.
fn subscription(userdata: u64, tag: u8, fd: u64, timeout: u64) -> Vec<u8> {
    let mut record = vec![0; 48];
    record[..8].copy_from_slice(&userdata.to_le_bytes());
    record[8] = tag;
    record[16] = if tag == 0 { 1 } else { fd as u8 };
    record[24..32].copy_from_slice(&timeout.to_le_bytes());
    record
}

#[tokio::test]
async fn several_things_are_waited_for_at_once() {
    const DAY: u64 = 86_400_000_000_000;
    let memory = Memory::new(SIZE as usize);
    let (input, mut feed) = std::io::pipe().unwrap();
    let mut ctx = WasiCtx::builder().stdin_fd(input.into()).memory_directory("/", 1 << 20).build().unwrap();
    memory.put(F_NAME as u32, b"f");
    let args = [DIR, 0, F_NAME, 1, 1, ALL, ALL, 0, OUT];
    assert_eq!(errno(&mut ctx, &memory, F::PathOpen, &args).await.name(), "ESUCCESS");
    assert_eq!(errno(&mut ctx, &memory, F::FdFilestatSetSize, &[FILE, 9]).await.name(), "ESUCCESS");
    // Userdata, error number, and type of each event.
    let poll = async |ctx: &mut WasiCtx, subscriptions: &[Vec<u8>]| -> Vec<(u64, u32, u8)> {
        memory.put(4096, &subscriptions.concat());
        let args = [4096, 8192, subscriptions.len() as u64, OUT];
        assert_eq!(errno(ctx, &memory, F::PollOneoff, &args).await.name(), "ESUCCESS");
        let event = |at: u32| (memory.u64(at), memory.u32(at + 8) & 0xffff, memory.bytes(at + 10, 1)[0]);
        (0..memory.u32(OUT as u32)).map(|number| event(8192 + 32 * number)).collect()
    };
    let wait = subscription(1, 0, 0, DAY);
    let stdin = subscription(2, 1, 0, 0);
    let file = [subscription(3, 1, FILE, 0), subscription(4, 2, FILE, 0)];
    let short = subscription(5, 0, 0, 1_000_000);
    // Files are always ready; what is not is left out.
    let got = poll(&mut ctx, &[wait.clone(), stdin.clone(), file[0].clone(), file[1].clone()]).await;
    assert_eq!(got, [(3, 0, 1), (4, 0, 2)]);
    assert_eq!(memory.u64(8192 + 16), 9);
    assert_eq!(poll(&mut ctx, &[wait.clone(), stdin.clone(), short.clone()]).await, [(5, 0, 0)]);
    std::io::Write::write_all(&mut feed, b"x").unwrap();
    assert_eq!(poll(&mut ctx, &[wait.clone(), stdin.clone()]).await, [(2, 0, 1)]);
    // Errors are events: EBADF, EINVAL.
    let bad = [subscription(6, 1, 99, 0), subscription(7, 9, 0, 0), subscription(8, 2, 0, 0)];
    assert_eq!(poll(&mut ctx, &bad).await, [(6, 8, 1), (7, 28, 9), (8, 8, 2)]);
    // Directories cannot be waited for: ENOTCAPABLE.
    assert_eq!(poll(&mut ctx, &[subscription(9, 1, DIR, 0)]).await, [(9, 76, 1)]);
}

#[tokio::test]
async fn output_that_waits_is_seen_before_input_is_waited_for() {
    let memory = Memory::new(SIZE as usize);
    let (ours, mut theirs) = tokio::io::duplex(64);
    let mut ctx = WasiCtx::builder().stdout(tokio::io::BufWriter::new(ours)).build().unwrap();
    memory.put(BYTES, b"bytes");
    memory.iovecs(BUFFERS as u32, &[(BYTES, 5)]);
    assert_eq!(errno(&mut ctx, &memory, F::FdWrite, &[1, BUFFERS, 1, OUT]).await.name(), "ESUCCESS");
    memory.put(4096, &subscription(1, 1, 0, 0));
    assert_eq!(errno(&mut ctx, &memory, F::PollOneoff, &[4096, 8192, 1, OUT]).await.name(), "ESUCCESS");
    let mut got = [0; 5];
    theirs.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"bytes");
}
