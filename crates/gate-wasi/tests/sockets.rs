//! Listeners and connections: what programs do with them, and what becomes of them.

mod guest;

use gate_wasi::{StateError, WasiCtx};
use gate_wire::call::CallRequest;
use gate_wire::wasi::WasiFunction as F;
use guest::{Memory, errno};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const LISTENER: u64 = 3;
const NONBLOCK: u64 = 4;
const PEEK: u64 = 1;
const WAITALL: u64 = 2;
const DATA: u32 = 8192;
const RESULT: u64 = 16;

fn context() -> (WasiCtx, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (WasiCtx::builder().listener(listener).build().unwrap(), addr)
}

async fn accept(ctx: &mut WasiCtx, memory: &Memory, flags: u64) -> Result<u64, &'static str> {
    match errno(ctx, memory, F::SockAccept, &[LISTENER, flags, RESULT]).await.name() {
        "ESUCCESS" => Ok(memory.u32(RESULT as u32).into()),
        name => Err(name),
    }
}

/// A program with a connection, the other side of it, and the address of the listener.
async fn connected(memory: &Memory) -> (WasiCtx, u64, TcpStream, SocketAddr) {
    let (mut ctx, addr) = context();
    let client = TcpStream::connect(addr).unwrap();
    let fd = accept(&mut ctx, memory, 0).await.unwrap();
    (ctx, fd, client, addr)
}

async fn receive(
    ctx: &mut WasiCtx,
    memory: &Memory,
    fd: u64,
    len: u32,
    flags: u64,
) -> Result<Vec<u8>, &'static str> {
    memory.iovecs(0, &[(DATA, len)]);
    memory.put(24, &[7, 7]);
    match errno(ctx, memory, F::SockRecv, &[fd, 0, 1, flags, RESULT, 24]).await.name() {
        "ESUCCESS" => {
            assert_eq!(memory.bytes(24, 2), [0, 0]);
            Ok(memory.bytes(DATA, memory.u32(RESULT as u32) as usize))
        }
        name => Err(name),
    }
}

async fn send(ctx: &mut WasiCtx, memory: &Memory, fd: u64, data: &[u8]) -> Result<u32, &'static str> {
    memory.put(DATA, data);
    memory.iovecs(0, &[(DATA, data.len() as u32)]);
    match errno(ctx, memory, F::SockSend, &[fd, 0, 1, 0, RESULT]).await.name() {
        "ESUCCESS" => Ok(memory.u32(RESULT as u32)),
        name => Err(name),
    }
}

/// Makes a call that waits, and gives up.
async fn interrupted(ctx: &mut WasiCtx, memory: &Memory, f: F, args: &[u64]) {
    let mut request = CallRequest { func: f as u32, args: Default::default() };
    request.args[..args.len()].copy_from_slice(args);
    let call = tokio::time::timeout(Duration::from_millis(10), ctx.call(&request, memory));
    assert!(call.await.is_err(), "it does not wait");
}

/// Waits for an event of a descriptor: its error number, how many bytes, and whether the other side is gone.
async fn poll(ctx: &mut WasiCtx, memory: &Memory, fd: u64, write: bool) -> (u16, u64, bool) {
    let mut record = vec![0; 48];
    record[8] = 1 + u8::from(write);
    record[16] = fd as u8;
    memory.put(100, &record);
    assert_eq!(errno(ctx, memory, F::PollOneoff, &[100, 200, 1, 300]).await.name(), "ESUCCESS");
    let error = memory.u32(208) as u16;
    (error, memory.u64(216), memory.bytes(224, 1)[0] != 0)
}

#[tokio::test]
async fn bytes_go_both_ways() {
    let memory = Memory::new(4 << 20);
    let (mut ctx, fd, mut client, _) = connected(&memory).await;
    assert_eq!(fd, 4);
    for fd in [LISTENER, fd] {
        assert_eq!(errno(&mut ctx, &memory, F::FdFdstatGet, &[fd, 0]).await.name(), "ESUCCESS");
        assert_eq!(memory.bytes(0, 1), [6]);
        assert_eq!(errno(&mut ctx, &memory, F::FdFilestatGet, &[fd, 512]).await.name(), "ESUCCESS");
        assert_eq!(memory.bytes(528, 1), [6]);
    }
    client.write_all(b"hello").unwrap();
    assert_eq!(receive(&mut ctx, &memory, fd, 3, PEEK).await.unwrap(), b"hel");
    assert_eq!(receive(&mut ctx, &memory, fd, 3, 0).await.unwrap(), b"hel");
    memory.iovecs(0, &[(DATA, 10)]);
    assert_eq!(errno(&mut ctx, &memory, F::FdRead, &[fd, 0, 1, RESULT]).await.name(), "ESUCCESS");
    assert_eq!(memory.bytes(DATA, memory.u32(RESULT as u32) as usize), b"lo");
    assert_eq!(send(&mut ctx, &memory, fd, b"world").await, Ok(5));
    memory.iovecs(0, &[(DATA, 2)]);
    assert_eq!(errno(&mut ctx, &memory, F::FdWrite, &[fd, 0, 1, RESULT]).await.name(), "ESUCCESS");
    let mut got = [0; 7];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"worldwo");

    // Much of it, in pieces.
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (sent, expected) = (data.clone(), data.clone());
    let mut writer = client.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut reader = client.try_clone().unwrap();
    let receiver = std::thread::spawn(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert!(got == expected);
    });
    let mut got = Vec::new();
    while got.len() < data.len() {
        got.extend(receive(&mut ctx, &memory, fd, 1 << 20, 0).await.unwrap());
    }
    assert!(got == data);
    let mut rest = &data[..];
    while !rest.is_empty() {
        let n = send(&mut ctx, &memory, fd, rest).await.unwrap();
        rest = &rest[n as usize..];
    }
    assert_eq!(errno(&mut ctx, &memory, F::SockShutdown, &[fd, 2]).await.name(), "ESUCCESS");
    assert_eq!(send(&mut ctx, &memory, fd, b"x").await, Err("EPIPE"));
    assert!(!ctx.closed_pipe(), "only standard streams end a program");
    sender.join().unwrap();
    receiver.join().unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(poll(&mut ctx, &memory, fd, false).await, (0, 0, true));
    assert_eq!(receive(&mut ctx, &memory, fd, 9, 0).await.unwrap(), b"");
    assert_eq!(errno(&mut ctx, &memory, F::FdClose, &[fd]).await.name(), "ESUCCESS");
    assert_eq!(receive(&mut ctx, &memory, fd, 9, 0).await, Err("EBADF"));
}

#[tokio::test]
async fn calls_are_for_the_right_descriptors() {
    let memory = Memory::new(65536);
    let (mut ctx, fd, _client, _) = connected(&memory).await;
    for (f, args, expected) in [
        (F::SockAccept, &[0, 0, 16][..], "ENOTSOCK"),
        (F::SockAccept, &[9, 0, 16], "EBADF"),
        (F::SockAccept, &[fd, 0, 16], "EINVAL"),
        (F::SockAccept, &[LISTENER, 1, 16], "EINVAL"),
        (F::SockAccept, &[LISTENER, 0, 65534], "EFAULT"),
        (F::SockRecv, &[0, 0, 0, 0, 16, 24], "ENOTSOCK"),
        (F::SockRecv, &[LISTENER, 0, 0, 0, 16, 24], "ENOTCONN"),
        (F::SockRecv, &[fd, 0, 0, 4, 16, 24], "EINVAL"),
        (F::SockRecv, &[fd, 0, 0, 0, 16, 65535], "EFAULT"),
        (F::SockSend, &[1, 0, 0, 0, 16], "ENOTSOCK"),
        (F::SockSend, &[LISTENER, 0, 0, 0, 16], "ENOTCONN"),
        (F::SockSend, &[fd, 0, 0, 1, 16], "EINVAL"),
        (F::SockShutdown, &[0, 1], "ENOTSOCK"),
        (F::SockShutdown, &[LISTENER, 1], "ENOTCONN"),
        (F::SockShutdown, &[fd, 0], "EINVAL"),
        (F::SockShutdown, &[fd, 4], "EINVAL"),
        (F::FdRead, &[LISTENER, 0, 0, 16], "ENOTCONN"),
        (F::FdWrite, &[LISTENER, 0, 0, 16], "ENOTCONN"),
        (F::FdSeek, &[fd, 0, 0, 16], "ESPIPE"),
        (F::FdPread, &[fd, 0, 0, 0, 16], "ESPIPE"),
        (F::FdPwrite, &[fd, 0, 0, 0, 16], "ESPIPE"),
        (F::FdPrestatGet, &[LISTENER, 0], "EBADF"),
        (F::FdReaddir, &[fd, 0, 0, 0, 16], "ENOTDIR"),
        (F::FdFilestatSetSize, &[fd, 0], "EINVAL"),
        (F::FdSync, &[fd], "ENOTCAPABLE"),
        (F::FdFdstatSetFlags, &[fd, 2], "ENOTSUP"),
    ] {
        assert_eq!(errno(&mut ctx, &memory, f, args).await.name(), expected, "{}{args:?}", f.name());
    }
}

#[tokio::test]
async fn rights_are_given_up_for_good() {
    let memory = Memory::new(65536);
    let (mut ctx, addr) = context();
    // What is accepted later can be received from only.
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatGet, &[LISTENER, 0]).await.name(), "ESUCCESS");
    let (base, inheriting) = (memory.u64(8), memory.u64(16));
    assert_eq!(base & (1 << 29), 1 << 29);
    let args = [LISTENER, base, inheriting & !(1 << 6)];
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetRights, &args).await.name(), "ESUCCESS");
    let mut client = TcpStream::connect(addr).unwrap();
    let fd = accept(&mut ctx, &memory, 0).await.unwrap();
    client.write_all(b"x").unwrap();
    assert_eq!(receive(&mut ctx, &memory, fd, 9, 0).await.unwrap(), b"x");
    assert_eq!(send(&mut ctx, &memory, fd, b"x").await, Err("ENOTCAPABLE"));
    let mut other = context().0;
    other.restore(&ctx.save()).unwrap();
    assert_eq!(errno(&mut other, &memory, F::FdFdstatGet, &[LISTENER, 0]).await.name(), "ESUCCESS");
    assert_eq!(memory.u64(16), inheriting & !(1 << 6), "also where it goes on");
    let args = [LISTENER, base & !(1 << 29), 0];
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetRights, &args).await.name(), "ESUCCESS");
    assert_eq!(accept(&mut ctx, &memory, 0).await, Err("ENOTCAPABLE"));
}

#[tokio::test]
async fn nonblocking_sockets_do_not_wait() {
    let memory = Memory::new(4 << 20);
    let (mut ctx, addr) = context();
    let flags = [LISTENER, NONBLOCK];
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetFlags, &flags).await.name(), "ESUCCESS");
    assert_eq!(accept(&mut ctx, &memory, NONBLOCK).await, Err("EAGAIN"));
    let mut client = TcpStream::connect(addr).unwrap();
    assert_eq!(poll(&mut ctx, &memory, LISTENER, false).await, (0, 1, false));
    let fd = accept(&mut ctx, &memory, NONBLOCK).await.unwrap();
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatGet, &[fd, 0]).await.name(), "ESUCCESS");
    assert_eq!(memory.bytes(2, 2), [4, 0]);
    assert_eq!(receive(&mut ctx, &memory, fd, 9, 0).await, Err("EAGAIN"));
    assert_eq!(receive(&mut ctx, &memory, fd, 9, WAITALL).await, Err("EAGAIN"));
    client.write_all(b"abc").unwrap();
    assert_eq!(poll(&mut ctx, &memory, fd, false).await, (0, 3, false));
    assert_eq!(receive(&mut ctx, &memory, fd, 9, WAITALL).await.unwrap(), b"abc");
    assert_eq!(poll(&mut ctx, &memory, fd, true).await.0, 0);
    let data = vec![0; 1 << 20];
    while send(&mut ctx, &memory, fd, &data).await != Err("EAGAIN") {}
    drop(client);
    let (error, _, hangup) = poll(&mut ctx, &memory, fd, true).await;
    assert_eq!((error, hangup), (0, true));
}

#[tokio::test]
async fn interrupted_calls_lose_nothing() {
    let memory = Memory::new(4 << 20);
    let (mut ctx, addr) = context();
    for _ in 0..3 {
        interrupted(&mut ctx, &memory, F::SockAccept, &[LISTENER, 0, RESULT]).await;
    }
    let mut client = TcpStream::connect(addr).unwrap();
    let fd = accept(&mut ctx, &memory, 0).await.unwrap();
    memory.iovecs(0, &[(DATA, 6)]);
    let all = [fd, 0, 1, WAITALL, RESULT, 24];
    for (f, args) in [(F::SockRecv, &[fd, 0, 1, 0, RESULT, 24][..]), (F::FdRead, &[fd, 0, 1, RESULT])] {
        interrupted(&mut ctx, &memory, f, args).await;
    }
    client.write_all(b"abc").unwrap();
    interrupted(&mut ctx, &memory, F::SockRecv, &all).await;
    // What has come is there for others.
    assert_eq!(poll(&mut ctx, &memory, fd, false).await, (0, 3, false));
    assert_eq!(receive(&mut ctx, &memory, fd, 1, 0).await.unwrap(), b"a");
    client.write_all(b"defg").unwrap();
    assert_eq!(receive(&mut ctx, &memory, fd, 6, WAITALL).await.unwrap(), b"bcdefg");
    client.write_all(b"h").unwrap();
    drop(client);
    assert_eq!(receive(&mut ctx, &memory, fd, 6, WAITALL).await.unwrap(), b"h");
    assert_eq!(receive(&mut ctx, &memory, fd, 6, WAITALL).await.unwrap(), b"");
}

#[tokio::test]
async fn listeners_go_along_and_connections_are_lost() {
    let memory = Memory::new(65536);
    let (mut ctx, fd, _client, _) = connected(&memory).await;
    let flags = [LISTENER, NONBLOCK];
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetFlags, &flags).await.name(), "ESUCCESS");
    let state = ctx.save();
    assert_eq!(state[0], 4, "only later versions have sockets");

    let mut none = WasiCtx::builder().build().unwrap();
    assert_eq!(none.restore(&state), Err(StateError::MissingListener(1)));
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let mut two = WasiCtx::builder().listener(listener()).listener(listener()).build().unwrap();
    assert_eq!(two.restore(&state), Err(StateError::UnusedListener(1)));
    let without = WasiCtx::builder().build().unwrap().save();
    assert_eq!(context().0.restore(&without), Err(StateError::UnusedListener(0)));

    let (mut other, addr) = context();
    other.restore(&state).unwrap();
    assert_eq!(other.save(), state);
    assert_eq!(accept(&mut other, &memory, 0).await, Err("EAGAIN"));
    assert_eq!(receive(&mut other, &memory, fd, 9, 0).await, Err("ECONNRESET"));
    assert_eq!(receive(&mut other, &memory, fd, 9, WAITALL).await, Err("ECONNRESET"));
    assert_eq!(send(&mut other, &memory, fd, b"x").await, Err("EPIPE"));
    assert_eq!(errno(&mut other, &memory, F::SockShutdown, &[fd, 3]).await.name(), "ENOTCONN");
    assert_eq!(poll(&mut other, &memory, fd, false).await, (0, 0, true));
    assert_eq!(poll(&mut other, &memory, fd, true).await, (0, 0, true));
    let mut client = TcpStream::connect(addr).unwrap();
    assert_eq!(poll(&mut other, &memory, LISTENER, false).await, (0, 1, false));
    let new = accept(&mut other, &memory, 0).await.unwrap();
    client.write_all(b"new").unwrap();
    assert_eq!(receive(&mut other, &memory, new, 9, 0).await.unwrap(), b"new");

    let mut other = WasiCtx::builder().tolerate_missing_files().build().unwrap();
    other.restore(&state).unwrap();
    assert_eq!(accept(&mut other, &memory, 0).await, Err("EBADF"));
    for n in 0..state.len() {
        assert!(context().0.restore(&state[..n]).is_err(), "{n} bytes");
    }
}

#[tokio::test]
async fn listeners_keep_their_order() {
    let memory = Memory::new(65536);
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    let build = |listeners: [TcpListener; 2]| {
        listeners.into_iter().fold(WasiCtx::builder(), |builder, listener| builder.listener(listener))
    };
    let mut ctx = build([bind(), bind()]).build().unwrap();
    // The second one in place of the first.
    assert_eq!(errno(&mut ctx, &memory, F::FdRenumber, &[4, 3]).await.name(), "ESUCCESS");
    let state = ctx.save();
    let (first, second) = (bind(), bind());
    let addr = second.local_addr().unwrap();
    let mut other = build([first, second]).build().unwrap();
    other.restore(&state).unwrap();
    let _client = TcpStream::connect(addr).unwrap();
    assert_eq!(accept(&mut other, &memory, 0).await, Ok(4));
}
