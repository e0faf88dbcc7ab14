//! Whatever a program passes, each function answers: no panic, no fault of the host, no unbounded work.

mod guest;

use gate_wasi::{TarImage, WasiCtx};
use gate_wire::call::{CallReply, CallRequest};
use gate_wire::trap::TrapId;
use gate_wire::wasi::WasiFunction;
use guest::{Memory, call, errno};
use proptest::prelude::*;
use std::net::TcpListener;
use std::sync::LazyLock;
use std::time::Duration;

const SIZE: u32 = 3 * 65536;

/// Nobody connects to it.
static LISTENER: LazyLock<TcpListener> = LazyLock::new(|| TcpListener::bind("127.0.0.1:0").unwrap());

/// With a file in it.
static IMAGE: LazyLock<TarImage> = LazyLock::new(|| {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut tar = tar::Builder::new(file.reopen().unwrap());
    tar.append_path_with_name(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "x").unwrap();
    tar.finish().unwrap();
    TarImage::open(file.path()).unwrap()
});

/// Addresses, lengths, descriptors and flags that are likely to be dangerous.
fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..8,
        4 => 0..u64::from(SIZE),
        4 => (0i64..64).prop_map(|d| (i64::from(SIZE) - 32 + d) as u64),
        2 => (0u64..64).prop_map(|d| u64::from(u32::MAX) - d),
        1 => Just(0x8000_0000u64),
        1 => Just(1u64 << 20),
        1 => any::<u64>(),
    ]
}

fn request() -> impl Strategy<Value = CallRequest> {
    (0u32..50, prop::array::uniform12(argument())).prop_map(|(func, args)| CallRequest { func, args })
}

/// Words that make sense as buffers, subscriptions and pointers here and there.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(argument(), 0..512)
        .prop_map(|words| words.into_iter().flat_map(|word| (word as u32).to_le_bytes()).collect())
}

/// Functions that wait, or that let others run: their time is not their own.
fn may_wait(func: u32) -> bool {
    use WasiFunction as F;
    [F::PollOneoff, F::RandomGet, F::SchedYield, F::SockAccept].map(|f| f as u32).contains(&func)
}

fn run(requests: &[CallRequest], contents: &[u8]) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let memory = Memory::new(SIZE as usize);
        memory.put(0, contents);
        let mut ctx = WasiCtx::builder()
            .args(["program", "argument"])
            .preopen(dir.path(), "/", gate_wasi::Access::ReadWrite)
            .image(&IMAGE, "/image")
            .listener(LISTENER.try_clone().unwrap())
            .env("NAME", "value")
            .stdin(&b"input"[..])
            .build()
            .unwrap();
        for request in requests {
            // A program may well wait for ever; the future is dropped then, as when the program is killed.
            match tokio::time::timeout(Duration::from_millis(2), ctx.call(request, &memory)).await {
                Ok(Ok(CallReply::Return(number))) => prop_assert!(number < 77),
                Ok(Ok(CallReply::Trap(trap))) => prop_assert!(TrapId::from_number(trap).is_some()),
                Ok(Err(err)) => prop_assert!(false, "fault of the host: {err}"),
                Err(_) => prop_assert!(may_wait(request.func)),
            }
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_is_answered(requests in prop::collection::vec(request(), 1..20), contents in contents()) {
        run(&requests, &contents)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_function_takes_anything(args in prop::array::uniform12(argument()), contents in contents()) {
        let requests: Vec<_> =
            WasiFunction::ALL.iter().map(|&f| CallRequest { func: f as u32, args }).collect();
        run(&requests, &contents)?;
    }
}

/// Arguments of each function that writes to memory or reads from it, with `p` for the pointer in question.
fn pointers(p: u64) -> Vec<(WasiFunction, Vec<u64>)> {
    use WasiFunction as F;
    vec![
        (F::ArgsGet, vec![p, 64]),
        (F::ArgsGet, vec![64, p]),
        (F::ArgsSizesGet, vec![p, 64]),
        (F::ArgsSizesGet, vec![64, p]),
        (F::EnvironGet, vec![p, 64]),
        (F::EnvironGet, vec![64, p]),
        (F::EnvironSizesGet, vec![p, 64]),
        (F::EnvironSizesGet, vec![64, p]),
        (F::ClockResGet, vec![0, p]),
        (F::ClockTimeGet, vec![1, 0, p]),
        (F::FdFdstatGet, vec![1, p]),
        (F::FdFilestatGet, vec![1, p]),
        (F::FdRead, vec![0, p, 1, 64]),
        (F::FdRead, vec![0, 64, 1, p]),
        (F::FdWrite, vec![1, p, 1, 64]),
        (F::FdWrite, vec![1, 64, 1, p]),
        (F::PollOneoff, vec![p, 64, 1, 0]),
        (F::PollOneoff, vec![64, p, 1, 0]),
        (F::PollOneoff, vec![64, 128, 1, p]),
        (F::RandomGet, vec![p, 5]),
    ]
}

#[tokio::test(flavor = "current_thread")]
async fn pointers_beyond_memory_are_efault() {
    let memory = Memory::new(SIZE as usize);
    for p in [u64::from(SIZE) - 1, u64::from(SIZE), u64::from(u32::MAX) - 3, u64::from(u32::MAX)] {
        for (f, args) in pointers(p) {
            let mut ctx =
                WasiCtx::builder().args(["program"]).env("A", "B").stdin(&b"xyz"[..]).build().unwrap();
            let errno = errno(&mut ctx, &memory, f, &args).await;
            assert_eq!(errno.name(), "EFAULT", "{}{args:x?}", f.name());
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn refused_reads_take_nothing() {
    let memory = Memory::new(SIZE as usize);
    let mut ctx = WasiCtx::builder().stdin(&b"xyz"[..]).build().unwrap();
    memory.iovecs(0, &[(100, 2), (SIZE - 1, 2)]);
    let f = WasiFunction::FdRead;
    assert_eq!(errno(&mut ctx, &memory, f, &[0, 0, 2, 64]).await.name(), "EFAULT");
    assert_eq!(errno(&mut ctx, &memory, f, &[0, 0, 1, SIZE.into()]).await.name(), "EFAULT");
    assert_eq!(errno(&mut ctx, &memory, f, &[0, 0, 1, 64]).await.name(), "ESUCCESS");
    assert_eq!((memory.u32(64), memory.bytes(100, 2)), (2, b"xy".to_vec()));
}

#[tokio::test(flavor = "current_thread")]
async fn counts_are_limited() {
    let memory = Memory::new(SIZE as usize);
    let mut ctx = WasiCtx::builder().build().unwrap();
    for f in [WasiFunction::FdRead, WasiFunction::FdWrite] {
        let fd = u64::from(f == WasiFunction::FdWrite);
        assert_eq!(errno(&mut ctx, &memory, f, &[fd, 64, 1024, 0]).await.name(), "ESUCCESS");
        assert_eq!(errno(&mut ctx, &memory, f, &[fd, 64, 1025, 0]).await.name(), "EINVAL");
        assert_eq!(errno(&mut ctx, &memory, f, &[fd, 64, u64::from(u32::MAX), 0]).await.name(), "EINVAL");
    }
    // The same memory many times over: more bytes than the count can tell.
    memory.iovecs(64, &vec![(0, SIZE); 1024]);
    assert_eq!(errno(&mut ctx, &memory, WasiFunction::FdWrite, &[1, 64, 1024, 0]).await.name(), "ESUCCESS");
    let big = Memory::new(64 << 20);
    big.iovecs(64, &[(0, 64 << 20); 64]);
    assert_eq!(errno(&mut ctx, &big, WasiFunction::FdWrite, &[1, 64, 64, 0]).await.name(), "EINVAL");
    for count in [0, 1025, u64::from(u32::MAX)] {
        let errno = errno(&mut ctx, &memory, WasiFunction::PollOneoff, &[64, 64, count, 0]).await;
        assert_eq!(errno.name(), "EINVAL", "{count}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn calls_that_compiled_code_does_not_make_trap() {
    let memory = Memory::new(SIZE as usize);
    let mut ctx = WasiCtx::builder().build().unwrap();
    let violation = CallReply::Trap(TrapId::AbiViolation as u32);
    assert_eq!(call(&mut ctx, &memory, WasiFunction::ProcExit, &[0]).await, violation);
    for func in [0, 47, u32::MAX] {
        let request = CallRequest { func, args: Default::default() };
        assert_eq!(ctx.call(&request, &memory).await.unwrap(), violation);
    }
}
