//! Forks: instances which share their memories until they write.

use gate_compiler::{CompiledModule, MemoryBytes, MemoryInfo, Options, WasiImports};
use gate_image::{GuestMemory, Instance, InstanceOptions, Launch, Program, Purpose};
use gate_wire::context::memory_desc_distance;
use gate_wire::context_offset;
use gate_wire::cow::{CHUNK_SIZE, CHUNKS_OFFSET, ChunkState, first_chunk};
use gate_wire::load::STATE_FILE_STRIDE;
use rustix::io::{pread, pwrite};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

fn compile(wat: &str) -> CompiledModule {
    let options = Options { threads: Some(1), ..Options::default() };
    gate_compiler::compile(&wat::parse_str(wat).unwrap(), &options, &WasiImports).unwrap()
}

fn instance(module: CompiledModule) -> Instance {
    Instance::new(&Program::new(module).unwrap(), &InstanceOptions::default()).unwrap()
}

/// An instance with a memory which is full of what [`contents`] says.
fn full(mib: u64) -> Instance {
    let instance = instance(compile(&format!("(module (memory {} 4096) (func (export \"f\")))", mib * 16)));
    let memory = instance.memory(0).unwrap();
    for addr in (0..mib * MIB).step_by(MIB as usize) {
        memory.write(addr, &contents(addr)).unwrap();
    }
    instance
}

fn contents(addr: u64) -> Vec<u8> {
    (addr..addr + MIB).map(|addr| (addr % 251) as u8 + 1).collect()
}

fn byte(memory: &GuestMemory, addr: u64) -> u8 {
    let mut buf = [0];
    memory.read(addr, &mut buf).unwrap();
    buf[0]
}

/// Gives the instance to a process, of which there is only what it can do to the file.
fn launch(instance: &mut Instance) -> Launch {
    instance.set_entry("f", &[]).unwrap();
    instance.launch(1 << 20, Purpose::Run).unwrap()
}

fn blocks(file: impl AsFd) -> u64 {
    rustix::fs::fstat(file).unwrap().st_blocks as u64 * 512
}

#[test]
fn five_hundred_forks_share_one_memory() {
    let mut origin = full(64);
    let mut forks: Vec<Instance> = (0..500).map(|_| origin.fork().unwrap()).collect();
    let mut space = 0;
    for (index, fork) in forks.iter_mut().enumerate() {
        let memory = fork.memory(0).unwrap();
        assert_eq!(memory.size().unwrap(), 64 * MIB);
        assert_eq!(byte(&memory, 12_345_678), (12_345_678 % 251) as u8 + 1);
        memory.write(index as u64 * 100_000, b"mine").unwrap();
        let launch = launch(fork);
        assert_eq!(launch.memories[0].base_size, 64 * MIB);
        space += blocks(launch.mutation.file());
    }
    // A chunk, the table's page and the instance region for each.
    assert!(space <= 500 * (CHUNK_SIZE + 4 * 4096), "{space}");

    for (index, fork) in forks.iter().enumerate() {
        let memory = fork.memory(0).unwrap();
        let mut expected = contents(index as u64 * 100_000 / MIB * MIB);
        let start = index as u64 * 100_000 % MIB;
        let end = (start + 4).min(MIB) as usize;
        expected[start as usize..end].copy_from_slice(&b"mine"[..end - start as usize]);
        let mut found = vec![0; MIB as usize];
        memory.read(index as u64 * 100_000 / MIB * MIB, &mut found).unwrap();
        assert!(found == expected, "{index}");
    }
    let memory = origin.memory(0).unwrap();
    for index in 0..500 {
        assert_eq!(byte(&memory, index * 100_000), (index * 100_000 % 251) as u8 + 1);
    }
}

#[test]
fn forks_do_not_see_each_other() {
    let mut origin = full(1);
    let first = origin.fork().unwrap();
    let second = origin.fork().unwrap();
    let memories: Vec<_> = [&origin, &first, &second].map(|i| i.memory(0).unwrap()).into();
    for (index, memory) in memories.iter().enumerate() {
        // Across the border of two chunks.
        memory.write(CHUNK_SIZE - 2, &[100 + index as u8; 4]).unwrap();
        memory.write(0, &vec![index as u8; CHUNK_SIZE as usize - 2]).unwrap();
    }
    for (index, memory) in memories.iter().enumerate() {
        let mut expected = contents(0);
        expected[..CHUNK_SIZE as usize - 2].fill(index as u8);
        expected[CHUNK_SIZE as usize - 2..CHUNK_SIZE as usize + 2].fill(100 + index as u8);
        let mut found = vec![0; MIB as usize];
        memory.read(0, &mut found).unwrap();
        assert!(found == expected, "{index}");
    }
}

#[test]
fn the_program_is_told_about_chunks_that_the_host_has_replaced() {
    let mut fork = full(1).fork().unwrap();
    let launch = launch(&mut fork);
    let file = launch.mutation.file();
    let replaced = || {
        let mut buf = [0; 8];
        pread(file, &mut buf, STATE_FILE_STRIDE.wrapping_add_signed(context_offset!(chunks_replaced).into()))
            .unwrap();
        u64::from_le_bytes(buf)
    };
    let table = || {
        let mut buf = [0; 16];
        pread(file, &mut buf, CHUNKS_OFFSET).unwrap();
        buf
    };
    let memory = launch.mutation.memory();
    assert_eq!((replaced(), table()), (0, [0; 16]));
    byte(&memory, 0);
    assert_eq!((replaced(), table()), (0, [0; 16]));
    memory.write(3 * CHUNK_SIZE + 17, &[1; 3]).unwrap();
    let mut expected = [0; 16];
    expected[3] = ChunkState::Replaced as u8;
    assert_eq!((replaced(), table()), (1, expected));

    // rt has mapped it; and has copied another.
    pwrite(file, &[ChunkState::Own as u8, ChunkState::Own as u8], CHUNKS_OFFSET + 3).unwrap();
    pwrite(file, b"xyz", STATE_FILE_STRIDE + 4 * CHUNK_SIZE).unwrap();
    assert_eq!(byte(&memory, 4 * CHUNK_SIZE + 2), b'z');
    memory.write(4 * CHUNK_SIZE, b"a").unwrap();
    assert_eq!(byte(&memory, 4 * CHUNK_SIZE + 2), b'z');
    expected[3..5].fill(ChunkState::Own as u8);
    assert_eq!(table(), expected);
}

#[test]
fn forks_of_forks_do_not_pile_up() {
    let mut instance = full(4);
    for round in 0..20u64 {
        let fork = instance.fork().unwrap();
        assert_eq!(fork.memory_maps().unwrap()[0].base_size, 4 * MIB);
        let memory = fork.memory(0).unwrap();
        memory.write(round * CHUNK_SIZE + 1, &[0xee]).unwrap();
        memory.write(50 * CHUNK_SIZE, &[round as u8]).unwrap();
        instance = fork;
    }
    let fork = instance.fork().unwrap();
    for memory in [fork.memory(0).unwrap(), instance.memory(0).unwrap()] {
        let mut found = vec![0; 4 * MIB as usize];
        memory.read(0, &mut found).unwrap();
        let mut expected: Vec<u8> = (0..4).flat_map(|mib| contents(mib * MIB)).collect();
        for round in 0..20 {
            expected[round * CHUNK_SIZE as usize + 1] = 0xee;
        }
        expected[50 * CHUNK_SIZE as usize] = 19;
        assert!(found == expected);
    }
}

#[test]
fn what_a_fork_has_grown_is_its_own_until_it_is_forked() {
    let grow = |instance: &mut Instance, pages: u64| {
        let launch = launch(instance);
        let desc = STATE_FILE_STRIDE - memory_desc_distance(0);
        pwrite(launch.mutation.file(), &(pages * CHUNK_SIZE).to_le_bytes(), desc).unwrap();
        end(&launch);
    };
    let mut origin = full(1);
    let mut fork = origin.fork().unwrap();
    grow(&mut fork, 20);
    let memory = fork.memory(0).unwrap();
    assert_eq!(memory.size().unwrap(), 20 * CHUNK_SIZE);
    // Partly from the base, partly not.
    memory.write(16 * CHUNK_SIZE - 2, b"1234").unwrap();
    memory.write(19 * CHUNK_SIZE, b"5678").unwrap();
    assert_eq!(origin.memory(0).unwrap().size().unwrap(), 16 * CHUNK_SIZE);
    assert!(origin.memory(0).unwrap().read(16 * CHUNK_SIZE, &mut [0]).is_err());

    let mut second = fork.fork().unwrap();
    assert_eq!(second.memory_maps().unwrap()[0].base_size, 20 * CHUNK_SIZE);
    // It cannot be made smaller than what is shared.
    grow(&mut second, 3);
    for instance in [&fork, &second] {
        let memory = instance.memory(0).unwrap();
        assert_eq!(memory.size().unwrap(), 20 * CHUNK_SIZE);
        let mut buf = [0; 4];
        memory.read(16 * CHUNK_SIZE - 2, &mut buf).unwrap();
        assert_eq!(&buf, b"1234");
        memory.read(19 * CHUNK_SIZE, &mut buf).unwrap();
        assert_eq!(&buf, b"5678");
        assert_eq!(byte(&memory, 18 * CHUNK_SIZE), 0);
    }
}

#[test]
fn each_memory_has_its_part_of_the_table() {
    // The compiler does not accept modules with several memories yet.
    let mut module = compile("(module (memory 2) (func (export \"f\")))");
    let memory = |index, min_pages| MemoryInfo {
        min_pages,
        max_pages: Some(10),
        memory64: false,
        desc_distance: memory_desc_distance(index) as u32,
    };
    module.info.memories = vec![memory(0, 2), memory(1, 0), memory(2, 3)];
    module.info.initial.memory = [(0, b"zero"), (2, b"two\0")]
        .map(|(memory, bytes)| MemoryBytes { memory, offset: 70_000, bytes: bytes.to_vec() })
        .into();
    let mut origin = instance(module);
    let mut fork = origin.fork().unwrap();
    fork.memory(2).unwrap().write(70_001, b"W").unwrap();
    let launch = launch(&mut fork);
    assert_eq!(first_chunk(&launch.memories, 2), 2);
    let mut table = [9; 6];
    pread(launch.mutation.file(), &mut table, CHUNKS_OFFSET).unwrap();
    assert_eq!(table, [0, 0, 0, 2, 0, 0]);
    let read = |instance: &Instance, memory| {
        let mut buf = [0; 4];
        instance.memory(memory).unwrap().read(70_000, &mut buf).unwrap();
        buf
    };
    assert_eq!((read(&fork, 0), read(&fork, 2)), (*b"zero", *b"tWo\0"));
    assert_eq!((read(&origin, 0), read(&origin, 2)), (*b"zero", *b"two\0"));
    assert_eq!(fork.memory(1).unwrap().size().unwrap(), 0);
}

#[test]
fn a_nonsensical_table_is_the_programs_own_trouble() {
    let mut origin = full(4);
    let mut fork = origin.fork().unwrap();
    let other = origin.fork().unwrap();
    let run = launch(&mut fork);
    let table: Vec<u8> = (0..=255).collect();
    pwrite(run.mutation.file(), &table, CHUNKS_OFFSET).unwrap();
    // Behind the end of the table, too.
    pwrite(run.mutation.file(), &vec![0xff; 1 << 20], CHUNKS_OFFSET + 256).unwrap();
    pwrite(run.mutation.file(), &[0xff; 8], STATE_FILE_STRIDE - memory_desc_distance(0)).unwrap();
    let memory = run.mutation.memory();
    assert_eq!(memory.size().unwrap(), 4096 * CHUNK_SIZE);
    let mut found = vec![1; 5 * MIB as usize];
    memory.read(0, &mut found).unwrap();
    // Only the first chunk is in the base by this table; 64 exist.
    assert!(found[..CHUNK_SIZE as usize] == contents(0)[..CHUNK_SIZE as usize]);
    assert!(found[CHUNK_SIZE as usize..].iter().all(|&b| b == 0));
    memory.write(0, &vec![7; 5 * MIB as usize]).unwrap();
    memory.read(0, &mut found).unwrap();
    assert!(found.iter().all(|&b| b == 7));
    end(&run);
    drop(run);

    // It says now that everything is in the base, and is forked.
    let run = launch(&mut fork);
    pwrite(run.mutation.file(), &[0; 64], CHUNKS_OFFSET).unwrap();
    end(&run);
    drop(run);
    let again = fork.fork().unwrap();
    for instance in [&fork, &again] {
        let mut found = vec![0; MIB as usize];
        instance.memory(0).unwrap().read(MIB, &mut found).unwrap();
        assert!(found == contents(MIB));
        assert_eq!(byte(&instance.memory(0).unwrap(), 4 * MIB), 7);
    }
    for instance in [&origin, &other] {
        let mut found = vec![0; MIB as usize];
        instance.memory(0).unwrap().read(3 * MIB, &mut found).unwrap();
        assert!(found == contents(3 * MIB));
    }
}

#[test]
fn nobody_can_change_what_is_shared() {
    let mut origin = full(1);
    let before = origin.memory(0).unwrap();
    let file = {
        let launch = launch(&mut origin);
        end(&launch);
        launch.mutation.file().try_clone_to_owned().unwrap()
    };
    let fork = origin.fork().unwrap();
    assert!(pwrite(&file, b"x", STATE_FILE_STRIDE).is_err());
    assert!(rustix::fs::ftruncate(&file, 0).is_err());
    // A handle from before the fork is one to what was then.
    assert!(before.write(0, b"x").is_err());
    assert_eq!(byte(&before, 0), 1);
    origin.memory(0).unwrap().write(0, b"x").unwrap();
    assert_eq!((byte(&before, 0), byte(&fork.memory(0).unwrap(), 0)), (1, 1));
}

#[test]
fn a_running_instance_cannot_be_forked() {
    let mut origin = full(1);
    let launch = launch(&mut origin);
    assert!(origin.fork().unwrap_err().to_string().contains("running"));
    drop(launch);
    origin.fork().unwrap();
}

#[test]
fn concurrent_writes_to_one_chunk_are_all_there() {
    let mut origin = full(1);
    for _ in 0..20 {
        let fork = origin.fork().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let memory = fork.memory(0).unwrap();
                scope.spawn(move || {
                    for chunk in 0..16 {
                        memory.write(chunk * CHUNK_SIZE + thread * 1000, &[200 + thread as u8; 10]).unwrap();
                    }
                });
            }
        });
        let memory = fork.memory(0).unwrap();
        for (chunk, thread) in (0..16).flat_map(|chunk| (0..4).map(move |thread| (chunk, thread))) {
            assert_eq!(u64::from(byte(&memory, chunk * CHUNK_SIZE + thread * 1000 + 9)), 200 + thread);
        }
    }
}

#[test]
fn forking_is_quick() {
    let mut origin = full(64);
    origin.fork().unwrap();
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            let fork = origin.fork().unwrap();
            let time = start.elapsed();
            drop(fork);
            time
        })
        .collect();
    times.sort();
    println!("fork of 64 MiB: {:?} median, {:?} at most", times[100], times[199]);
    // Copying would take a hundred times as long, even on a machine which is busy.
    assert!(times[100] < Duration::from_millis(2), "{:?}", times[100]);
}

/// The program returns.
fn end(launch: &Launch) {
    let at = STATE_FILE_STRIDE.wrapping_add_signed(context_offset!(exit.kind).into());
    pwrite(launch.mutation.file(), &1u32.to_le_bytes(), at).unwrap();
}
