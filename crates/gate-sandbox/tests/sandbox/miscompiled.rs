//! What code does that was compiled wrongly, by the kinds of mistakes that compilers of WebAssembly have made: bounds that are
//! not checked or checked against the wrong number, addresses with bits too many or the wrong sign, branches to where the
//! table does not say, registers and stack slots that hold something else, functions of another type, places that are off.
//!
//! Whatever such code does, it does to its own process and its own state. Each test has a neighbour: a program in the
//! same container, whose state stays as it is and which goes on.

use crate::container::{Container, readable};
use crate::machine_code;
use crate::program::{
    CONTEXT_OFFSET, INSTANCE_SIZE, MEMORY_MAX, MEMORY_SIZE, Program, RT_SPAN, STACK_SIZE, message,
};
use gate_wire::context::{Context, ExitKind, FrozenBy, RtFunction, memory_desc_distance};
use gate_wire::control::Op;
use gate_wire::load::LoadFailure;
use gate_wire::wasi::WasiFunction;
use gate_wire::{MEMORY_RESERVATION, PAGE_SIZE, context_offset};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

const SAFEPOINT: i32 = context_offset!(rt) + 8 * RtFunction::Safepoint as i32;
const REQUEST: i32 = context_offset!(suspend_request);
const RT_TABLE: i32 = context_offset!(rt);

/// Where programs note that they have survived what they did.
const SURVIVED: u64 = 4096;
const ALIVE: u64 = 0x600d;

machine_code! {
    nothing: "ret";
    // Says that it is there, and waits for a byte, which it stores.
    neighbour:
        "mov r8, rdi", "mov eax, 1", "xor edi, edi", "mov rsi, r8", "mov edx, 8", "syscall",
        "xor eax, eax", "xor edi, edi", "lea rsi, [r8 + 64]", "mov edx, 8", "syscall", "ret";
    // Loads (mode 0), stores (1) or adds in place (2) at a distance from the context address.
    access:
        "mov rax, [rdi]", "mov rcx, [rdi + 8]",
        "cmp rcx, 1", "je 2f", "ja 3f",
        "mov rdx, [rdi + rax]", "mov [rdi + 16], rdx", "jmp 4f",
        "2: mov [rdi + rax], rax", "jmp 4f",
        "3: lock add qword ptr [rdi + rax], 1",
        "4: mov dword ptr [rdi + {SURVIVED}], {ALIVE}", "ret",
        SURVIVED = SURVIVED, ALIVE = ALIVE;
    // The same with an index register that was scaled, and an address whose upper half was not cleared.
    scaled:
        "mov rax, [rdi]", "mov rdx, [rdi + rax * 8 + 0x7fffffff]",
        "mov dword ptr [rdi + {SURVIVED}], {ALIVE}", "ret",
        SURVIVED = SURVIVED, ALIVE = ALIVE;
    // Overwrites everything from the stack's end to the context address with a number, then calls an rt function or returns.
    overwrite:
        "mov rdx, [rdi + 8]", "mov rax, [rdi]",
        "mov rsi, [rdi + 16]", "mov r8, [rdi + 24]", "lea rdi, [rdi - {INSTANCE_SIZE}]",
        "mov ecx, {INSTANCE_SIZE} / 8", "rep stosq",
        "test rdx, rdx", "jz 2f", "call rdx",
        "2: mov dword ptr [rdi + {SURVIVED}], {ALIVE}", "ret",
        INSTANCE_SIZE = INSTANCE_SIZE, SURVIVED = SURVIVED, ALIVE = ALIVE;
    // Jumps to a distance from the text, from rt, or to an address; as a branch table with a wrong entry does.
    jump:
        "lea rax, [rip + gate_test_jump]", "mov rcx, [rdi + 8]", "test rcx, rcx", "jz 2f",
        "mov rax, rdi", "cmp rcx, 1", "je 2f",
        "mov rax, [rdi + 16]",
        "2: add rax, [rdi]", "jmp rax";
    // A constant that is a system call if it is entered in the middle: socket(), which a program must not have.
    constant:
        "lea rax, [rip + 3f]", "push rbx", "mov edi, 2", "mov esi, 1", "xor edx, edx",
        "lea rax, [rip + 2f + 2]", "jmp rax",
        "2: .byte 0x48, 0xb8", "mov al, 41", "movzx eax, al", "syscall", "nop",
        "3: pop rbx", "ret";
    // Calls a function of rt's with what is in the memory as context address and arguments.
    call_rt:
        "push rbx", "push r12", "push r13", "mov rbx, rdi",
        "mov rax, [rbx]", "mov rax, [rbx + rax * 8 + {RT_TABLE}]",
        "mov rdi, [rbx + 8]", "mov rsi, [rbx + 16]", "mov rdx, [rbx + 24]",
        "mov rcx, [rbx + 32]", "mov r8, [rbx + 40]", "mov r9, [rbx + 48]",
        "call rax",
        "mov dword ptr [rbx + {SURVIVED}], {ALIVE}", "pop r13", "pop r12", "pop rbx", "ret",
        RT_TABLE = RT_TABLE, SURVIVED = SURVIVED, ALIVE = ALIVE;
    // Stores the registers that a called function need not preserve: those with which it was entered, and then those after a call
    // of an rt function with arguments from the memory. A failing one is survived, as it only returns an error.
    registers:
        "mov [rdi + 8192], rcx", "mov [rdi + 8200], rdx", "mov [rdi + 8208], rsi",
        "mov [rdi + 8216], r8", "mov [rdi + 8224], r9", "mov [rdi + 8232], r10", "mov [rdi + 8240], r11",
        "movups [rdi + 8256], xmm0", "movups [rdi + 8272], xmm1", "movups [rdi + 8288], xmm2",
        "movups [rdi + 8304], xmm7", "movups [rdi + 8320], xmm8", "movups [rdi + 8336], xmm15",
        "push rbx", "mov rbx, rdi", "mov rax, [rbx]", "mov rax, [rbx + rax * 8 + {RT_TABLE}]",
        "mov rsi, [rbx + 8]", "mov rdx, [rbx + 16]",
        "mov rcx, [rbx + 24]", "mov r8, [rbx + 32]", "mov r9, [rbx + 40]",
        "call rax",
        "mov [rbx + 8448], rcx", "mov [rbx + 8456], rdx", "mov [rbx + 8464], rsi", "mov [rbx + 8472], rdi",
        "mov [rbx + 8480], r8", "mov [rbx + 8488], r9", "mov [rbx + 8496], r10", "mov [rbx + 8504], r11",
        "mov [rbx + 8512], rax",
        "movups [rbx + 8528], xmm0", "movups [rbx + 8544], xmm1", "movups [rbx + 8560], xmm2",
        "movups [rbx + 8576], xmm7", "movups [rbx + 8592], xmm8", "movups [rbx + 8608], xmm15",
        "mov dword ptr [rbx + {SURVIVED}], {ALIVE}", "pop rbx", "ret",
        RT_TABLE = RT_TABLE, SURVIVED = SURVIVED, ALIVE = ALIVE;
    // Moves the stack pointer to a distance from the context address, or to an address, and passes a safepoint there.
    stack:
        "mov rax, [rdi]", "cmp qword ptr [rdi + 8], 0", "jne 2f", "add rax, rdi",
        "2: mov rsp, rax", "mov dword ptr [rdi + {REQUEST}], 1",
        "call [rdi + {SAFEPOINT}]", "ud2",
        REQUEST = REQUEST, SAFEPOINT = SAFEPOINT;
    // Returns to what is in the wrong stack slot.
    returns:
        "mov rax, [rdi]", "mov [rsp], rax", "mov rbp, [rdi + 8]", "ret";
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It noticed nothing, and returned.
    Survived,
    /// The processor refused, and rt has written down which signal and address.
    Faulted(i32, u64),
    /// It left an exit record that says something else.
    Recorded(ExitKind),
    /// The kernel killed it with a signal, because of the filter or of a fault within the handler.
    Killed(i32),
    /// rt gave up.
    Failed(LoadFailure),
    /// It left something else than an exit record, or another status.
    Nonsense,
    /// It did not end.
    Endless,
}

/// How long a program is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// A container with a neighbour in it.
struct Contained {
    container: Container,
    neighbour: Program,
    socket: OwnedFd,
    state: Vec<u8>,
}

const NEIGHBOUR: u32 = 7;

impl Contained {
    fn new() -> Self {
        let container = Container::new();
        let neighbour = Program::new(neighbour());
        neighbour.write_memory(0, b"in peace");
        let socket = neighbour.start(&container, NEIGHBOUR);
        assert_eq!(&message::<8>(&socket), b"in peace");
        let state = contents(&neighbour);
        Self { container, neighbour, socket, state }
    }

    /// Runs a program with numbers at the start of its memory.
    fn run(&mut self, program: &Program, numbers: &[u64]) -> End {
        program.write_memory(0, &numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>());
        program.write_memory(SURVIVED, &[0; 8]);
        let socket = program.start(&self.container, 0);
        let endless = !readable(&self.container.control, PATIENCE);
        if endless {
            self.container.request(Op::Kill, 0, &[]);
        }
        let status = self.container.death(0);
        drop(socket);
        // The file is as large as it was, and nothing but the state was written to.
        assert_eq!(program.state.metadata().unwrap().len(), CONTEXT_OFFSET + MEMORY_MAX);
        let kind = ExitKind::from_number(program.context_u32(context_offset!(exit.kind)));
        match (status, kind) {
            _ if endless => End::Endless,
            (0, Some(ExitKind::Returned)) if program.memory_u64(SURVIVED) == ALIVE => End::Survived,
            (0, Some(ExitKind::Faulted)) => {
                End::Faulted(program.exit_value() as i32, program.context_u64(context_offset!(exit.addr)))
            }
            (0, Some(kind)) => End::Recorded(kind),
            (status, _) if status & 0x7f != 0 => End::Killed((status & 0x7f) as i32),
            (status, _) => LoadFailure::from_status(status as i32 >> 8).map_or(End::Nonsense, End::Failed),
        }
    }

    /// The neighbour has noticed nothing, and the executor goes on.
    fn close(mut self) {
        assert!(contents(&self.neighbour) == self.state, "the neighbour's state has changed");
        crate::container::send(&self.socket, b"farewell", &[]).unwrap();
        assert_eq!(self.container.death(NEIGHBOUR), 0);
        assert_eq!(self.neighbour.exit_kind(), ExitKind::Returned);
        assert_eq!(&self.neighbour.memory::<8>(64), b"farewell");
        Program::new(nothing()).run_to_return(&mut self.container);
    }
}

/// All of a program's state.
fn contents(program: &Program) -> Vec<u8> {
    let mut bytes = vec![0; (STACK_SIZE + INSTANCE_SIZE + MEMORY_SIZE) as usize];
    program.state.read_exact_at(&mut bytes, program.request.state_offset).unwrap();
    bytes
}

/// Distances from the context address that are not the program's, though a wrong bound may let them through.
fn outside() -> Vec<u64> {
    let mut all = vec![MEMORY_SIZE, MEMORY_MAX - 8, MEMORY_MAX, MEMORY_RESERVATION - 8];
    // Addresses of 33 bits and more: sums that were not cut, constants that were not folded, shifts that went too far.
    for bits in 32..=46 {
        all.extend([1 << bits, (1 << bits) + MEMORY_SIZE, (1 << bits) - 8, (3 << bits) / 2]);
    }
    // Addresses of 32 bits that were extended with their sign, and offsets of 32 bits that were.
    all.extend([0x8000_0000, 0xffff_ffff, 0xffff_fff8].map(|low: u32| i64::from(low.cast_signed()) as u64));
    all.retain(|&distance| !is_own(distance));
    // Far below: beyond the stack.
    all.extend(
        [STACK_SIZE + INSTANCE_SIZE + 8, 1 << 31, 1 << 32, 1 << 40].map(|below: u64| below.wrapping_neg()),
    );
    all
}

/// Whether a distance from the context address is within the program's stack or instance region.
fn is_own(distance: u64) -> bool {
    (1..=STACK_SIZE + INSTANCE_SIZE).contains(&distance.wrapping_neg())
}

#[test]
fn wrong_bounds_end_in_a_fault() {
    let mut contained = Contained::new();
    for distance in outside() {
        for mode in 0..3 {
            let program = Program::new(access());
            let end = contained.run(&program, &[distance, mode]);
            // The processor does not tell addresses that are none.
            let addr = Some(program.request.context_addr().wrapping_add(distance));
            let addr = addr.filter(|addr| addr >> 47 == 0).unwrap_or_default();
            assert_eq!(end, End::Faulted(libc::SIGSEGV, addr), "distance {distance:#x}, mode {mode}");
        }
    }
    // What is not even an address.
    for distance in [1 << 62, 1 << 63, 1 << 47, 0x0001_2345_6789_abcd] {
        let end = contained.run(&Program::new(access()), &[distance, 1]);
        assert!(
            matches!(end, End::Faulted(libc::SIGSEGV | libc::SIGBUS, _)),
            "distance {distance:#x}: {end:?}"
        );
    }
    for index in [u64::from(u32::MAX), 1 << 33, 1 << 45] {
        let end = contained.run(&Program::new(scaled()), &[index]);
        assert!(matches!(end, End::Faulted(libc::SIGSEGV, _)), "index {index:#x}: {end:?}");
    }
    contained.close();
}

#[test]
fn text_and_rt_are_not_writable() {
    let mut contained = Contained::new();
    for mode in [1, 2] {
        for at in [0, PAGE_SIZE - 8] {
            let program = Program::new(access());
            let targets = [program.request.text_addr + at, program.request.rt_addr + at];
            for target in targets {
                let distance = target.wrapping_sub(program.request.context_addr());
                let end = contained.run(&program, &[distance, mode]);
                assert_eq!(end, End::Faulted(libc::SIGSEGV, target));
            }
        }
    }
    contained.close();
}

#[test]
fn an_overwritten_context_is_the_programs_own_loss() {
    let mut contained = Contained::new();
    for value in [0, 1, u64::MAX, 0x4141_4141_4141_4141, 1 << 63, 0x7fff_ffff_ffff_fff8] {
        let end = contained.run(&Program::new(overwrite()), &[value, 0]);
        // It goes on without a context, until it returns to rt, which has its own word for that.
        assert!(!matches!(end, End::Endless | End::Failed(_)), "{value:#x}: {end:?}");
        // Functions of rt's that find descriptors, addresses and limits of which nothing is true.
        for function in 0..12 {
            let program = Program::new(call_rt());
            let context = program.request.context_addr();
            // Forged descriptors: in the memory, with any size.
            program.write_memory(8192, &[value.to_le_bytes(), value.to_le_bytes()].concat());
            let desc = context + 8192;
            let end = contained.run(&program, &[function, context, desc, desc, value, value, value]);
            if function == RtFunction::HostCall as u64 {
                continue;
            }
            assert_ne!(end, End::Endless, "{function}: {value:#x}");
        }
    }
    contained.close();
}

#[test]
fn growing_by_a_forged_descriptor_makes_nothing_executable_or_foreign() {
    let mut contained = Contained::new();
    for (index, pages) in
        [(0, 1), (0, 1 << 20), (1, 1), (u32::MAX.into(), 1), (0, u64::MAX >> 16), (1 << 20, 16)]
    {
        let program = Program::new(call_rt());
        program.write_memory(8192, &[MEMORY_SIZE.to_le_bytes(), u64::MAX.to_le_bytes()].concat());
        let context = program.request.context_addr();
        let call = [RtFunction::MemoryGrow as u64, context, context + 8192, index, pages];
        assert_eq!(contained.run(&program, &call), End::Survived, "memory {index}, {pages} pages");
    }
    contained.close();
}

#[test]
fn wrong_branch_targets_end_in_a_fault() {
    let mut contained = Contained::new();
    const TEXT: u64 = 0;
    const CONTEXT: u64 = 1;
    const ADDRESS: u64 = 2;
    // Padding, and the end of the text.
    let end = contained.run(&Program::new(jump()), &[jump().len() as u64, TEXT]);
    assert!(matches!(end, End::Faulted(libc::SIGTRAP, _)), "{end:?}");
    for beyond in
        [PAGE_SIZE, 2 * PAGE_SIZE, 1 << 20, 1 << 31, i64::from(0x8000_0000_u32.cast_signed()) as u64]
    {
        let program = Program::new(jump());
        let end = contained.run(&program, &[beyond, TEXT]);
        let addr = program.request.text_addr.wrapping_add(beyond);
        assert_eq!(end, End::Faulted(libc::SIGSEGV, addr), "{beyond:#x}");
    }
    // Data, however much it looks like code.
    for at in [SURVIVED, 0_u64.wrapping_sub(8), 0_u64.wrapping_sub(INSTANCE_SIZE + 64)] {
        let program = Program::new(jump());
        if at == SURVIVED {
            program.write_memory(at, &[0xc3; 16]);
        }
        let end = contained.run(&program, &[at, CONTEXT]);
        let addr = program.request.context_addr().wrapping_add(at);
        assert_eq!(end, End::Faulted(libc::SIGSEGV, addr), "{at:#x}");
    }
    // Where nothing is, where the kernel is, and where the loader was.
    for addr in [0, 8, 1 << 46, gate_wire::load::SETUP_RANGE.start, 0xffff_ffff_8100_0000] {
        let end = contained.run(&Program::new(jump()), &[0, ADDRESS, addr]);
        assert!(matches!(end, End::Faulted(libc::SIGSEGV, _)), "{addr:#x}: {end:?}");
    }
    // The middle of a constant that is a forbidden system call.
    assert_eq!(contained.run(&Program::new(constant()), &[]), End::Killed(libc::SIGSYS));
    contained.close();
}

#[test]
fn any_place_in_rt_can_be_jumped_to() {
    let mut contained = Contained::new();
    let mut ends = std::collections::BTreeMap::new();
    // Odd distances, so that the middles of instructions are among them.
    for offset in (0..RT_SPAN).step_by((RT_SPAN as usize / 400) | 1) {
        let program = Program::new(jump());
        let end = contained.run(&program, &[offset, 2, program.request.rt_addr]);
        *ends.entry(format!("{end:?}").split('(').next().unwrap_or_default().to_owned()).or_insert(0) += 1;
    }
    println!("{ends:?}");
    contained.close();
}

#[test]
fn stale_registers_do_not_confuse_rt() {
    let mut contained = Contained::new();
    let numbers = |context: u64| {
        [0, 1, 8, context, context - 8, context - size_of::<Context>() as u64, 1 << 46, 1 << 63, u64::MAX]
    };
    for function in 0..RtFunction::COUNT as u64 {
        for (turn, _) in numbers(0x1000).iter().enumerate() {
            let program = Program::new(call_rt());
            let all = numbers(program.request.context_addr());
            let argument = |index: usize| all[(turn + index * (1 + function as usize)) % all.len()];
            let call =
                [function, argument(0), argument(1), argument(2), argument(3), argument(4), argument(5)];
            // A host call waits for an answer, and no one gives one.
            let end = contained.run(&program, &call);
            let waits = function == RtFunction::HostCall as u64;
            assert!(waits || end != End::Endless, "{function}: {call:x?}");
        }
    }
    contained.close();
}

#[test]
fn wrong_stack_pointers_end_in_a_fault_or_a_frozen_state() {
    let mut contained = Contained::new();
    let low = STACK_SIZE + INSTANCE_SIZE;
    for (distance, survives) in [
        (0x8000_u64, true),
        (0x8003, true),
        (0_u64.wrapping_sub(INSTANCE_SIZE), true),
        (0_u64.wrapping_sub(low), false),
        (0_u64.wrapping_sub(low + 4096), false),
        (1 << 32, false),
    ] {
        let program = Program::new(stack());
        let end = contained.run(&program, &[distance, 0]);
        if survives {
            assert_eq!(end, End::Recorded(ExitKind::Frozen), "{distance:#x}");
            assert_eq!(program.exit_value(), FrozenBy::Suspension as u32);
            // Going on there is as harmless: the code behind the safepoint ends it.
            let mut program = program;
            program.thaw();
            let end = contained.run(&program, &[]);
            assert!(matches!(end, End::Faulted(..)), "{distance:#x}: {end:?}");
        } else {
            assert!(matches!(end, End::Faulted(libc::SIGSEGV, _)), "{distance:#x}: {end:?}");
        }
    }
    for addr in [0, 8, 1 << 46, 1 << 63, u64::MAX] {
        let end = contained.run(&Program::new(stack()), &[addr, 1]);
        assert!(matches!(end, End::Faulted(libc::SIGSEGV | libc::SIGBUS, _)), "{addr:#x}: {end:?}");
    }
    contained.close();
}

#[test]
fn a_forged_frozen_stack_is_thawed_into_a_fault() {
    let mut contained = Contained::new();
    for sp in [0, 8, 1 << 46, 1 << 63, u64::MAX, u64::MAX - 255] {
        let mut program = Program::new(stack());
        program.thaw();
        program.write_context(context_offset!(frozen_sp), &sp.to_le_bytes());
        let end = contained.run(&program, &[]);
        assert!(
            matches!(end, End::Faulted(..) | End::Killed(libc::SIGSEGV | libc::SIGBUS) | End::Failed(_)),
            "{sp:#x}: {end:?}"
        );
    }
    contained.close();
}

#[test]
fn returns_to_wrong_slots_end_in_a_fault() {
    let mut contained = Contained::new();
    let program = Program::new(returns());
    let context = program.request.context_addr();
    for slot in [0, 1, u64::MAX, context, context - 64, 1 << 46, program.request.text_addr + PAGE_SIZE] {
        for frame_pointer in [0, context, u64::MAX] {
            let end = contained.run(&program, &[slot, frame_pointer]);
            assert!(matches!(end, End::Faulted(libc::SIGSEGV, _)), "{slot:#x}: {end:?}");
        }
    }
    contained.close();
}

#[test]
fn entries_outside_the_text_end_in_a_fault_or_are_refused() {
    let mut contained = Contained::new();
    for entry in [PAGE_SIZE, 1 << 20, i32::MAX as u64, 1 << 40, u64::MAX - 1] {
        for start in [false, true] {
            let mut program = Program::new(access());
            if start {
                program.request.start = entry;
            } else {
                program.request.entry = entry;
            }
            let end = contained.run(&program, &[]);
            assert!(matches!(end, End::Faulted(libc::SIGSEGV, _) | End::Failed(_)), "{entry:#x}: {end:?}");
        }
    }
    contained.close();
}

#[test]
fn rt_leaves_no_addresses_in_registers() {
    const ENTERED: [u64; 2] = [8192, 8352];
    const CALLED: [u64; 2] = [8448, 8624];
    const ARGUMENTS: u64 = 16 << 10;
    let mut contained = Contained::new();
    let functions = [
        RtFunction::HostCall,
        RtFunction::MemoryGrow,
        RtFunction::MemoryFill,
        RtFunction::MemoryCopy,
        RtFunction::MemoryInit,
        RtFunction::TableGrow,
        RtFunction::TableFill,
        RtFunction::TableCopy,
        RtFunction::TableInit,
    ];
    for function in functions {
        let program = Program::new(registers());
        let context = program.request.context_addr();
        let desc = context - memory_desc_distance(0);
        // A table in the memory's place: its descriptor is in the memory.
        let table = context + ARGUMENTS - 64;
        let elements = INSTANCE_SIZE - 1024;
        program.write_memory(ARGUMENTS - 64, &elements.to_le_bytes());
        program.write_memory(ARGUMENTS - 56, &[100_u32.to_le_bytes(), 200_u32.to_le_bytes()].concat());
        let block: &[u64] = match function {
            RtFunction::MemoryCopy => &[desc, context, desc, context, 32 << 10, 40 << 10, 5000],
            RtFunction::MemoryInit => &[desc, context, context, 5000, 32 << 10, 0, 5000],
            RtFunction::TableCopy => &[table, table, 0, 50, 50],
            RtFunction::TableInit => &[table, context, 50, 0, 0, 50],
            _ => &[],
        };
        program
            .write_memory(ARGUMENTS, &block.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        let block = context + ARGUMENTS;
        let arguments = match function {
            RtFunction::HostCall => {
                // The time, which needs no host.
                let call = [WasiFunction::ClockTimeGet as u64, 0, 0, 48 << 10];
                program.write_context(context_offset!(call.func), &call[0].to_le_bytes()[..4]);
                program.write_context(context_offset!(call.args), &call.map(u64::to_le_bytes)[1..].concat());
                program.write_context(context_offset!(call.state), &1_u32.to_le_bytes());
                [0; 5]
            }
            RtFunction::MemoryGrow => [desc, 0, 1, 0, 0],
            RtFunction::MemoryFill => [desc, context, 32 << 10, 7, 5000],
            RtFunction::TableGrow => [table, 10, 7, 0, 0],
            RtFunction::TableFill => [table, 0, 7, 100, 0],
            _ => [block, 0, 0, 0, 0],
        };
        let numbers = [&[function as u64][..], &arguments].concat();
        assert_eq!(contained.run(&program, &numbers), End::Survived, "{function:?}");
        for (what, [start, end]) in [("entered", ENTERED), ("called", CALLED)] {
            for at in (start..end).step_by(8) {
                let word = program.memory_u64(at);
                assert!(!is_address(&program, word), "{what}, {function:?}: {word:#x} at {at}");
            }
        }
    }
    contained.close();
}

/// Whether a number is an address that the program was not given.
fn is_address(program: &Program, word: u64) -> bool {
    let request = &program.request;
    let rt = request.rt_addr..request.rt_addr + RT_SPAN;
    let state = request.state_addr..request.context_addr();
    let text = request.text_addr..request.text_addr + request.text_size;
    rt.contains(&word) || state.contains(&word) || text.contains(&word)
}
