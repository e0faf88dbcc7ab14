//! Arguments, environment, randomness, signals, clocks and waiting.

mod guest;

use gate_wasi::{BuildError, WasiCtx};
use gate_wire::call::CallReply;
use gate_wire::trap::TrapId;
use gate_wire::wasi::WasiFunction as F;
use guest::{Memory, call, errno};
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A subscription of `poll_oneoff`.
fn subscription(userdata: u64, tag: u8, what: u32, timeout: u64, flags: u16) -> Vec<u8> {
    let mut record = vec![0; 48];
    record[0..8].copy_from_slice(&userdata.to_le_bytes());
    record[8] = tag;
    record[16..20].copy_from_slice(&what.to_le_bytes());
    record[24..32].copy_from_slice(&timeout.to_le_bytes());
    record[40..42].copy_from_slice(&flags.to_le_bytes());
    record
}

/// Waits, and returns userdata, error number, event type and byte count of each event.
async fn poll(ctx: &mut WasiCtx, memory: &Memory, subscriptions: &[Vec<u8>]) -> Vec<(u64, u16, u8, u64)> {
    memory.put(0, &subscriptions.concat());
    let args = [0, 8192, subscriptions.len() as u64, 4096];
    assert_eq!(errno(ctx, memory, F::PollOneoff, &args).await.name(), "ESUCCESS");
    let count = memory.u32(4096);
    let event = |i| {
        let at = 8192 + 32 * i;
        let error = u16::from_le_bytes(memory.bytes(at + 8, 2).try_into().unwrap());
        (memory.u64(at), error, memory.bytes(at + 10, 1)[0], memory.u64(at + 16))
    };
    (0..count).map(event).collect()
}

#[tokio::test(flavor = "current_thread")]
async fn arguments_and_environment_are_stored() {
    let memory = Memory::new(65536);
    let mut ctx = WasiCtx::builder()
        .args(["prog", "", "a b"])
        .env("X", "1")
        .env("Y", "two=2")
        .env("X", "3")
        .build()
        .unwrap();
    assert_eq!(errno(&mut ctx, &memory, F::ArgsSizesGet, &[0, 4]).await.name(), "ESUCCESS");
    assert_eq!((memory.u32(0), memory.u32(4)), (3, 10));
    assert_eq!(errno(&mut ctx, &memory, F::ArgsGet, &[16, 100]).await.name(), "ESUCCESS");
    assert_eq!([memory.u32(16), memory.u32(20), memory.u32(24)], [100, 105, 106]);
    assert_eq!(memory.bytes(100, 10), b"prog\0\0a b\0");
    assert_eq!(errno(&mut ctx, &memory, F::EnvironSizesGet, &[0, 4]).await.name(), "ESUCCESS");
    assert_eq!((memory.u32(0), memory.u32(4)), (2, 12));
    assert_eq!(errno(&mut ctx, &memory, F::EnvironGet, &[16, 100]).await.name(), "ESUCCESS");
    assert_eq!(memory.bytes(100, 12), b"Y=two=2\0X=3\0");
}

#[tokio::test(flavor = "current_thread")]
async fn what_programs_would_misread_is_refused() {
    assert!(matches!(WasiCtx::builder().args(["a\0b"]).build(), Err(BuildError::ArgumentWithNul(_))));
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "\0")] {
        assert!(matches!(WasiCtx::builder().env(name, value).build(), Err(BuildError::InvalidVariable(_))));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn randomness_comes_in_any_size() {
    let memory = Memory::new(1 << 20);
    let mut ctx = WasiCtx::builder().build().unwrap();
    assert_eq!(errno(&mut ctx, &memory, F::RandomGet, &[5, 300_000]).await.name(), "ESUCCESS");
    assert_eq!(memory.bytes(0, 5), [0; 5]);
    assert_eq!(memory.bytes(300_005, 5), [0; 5]);
    let bytes = memory.bytes(5, 300_000);
    for chunk in bytes.chunks(10_000) {
        let zeros = chunk.iter().filter(|&&b| b == 0).count();
        assert!((1..200).contains(&zeros), "{zeros} zeros in 10000 bytes");
    }
    assert_eq!(errno(&mut ctx, &memory, F::RandomGet, &[0, 0]).await.name(), "ESUCCESS");

    let mut fixed = WasiCtx::builder()
        .random(|buf| {
            buf.fill(7);
            Ok(())
        })
        .build()
        .unwrap();
    assert_eq!(errno(&mut fixed, &memory, F::RandomGet, &[0, 3]).await.name(), "ESUCCESS");
    assert_eq!(memory.bytes(0, 3), [7; 3]);
}

#[tokio::test(flavor = "current_thread")]
async fn signals_have_their_default_actions() {
    let memory = Memory::new(65536);
    let mut ctx = WasiCtx::builder().build().unwrap();
    for (signal, expected) in
        [(0, "ESUCCESS"), (16, "ESUCCESS"), (18, "ENOTSUP"), (31, "EINVAL"), (1 << 20, "EINVAL")]
    {
        assert_eq!(errno(&mut ctx, &memory, F::ProcRaise, &[signal]).await.name(), expected, "{signal}");
    }
    assert!(ctx.raised().is_none());
    let ended = CallReply::Trap(TrapId::AbiDeficiency as u32);
    for (signal, host) in [(6, 6), (15, 15), (29, 30)] {
        assert_eq!(call(&mut ctx, &memory, F::ProcRaise, &[signal]).await, ended);
        assert_eq!(ctx.raised().unwrap().host_number(), host);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn clocks_show_the_time_in_their_resolution() {
    let memory = Memory::new(65536);
    let resolution = Duration::from_millis(10);
    let mut ctx = WasiCtx::builder().clock_resolution(resolution).build().unwrap();
    for clock in [0, 1] {
        assert_eq!(errno(&mut ctx, &memory, F::ClockResGet, &[clock, 0]).await.name(), "ESUCCESS");
        assert_eq!(memory.u64(0), 10_000_000);
        assert_eq!(
            errno(&mut ctx, &memory, F::ClockTimeGet, &[clock, 1, 8 + clock * 8]).await.name(),
            "ESUCCESS"
        );
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert!(memory.u64(8).is_multiple_of(10_000_000) && now.abs_diff(memory.u64(8)) < 5_000_000_000);
    assert!(memory.u64(16).is_multiple_of(10_000_000) && memory.u64(16) < 5_000_000_000);
    assert_eq!(errno(&mut ctx, &memory, F::ClockTimeGet, &[2, 0, 0]).await.name(), "ENOTSUP");
    assert_eq!(errno(&mut ctx, &memory, F::ClockTimeGet, &[4, 0, 0]).await.name(), "EINVAL");
}

#[tokio::test(flavor = "current_thread")]
async fn waits_last_as_long_as_asked_for() {
    let memory = Memory::new(65536);
    let mut ctx = WasiCtx::builder().build().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    errno(&mut ctx, &memory, F::ClockTimeGet, &[1, 0, 0]).await;
    let monotonic = memory.u64(0);
    const MS: u64 = 1_000_000;
    let start = Instant::now();
    for (clock, timeout, flags) in [
        (0, 20 * MS, 0),
        (1, 20 * MS, 0),
        (0, now + 60 * MS, 1),
        (1, monotonic + 80 * MS, 1),
        (1, 0, 0),
        (0, 1, 1),
    ] {
        let events = poll(&mut ctx, &memory, &[subscription(9, 0, clock, timeout, flags)]).await;
        assert_eq!(events, [(9, 0, 0, 0)]);
    }
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(79), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn short_waits_are_short() {
    let memory = Memory::new(65536);
    let mut ctx = WasiCtx::builder().build().unwrap();
    let mut times: Vec<_> = Vec::new();
    for _ in 0..21 {
        let start = Instant::now();
        poll(&mut ctx, &memory, &[subscription(0, 0, 1, 50_000, 0)]).await;
        times.push(start.elapsed());
    }
    times.sort();
    assert!(times[0] >= Duration::from_micros(50));
    assert!(times[10] < Duration::from_millis(1), "{times:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn the_earliest_event_ends_the_wait() {
    let memory = Memory::new(65536);
    let (input, mut feed) = std::io::pipe().unwrap();
    let (_drain, output) = std::io::pipe().unwrap();
    let mut ctx = WasiCtx::builder().stdin_fd(input.into()).stdout_fd(output.into()).build().unwrap();
    let hour = 3_600_000_000_000;
    let waits = |timeout| {
        [subscription(1, 0, 1, hour, 0), subscription(2, 1, 0, 0, 0), subscription(3, 0, 0, timeout, 0)]
    };

    assert_eq!(poll(&mut ctx, &memory, &waits(1_000_000)).await, [(3, 0, 0, 0)]);
    feed.write_all(b"12345").unwrap();
    assert_eq!(poll(&mut ctx, &memory, &waits(hour)).await, [(2, 0, 1, 5)]);
    // What was looked at is still there.
    memory.iovecs(0, &[(100, 10)]);
    assert_eq!(errno(&mut ctx, &memory, F::FdRead, &[0, 0, 1, 16]).await.name(), "ESUCCESS");
    assert_eq!(memory.bytes(100, 5), b"12345");
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        drop(feed);
    });
    assert_eq!(poll(&mut ctx, &memory, &waits(hour)).await, [(2, 0, 1, 0)]);
    late.join().unwrap();
    // What is ready at once, and what is wrong, is told together.
    let events = poll(
        &mut ctx,
        &memory,
        &[
            subscription(4, 2, 1, 0, 0),
            subscription(5, 1, 1, 0, 0),
            subscription(6, 1, 77, 0, 0),
            subscription(7, 0, 2, 0, 0),
            subscription(8, 9, 0, 0, 0),
            subscription(9, 0, 1, hour, 0),
        ],
    )
    .await;
    assert_eq!(events, [(4, 0, 2, 4096), (5, 8, 1, 0), (6, 8, 1, 0), (7, 58, 0, 0), (8, 28, 9, 0)]);
}

#[tokio::test(flavor = "current_thread")]
async fn readers_are_looked_at_without_losing_anything() {
    let memory = Memory::new(65536);
    let mut ctx = WasiCtx::builder().stdin(&b"xyz"[..]).build().unwrap();
    let events = poll(&mut ctx, &memory, &[subscription(1, 1, 0, 0, 0)]).await;
    assert_eq!(events, [(1, 0, 1, 3)]);
    for expected in [2, 1, 0, 0] {
        memory.iovecs(0, &[(100, 2)]);
        assert_eq!(errno(&mut ctx, &memory, F::FdRead, &[0, 0, 1, 16]).await.name(), "ESUCCESS");
        assert_eq!(memory.u32(16), expected);
    }
}
