//! Operations on ranges of memories and tables, compared with the same in Rust.

use crate::container::Container;
use crate::machine_code;
use crate::program::{CONTEXT_OFFSET, MEMORY_SIZE, Program};
use gate_wire::context::{ExitKind, RtFunction, TableDesc, memory_desc_distance};
use gate_wire::context_offset;
use gate_wire::trap::TrapId;
use std::os::unix::fs::FileExt;

machine_code! {
    // Makes the calls which are listed in the memory, 64 bytes each: function, five arguments, result. A negative
    // function ends the list.
    call_list:
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "mov rbx, rdi",
        "mov r12, rdi",
        "2:",
        "mov rax, [r12]",
        "test rax, rax",
        "js 3f",
        "mov rdi, rbx",
        "mov rsi, [r12 + 8]",
        "mov rdx, [r12 + 16]",
        "mov rcx, [r12 + 24]",
        "mov r8, [r12 + 32]",
        "mov r9, [r12 + 40]",
        "call [rbx + rax * 8 + {rt}]",
        "mov [r12 + 48], rax",
        "add r12, 64",
        "jmp 2b",
        "3:",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        rt = context_offset!(rt);
}

/// Where in the memory the argument blocks of some functions are, and data.
const ARGS: u64 = 16 << 10;
const DATA: u64 = 32 << 10;
const DATA_SIZE: u64 = 32 << 10;

/// Distances below the context of a table's descriptor and elements.
const TABLE_DESC: u64 = 1024;
const TABLE: u64 = 4096;
const TABLE_SIZE: u32 = 100;
const TABLE_MAX: u32 = 200;

/// Calls to be made by one program.
struct Calls {
    program: Program,
    count: u64,
}

impl Calls {
    fn new() -> Self {
        let program = Program::new(call_list());
        let desc = TableDesc { distance: TABLE, size: TABLE_SIZE, max: TABLE_MAX };
        let desc = [&desc.distance.to_le_bytes()[..], &desc.size.to_le_bytes(), &desc.max.to_le_bytes()];
        program.write_below(TABLE_DESC, &desc.concat());
        let elements: Vec<u8> = (0..TABLE_SIZE).flat_map(|i| (i * 7 + 1).to_le_bytes()).collect();
        program.write_below(TABLE, &elements);
        Self { program, count: 0 }
    }

    fn context(&self) -> u64 {
        self.program.request.context_addr()
    }

    fn memory_desc(&self) -> u64 {
        self.context() - memory_desc_distance(0)
    }

    fn table_desc(&self) -> u64 {
        self.context() - TABLE_DESC
    }

    fn call(&mut self, function: RtFunction, args: &[u64]) {
        let mut record = [0u64; 8];
        record[0] = function as u64;
        record[1..=args.len()].copy_from_slice(args);
        self.program.write_memory(self.count * 64, record.map(u64::to_le_bytes).as_flattened());
        self.count += 1;
    }

    /// Makes a call whose arguments are in a block.
    fn call_with_block(&mut self, function: RtFunction, block: &[u64]) {
        let offset = ARGS + self.count * 64;
        let bytes: Vec<u8> = block.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.program.write_memory(offset, &bytes);
        self.call(function, &[self.context() + offset]);
    }

    fn memory_copy(&mut self, dst: u64, src: u64, len: u64) {
        let (desc, base) = (self.memory_desc(), self.context());
        self.call_with_block(RtFunction::MemoryCopy, &[desc, base, desc, base, dst, src, len]);
    }

    fn finish(&self, container: &mut Container) {
        assert!(self.count < 256);
        self.program.write_memory(self.count * 64, &u64::MAX.to_le_bytes());
        assert_eq!(self.program.run(container), 0);
    }

    fn run(&self, container: &mut Container) {
        self.finish(container);
        assert_eq!(self.program.exit_kind(), ExitKind::Returned);
    }

    fn result(&self, call: u64) -> i64 {
        self.program.memory_u64(call * 64 + 48) as i64
    }

    fn data(&self) -> Vec<u8> {
        self.program.memory::<{ DATA_SIZE as usize }>(DATA).to_vec()
    }

    fn elements(&self) -> Vec<u32> {
        let mut bytes = vec![0; TABLE_MAX as usize * 4];
        let offset = CONTEXT_OFFSET - TABLE;
        self.program.state.read_exact_at(&mut bytes, offset).unwrap();
        bytes.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect()
    }
}

fn pattern() -> Vec<u8> {
    let mut seed = 12345u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    (0..DATA_SIZE).map(|_| next()).collect()
}

/// Sizes around the limits between the ways of copying.
const SIZES: [u64; 24] =
    [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 200, 255, 256, 257, 1000, 9000];

#[test]
fn copies_at_all_distances() {
    let mut container = Container::new();
    for distance in [0i64, 1, 3, 8, 15, 16, 17, 40, 64, 100, 500, 10_000] {
        for sign in [1, -1] {
            let mut calls = Calls::new();
            let mut expected = pattern();
            calls.program.write_memory(DATA, &expected);
            for size in SIZES {
                let src = 12_000;
                let dst = (src as i64 + sign * distance) as u64;
                calls.memory_copy(DATA + dst, DATA + src, size);
                expected.copy_within(src as usize..(src + size) as usize, dst as usize);
            }
            calls.run(&mut container);
            assert!((0..calls.count).all(|i| calls.result(i) == 0));
            assert!(calls.data() == expected, "distance {}", sign * distance);
        }
    }
}

#[test]
fn fills() {
    let mut container = Container::new();
    let mut calls = Calls::new();
    let mut expected = pattern();
    calls.program.write_memory(DATA, &expected);
    let mut dst = 5;
    for size in SIZES {
        let (desc, base) = (calls.memory_desc(), calls.context());
        // Only the low byte counts.
        calls.call(RtFunction::MemoryFill, &[desc, base, DATA + dst, 0xabc00 + size, size]);
        expected[dst as usize..(dst + size) as usize].fill(size as u8);
        dst += size + 3;
    }
    calls.run(&mut container);
    assert!(calls.data() == expected);
}

#[test]
fn initialisation_from_segments() {
    let mut container = Container::new();
    let mut calls = Calls::new();
    let mut expected = pattern();
    calls.program.write_memory(DATA, &expected);
    let (desc, base) = (calls.memory_desc(), calls.context());
    // The segment is the beginning of the data itself.
    calls.call_with_block(RtFunction::MemoryInit, &[desc, base, base + DATA, 100, DATA + 5000, 10, 90]);
    expected.copy_within(10..100, 5000);
    calls.run(&mut container);
    assert!(calls.data() == expected);
}

#[test]
fn large_operations_are_done_in_parts() {
    const PART: u64 = 1 << 20;
    let mut container = Container::new();
    let mut calls = Calls::new();
    let (desc, base) = (calls.memory_desc(), calls.context());
    calls.call(RtFunction::MemoryGrow, &[desc, 0, 63]);
    calls.call(RtFunction::MemoryFill, &[desc, base, MEMORY_SIZE, 1, PART + 5]);
    calls.call(RtFunction::MemoryFill, &[desc, base, MEMORY_SIZE + PART, 2, 5]);
    // Upwards the beginning is done first, downwards the end.
    calls.memory_copy(MEMORY_SIZE, MEMORY_SIZE + PART, PART + 7);
    calls.memory_copy(MEMORY_SIZE + 3, MEMORY_SIZE, PART + 9);
    calls.run(&mut container);
    let results: Vec<_> = (0..calls.count).map(|i| calls.result(i)).collect();
    assert_eq!(results, [1, 5, 0, 7, 9]);
    let byte = |offset| calls.program.memory::<1>(offset)[0];
    assert_eq!((byte(MEMORY_SIZE), byte(MEMORY_SIZE + 4), byte(MEMORY_SIZE + 5)), (2, 2, 0));
    assert_eq!((byte(MEMORY_SIZE + PART + 2), byte(MEMORY_SIZE + PART + 3)), (0, 2));
}

#[test]
fn tables() {
    let mut container = Container::new();
    let mut calls = Calls::new();
    let desc = calls.table_desc();
    let mut expected: Vec<u32> = (0..TABLE_MAX).map(|i| if i < TABLE_SIZE { i * 7 + 1 } else { 0 }).collect();
    calls.call(RtFunction::TableGrow, &[desc, 50, 9]);
    expected[100..150].fill(9);
    calls.call(RtFunction::TableGrow, &[desc, 51, 1]);
    calls.call(RtFunction::TableGrow, &[desc, u64::from(u32::MAX), 1]);
    calls.call(RtFunction::TableFill, &[desc, 140, 77, 10]);
    expected[140..150].fill(77);
    calls.call_with_block(RtFunction::TableCopy, &[desc, desc, 10, 0, 100]);
    expected.copy_within(0..100, 10);
    calls.call_with_block(RtFunction::TableCopy, &[desc, desc, 3, 40, 60]);
    expected.copy_within(40..100, 3);
    let segment = calls.context() + DATA;
    calls.program.write_memory(DATA, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    calls.call_with_block(RtFunction::TableInit, &[desc, segment, 3, 148, 1, 2]);
    expected[148..150].copy_from_slice(&[2, 3]);
    calls.run(&mut container);
    let results: Vec<_> = (0..calls.count).map(|i| calls.result(i)).collect();
    assert_eq!(results[..1], [100]);
    // 32 bits count.
    assert_eq!([results[1] as i32, results[2] as i32], [-1, -1]);
    assert_eq!(results[3..], [0, 0, 0, 0]);
    assert_eq!(calls.elements(), expected);
}

/// One call that must trap, and change nothing.
fn assert_trap(container: &mut Container, trap: TrapId, prepare: impl FnOnce(&mut Calls)) {
    let mut calls = Calls::new();
    calls.program.write_memory(DATA, &pattern());
    let elements = calls.elements();
    prepare(&mut calls);
    calls.finish(container);
    assert_eq!((calls.program.exit_kind(), calls.program.exit_value()), (ExitKind::Trapped, trap as u32));
    assert!(calls.data() == pattern());
    assert_eq!(calls.elements(), elements);
}

#[test]
fn what_is_out_of_bounds_traps() {
    let mut container = Container::new();
    for (dst, len) in [(MEMORY_SIZE - 10, 11), (MEMORY_SIZE + 1, 0), (DATA, u64::MAX), (u64::MAX, 2)] {
        assert_trap(&mut container, TrapId::MemoryAccessOutOfBounds, |calls| {
            let (desc, base) = (calls.memory_desc(), calls.context());
            calls.call(RtFunction::MemoryFill, &[desc, base, dst, 1, len]);
        });
        assert_trap(&mut container, TrapId::MemoryAccessOutOfBounds, |calls| calls.memory_copy(dst, 0, len));
        assert_trap(&mut container, TrapId::MemoryAccessOutOfBounds, |calls| calls.memory_copy(0, dst, len));
    }
    for (dst, src, len) in [(DATA, 5, 6), (DATA, 11, 0), (MEMORY_SIZE - 1, 0, 2), (DATA, u64::MAX, 2)] {
        assert_trap(&mut container, TrapId::MemoryAccessOutOfBounds, |calls| {
            let (desc, base) = (calls.memory_desc(), calls.context());
            calls.call_with_block(RtFunction::MemoryInit, &[desc, base, base, 10, dst, src, len]);
        });
    }
    for (dst, len) in [(99, 2), (101, 0), (0, 101), (u64::from(u32::MAX), u64::from(u32::MAX))] {
        assert_trap(&mut container, TrapId::TableAccessOutOfBounds, |calls| {
            calls.call(RtFunction::TableFill, &[calls.table_desc(), dst, 1, len]);
        });
        assert_trap(&mut container, TrapId::TableAccessOutOfBounds, |calls| {
            let desc = calls.table_desc();
            calls.call_with_block(RtFunction::TableCopy, &[desc, desc, dst, 0, len]);
        });
        assert_trap(&mut container, TrapId::TableAccessOutOfBounds, |calls| {
            let (desc, segment) = (calls.table_desc(), calls.context());
            calls.call_with_block(RtFunction::TableInit, &[desc, segment, 1000, dst, 0, len]);
        });
        assert_trap(&mut container, TrapId::TableAccessOutOfBounds, |calls| {
            let (desc, segment) = (calls.table_desc(), calls.context());
            calls.call_with_block(RtFunction::TableInit, &[desc, segment, 1, 0, dst, len]);
        });
    }
}
