//! What goes along with a suspended program, and what hostile states do.

mod guest;

use gate_runtime::{HostFunctions, RestoreError, SavedService, Start};
use gate_wasi::{Access, StateError, WasiCtx};
use gate_wire::call::CallRequest;
use gate_wire::wasi::WasiFunction as F;
use guest::{Memory, errno};
use proptest::prelude::*;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const MS: u64 = 1_000_000;

/// A subscription of `poll_oneoff` to a clock.
fn clock(timeout: u64) -> Vec<u8> {
    let mut record = vec![0; 48];
    record[16..20].copy_from_slice(&1u32.to_le_bytes());
    record[24..32].copy_from_slice(&timeout.to_le_bytes());
    record
}

/// A subscription of `poll_oneoff` to standard input.
fn readable() -> Vec<u8> {
    let mut record = vec![0; 48];
    record[8] = 1;
    record
}

/// Calls, and gives up after a while.
async fn interrupted(ctx: &mut WasiCtx, memory: &Memory, f: F, args: &[u64], after: Duration) {
    let mut request = CallRequest { func: f as u32, args: Default::default() };
    request.args[..args.len()].copy_from_slice(args);
    let result = tokio::time::timeout(after, ctx.call(&request, memory)).await;
    assert!(result.is_err(), "it does not wait: {result:?}");
}

async fn strings(ctx: &mut WasiCtx, memory: &Memory, f: F) -> Vec<u8> {
    memory.put(1024, &[0; 64]);
    assert_eq!(errno(ctx, memory, f, &[512, 1024]).await.name(), "ESUCCESS");
    memory.bytes(1024, 64)
}

async fn read(ctx: &mut WasiCtx, memory: &Memory, fd: u64, len: u32) -> (&'static str, Vec<u8>) {
    memory.iovecs(0, &[(2048, len)]);
    let errno = errno(ctx, memory, F::FdRead, &[fd, 0, 1, 16]).await;
    (errno.name(), memory.bytes(2048, memory.u32(16) as usize))
}

fn context() -> WasiCtx {
    WasiCtx::builder()
        .args(["p", "", "x y"])
        .env("A", "")
        .env("B", "1=2")
        .stdin(&b"abcdef"[..])
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_context_goes_on_in_another_one() {
    let memory = Memory::new(65536);
    let mut ctx = context();
    // Looked at, so read ahead; and one byte of it taken.
    memory.put(100, &readable());
    assert_eq!(errno(&mut ctx, &memory, F::PollOneoff, &[100, 200, 1, 300]).await.name(), "ESUCCESS");
    assert_eq!(read(&mut ctx, &memory, 0, 1).await, ("ESUCCESS", b"a".to_vec()));
    // Standard error is in standard output's place, and standard input cannot be waited for any more.
    assert_eq!(errno(&mut ctx, &memory, F::FdRenumber, &[2, 1]).await.name(), "ESUCCESS");
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatGet, &[0, 0]).await.name(), "ESUCCESS");
    let kept = memory.u64(8) & !(1 << 27);
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetRights, &[0, kept, 0]).await.name(), "ESUCCESS");
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatSetFlags, &[1, 4]).await.name(), "ESUCCESS");

    let state = ctx.save();
    assert_eq!(state, ctx.save());
    let (sink, mut output) = tokio::io::duplex(100);
    let mut other = WasiCtx::builder().args(["other"]).stdin(&b"XYZ"[..]).stderr(sink).build().unwrap();
    other.restore(&state).unwrap();
    assert_eq!(other.save(), state);
    for f in [F::ArgsGet, F::EnvironGet] {
        assert_eq!(strings(&mut other, &memory, f).await, strings(&mut ctx, &memory, f).await);
    }
    assert_eq!(strings(&mut other, &memory, F::ArgsGet).await[..8], *b"p\0\0x y\0\0");
    // What was read ahead comes before what the new stream has.
    assert_eq!(read(&mut other, &memory, 0, 100).await, ("ESUCCESS", b"bcdef".to_vec()));
    assert_eq!(read(&mut other, &memory, 0, 100).await, ("ESUCCESS", b"XYZ".to_vec()));
    memory.put(100, &readable());
    assert_eq!(errno(&mut other, &memory, F::PollOneoff, &[100, 200, 1, 300]).await.name(), "ESUCCESS");
    assert_eq!(memory.bytes(208, 2), [76, 0], "the right is lost for good");
    assert_eq!(errno(&mut other, &memory, F::FdFdstatGet, &[1, 0]).await.name(), "ESUCCESS");
    assert_eq!(memory.bytes(2, 2), [4, 0]);
    memory.put(2048, b"out");
    memory.iovecs(0, &[(2048, 3)]);
    assert_eq!(errno(&mut other, &memory, F::FdWrite, &[1, 0, 1, 16]).await.name(), "ESUCCESS");
    assert_eq!(errno(&mut other, &memory, F::FdWrite, &[2, 0, 1, 16]).await.name(), "EBADF");
    let mut got = [0; 3];
    tokio::io::AsyncReadExt::read_exact(&mut output, &mut got).await.unwrap();
    assert_eq!(&got, b"out");
}

#[tokio::test]
async fn the_end_that_was_read_ahead_stays_the_end() {
    let memory = Memory::new(65536);
    let mut ctx = WasiCtx::builder().build().unwrap();
    memory.put(100, &readable());
    assert_eq!(errno(&mut ctx, &memory, F::PollOneoff, &[100, 200, 1, 300]).await.name(), "ESUCCESS");
    let mut other = WasiCtx::builder().stdin(&b"more"[..]).build().unwrap();
    other.restore(&ctx.save()).unwrap();
    assert_eq!(read(&mut other, &memory, 0, 10).await, ("ESUCCESS", Vec::new()));
    assert_eq!(read(&mut other, &memory, 0, 10).await, ("ESUCCESS", b"more".to_vec()));
}

#[tokio::test]
async fn what_is_interrupted_has_had_no_effect() {
    let memory = Memory::new(65536);
    let (mut feed, input) = tokio::io::duplex(100);
    let (output, mut drain) = tokio::io::duplex(4);
    let mut ctx = WasiCtx::builder().stdin(input).stdout(output).build().unwrap();
    let short = Duration::from_millis(5);
    memory.iovecs(0, &[(2048, 10)]);
    interrupted(&mut ctx, &memory, F::FdRead, &[0, 0, 1, 16], short).await;
    memory.put(100, &readable());
    interrupted(&mut ctx, &memory, F::PollOneoff, &[100, 200, 1, 300], short).await;
    tokio::io::AsyncWriteExt::write_all(&mut feed, b"12").await.unwrap();
    assert_eq!(read(&mut ctx, &memory, 0, 10).await, ("ESUCCESS", b"12".to_vec()));

    memory.put(2048, b"abcdef");
    memory.iovecs(0, &[(2048, 6)]);
    assert_eq!(errno(&mut ctx, &memory, F::FdWrite, &[1, 0, 1, 16]).await.name(), "ESUCCESS");
    assert_eq!(memory.u32(16), 4);
    memory.iovecs(0, &[(2052, 2)]);
    for _ in 0..3 {
        interrupted(&mut ctx, &memory, F::FdWrite, &[1, 0, 1, 16], short).await;
    }
    let mut got = [0; 6];
    tokio::io::AsyncReadExt::read_exact(&mut drain, &mut got[..4]).await.unwrap();
    assert_eq!(errno(&mut ctx, &memory, F::FdWrite, &[1, 0, 1, 16]).await.name(), "ESUCCESS");
    assert_eq!(memory.u32(16), 2);
    tokio::io::AsyncReadExt::read_exact(&mut drain, &mut got[4..]).await.unwrap();
    assert_eq!(&got, b"abcdef");
}

#[tokio::test]
async fn an_interrupted_wait_goes_on_and_does_not_begin_anew() {
    const WAIT: [u64; 4] = [100, 200, 1, 300];
    let memory = Memory::new(65536);
    let mut ctx = WasiCtx::builder().build().unwrap();
    ctx.begin(&Start { resumed: false, monotonic_time: 77 * MS });
    memory.put(100, &clock(400 * MS));
    let part = Duration::from_millis(300);
    interrupted(&mut ctx, &memory, F::PollOneoff, &WAIT, part).await;
    let state = ctx.save();
    let time = 77 * MS + 300 * MS;
    for elsewhere in [false, true] {
        let mut other = WasiCtx::builder().build().unwrap();
        let ctx = if elsewhere {
            other.restore(&state).unwrap();
            &mut other
        } else {
            &mut ctx
        };
        // The time when it was suspended does not count.
        tokio::time::sleep(Duration::from_millis(200)).await;
        ctx.begin(&Start { resumed: true, monotonic_time: time });
        let start = Instant::now();
        assert_eq!(errno(ctx, &memory, F::PollOneoff, &WAIT).await.name(), "ESUCCESS");
        let rest = start.elapsed();
        assert!((Duration::from_millis(95)..Duration::from_millis(300)).contains(&rest), "{rest:?}");
        // The next one is another one.
        let start = Instant::now();
        memory.put(100, &clock(50 * MS));
        assert_eq!(errno(ctx, &memory, F::PollOneoff, &WAIT).await.name(), "ESUCCESS");
        assert!(start.elapsed() >= Duration::from_millis(50));
        memory.put(100, &clock(400 * MS));
    }
}

#[tokio::test]
async fn a_new_program_does_not_inherit_a_wait() {
    const WAIT: [u64; 4] = [100, 200, 1, 300];
    let memory = Memory::new(65536);
    let mut ctx = WasiCtx::builder().build().unwrap();
    memory.put(100, &clock(100 * MS));
    for resumed in [false, true] {
        interrupted(&mut ctx, &memory, F::PollOneoff, &WAIT, Duration::from_millis(60)).await;
        ctx.begin(&Start { resumed, monotonic_time: 60 * MS });
        if resumed {
            // It makes another call first, so it is none of ours.
            errno(&mut ctx, &memory, F::SchedYield, &[]).await;
        }
        let start = Instant::now();
        assert_eq!(errno(&mut ctx, &memory, F::PollOneoff, &WAIT).await.name(), "ESUCCESS");
        assert!(start.elapsed() >= Duration::from_millis(100));
    }
}

#[tokio::test]
async fn services_have_names() {
    let mut ctx = context();
    let saved = HostFunctions::save(&ctx);
    assert_eq!(saved.len(), 1);
    assert_eq!(saved[0].name, "wasi_snapshot_preview1");
    HostFunctions::restore(&mut ctx, &saved).unwrap();
    assert_eq!(HostFunctions::save(&ctx), saved);
    let unknown = [SavedService { name: "database".into(), state: Vec::new() }];
    let error = HostFunctions::restore(&mut ctx, &unknown).unwrap_err();
    assert_eq!(error.to_string(), "there is no service \"database\"");
    let damaged = [SavedService { name: saved[0].name.clone(), state: vec![9, 0, 0, 0] }];
    let error = HostFunctions::restore(&mut ctx, &damaged).unwrap_err();
    assert!(matches!(error, RestoreError::State { .. }));
    assert_eq!(
        error.to_string(),
        "restore service \"wasi_snapshot_preview1\": state of version 9 is not supported"
    );
}

/// Fields of a state that has one descriptor, for what is wrong with them.
struct Fields {
    environ: Vec<u8>,
    descriptors: Vec<(u32, u32, u32, Vec<u8>, u32)>,
    waits: u32,
}

impl Default for Fields {
    fn default() -> Self {
        Self { environ: b"A=b\0".to_vec(), descriptors: vec![(0, 0, 0, b"ahead".to_vec(), 0)], waits: 0 }
    }
}

impl Fields {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let u32 = |out: &mut Vec<u8>, n: u32| out.extend_from_slice(&n.to_le_bytes());
        for n in [1, 0, self.environ.len() as u32] {
            u32(&mut out, n);
        }
        out.extend_from_slice(&self.environ);
        u32(&mut out, self.descriptors.len() as u32);
        for (fd, stream, flags, ahead, end) in &self.descriptors {
            for n in [*fd, *stream, *flags, 0, 0, ahead.len() as u32] {
                u32(&mut out, n);
            }
            out.extend_from_slice(ahead);
            u32(&mut out, *end);
        }
        u32(&mut out, self.waits);
        out
    }
}

#[tokio::test]
async fn impossible_states_are_refused() {
    let descriptor = |fd, stream, flags, ahead: &[u8], end| Fields {
        descriptors: vec![(fd, stream, flags, ahead.to_vec(), end)],
        ..Default::default()
    };
    let environ = |environ: &[u8]| Fields { environ: environ.to_vec(), ..Default::default() };
    let good = Fields::default().encode();
    context().restore(&good).unwrap();

    for (fields, message) in [
        (environ(b"A=b"), "a string does not end with NUL"),
        (environ(b"A\0"), "an environment variable has no name or no value"),
        (environ(b"=A\0"), "an environment variable has no name or no value"),
        (environ(b"\0"), "an environment variable has no name or no value"),
        (descriptor(3, 0, 0, b"", 0), "a descriptor's number is too large"),
        (descriptor(0, 3, 0, b"", 0), "a descriptor's number is too large"),
        (descriptor(u32::MAX, 0, 0, b"", 0), "a descriptor's number is too large"),
        (descriptor(0, 0, 2, b"", 0), "a descriptor has unknown flags"),
        (descriptor(0, 0, 1 << 16, b"", 0), "a descriptor has unknown flags"),
        (descriptor(0, 0, 0, &[1; 65537], 0), "too much was read ahead"),
        (descriptor(0, 1, 0, b"x", 0), "something was read ahead from an output"),
        (descriptor(0, 2, 0, b"", 1), "something was read ahead from an output"),
        (descriptor(0, 0, 0, b"", 2), "a truth value is neither 0 nor 1"),
        (Fields { waits: 2, ..Default::default() }, "a truth value is neither 0 nor 1"),
        (
            Fields { descriptors: vec![(1, 1, 0, vec![], 0), (0, 0, 0, vec![], 0)], ..Default::default() },
            "descriptors are not in order, or share a stream",
        ),
        (
            Fields { descriptors: vec![(0, 1, 0, vec![], 0), (1, 1, 0, vec![], 0)], ..Default::default() },
            "descriptors are not in order, or share a stream",
        ),
        (
            Fields { descriptors: vec![(0, 1, 0, vec![], 0); 4], ..Default::default() },
            "there are too many descriptors",
        ),
    ] {
        let mut ctx = context();
        let before = ctx.save();
        assert_eq!(ctx.restore(&fields.encode()), Err(StateError::Invalid(message)));
        assert_eq!(ctx.save(), before, "{message}");
    }
    assert_eq!(context().restore(&[good.clone(), vec![0]].concat()), Err(StateError::Trailing));
    for size in 0..good.len() {
        assert_eq!(context().restore(&good[..size]), Err(StateError::Truncated), "{size}");
    }
    let mut version = good;
    version[0] = 5;
    assert_eq!(context().restore(&version), Err(StateError::Version(5)));
}

#[tokio::test]
async fn a_stream_that_is_closed_here_cannot_be_had() {
    let memory = Memory::new(65536);
    let mut ctx = context();
    let state = ctx.save();
    assert_eq!(errno(&mut ctx, &memory, F::FdClose, &[1]).await.name(), "ESUCCESS");
    assert!(matches!(ctx.restore(&state), Err(StateError::Invalid(_))));
    assert_eq!(errno(&mut ctx, &memory, F::FdFdstatGet, &[0, 0]).await.name(), "ESUCCESS");
    let closed = ctx.save();
    let mut other = context();
    other.restore(&closed).unwrap();
    assert_eq!(errno(&mut other, &memory, F::FdFdstatGet, &[1, 0]).await.name(), "EBADF");
}

/// All that a program can have: a directory of the host and a file in it, files in memory, an image, and sockets.
struct Everything {
    dir: tempfile::TempDir,
    image: gate_wasi::TarImage,
    client: TcpStream,
    listener: TcpListener,
}

impl Everything {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "contents").unwrap();
        let mut tar = tar::Builder::new(std::fs::File::create(dir.path().join("tar")).unwrap());
        tar.append_path_with_name(dir.path().join("f"), "f").unwrap();
        tar.finish().unwrap();
        let image = gate_wasi::TarImage::open(dir.path().join("tar")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Self { dir, image, client, listener }
    }

    fn builder(&self) -> gate_wasi::Builder {
        WasiCtx::builder()
            .args(["program"])
            .preopen(self.dir.path(), "/host", Access::ReadWrite)
            .image(&self.image, "/image")
            .listener(self.listener.try_clone().unwrap())
            .packets()
    }

    /// The state of a program that has something open everywhere.
    async fn state(&self) -> Vec<u8> {
        let memory = Memory::new(65536);
        let mut ctx = self.builder().memory_directory("/memory", 1 << 16).build().unwrap();
        memory.put(1000, b"f");
        for (dir, oflags, rights) in [(3, 0, 66), (4, 0, 2), (5, 1, 66)] {
            let args = [dir, 0, 1000, 1, oflags, rights, 0, 0, 8];
            assert_eq!(errno(&mut ctx, &memory, F::PathOpen, &args).await.name(), "ESUCCESS");
        }
        let written = write(&mut ctx, &memory, memory.u32(8).into(), b"in memory").await;
        assert_eq!(written, "ESUCCESS");
        assert_eq!(errno(&mut ctx, &memory, F::SockAccept, &[6, 0, 8]).await.name(), "ESUCCESS");
        ctx.save()
    }
}

async fn write(ctx: &mut WasiCtx, memory: &Memory, fd: u64, data: &[u8]) -> &'static str {
    memory.put(2048, data);
    memory.iovecs(0, &[(2048, data.len() as u32)]);
    errno(ctx, memory, F::FdWrite, &[fd, 0, 1, 16]).await.name()
}

/// Whatever is changed in the state of a program that has everything, it is refused, or is what the program goes on with.
#[test]
fn damaged_states_of_everything_do_no_harm() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let everything = Everything::new();
    let state = runtime.block_on(everything.state());
    let _entered = runtime.enter();
    let mut ctx = everything.builder().build().unwrap();
    ctx.restore(&state).unwrap();
    assert_eq!(ctx.save(), state);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..1500 {
        let mut damaged = state.clone();
        for _ in 0..rand::random_range(1..4) {
            let at = rand::random_range(0..damaged.len());
            damaged[at] = [0, 1, 2, 7, 0xff, rand::random()][rand::random_range(0..6)];
        }
        let mut ctx = everything.builder().tolerate_missing_files().build().unwrap();
        match ctx.restore(&damaged) {
            Err(_) => refused += 1,
            Ok(()) => {
                accepted += 1;
                let saved = ctx.save();
                // It has other listeners by then, maybe; and what was missing is not asked for again.
                let mut other = WasiCtx::builder().tolerate_missing_files().build().unwrap();
                other.restore(&saved).unwrap_or_else(|err| panic!("{err}: {damaged:?}"));
            }
        }
    }
    drop(everything.client);
    assert!(accepted > 50 && refused > 50, "{accepted} were accepted, and {refused} refused");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What is accepted is what is saved again.
    #[test]
    fn damaged_states_do_no_harm(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let mut state = context().save();
        *place.get_mut(&mut state[..]) = byte;
        if let Some(cut) = cut {
            state.truncate(cut.index(state.len() + 1));
        }
        let mut ctx = context();
        if ctx.restore(&state).is_ok() {
            prop_assert_eq!(WasiCtx::save(&ctx).len(), state.len());
        }
    }

    #[test]
    fn any_bytes_do_no_harm(mut state in prop::collection::vec(any::<u8>(), 0..200), known in any::<bool>()) {
        if known && state.len() >= 4 {
            state[..4].copy_from_slice(&1u32.to_le_bytes());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let _ = context().restore(&state);
    }
}
