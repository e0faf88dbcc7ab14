//! Standard streams: what is read and written, and what a program learns about them.

mod guest;

use gate_wasi::WasiCtx;
use gate_wire::call::CallRequest;
use gate_wire::wasi::WasiFunction as F;
use guest::{Memory, errno};
use rustix::fs::{OFlags, fcntl_getfl};
use std::future::Future;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::AsyncReadExt;

const DATA: u32 = 4096;
const RESULT: u32 = 512;

/// Writes bytes from [`DATA`], and returns the error number and the count.
async fn write(ctx: &mut WasiCtx, memory: &Memory, fd: u32, len: u32) -> (&'static str, u32) {
    memory.iovecs(0, &[(DATA, len)]);
    let errno = errno(ctx, memory, F::FdWrite, &[fd.into(), 0, 1, RESULT.into()]).await;
    (errno.name(), memory.u32(RESULT))
}

/// Reads bytes to [`DATA`], and returns the error number and the count.
async fn read(ctx: &mut WasiCtx, memory: &Memory, fd: u32, len: u32) -> (&'static str, u32) {
    memory.iovecs(0, &[(DATA, len)]);
    let errno = errno(ctx, memory, F::FdRead, &[fd.into(), 0, 1, RESULT.into()]).await;
    (errno.name(), memory.u32(RESULT))
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
}

/// Type and rights as `fd_fdstat_get` tells them.
async fn fdstat(ctx: &mut WasiCtx, memory: &Memory, fd: u32) -> (u8, u64) {
    assert_eq!(errno(ctx, memory, F::FdFdstatGet, &[fd.into(), 0]).await.name(), "ESUCCESS");
    (memory.bytes(0, 1)[0], memory.u64(8))
}

/// As C libraries look at it.
fn seems_terminal((ty, rights): (u8, u64)) -> bool {
    ty == 2 && rights & (1 << 2 | 1 << 5) == 0
}

#[tokio::test(flavor = "current_thread")]
async fn buffers_are_gathered_and_scattered_in_order() {
    let memory = Memory::new(65536);
    let (sink, mut other) = tokio::io::duplex(1024);
    let mut ctx = WasiCtx::builder().stdin(&b"abcdefghij"[..]).stdout(sink).build().unwrap();
    memory.put(DATA, b"worldhello ");
    memory.iovecs(0, &[(DATA + 5, 6), (99, 0), (DATA, 5)]);
    assert_eq!(errno(&mut ctx, &memory, F::FdWrite, &[1, 0, 3, RESULT.into()]).await.name(), "ESUCCESS");
    assert_eq!(memory.u32(RESULT), 11);
    let mut got = [0; 11];
    other.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello world");

    memory.iovecs(0, &[(2000, 3), (3000, 0), (1000, 20)]);
    assert_eq!(errno(&mut ctx, &memory, F::FdRead, &[0, 0, 3, RESULT.into()]).await.name(), "ESUCCESS");
    assert_eq!(memory.u32(RESULT), 10);
    assert_eq!(memory.bytes(2000, 3), b"abc");
    assert_eq!(memory.bytes(1000, 8), b"defghij\0");
    assert_eq!(read(&mut ctx, &memory, 0, 5).await, ("ESUCCESS", 0));
}

#[tokio::test(flavor = "current_thread")]
async fn pipes_stream_binary_data_and_keep_their_mode() {
    let memory = Memory::new(4 << 20);
    let (input, mut feed) = std::io::pipe().unwrap();
    let (mut drain, output) = std::io::pipe().unwrap();
    let (input_copy, output_copy) = (input.try_clone().unwrap(), output.try_clone().unwrap());
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let expected = data.clone();
    let feeder = std::thread::spawn(move || feed.write_all(&data).unwrap());
    let drainer = std::thread::spawn(move || {
        let mut got = Vec::new();
        drain.read_to_end(&mut got).unwrap();
        got
    });
    let mut ctx = WasiCtx::builder().stdin_fd(input.into()).stdout_fd(output.into()).build().unwrap();
    loop {
        let (name, n) = read(&mut ctx, &memory, 0, 1 << 20).await;
        assert_eq!(name, "ESUCCESS");
        if n == 0 {
            break;
        }
        let mut at = DATA;
        let mut rest = n;
        while rest > 0 {
            memory.iovecs(0, &[(at, rest)]);
            assert_eq!(
                errno(&mut ctx, &memory, F::FdWrite, &[1, 0, 1, RESULT.into()]).await.name(),
                "ESUCCESS"
            );
            let n = memory.u32(RESULT);
            assert!(n > 0);
            at += n;
            rest -= n;
        }
    }
    assert!(!is_nonblocking(&input_copy) && !is_nonblocking(&output_copy));
    drop((ctx, output_copy));
    feeder.join().unwrap();
    assert_eq!(drainer.join().unwrap(), expected);
}

#[tokio::test(flavor = "current_thread")]
async fn sockets_work_and_keep_their_mode() {
    let memory = Memory::new(1 << 20);
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let copy = ours.try_clone().unwrap();
    let fd = OwnedFd::from(ours);
    let mut ctx = WasiCtx::builder().stdin_fd(fd.try_clone().unwrap()).stdout_fd(fd).build().unwrap();
    assert_eq!(fdstat(&mut ctx, &memory, 0).await.0, 6);
    memory.put(DATA, b"ping");
    assert_eq!(write(&mut ctx, &memory, 1, 4).await, ("ESUCCESS", 4));
    let mut got = [0; 4];
    theirs.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ping");
    theirs.write_all(b"pong!").unwrap();
    assert_eq!(read(&mut ctx, &memory, 0, 100).await, ("ESUCCESS", 5));
    assert_eq!(memory.bytes(DATA, 5), b"pong!");
    assert!(!is_nonblocking(&copy));
    drop(theirs);
    assert_eq!(read(&mut ctx, &memory, 0, 100).await, ("ESUCCESS", 0));
    assert_eq!(write(&mut ctx, &memory, 1, 4).await.0, "EPIPE");
}

#[tokio::test(flavor = "current_thread")]
async fn files_are_read_and_written_at_the_shared_position() {
    let memory = Memory::new(65536);
    let dir = std::env::temp_dir().join(format!("gate-wasi-test-{}", std::process::id()));
    let mut file =
        std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&dir).unwrap();
    std::fs::remove_file(&dir).unwrap();
    file.write_all(b"before,").unwrap();
    let copy = file.try_clone().unwrap();
    let mut ctx =
        WasiCtx::builder().stdin_fd(copy.try_clone().unwrap().into()).stdout_fd(copy.into()).build().unwrap();
    memory.put(DATA, b"from the program");
    assert_eq!(write(&mut ctx, &memory, 1, 16).await, ("ESUCCESS", 16));
    file.write_all(b",after").unwrap();
    assert_eq!(errno(&mut ctx, &memory, F::FdFilestatGet, &[1, 0]).await.name(), "ESUCCESS");
    assert_eq!((memory.bytes(16, 1)[0], memory.u64(32)), (4, 29));
    assert_eq!(errno(&mut ctx, &memory, F::FdSync, &[1]).await.name(), "ESUCCESS");
    file.rewind().unwrap();
    assert_eq!(read(&mut ctx, &memory, 0, 100).await, ("ESUCCESS", 29));
    assert_eq!(memory.bytes(DATA, 29), b"before,from the program,after");
}

#[tokio::test(flavor = "current_thread")]
async fn closed_pipes_are_told_to_program_and_host() {
    let memory = Memory::new(65536);
    let (drain, output) = std::io::pipe().unwrap();
    let mut ctx = WasiCtx::builder().stdout_fd(output.into()).build().unwrap();
    assert_eq!(write(&mut ctx, &memory, 1, 4).await, ("ESUCCESS", 4));
    assert!(!ctx.closed_pipe());
    drop(drain);
    assert_eq!(write(&mut ctx, &memory, 1, 4).await.0, "EPIPE");
    assert!(ctx.closed_pipe());
}

#[tokio::test(flavor = "current_thread")]
async fn terminals_are_told_from_other_devices() {
    let memory = Memory::new(65536);
    let master =
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let open = |path: &std::ffi::CStr| {
        rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .unwrap()
    };
    let terminal = open(&name);
    let (pipe, _feed) = std::io::pipe().unwrap();
    let mut ctx = WasiCtx::builder()
        .stdin_fd(pipe.into())
        .stdout_fd(terminal.try_clone().unwrap())
        .stderr_fd(open(c"/dev/null"))
        .build()
        .unwrap();
    assert_eq!(fdstat(&mut ctx, &memory, 0).await.0, 0);
    assert!(seems_terminal(fdstat(&mut ctx, &memory, 1).await));
    assert_eq!(fdstat(&mut ctx, &memory, 2).await.0, 2);
    assert!(!seems_terminal(fdstat(&mut ctx, &memory, 2).await));
    memory.put(DATA, b"to the terminal");
    assert_eq!(write(&mut ctx, &memory, 1, 15).await, ("ESUCCESS", 15));
    assert_eq!(write(&mut ctx, &memory, 2, 15).await, ("ESUCCESS", 15));
    let mut got = [0; 15];
    assert_eq!(rustix::io::read(&master, &mut got).unwrap(), 15);
    assert_eq!(&got, b"to the terminal");
    assert!(!is_nonblocking(&terminal));
}

#[tokio::test(flavor = "current_thread")]
async fn waiting_calls_can_be_dropped_and_made_again() {
    let memory = Memory::new(1 << 20);
    let (input, mut feed) = std::io::pipe().unwrap();
    let (mut drain, output) = std::io::pipe().unwrap();
    let mut ctx = WasiCtx::builder().stdin_fd(input.into()).stdout_fd(output.into()).build().unwrap();
    // Fill the pipe, so that the next write has to wait.
    memory.put(DATA, &[b'x'; 70_000]);
    let (_, filled) = write(&mut ctx, &memory, 1, 70_000).await;
    assert!(filled > 0 && filled < 70_000);
    memory.put(DATA, b"once");
    memory.iovecs(0, &[(DATA, 4)]);
    for (f, fd) in [(F::FdWrite, 1), (F::FdRead, 0)] {
        let mut request = CallRequest { func: f as u32, args: Default::default() };
        request.args[..4].copy_from_slice(&[fd, 0, 1, RESULT.into()]);
        for _ in 0..3 {
            let call = ctx.call(&request, &memory);
            tokio::time::timeout(Duration::from_millis(5), call).await.expect_err("there is nothing to do");
        }
    }
    let mut got = vec![0; filled as usize];
    drain.read_exact(&mut got).unwrap();
    assert_eq!(write(&mut ctx, &memory, 1, 4).await, ("ESUCCESS", 4));
    drain.read_exact(&mut got[..4]).unwrap();
    assert_eq!(&got[..4], b"once");
    feed.write_all(b"1").unwrap();
    assert_eq!(read(&mut ctx, &memory, 0, 10).await, ("ESUCCESS", 1));
    drop(feed);
    assert_eq!(read(&mut ctx, &memory, 0, 10).await, ("ESUCCESS", 0));
}

#[tokio::test(flavor = "current_thread")]
async fn questions_are_seen_before_answers_are_waited_for() {
    let memory = Memory::new(65536);
    let (input, _feed) = std::io::pipe().unwrap();
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let mut ctx =
        WasiCtx::builder().stdin_fd(input.into()).stdout(tokio::io::BufWriter::new(ours)).build().unwrap();
    memory.put(DATA, b"name?");
    assert_eq!(write(&mut ctx, &memory, 1, 5).await, ("ESUCCESS", 5));
    let mut request = CallRequest { func: F::FdRead as u32, args: Default::default() };
    request.args[..4].copy_from_slice(&[0, 0, 1, RESULT.into()]);
    {
        let call = pin!(ctx.call(&request, &memory));
        assert!(matches!(call.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    }
    let mut got = [0; 5];
    theirs.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"name?");
}

#[tokio::test(flavor = "current_thread")]
async fn nonblocking_streams_do_not_wait() {
    let memory = Memory::new(1 << 20);
    let (input, mut feed) = std::io::pipe().unwrap();
    let (_drain, output) = std::io::pipe().unwrap();
    let mut ctx = WasiCtx::builder().stdin_fd(input.into()).stdout_fd(output.into()).build().unwrap();
    for fd in [0, 1] {
        assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetFlags, &[fd, 4]).await.name(), "ESUCCESS");
    }
    assert_eq!(read(&mut ctx, &memory, 0, 10).await.0, "EAGAIN");
    let (_, filled) = write(&mut ctx, &memory, 1, 1_000_000).await;
    assert!(filled < 1_000_000);
    assert_eq!(write(&mut ctx, &memory, 1, 100_000).await.0, "EAGAIN");
    feed.write_all(b"1").unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(read(&mut ctx, &memory, 0, 10).await, ("ESUCCESS", 1));
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetFlags, &[0, 1 << 4]).await.name(), "ENOTSUP");
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetFlags, &[0, 1 << 5]).await.name(), "EINVAL");
}

#[tokio::test(flavor = "current_thread")]
async fn descriptors_are_closed_moved_and_restricted() {
    let memory = Memory::new(65536);
    let (sink, mut other) = tokio::io::duplex(1024);
    let mut ctx = WasiCtx::builder().stderr(tokio::io::BufWriter::new(sink)).build().unwrap();
    memory.put(DATA, b"abc");
    assert_eq!(write(&mut ctx, &memory, 2, 3).await, ("ESUCCESS", 3));
    assert_eq!(errno(&mut ctx, &memory, F::FdRenumber, &[2, 7]).await.name(), "EBADF");
    assert_eq!(errno(&mut ctx, &memory, F::FdRenumber, &[7, 2]).await.name(), "EBADF");
    assert_eq!(errno(&mut ctx, &memory, F::FdRenumber, &[2, 2]).await.name(), "ESUCCESS");
    assert_eq!(errno(&mut ctx, &memory, F::FdRenumber, &[2, 1]).await.name(), "ESUCCESS");
    assert_eq!(write(&mut ctx, &memory, 2, 3).await.0, "EBADF");
    assert_eq!(write(&mut ctx, &memory, 1, 3).await, ("ESUCCESS", 3));
    assert_eq!(errno(&mut ctx, &memory, F::FdClose, &[1]).await.name(), "ESUCCESS");
    assert_eq!(errno(&mut ctx, &memory, F::FdClose, &[1]).await.name(), "EBADF");
    let mut got = Vec::new();
    other.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"abcabc");

    let (_, rights) = fdstat(&mut ctx, &memory, 0).await;
    assert_eq!(
        errno(&mut ctx, &memory, F::FdFdstatSetRights, &[0, rights | 1 << 6, 0]).await.name(),
        "ENOTCAPABLE"
    );
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetRights, &[0, rights, 1]).await.name(), "ENOTCAPABLE");
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetRights, &[0, rights & !2, 0]).await.name(), "ESUCCESS");
    assert_eq!(read(&mut ctx, &memory, 0, 1).await.0, "ENOTCAPABLE");
}

#[tokio::test(flavor = "current_thread")]
async fn what_streams_cannot_do_is_refused_as_natively() {
    let memory = Memory::new(65536);
    let mut ctx = WasiCtx::builder().build().unwrap();
    for (f, args, expected) in [
        (F::FdRead, &[1, 0, 0, 0][..], "EBADF"),
        (F::FdWrite, &[0, 0, 0, 0], "EBADF"),
        (F::FdPread, &[0], "ESPIPE"),
        (F::FdPwrite, &[1], "ESPIPE"),
        (F::FdPread, &[1], "EBADF"),
        (F::FdSeek, &[1], "ESPIPE"),
        (F::FdTell, &[0], "ESPIPE"),
        (F::FdAdvise, &[0], "ESPIPE"),
        (F::FdAllocate, &[1], "ESPIPE"),
        (F::FdSync, &[1], "EINVAL"),
        (F::FdDatasync, &[9], "EBADF"),
        (F::FdFilestatSetSize, &[1], "EINVAL"),
        (F::FdFilestatSetTimes, &[9], "EBADF"),
        (F::FdReaddir, &[0], "ENOTDIR"),
        (F::FdPrestatGet, &[0, 0], "EBADF"),
        (F::FdPrestatGet, &[3, 0], "EBADF"),
        (F::FdPrestatDirName, &[3, 0, 0], "EBADF"),
        (F::PathOpen, &[3], "EBADF"),
        (F::PathOpen, &[0], "ENOTDIR"),
        (F::PathSymlink, &[0, 0, 3], "EBADF"),
        (F::PathUnlinkFile, &[1], "ENOTDIR"),
        (F::SockAccept, &[3], "EBADF"),
        (F::SockRecv, &[0], "ENOTSOCK"),
        (F::SockSend, &[1], "ENOTSOCK"),
        (F::SockShutdown, &[2], "ENOTSOCK"),
        (F::FdFdstatGet, &[3, 0], "EBADF"),
        (F::FdFilestatGet, &[1, 0], "ESUCCESS"),
    ] {
        assert_eq!(errno(&mut ctx, &memory, f, args).await.name(), expected, "{}{args:?}", f.name());
    }
}
