//! Every way into the kernel but the few that are meant leads to death.

use crate::container::Container;
use crate::machine_code;
use crate::program::Program;
use gate_wire::context::ExitKind;
use gate_wire::cow::STATE_FD;
use gate_wire::load::{SETUP_RANGE, STATE_FILE_STRIDE};

/// Where the programs note that they are still alive, and what the kernel gave them.
const ALIVE: u64 = 256;
const RESULT: u64 = 264;

machine_code! {
    // System call with the number and arguments given at the beginning of the memory.
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
        "mov qword ptr [rbx + {ALIVE}], 1",
        "mov [rbx + {RESULT}], rax",
        "mov eax, 231",
        "mov edi, 42",
        "syscall",
        ALIVE = ALIVE, RESULT = RESULT;
    // The same by the 32-bit way, whose arguments are in other registers.
    call_kernel_32:
        "mov r12, rdi",
        "mov rax, [r12]",
        "mov rbx, [r12 + 8]",
        "mov rcx, [r12 + 16]",
        "mov rdx, [r12 + 24]",
        "int 0x80",
        "mov qword ptr [r12 + {ALIVE}], 1",
        "mov [r12 + {RESULT}], rax",
        "mov eax, 231",
        "mov edi, 42",
        "syscall",
        ALIVE = ALIVE, RESULT = RESULT;
    // Goes where the beginning of the memory says.
    jump: "jmp [rdi]";
    sysenter: "mov eax, 20", "sysenter", "ud2";
    vsyscall: "sub rsp, 8", "mov rbx, rdi", "xor edi, edi", "mov rax, -10485760", "call rax",
        "mov qword ptr [rbx + {ALIVE}], 1", "add rsp, 8", "ret", ALIVE = ALIVE;
}

/// How a process ended that was made to call the kernel.
#[derive(Debug, PartialEq)]
enum End {
    /// Killed for it.
    Killed,
    /// It went on with this result.
    Result(i64),
    /// Another status.
    Status(u32),
    /// A fault was recorded.
    Fault,
}

fn end(container: &mut Container, code: &[u8], call: [u64; 7]) -> End {
    let program = Program::new(code);
    program.write_memory(0, call.map(u64::to_le_bytes).as_flattened());
    let status = program.run(container);
    if program.memory_u64(ALIVE) != 0 {
        assert_eq!(status, 42 << 8);
        return End::Result(program.memory_u64(RESULT) as i64);
    }
    match status {
        0 if program.exit_kind() == ExitKind::Faulted => End::Fault,
        status if status & 0x7f == libc::SIGSYS as u32 => End::Killed,
        status => End::Status(status),
    }
}

const READ: u64 = 0;
const WRITE: u64 = 1;
const MMAP: u64 = 9;
const MPROTECT: u64 = 10;
const MUNMAP: u64 = 11;
const RT_SIGRETURN: u64 = 15;
const CLOCK_GETTIME: u64 = 228;
const EXIT_GROUP: u64 = 231;

const ALLOWED: [u64; 6] = [READ, WRITE, MPROTECT, RT_SIGRETURN, CLOCK_GETTIME, EXIT_GROUP];

const URETPROBE: u64 = 335;
const UPROBE: u64 = 336;

#[test]
fn every_other_number_kills() {
    let mut container = Container::new();
    for number in (0..=600).filter(|n| !ALLOWED.contains(n)) {
        let end = end(&mut container, call_kernel(), [number, 0, 0, 0, 0, 0, 0]);
        match number {
            // The kernel keeps these from filters, and refuses them from elsewhere than its own trampolines.
            URETPROBE => assert!(matches!(end, End::Killed | End::Fault), "{end:?}"),
            UPROBE => assert!(matches!(end, End::Killed | End::Fault | End::Result(..0)), "{end:?}"),
            _ => assert_eq!(end, End::Killed, "system call {number}"),
        }
    }
}

#[test]
fn odd_numbers_kill() {
    const X32: u64 = 0x4000_0000;
    let mut container = Container::new();
    let x32 = (0..=600).step_by(7).chain(ALLOWED).map(|n| n | X32);
    let high = [601, 1023, 1024, 4096, 0x7fff_ffff, 0x8000_0000, u64::from(u32::MAX)];
    for number in x32.chain(high) {
        let end = end(&mut container, call_kernel(), [number, 0, 0, 0, 0, 0, 0]);
        assert_eq!(end, End::Killed, "system call {number:#x}");
    }
}

#[test]
fn the_32_bit_way_kills() {
    let mut container = Container::new();
    for number in (0..=460).step_by(5).chain([1, 3, 4, 11, 252]) {
        let end = end(&mut container, call_kernel_32(), [number, 0, 0, 0, 0, 0, 0]);
        // It is a fault if the kernel is configured without it.
        assert!(matches!(end, End::Killed | End::Fault), "int 0x80 with {number}: {end:?}");
    }
    for code in [sysenter(), vsyscall()] {
        let end = end(&mut container, code, [0; 7]);
        assert!(matches!(end, End::Killed | End::Fault), "{end:?}");
    }
}

#[test]
fn only_the_call_socket_can_be_read_and_written() {
    let mut container = Container::new();
    let others = (1..=1024).step_by(31).chain([2, 3, 4, u64::from(u32::MAX), 1 << 31]);
    for fd in others {
        for number in [READ, WRITE] {
            let end = end(&mut container, call_kernel(), [number, fd, 0, 0, 0, 0, 0]);
            assert_eq!(end, End::Killed, "system call {number} on descriptor {fd}");
        }
    }
    // An address that is not the program's, on the descriptor that is.
    let end = end(&mut container, call_kernel(), [WRITE, 0, 4096, 1, 0, 0, 0]);
    assert_eq!(end, End::Result(-i64::from(libc::EFAULT)));
}

#[test]
fn nothing_becomes_executable() {
    let mut container = Container::new();
    let program = Program::new(call_kernel());
    let (text, memory) = (program.request.text_addr, program.request.context_addr());
    for addr in [text, memory] {
        for prot in [4, 5, 6, 7, 1 << 3, 0x0100_0000, 0x0200_0004, 1 << 32, u64::MAX] {
            program
                .write_memory(0, [MPROTECT, addr, 4096, prot, 0, 0, 0].map(u64::to_le_bytes).as_flattened());
            let status = program.run(&mut container);
            assert_eq!(status & 0x7f, libc::SIGSYS as u32, "mprotect with {prot:#x}");
            assert_eq!(program.memory_u64(ALIVE), 0);
        }
    }
}

#[test]
fn reserved_address_space_does_not_become_memory() {
    use crate::program::{INSTANCE_SIZE, MEMORY_MAX, MEMORY_SIZE, STACK_SIZE};
    let mut container = Container::new();
    let program = Program::new(call_kernel());
    let memory = program.request.context_addr();
    let guard = memory - STACK_SIZE - INSTANCE_SIZE - 4096;
    let mut protect = |addr, size| {
        program.write_memory(0, [MPROTECT, addr, size, 3, 0, 0, 0].map(u64::to_le_bytes).as_flattened());
        assert_eq!(program.run(&mut container), 42 << 8);
        program.memory_u64(RESULT) as i64
    };
    let no_memory = -i64::from(libc::ENOMEM);
    assert_eq!(protect(memory + MEMORY_MAX, 4096), no_memory, "behind the greatest size");
    assert_eq!(protect(memory + MEMORY_MAX, 1 << 30), no_memory, "much behind the greatest size");
    assert_eq!(protect(guard, 4096), no_memory, "below the stack");
    assert_eq!(protect(program.request.text_addr, 4096), no_memory, "text");
    assert_eq!(protect(memory + MEMORY_SIZE, MEMORY_MAX - MEMORY_SIZE), 0, "up to the greatest size");
}

#[test]
fn the_loaders_place_stays_empty() {
    const FILE: u64 = STATE_FD as u64;
    let mut container = Container::new();
    let (start, size) = (SETUP_RANGE.start, SETUP_RANGE.end - SETUP_RANGE.start);
    for addr in SETUP_RANGE.step_by(4096) {
        for place in [addr, addr + 192, addr + 4094] {
            assert_eq!(end(&mut container, jump(), [place, 0, 0, 0, 0, 0, 0]), End::Fault, "{place:#x}");
        }
    }
    let mut call = |call: [u64; 7]| end(&mut container, call_kernel(), call);
    // What rt did last.
    assert_eq!(call([MUNMAP, start, size, 0, 0, 0, 0]), End::Result(0));
    let others =
        [(0, start), (start, 4096), (start, size + 4096), (start - 4096, size), (start + (1 << 32), size)];
    for (addr, size) in others {
        assert_eq!(call([MUNMAP, addr, size, 0, 0, 0, 0]), End::Killed, "{size:#x} at {addr:#x}");
    }
    let no_memory = -i64::from(libc::ENOMEM);
    assert_eq!(call([MPROTECT, start, size, 3, 0, 0, 0]), End::Result(no_memory));
    assert_eq!(call([MPROTECT, start, size, 5, 0, 0, 0]), End::Killed);
    // Where no memory is copied on write there is no file to map.
    let bad_file = -i64::from(libc::EBADF);
    assert_eq!(call([MMAP, start, 4096, 3, 0x8011, FILE, STATE_FILE_STRIDE]), End::Result(bad_file));
    for (prot, flags) in [(7, 0x8011), (5, 0x8011), (3, 0x8031), (3, 0x8012)] {
        assert_eq!(call([MMAP, start, 4096, prot, flags, FILE, STATE_FILE_STRIDE]), End::Killed);
    }
}

#[test]
fn only_harmless_clocks_can_be_read() {
    let mut container = Container::new();
    for clock in 0..16 {
        let program = Program::new(call_kernel());
        let timespec = program.request.context_addr() + 512;
        let call = [CLOCK_GETTIME, clock, timespec, 0, 0, 0, 0];
        program.write_memory(0, call.map(u64::to_le_bytes).as_flattened());
        let status = program.run(&mut container);
        let expected = if clock <= 3 { 42 << 8 } else { libc::SIGSYS as u32 };
        assert_eq!(status, expected, "clock {clock}");
    }
    // Processor time of process 1, and a clock of a descriptor.
    for clock in [(!1i32 << 3) as u32, (!0i32 << 3 | 3) as u32] {
        let end = end(&mut container, call_kernel(), [CLOCK_GETTIME, clock.into(), 0, 0, 0, 0, 0]);
        assert_eq!(end, End::Killed);
    }
}

#[test]
fn a_forged_signal_frame_gains_nothing() {
    let mut container = Container::new();
    let end = end(&mut container, call_kernel(), [RT_SIGRETURN, 0, 0, 0, 0, 0, 0]);
    // The frame is garbage, and the process dies of it in one way or another.
    assert!(matches!(end, End::Fault | End::Status(_)), "{end:?}");
}
