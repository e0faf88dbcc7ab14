//! Memories that are copied on write: what is read comes from the base, what is written goes to the state file.

use crate::container::{Container, is_root, memfd, send};
use crate::machine_code;
use crate::program::{CONTEXT_OFFSET, INSTANCE_SIZE, Program, RT_SPAN, STACK_SIZE, message, random_addr};
use crate::view::mappings;
use gate_sandbox::RT;
use gate_wire::call::{CallReply, CallRequest, REQUEST_SIZE};
use gate_wire::context::{CallState, ExitKind, RtFunction, memory_desc_distance};
use gate_wire::context_offset;
use gate_wire::cow::{CHUNK_SIZE, CHUNKS_OFFSET, ChunkState};
use gate_wire::load::{FLAG_COPY_ON_WRITE, LoadFailure, MemoryMap};
use gate_wire::{MEMORY_RESERVATION, PAGE_SIZE};
use std::fs;
use std::os::unix::fs::FileExt;

/// Sizes of the memory: all, what it may grow to, and what has a base.
const SIZE: u64 = 20 * CHUNK_SIZE;
const MAX: u64 = 64 * CHUNK_SIZE;
const BASE_SIZE: u64 = 16 * CHUNK_SIZE;

/// Operations of the program below.
const END: u64 = 0;
const READ: u64 = 1;
const WRITE: u64 = 2;
const CALL_HOST: u64 = 3;
const CALL_RT: u64 = 4;
const JUMP: u64 = 5;

machine_code! {
    // Performs the operations which are listed at the beginning of the memory, 64 bytes each: operation, address, and
    // what is read or to be written; or the number of a function, its arguments, and its result.
    perform:
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "mov rbx, rdi",
        "mov r12, rdi",
        "2:",
        "mov rax, [r12]",
        "mov rsi, [r12 + 8]",
        "cmp rax, 0",
        "je 9f",
        "cmp rax, 1",
        "jne 3f",
        "mov rcx, [rbx + rsi]",
        "mov [r12 + 16], rcx",
        "3:",
        "cmp rax, 2",
        "jne 3f",
        "mov rcx, [r12 + 16]",
        "mov [rbx + rsi], rcx",
        "3:",
        "cmp rax, 3",
        "jne 3f",
        "mov dword ptr [rbx + {FUNC}], 1000000",
        "mov dword ptr [rbx + {STATE}], {UNSENT}",
        "mov rdi, rbx",
        "call [rbx + {HOST_CALL}]",
        "jmp 4f",
        "3:",
        "cmp rax, 5",
        "jne 3f",
        "add rsi, rbx",
        "jmp rsi",
        "3:",
        "cmp rax, 4",
        "jne 4f",
        "mov rax, rsi",
        "mov rdi, rbx",
        "mov rsi, [r12 + 16]",
        "mov rdx, [r12 + 24]",
        "mov rcx, [r12 + 32]",
        "mov r8, [r12 + 40]",
        "mov r9, [r12 + 48]",
        "call [rbx + rax * 8 + {RT}]",
        "mov [r12 + 56], rax",
        "4:",
        "add r12, 64",
        "jmp 2b",
        "9:",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        FUNC = context_offset!(call.func), STATE = context_offset!(call.state),
        UNSENT = CallState::Unsent as u32, RT = context_offset!(rt),
        HOST_CALL = context_offset!(rt) + 8 * RtFunction::HostCall as i32;
    // System call with the number and arguments given at the beginning of the memory; then the byte is read whose
    // address follows, if it is not zero.
    call_kernel:
        "mov rbx, rdi",
        "mov rax, [rbx]",
        "mov rdi, [rbx + 8]",
        "mov rsi, [rbx + 16]",
        "mov rdx, [rbx + 24]",
        "mov r10, [rbx + 32]",
        "mov r8, [rbx + 40]",
        "mov r9, [rbx + 48]",
        "syscall",
        "mov [rbx + 64], rax",
        "mov rcx, [rbx + 56]",
        "test rcx, rcx",
        "jz 2f",
        "inc byte ptr [rcx]",
        "2: ret";
    // Tells that it runs, and goes on running.
    spin: "mov rsi, rsp", "mov eax, 1", "xor edi, edi", "mov edx, 8", "syscall", "2: pause", "jmp 2b";
    // Executes nothing but what it finds in the base.
    nothing: "ret";
}

/// A memory with the same place in both files.
fn memory_map(size: u64, max: u64, offset: u64, base_size: u64) -> MemoryMap {
    MemoryMap { size, max, offset, base_size, base_offset: offset }
}

/// A program with a copy-on-write memory.
struct Fork {
    program: Program,
    count: u64,
}

impl Fork {
    fn new(code: &[u8]) -> Self {
        Self::with_memories(code, &[memory_map(SIZE, MAX, CONTEXT_OFFSET, BASE_SIZE)])
    }

    fn with_memories(code: &[u8], memories: &[MemoryMap]) -> Self {
        let mut program = Program::new(code);
        program.memories = memories.to_vec();
        let last = memories.last().unwrap();
        let end = last.offset + last.max;
        program.state.set_len(end).unwrap();
        let base = fs::File::from(memfd(c"base", &[]));
        base.set_len(end).unwrap();
        base.write_all_at(&content(), CONTEXT_OFFSET).unwrap();
        program.base = Some(base);
        program.request.flags |= FLAG_COPY_ON_WRITE;
        program.request.chunks_addr = random_addr(1);
        program.request.base_addr = random_addr(0);
        for (i, memory) in memories.iter().enumerate() {
            let desc = [memory.size, memory.max].map(u64::to_le_bytes);
            program.write_below(memory_desc_distance(i as u32), desc.as_flattened());
        }
        let mut fork = Self { program, count: 0 };
        // The list of operations is the program's own.
        fork.set_chunk(0, ChunkState::Own);
        fork
    }

    fn base(&self) -> &fs::File {
        self.program.base.as_ref().unwrap()
    }

    fn chunk(&self, chunk: u64) -> ChunkState {
        let mut byte = [0];
        self.program.state.read_exact_at(&mut byte, CHUNKS_OFFSET + chunk).unwrap();
        [ChunkState::Base, ChunkState::Own, ChunkState::Replaced][byte[0] as usize]
    }

    fn set_chunk(&mut self, chunk: u64, state: ChunkState) {
        self.program.state.write_all_at(&[state as u8], CHUNKS_OFFSET + chunk).unwrap();
    }

    fn operation(&mut self, numbers: &[u64]) {
        let mut record = [0u64; 8];
        record[..numbers.len()].copy_from_slice(numbers);
        self.program.write_memory(self.count * 64, record.map(u64::to_le_bytes).as_flattened());
        self.count += 1;
        assert!(self.count < 512);
    }

    /// Calls a function whose arguments are in a block.
    fn call_with_block(&mut self, function: RtFunction, block: &[u64]) {
        let offset = CHUNK_SIZE / 2 + self.count * 64;
        let bytes: Vec<u8> = block.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.program.write_memory(offset, &bytes);
        self.operation(&[CALL_RT, function as u64, self.program.request.context_addr() + offset]);
    }

    fn memory_copy(&mut self, dst: u64, src: u64, len: u64) {
        let context = self.program.request.context_addr();
        let desc = context - memory_desc_distance(0);
        self.call_with_block(RtFunction::MemoryCopy, &[desc, context, desc, context, dst, src, len]);
    }

    fn run(&mut self, container: &mut Container) {
        self.operation(&[END]);
        self.program.run_to_return(container);
        self.count = 0;
    }

    /// What was read by an operation.
    fn result(&self, operation: u64) -> u64 {
        self.program.memory_u64(operation * 64 + 16)
    }

    /// What the program sees, but for the first chunk.
    fn memory(&self, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; size as usize];
        for (i, chunk) in bytes.chunks_mut(CHUNK_SIZE as usize).enumerate().skip(1) {
            let i = i as u64;
            let from_base = i < BASE_SIZE / CHUNK_SIZE && self.chunk(i) == ChunkState::Base;
            let file = if from_base { self.base() } else { &self.program.state };
            file.read_exact_at(chunk, CONTEXT_OFFSET + i * CHUNK_SIZE).unwrap();
        }
        bytes
    }

    fn assert_base_unchanged(&self) {
        let mut bytes = vec![0; BASE_SIZE as usize];
        self.base().read_exact_at(&mut bytes, CONTEXT_OFFSET).unwrap();
        assert!(bytes == content());
    }
}

/// What is in the base.
fn content() -> Vec<u8> {
    (0..BASE_SIZE / 4).flat_map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn content_u64(offset: u64) -> u64 {
    u64::from_le_bytes(content()[offset as usize..][..8].try_into().unwrap())
}

#[test]
fn what_is_read_is_the_bases_and_what_is_written_is_the_forks() {
    let mut container = Container::new();
    let mut fork = Fork::new(perform());
    let (read, written, crossing) = (5 * CHUNK_SIZE + 8, 7 * CHUNK_SIZE + 4096, 10 * CHUNK_SIZE - 4);
    fork.operation(&[READ, read]);
    fork.operation(&[READ, written + 8]);
    fork.operation(&[WRITE, written, 77]);
    fork.operation(&[READ, written]);
    fork.operation(&[READ, written + 8]);
    fork.operation(&[WRITE, crossing, u64::MAX]);
    fork.operation(&[WRITE, BASE_SIZE, 78]);
    fork.run(&mut container);
    assert_eq!(fork.result(0), content_u64(read));
    assert_eq!([1, 3, 4].map(|i| fork.result(i)), [content_u64(written + 8), 77, content_u64(written + 8)]);
    let own: Vec<_> = (0..16).filter(|&i| fork.chunk(i) == ChunkState::Own).collect();
    assert_eq!(own, [0, 7, 9, 10]);

    let mut expected = content();
    expected[written as usize..][..8].copy_from_slice(&77u64.to_le_bytes());
    expected[crossing as usize..][..8].fill(0xff);
    expected[..CHUNK_SIZE as usize].fill(0);
    assert!(fork.memory(BASE_SIZE) == expected);
    assert_eq!(fork.program.memory_u64(BASE_SIZE), 78);
    fork.assert_base_unchanged();
    // What was only read takes no space.
    assert_eq!(fork.program.memory_u64(read), 0);

    // Another process sees the same.
    fork.operation(&[READ, written]);
    fork.operation(&[READ, read]);
    fork.operation(&[READ, crossing]);
    fork.run(&mut container);
    assert_eq!([0, 1, 2].map(|i| fork.result(i)), [77, content_u64(read), u64::MAX]);
}

#[test]
fn what_was_replaced_before_the_start_is_mapped() {
    let mut container = Container::new();
    let mut fork = Fork::new(perform());
    for chunk in [3, 4, 8, 15] {
        fork.program.write_memory(chunk * CHUNK_SIZE, &(1000 + chunk).to_le_bytes());
        fork.set_chunk(chunk, if chunk == 4 { ChunkState::Own } else { ChunkState::Replaced });
    }
    for chunk in [3, 4, 5, 8, 15, 16] {
        fork.operation(&[READ, chunk * CHUNK_SIZE]);
    }
    fork.operation(&[WRITE, 15 * CHUNK_SIZE, 1]);
    fork.run(&mut container);
    let results = [0, 1, 2, 3, 4, 5].map(|i| fork.result(i));
    assert_eq!(results, [1003, 1004, content_u64(5 * CHUNK_SIZE), 1008, 1015, 0]);
    assert_eq!(fork.program.memory_u64(15 * CHUNK_SIZE), 1);
    assert!([3, 4, 8, 15].into_iter().all(|i| fork.chunk(i) == ChunkState::Own));
    assert_eq!(fork.chunk(5), ChunkState::Base);
}

#[test]
fn what_the_host_replaces_is_seen_after_its_reply() {
    let mut container = Container::new();
    let mut fork = Fork::new(perform());
    let places = [2, 6, 7, 8, 15].map(|chunk| chunk * CHUNK_SIZE);
    places.iter().for_each(|&place| fork.operation(&[READ, place]));
    fork.operation(&[CALL_HOST]);
    places.iter().for_each(|&place| fork.operation(&[READ, place]));
    fork.operation(&[WRITE, 7 * CHUNK_SIZE, 7]);
    fork.operation(&[CALL_HOST]);
    fork.operation(&[END]);
    let socket = fork.program.start(&container, 0);
    CallRequest::decode(&message::<REQUEST_SIZE>(&socket)).unwrap();
    for &place in &places {
        fork.program.write_memory(place, &(place + 1).to_le_bytes());
        fork.set_chunk(place / CHUNK_SIZE, ChunkState::Replaced);
    }
    fork.program.write_context(context_offset!(chunks_replaced), &1u64.to_le_bytes());
    send(&socket, &CallReply::Return(0).encode(), &[]).unwrap();
    CallRequest::decode(&message::<REQUEST_SIZE>(&socket)).unwrap();
    assert_eq!(fork.program.context_u64(context_offset!(chunks_replaced)), 0);
    send(&socket, &CallReply::Return(0).encode(), &[]).unwrap();
    assert_eq!(container.death(0), 0);
    for (i, place) in (0..).zip(places) {
        assert_eq!(fork.result(i), content_u64(place));
        assert_eq!(fork.result(i + 6), place + 1);
        assert_eq!(fork.chunk(place / CHUNK_SIZE), ChunkState::Own);
    }
    assert_eq!(fork.program.memory_u64(7 * CHUNK_SIZE), 7);
    assert_eq!(fork.chunk(5), ChunkState::Base);
}

#[test]
fn a_memory_grows_beyond_its_base() {
    let mut container = Container::new();
    let mut fork = Fork::new(perform());
    let desc = fork.program.request.context_addr() - memory_desc_distance(0);
    fork.operation(&[CALL_RT, RtFunction::MemoryGrow as u64, desc, 0, 10]);
    fork.operation(&[WRITE, SIZE + 9 * CHUNK_SIZE, 99]);
    fork.operation(&[WRITE, BASE_SIZE - 8, 98]);
    fork.run(&mut container);
    assert_eq!(fork.program.memory_u64(SIZE + 9 * CHUNK_SIZE), 99);
    assert_eq!(fork.program.memory_u64(BASE_SIZE - 8), 98);
    assert_eq!(fork.chunk(14), ChunkState::Base);
    assert_eq!(fork.chunk(15), ChunkState::Own);
}

#[test]
fn bulk_operations_copy_what_they_write_to() {
    let mut container = Container::new();
    const C: u64 = CHUNK_SIZE;
    for (dst, src, len) in [
        (3 * C + 100, 9 * C + 50, 4 * C),
        // Overlapping, upwards and downwards.
        (5 * C, 5 * C + 3000, 3 * C),
        (5 * C + 3000, 5 * C, 3 * C),
        (14 * C + 1, 2 * C, 5 * C),
        // Small ones, at the border of two chunks.
        (6 * C - 5, C, 9),
        (6 * C - 50, C, 99),
        (6 * C - 50, 6 * C - 40, 99),
        (6 * C - 40, 6 * C - 50, 99),
    ] {
        let mut fork = Fork::new(perform());
        let mut expected = content();
        expected.resize(SIZE as usize, 0);
        expected[..C as usize].fill(0);
        fork.memory_copy(dst, src, len);
        let (context, fill) = (fork.program.request.context_addr(), 12 * C - 7);
        let desc = context - memory_desc_distance(0);
        fork.operation(&[CALL_RT, RtFunction::MemoryFill as u64, desc, context, fill, 0x55, C + 9]);
        fork.run(&mut container);
        expected.copy_within(src as usize..(src + len) as usize, dst as usize);
        expected[fill as usize..(fill + C + 9) as usize].fill(0x55);
        assert!(fork.memory(SIZE) == expected, "{dst:#x} {src:#x} {len:#x}");
        fork.assert_base_unchanged();
    }
}

#[test]
fn a_fork_stops_is_exported_and_goes_on() {
    let mut container = Container::new();
    let mut fork = Fork::new(perform());
    let (kept, later) = (5 * CHUNK_SIZE, 6 * CHUNK_SIZE);
    fork.operation(&[WRITE, kept, 1]);
    fork.operation(&[CALL_RT, RtFunction::Breakpoint as u64]);
    fork.operation(&[READ, kept]);
    fork.operation(&[WRITE, later, 2]);
    fork.operation(&[END]);
    assert_eq!(fork.program.run(&mut container), 0);
    assert_eq!(fork.program.exit_kind(), ExitKind::Frozen);

    // This one does not unwind, but goes on to use memory, of which there is none.
    fork.program.export(PAGE_SIZE);
    fork.program.request.flags |= FLAG_COPY_ON_WRITE;
    assert_eq!(fork.program.run_to_failure(&mut container), LoadFailure::Export);
    assert_eq!((fork.chunk(5), fork.chunk(6)), (ChunkState::Own, ChunkState::Base));

    fork.program.thaw();
    fork.program.run_to_return(&mut container);
    assert_eq!((fork.result(2), fork.program.memory_u64(later)), (1, 2));
    assert_eq!(
        (fork.chunk(5), fork.chunk(6), fork.chunk(7)),
        (ChunkState::Own, ChunkState::Own, ChunkState::Base)
    );
    fork.assert_base_unchanged();
}

#[test]
fn several_memories() {
    let mut container = Container::new();
    let stride = gate_wire::load::STATE_FILE_STRIDE;
    let memory = |i: u64, base_size| memory_map(SIZE, MAX, stride * (i + 1), base_size);
    let memories = [memory(0, 4 * CHUNK_SIZE), memory(1, 0), memory(2, 3 * CHUNK_SIZE)];
    let mut fork = Fork::with_memories(perform(), &memories);
    fork.base().write_all_at(&[3; CHUNK_SIZE as usize], memories[2].offset).unwrap();
    fork.program.state.write_all_at(&[2; 8], memories[1].offset).unwrap();
    fork.operation(&[READ, 2 * MEMORY_RESERVATION]);
    fork.operation(&[WRITE, 2 * MEMORY_RESERVATION + 8, 5]);
    fork.operation(&[READ, MEMORY_RESERVATION]);
    fork.operation(&[WRITE, MEMORY_RESERVATION, 6]);
    fork.operation(&[READ, 3 * CHUNK_SIZE]);
    fork.run(&mut container);
    let three = u64::from_le_bytes([3; 8]);
    assert_eq!(
        [fork.result(0), fork.result(2), fork.result(4)],
        [three, u64::from_le_bytes([2; 8]), content_u64(3 * CHUNK_SIZE)]
    );
    let state_u64 = |offset| {
        let mut bytes = [0; 8];
        fork.program.state.read_exact_at(&mut bytes, offset).unwrap();
        u64::from_le_bytes(bytes)
    };
    assert_eq!([0, 8].map(|i| state_u64(memories[2].offset + i)), [three, 5]);
    assert_eq!(state_u64(memories[1].offset), 6);
    // Four of the first memory come first.
    let own: Vec<_> = (0..7).filter(|&i| fork.chunk(i) == ChunkState::Own).collect();
    assert_eq!(own, [0, 4]);
}

/// A memory of the greatest size, with a base that is nearly empty.
fn large(alternating: u64) -> Fork {
    const CHUNKS: u64 = 65_535;
    let size = CHUNKS * CHUNK_SIZE;
    let memory = memory_map(size, size, CONTEXT_OFFSET, size);
    let fork = Fork::with_memories(perform(), &[memory]);
    let table: Vec<u8> = (0..CHUNKS).map(|i| u8::from(i < alternating && i % 2 == 0)).collect();
    fork.program.state.write_all_at(&table, CHUNKS_OFFSET).unwrap();
    fork.base()
        .write_all_at(&content_u64(64).to_le_bytes(), CONTEXT_OFFSET + (CHUNKS - 1) * CHUNK_SIZE)
        .unwrap();
    fork
}

#[test]
fn there_are_never_too_many_mappings() {
    let mut container = Container::new();
    for (alternating, few, many) in [(16_376, 1, 16), (32_760, 16, 256)] {
        let mut fork = large(alternating);
        const COUNT: u64 = 7;
        let place = |i| (40_961 + 300 * i) * CHUNK_SIZE;
        for i in 0..COUNT {
            fork.operation(&[WRITE, place(i), i + 1]);
        }
        fork.operation(&[READ, 65_534 * CHUNK_SIZE]);
        fork.run(&mut container);
        assert_eq!(fork.result(COUNT), content_u64(64));
        for i in 0..COUNT {
            assert_eq!(fork.program.memory_u64(place(i)), i + 1);
        }
        // From some point on, more neighbours have been taken along.
        let own: Vec<_> = (40_960..65_535).map(|i| fork.chunk(i) == ChunkState::Own).collect();
        let runs: Vec<_> = own.chunk_by(|a, b| a == b).filter(|run| run[0]).map(<[bool]>::len).collect();
        assert!(
            runs.len() == COUNT as usize && runs.first() == Some(&few) && runs.last() == Some(&many),
            "{runs:?}"
        );
        assert!(runs.iter().all(|run| [few, many].contains(run)), "{runs:?}");
    }
    // Only a program that lies can come to this.
    let mut fork = large(65_535);
    fork.operation(&[END]);
    assert_eq!(fork.program.run_to_failure(&mut container), LoadFailure::MapChunk);
}

#[test]
fn what_cannot_be_mapped_is_a_failure() {
    let mut container = Container::new();
    let mut fork = Fork::new(perform());
    fork.operation(&[WRITE, 5 * CHUNK_SIZE, 1]);
    fork.operation(&[END]);
    // Not a file that can be written to.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fork.program.state));
    let writable = std::mem::replace(&mut fork.program.state, fs::File::open(path).unwrap());
    assert_eq!(fork.program.run_to_failure(&mut container), LoadFailure::MapState);
    fork.program.state = writable;
    fork.program.run_to_return(&mut container);
}

#[test]
fn a_fault_that_is_not_about_copying_is_the_programs() {
    let mut container = Container::new();
    for (operation, place, signal) in [
        (WRITE, MAX, libc::SIGSEGV),
        (WRITE, SIZE, libc::SIGSEGV),
        (READ, MEMORY_RESERVATION - 8, libc::SIGSEGV),
        (JUMP, 5 * CHUNK_SIZE, libc::SIGSEGV),
        (JUMP, 0, libc::SIGSEGV),
    ] {
        let mut fork = Fork::new(perform());
        fork.operation(&[operation, place, 1]);
        assert_eq!(fork.program.run(&mut container), 0);
        assert_eq!(fork.program.exit_kind(), ExitKind::Faulted);
        assert_eq!(fork.program.exit_value(), signal as u32);
        let addr = fork.program.context_u64(context_offset!(exit.addr));
        assert_eq!(addr, fork.program.request.context_addr() + place);
    }
}

/// Status of a program that made a system call and then wrote to a place.
fn call(container: &mut Container, fork: &Fork, call: [u64; 7], place: u64) -> u32 {
    fork.program.write_memory(0, call.map(u64::to_le_bytes).as_flattened());
    fork.program.write_memory(56, &place.to_le_bytes());
    fork.program.write_memory(64, &u64::MAX.to_le_bytes());
    fork.program.run(container)
}

const MMAP: u64 = 9;
const MPROTECT: u64 = 10;
const READ_WRITE: u64 = 3;
/// With all pages present at once.
const SHARED_FIXED: u64 = 0x8011;
const KILLED: u32 = libc::SIGSYS as u32;

#[test]
fn a_program_can_map_its_own_memories_and_nothing_else() {
    let mut container = Container::new();
    let fork = Fork::new(call_kernel());
    let place = fork.program.request.context_addr() + 5 * CHUNK_SIZE;
    let map = |prot, flags, fd, offset| [MMAP, place, CHUNK_SIZE, prot, flags, fd, offset];

    let good = map(READ_WRITE, SHARED_FIXED, 1, CONTEXT_OFFSET);
    assert_eq!(call(&mut container, &fork, good, place), 0);
    assert_eq!((fork.program.exit_kind(), fork.program.memory_u64(64)), (ExitKind::Returned, place));
    // It has changed the first byte of its own first chunk.
    assert_eq!(fork.program.memory::<1>(0), [MMAP as u8 + 1]);
    fork.assert_base_unchanged();

    for prot in [0, 1, 2, 4, 5, 6, 7, 1 << 32 | 3, 1 << 24 | 3] {
        let status = call(&mut container, &fork, map(prot, SHARED_FIXED, 1, CONTEXT_OFFSET), 0);
        assert_eq!(status, KILLED, "protection {prot:#x}");
    }
    for flags in [0, 1, 2, 3, 0x10, 0x12, 0x13, 0x11, 0x8031, 0x22, 0x48011, 0x10_8011, 1 << 32 | 0x8011] {
        let status = call(&mut container, &fork, map(READ_WRITE, flags, 1, CONTEXT_OFFSET), 0);
        assert_eq!(status, KILLED, "flags {flags:#x}");
    }
    for fd in [0, 2, 3, 4, 5, 100, u64::from(u32::MAX), u64::MAX] {
        let status = call(&mut container, &fork, map(READ_WRITE, SHARED_FIXED, fd, CONTEXT_OFFSET), 0);
        assert_eq!(status, KILLED, "descriptor {fd}");
    }
    for offset in [0, CHUNKS_OFFSET, CONTEXT_OFFSET - 1, CONTEXT_OFFSET - 4096, 4096] {
        let status = call(&mut container, &fork, map(READ_WRITE, SHARED_FIXED, 1, offset), 0);
        assert_eq!(status, KILLED, "offset {offset:#x}");
    }
    // The descriptor is for nothing else.
    for number in [0, 1, 3, 5, 8, 17, 18, 28, 72, 77, 285] {
        let status =
            call(&mut container, &fork, [number, 1, fork.program.request.context_addr(), 8, 0, 0, 0], 0);
        assert_eq!(status, KILLED, "system call {number}");
    }
}

#[test]
fn all_other_system_calls_kill_a_fork_too() {
    let mut container = Container::new();
    let fork = Fork::new(call_kernel());
    const ALLOWED: [u64; 7] = [0, 1, MMAP, MPROTECT, 15, 228, 231];
    const PROBES: [u64; 2] = [335, 336];
    for number in (0..=600).filter(|n| !ALLOWED.contains(n) && !PROBES.contains(n)) {
        let status = call(&mut container, &fork, [number, 0, 0, 0, 0, 0, 0], 0);
        assert_eq!(status, KILLED, "system call {number}");
    }
}

#[test]
fn mapping_behind_the_end_of_the_file_gives_nothing() {
    let mut container = Container::new();
    let fork = Fork::new(call_kernel());
    let size = fork.program.state.metadata().unwrap().len();
    let place = fork.program.request.context_addr() + 5 * CHUNK_SIZE;
    for offset in [size, size + (1 << 30)] {
        let map = [MMAP, place, CHUNK_SIZE, READ_WRITE, SHARED_FIXED, 1, offset];
        assert_eq!(call(&mut container, &fork, map, place), 0);
        assert_eq!(fork.program.memory_u64(64), place);
        assert_eq!(
            (fork.program.exit_kind(), fork.program.exit_value()),
            (ExitKind::Faulted, libc::SIGBUS as u32)
        );
    }
    assert_eq!(fork.program.state.metadata().unwrap().len(), size);
}

/// A program can put its data in the place of code, and then has no code there.
#[test]
fn what_is_mapped_over_code_is_not_code() {
    let mut container = Container::new();
    let mut fork = Fork::new(call_kernel());
    let text = fork.program.request.text_addr;
    // A program that would tell if it were executed.
    let exit: Vec<u8> = [0xb8, 231, 0, 0, 0, 0xbf, 42, 0, 0, 0, 0x0f, 0x05].repeat(300);
    fork.program.write_memory(2 * CHUNK_SIZE, &exit);
    fork.set_chunk(2, ChunkState::Own);
    let map = [MMAP, text, PAGE_SIZE, READ_WRITE, SHARED_FIXED, 1, CONTEXT_OFFSET + 2 * CHUNK_SIZE];
    assert_eq!(call(&mut container, &fork, map, 0), 0);
    assert_eq!(
        (fork.program.exit_kind(), fork.program.exit_value()),
        (ExitKind::Faulted, libc::SIGSEGV as u32)
    );
    let pc = fork.program.context_u64(context_offset!(exit.pc));
    assert!((text..text + PAGE_SIZE).contains(&pc));
}

#[test]
fn the_base_does_not_become_writable() {
    let mut container = Container::new();
    let fork = Fork::new(call_kernel());
    let request = &fork.program.request;
    for place in
        [request.context_addr() + 5 * CHUNK_SIZE, request.base_addr + 5 * CHUNK_SIZE, request.text_addr]
    {
        for prot in [2, READ_WRITE] {
            assert_eq!(call(&mut container, &fork, [MPROTECT, place, PAGE_SIZE, prot, 0, 0, 0], 0), 0);
            let result = fork.program.memory_u64(64) as i64;
            assert_eq!(result, -i64::from(libc::ENOMEM), "{place:#x}");
        }
    }
    fork.assert_base_unchanged();
}

#[test]
fn mappings_and_descriptors_of_a_fork() {
    let mut container = Container::new();
    let mut fork = Fork::new(spin());
    fork.set_chunk(0, ChunkState::Base);
    fork.set_chunk(3, ChunkState::Own);
    let program = &fork.program;
    let socket = program.start(&container, 0);
    message::<8>(&socket);
    container.settle();
    let pid = container.children()[0];
    let request = &program.request;
    let (text, rt, state, memory) =
        (request.text_addr, request.rt_addr, request.state_addr, request.context_addr());
    let (base, chunks) = (request.base_addr, request.chunks_addr);
    let mut expected = vec![
        (text, text + PAGE_SIZE, "r-xp", "/memfd:text"),
        (rt, rt + RT.len() as u64, "r-xp", "/memfd:rt"),
        (rt + RT.len() as u64, rt + RT_SPAN, "rw-p", ""),
        (chunks, chunks + PAGE_SIZE, "rw-s", "/memfd:state"),
        (base, base + BASE_SIZE, "r--p", "/memfd:base"),
        (state - PAGE_SIZE, state, "---p", ""),
        (state, state + STACK_SIZE + INSTANCE_SIZE, "rw-s", "/memfd:state"),
        (memory, memory + 3 * CHUNK_SIZE, "r--p", "/memfd:base"),
        (memory + 3 * CHUNK_SIZE, memory + 4 * CHUNK_SIZE, "rw-s", "/memfd:state"),
        (memory + 4 * CHUNK_SIZE, memory + BASE_SIZE, "r--p", "/memfd:base"),
        (memory + BASE_SIZE, memory + SIZE, "rw-s", "/memfd:state"),
        (memory + SIZE, memory + MAX, "---s", "/memfd:state"),
        (memory + MAX, memory + MEMORY_RESERVATION, "---p", ""),
    ];
    expected.sort();
    let is = mappings(pid);
    let is: Vec<_> = is.iter().map(|m| (m.start, m.end, m.access.as_str(), m.file.as_str())).collect();
    assert_eq!(is, expected);
    if is_root() {
        let link = |fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
        assert_eq!(fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), 2);
        assert!(link(0).to_str().unwrap().starts_with("socket:"));
        assert!(link(1).to_str().unwrap().starts_with("/memfd:state"));
    }
}

#[test]
fn requests_about_bases_are_checked() {
    type Change = fn(&mut Program);
    let cases: [(Change, LoadFailure); 10] = [
        (|p| p.request.flags = 0, LoadFailure::MissingDescriptors),
        (|p| p.base = None, LoadFailure::MissingDescriptors),
        (|p| p.memories[0].base_size += PAGE_SIZE, LoadFailure::InvalidRequest),
        (|p| p.memories[0].base_size = SIZE + CHUNK_SIZE, LoadFailure::InvalidRequest),
        (|p| p.memories[0].offset = CONTEXT_OFFSET - PAGE_SIZE, LoadFailure::InvalidRequest),
        (|p| p.request.chunks_addr += 1, LoadFailure::InvalidRequest),
        (|p| p.request.base_addr = 0x4fff_0000_0000, LoadFailure::InvalidRequest),
        (|p| p.request.state_offset = CHUNKS_OFFSET, LoadFailure::InvalidRequest),
        (|p| p.request.chunks_addr = p.request.context_addr(), LoadFailure::MapBase),
        (|p| p.request.base_addr = p.request.context_addr(), LoadFailure::MapBase),
    ];
    let mut container = Container::new();
    for (i, (change, expected)) in cases.into_iter().enumerate() {
        let mut fork = Fork::new(nothing());
        change(&mut fork.program);
        assert_eq!(fork.program.run_to_failure(&mut container), expected, "case {i}");
    }
    let mut program = Program::new(nothing());
    program.memories[0].base_size = CHUNK_SIZE;
    assert_eq!(program.run_to_failure(&mut container), LoadFailure::InvalidRequest);
}

/// Prints how long a fork takes, from the request to the reaped process. There is no limit to exceed: the machine may be
/// busy with anything.
#[test]
fn forking_takes_time() {
    const RUNS: usize = 100;
    const SIZE: u64 = 64 << 20;
    let mut container = Container::new();
    for writes in [0, 1, 16, 128] {
        let memory = memory_map(SIZE, SIZE, CONTEXT_OFFSET, SIZE);
        let mut times = Vec::new();
        let mut fork = Fork::with_memories(perform(), &[memory]);
        let base = fork.program.base.take().unwrap();
        base.write_all_at(&vec![1; SIZE as usize], CONTEXT_OFFSET).unwrap();
        for _ in 0..RUNS {
            let mut fork = Fork::with_memories(perform(), &[memory]);
            fork.program.base = Some(base.try_clone().unwrap());
            for i in 0..writes {
                fork.operation(&[WRITE, (7 * i + 1) * CHUNK_SIZE, 1]);
            }
            fork.operation(&[END]);
            let start = std::time::Instant::now();
            fork.program.run_to_return(&mut container);
            times.push(start.elapsed());
        }
        times.sort();
        println!("64 MiB, {writes} chunks written to, median: {:?}", times[RUNS / 2]);
    }
}
