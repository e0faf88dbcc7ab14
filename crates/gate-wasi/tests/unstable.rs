//! `wasi_unstable`: the same calls, where its numbers and records differ from those of preview 1.

mod guest;

use gate_wasi::{Errno, WasiCtx};
use gate_wire::call::{CallReply, CallRequest};
use gate_wire::wasi::WasiFunction as F;
use gate_wire::wasi_unstable::UnstableFunction as Old;
use guest::{Memory, errno};
use std::time::{Duration, Instant};

const ALL: u64 = (1 << 30) - 1;
const PATH: u32 = 4096;

async fn old(ctx: &mut WasiCtx, memory: &Memory, f: Old, args: &[u64]) -> &'static str {
    let mut request = CallRequest { func: f as u32, args: Default::default() };
    request.args[..args.len()].copy_from_slice(args);
    match ctx.call(&request, memory).await.unwrap() {
        CallReply::Return(number) => Errno::ALL[number as usize].name(),
        CallReply::Trap(trap) => panic!("{f:?} traps with {trap}"),
    }
}

/// A file of ten bytes, open.
async fn with_file(memory: &Memory) -> (WasiCtx, u64) {
    let mut ctx = WasiCtx::builder().memory_directory("/", 1 << 20).build().unwrap();
    memory.put(PATH, b"file");
    let args = [3, 0, PATH.into(), 4, 1, ALL, ALL, 0, 8];
    assert_eq!(errno(&mut ctx, memory, F::PathOpen, &args).await.name(), "ESUCCESS");
    let fd = memory.u32(8).into();
    assert_eq!(errno(&mut ctx, memory, F::FdFilestatSetSize, &[fd, 10]).await.name(), "ESUCCESS");
    (ctx, fd)
}

#[tokio::test]
async fn positions_are_counted_from_elsewhere() {
    const CUR: u64 = 0;
    const END: u64 = 1;
    const SET: u64 = 2;
    let memory = Memory::new(65536);
    let (mut ctx, fd) = with_file(&memory).await;
    for (offset, whence, expected) in [(3i64, SET, 3), (4, CUR, 7), (-2, END, 8), (0, CUR, 8)] {
        let args = [fd, offset as u64, whence, 16];
        assert_eq!(old(&mut ctx, &memory, Old::FdSeek, &args).await, "ESUCCESS");
        assert_eq!(memory.u64(16), expected);
    }
    assert_eq!(old(&mut ctx, &memory, Old::FdSeek, &[fd, 0, 3, 16]).await, "EINVAL");
    assert_eq!(old(&mut ctx, &memory, Old::FdSeek, &[fd, u64::MAX, SET, 16]).await, "EINVAL");
    // Asking where it is needs no more than the right to that.
    let args = [fd, 1 << 5, 0];
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetRights, &args).await.name(), "ESUCCESS");
    assert_eq!(old(&mut ctx, &memory, Old::FdSeek, &[fd, 0, CUR, 16]).await, "ESUCCESS");
    assert_eq!(old(&mut ctx, &memory, Old::FdSeek, &[fd, 0, END, 16]).await, "ENOTCAPABLE");
}

#[tokio::test]
async fn links_are_counted_with_fewer_bits() {
    let memory = Memory::new(65536);
    let (mut ctx, fd) = with_file(&memory).await;
    memory.put(PATH + 100, b"other");
    let args = [3, 0, PATH.into(), 4, 3, u64::from(PATH) + 100, 5];
    assert_eq!(errno(&mut ctx, &memory, F::PathLink, &args).await.name(), "ESUCCESS");
    let args = [fd, 7_000, 9_000, 5];
    assert_eq!(errno(&mut ctx, &memory, F::FdFilestatSetTimes, &args).await.name(), "ESUCCESS");
    for (f, args) in
        [(Old::FdFilestatGet, &[fd, 512][..]), (Old::PathFilestatGet, &[3, 0, PATH.into(), 4, 512])]
    {
        memory.put(512, &[0xff; 64]);
        assert_eq!(old(&mut ctx, &memory, f, args).await, "ESUCCESS");
        assert_eq!((memory.bytes(528, 1)[0], memory.u32(532), memory.u64(536)), (4, 2, 10), "{f:?}");
        assert_eq!((memory.u64(544), memory.u64(552)), (7_000, 9_000));
        assert_eq!(memory.bytes(568, 8), [0xff; 8], "it has 56 bytes");
    }
    let end = 65536 - 56;
    assert_eq!(old(&mut ctx, &memory, Old::FdFilestatGet, &[fd, end]).await, "ESUCCESS");
    assert_eq!(old(&mut ctx, &memory, Old::FdFilestatGet, &[fd, end + 1]).await, "EFAULT");
}

/// A subscription to a clock, or to a descriptor if there is one.
fn subscription(userdata: u64, tag: u8, fd: u32, timeout: u64) -> Vec<u8> {
    let mut record = vec![0; 56];
    record[..8].copy_from_slice(&userdata.to_le_bytes());
    record[8] = tag;
    if tag == 0 {
        // The program's own number of the clock, which is none of ours.
        record[16..24].fill(0xee);
        record[24..28].copy_from_slice(&1u32.to_le_bytes());
        record[32..40].copy_from_slice(&timeout.to_le_bytes());
    } else {
        record[16..20].copy_from_slice(&fd.to_le_bytes());
    }
    record
}

#[tokio::test]
async fn clocks_have_numbers_of_the_programs_own() {
    let memory = Memory::new(65536);
    let (mut ctx, fd) = with_file(&memory).await;
    let wait = subscription(77, 0, 0, 50_000_000);
    memory.put(1024, &wait);
    let start = Instant::now();
    assert_eq!(old(&mut ctx, &memory, Old::PollOneoff, &[1024, 2048, 1, 16]).await, "ESUCCESS");
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!((memory.u32(16), memory.u64(2048), memory.u32(2056) & 0xff_ffff), (1, 77, 0));

    let both = [subscription(5, 0, 0, u64::MAX), subscription(6, 1, fd as u32, 0)].concat();
    memory.put(1024, &both);
    assert_eq!(old(&mut ctx, &memory, Old::PollOneoff, &[1024, 2048, 2, 16]).await, "ESUCCESS");
    assert_eq!((memory.u32(16), memory.u64(2048), memory.bytes(2058, 1)[0]), (1, 6, 1));
    assert_eq!(memory.u64(2064), 10);
    let end = 65536 - 56;
    memory.put(end, &subscription(5, 1, fd as u32, 0));
    assert_eq!(old(&mut ctx, &memory, Old::PollOneoff, &[end.into(), 0, 1, 32]).await, "ESUCCESS");
    assert_eq!(old(&mut ctx, &memory, Old::PollOneoff, &[u64::from(end) + 1, 0, 1, 32]).await, "EFAULT");
}

#[tokio::test]
async fn who_wants_input_is_seen() {
    let memory = Memory::new(65536);
    let ctx = WasiCtx::builder().build().unwrap();
    memory.put(1024, &subscription(0, 1, 0, 0));
    let mut request = CallRequest { func: Old::PollOneoff as u32, args: Default::default() };
    request.args[..4].copy_from_slice(&[1024, 2048, 1, 16]);
    assert!(ctx.wants_input(&request, &memory));
    memory.put(1024, &subscription(0, 1, 1, 0));
    assert!(!ctx.wants_input(&request, &memory));
}
