//! File systems in memory: that they do what directories of the host do, and go along with programs.

mod guest;

use gate_wasi::{Access, SavedState, StateError, WasiCtx};
use gate_wire::wasi::WasiFunction as F;
use guest::{Memory, errno};
use proptest::prelude::*;

const ALL: u64 = (1 << 30) - 1;
/// Descriptor of the directory in memory.
const DIR: u64 = 3;

fn context(size: u64) -> WasiCtx {
    WasiCtx::builder().memory_directory("/tmp", size).build().unwrap()
}

async fn open(ctx: &mut WasiCtx, memory: &Memory, path: &str, oflags: u64) -> Result<u64, &'static str> {
    memory.put(1000, path.as_bytes());
    match errno(ctx, memory, F::PathOpen, &[DIR, 0, 1000, path.len() as u64, oflags, ALL, ALL, 0, 8])
        .await
        .name()
    {
        "ESUCCESS" => Ok(memory.u32(8).into()),
        name => Err(name),
    }
}

async fn on_path(ctx: &mut WasiCtx, memory: &Memory, f: F, path: &str) -> &'static str {
    memory.put(1000, path.as_bytes());
    errno(ctx, memory, f, &[DIR, 1000, path.len() as u64]).await.name()
}

async fn write(ctx: &mut WasiCtx, memory: &Memory, fd: u64, data: &[u8]) -> Result<u32, &'static str> {
    memory.put(4096, data);
    memory.iovecs(0, &[(4096, data.len() as u32)]);
    match errno(ctx, memory, F::FdWrite, &[fd, 0, 1, 16]).await.name() {
        "ESUCCESS" => Ok(memory.u32(16)),
        name => Err(name),
    }
}

async fn read_at(ctx: &mut WasiCtx, memory: &Memory, fd: u64, position: u64) -> Vec<u8> {
    memory.iovecs(0, &[(4096, 100)]);
    assert_eq!(errno(ctx, memory, F::FdPread, &[fd, 0, 1, position, 16]).await.name(), "ESUCCESS");
    memory.bytes(4096, memory.u32(16) as usize)
}

#[tokio::test]
async fn no_more_is_stored_than_there_is_room_for() {
    let (mut ctx, memory) = (context(100_000), Memory::new(1 << 20));
    let fd = open(&mut ctx, &memory, "f", 1).await.unwrap();
    let written = write(&mut ctx, &memory, fd, &[1; 200_000]).await.unwrap();
    assert!((90_000..=100_000).contains(&written), "{written}");
    assert_eq!(write(&mut ctx, &memory, fd, &[1; 5000]).await, Err("ENOSPC"));
    assert_eq!(errno(&mut ctx, &memory, F::FdAllocate, &[fd, 0, 1 << 40]).await.name(), "ENOSPC");
    // A hole takes nothing.
    assert_eq!(errno(&mut ctx, &memory, F::FdFilestatSetSize, &[fd, 1 << 40]).await.name(), "ESUCCESS");
    // Without a name it is there as long as it is open, and then its room is free again.
    assert_eq!(on_path(&mut ctx, &memory, F::PathUnlinkFile, "f").await, "ESUCCESS");
    assert_eq!(read_at(&mut ctx, &memory, fd, 7).await, [1; 100]);
    let other = open(&mut ctx, &memory, "g", 1).await.unwrap();
    assert_eq!(write(&mut ctx, &memory, other, &[2; 8192]).await, Err("ENOSPC"));
    assert_eq!(errno(&mut ctx, &memory, F::FdClose, &[fd]).await.name(), "ESUCCESS");
    assert_eq!(write(&mut ctx, &memory, other, &[2; 8192]).await, Ok(8192));
    let mut made = 0;
    while on_path(&mut ctx, &memory, F::PathCreateDirectory, &format!("d{made}")).await == "ESUCCESS" {
        made += 1;
        assert!(made < 1000);
    }
    assert_eq!(on_path(&mut ctx, &memory, F::PathCreateDirectory, "x").await, "ENOSPC");
}

#[tokio::test]
async fn copies_go_their_own_ways() {
    let (mut ctx, memory) = (context(1 << 20), Memory::new(65536));
    assert_eq!(on_path(&mut ctx, &memory, F::PathCreateDirectory, "d").await, "ESUCCESS");
    let named = open(&mut ctx, &memory, "d/f", 1).await.unwrap();
    assert_eq!(write(&mut ctx, &memory, named, b"shared").await, Ok(6));
    let nameless = open(&mut ctx, &memory, "gone", 1).await.unwrap();
    assert_eq!(write(&mut ctx, &memory, nameless, b"nameless").await, Ok(8));
    assert_eq!(on_path(&mut ctx, &memory, F::PathUnlinkFile, "gone").await, "ESUCCESS");
    let state = ctx.save();

    let saved = SavedState::decode(&state).unwrap();
    let mut copies: Vec<_> = (0..2).map(|_| WasiCtx::builder().build().unwrap()).collect();
    for copy in &mut copies {
        copy.restore_from(&saved).unwrap();
        assert_eq!(copy.save(), state);
    }
    assert_eq!(write(&mut copies[0], &memory, named, b" no more").await, Ok(8));
    assert_eq!(read_at(&mut copies[0], &memory, named, 0).await, b"shared no more");
    assert_eq!(read_at(&mut copies[1], &memory, named, 0).await, b"shared");
    assert_eq!(read_at(&mut copies[1], &memory, nameless, 0).await, b"nameless");
    assert_eq!(on_path(&mut copies[1], &memory, F::PathRemoveDirectory, "d").await, "ENOTEMPTY");

    let temp = tempfile::tempdir().unwrap();
    for name in ["/tmp", "/other"] {
        let mut other = WasiCtx::builder().preopen(temp.path(), name, Access::ReadWrite).build().unwrap();
        assert_eq!(other.restore(&state), Err(StateError::UnusedDirectory(name.into())));
    }
}

#[tokio::test]
async fn damaged_states_are_refused_or_consistent() {
    let (mut ctx, memory) = (context(1 << 20), Memory::new(65536));
    for path in ["d", "d/e"] {
        assert_eq!(on_path(&mut ctx, &memory, F::PathCreateDirectory, path).await, "ESUCCESS");
    }
    open(&mut ctx, &memory, "d/f", 1).await.unwrap();
    let state = ctx.save();
    for n in 0..state.len() {
        assert!(SavedState::decode(&state[..n]).is_err(), "{n} bytes");
    }
    for at in 0..state.len() {
        for change in [1, 2, 3, 0x80, 0xff] {
            let mut damaged = state.clone();
            damaged[at] ^= change;
            let Ok(saved) = SavedState::decode(&damaged) else { continue };
            let mut other = WasiCtx::builder().tolerate_missing_files().build().unwrap();
            if other.restore_from(&saved).is_ok() {
                let again = other.save();
                assert!(SavedState::decode(&again).is_ok(), "byte {at} ^ {change:#x}");
                for f in [F::PathCreateDirectory, F::PathUnlinkFile, F::PathRemoveDirectory] {
                    on_path(&mut other, &memory, f, "d/e").await;
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Step(F, &'static str, &'static str, u64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = || {
        prop::sample::select(vec![
            "a", "b", "c", "a/b", "a/b/c", "b/a", "./a", "a/.", "a/..", "..", "a/", "b/", "a/b/", "c/a",
            "a/../b", "/a",
        ])
    };
    let function = prop::sample::select(vec![
        F::PathCreateDirectory,
        F::PathCreateDirectory,
        F::PathOpen,
        F::PathOpen,
        F::PathSymlink,
        F::PathLink,
        F::PathRename,
        F::PathUnlinkFile,
        F::PathRemoveDirectory,
        F::PathFilestatGet,
        F::PathReadlink,
    ]);
    prop::collection::vec(
        (function, path(), path(), 0u64..16).prop_map(|(f, a, b, n)| Step(f, a, b, n)),
        1..40,
    )
}

/// What a step does in the directory with the given descriptor.
async fn step(
    ctx: &mut WasiCtx,
    memory: &Memory,
    dir: u64,
    Step(f, a, b, flags): &Step,
) -> (&'static str, Vec<u8>) {
    memory.put(1000, a.as_bytes());
    memory.put(2000, b.as_bytes());
    memory.put(4096, &[0; 100]);
    let (a, b) = ((1000, a.len() as u64), (2000, b.len() as u64));
    let follow = flags & 1;
    let args: &[u64] = match f {
        F::PathOpen => &[dir, follow, a.0, a.1, *flags, 1 << 1 | (flags & 4) << 4, ALL, 0, 8],
        F::PathSymlink => &[a.0, a.1, dir, b.0, b.1],
        F::PathLink => &[dir, 0, a.0, a.1, dir, b.0, b.1],
        F::PathRename => &[dir, a.0, a.1, dir, b.0, b.1],
        F::PathFilestatGet => &[dir, follow, a.0, a.1, 4096],
        F::PathReadlink => &[dir, a.0, a.1, 4096, 100, 16],
        _ => &[dir, a.0, a.1],
    };
    let name = errno(ctx, memory, *f, args).await.name();
    let seen = match f {
        F::PathOpen if name == "ESUCCESS" => {
            let fd = memory.u32(8).into();
            assert_eq!(errno(ctx, memory, F::FdClose, &[fd]).await.name(), "ESUCCESS");
            Vec::new()
        }
        // Type, and the number of links if it is no directory.
        F::PathFilestatGet if memory.bytes(4112, 1) == [3] => vec![3],
        F::PathFilestatGet => [memory.bytes(4112, 1), memory.bytes(4120, 8)].concat(),
        F::PathReadlink => memory.bytes(4096, 100),
        _ => Vec::new(),
    };
    (name, seen)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_behaves_as_the_host_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let temp = tempfile::tempdir().unwrap();
            let mut ctx = WasiCtx::builder()
                .preopen(temp.path(), "/host", Access::ReadWrite)
                .memory_directory("/memory", 1 << 20)
                .build()
                .unwrap();
            let memory = Memory::new(65536);
            for one in &steps {
                let host = step(&mut ctx, &memory, 3, one).await;
                let ours = step(&mut ctx, &memory, 4, one).await;
                // Where several errors are right, which one it is may differ.
                let (host, ours) = ((host.0 == "ESUCCESS", host.1), (ours.0 == "ESUCCESS", ours.1));
                prop_assert_eq!(host, ours, "{:?} of {:?}", one, &steps);
            }
            Ok(())
        })?;
    }
}
