//! Programs stop at safepoints, and go on as if nothing had happened.

use crate::container::{Container, send, socket_pair};
use crate::machine_code;
use crate::program::{Program, STACK_SIZE, message};
use gate_wire::call::{CallReply, CallRequest, REQUEST_SIZE};
use gate_wire::context::{CallState, ExitKind, FrozenBy, RtFunction, STACK_RESERVE};
use gate_wire::context_offset;
use gate_wire::control::Op;
use gate_wire::trap::TrapId;
use std::time::{Duration, Instant};

/// Where programs count.
const COUNT: u64 = 4096;
/// What registers are before and after a safepoint.
const BEFORE: u64 = 8192;
const AFTER: u64 = 12288;
/// Address of rt's function at which they are to be preserved.
const FUNCTION: u64 = 16384;

const SAFEPOINT: i32 = context_offset!(rt) + 8 * RtFunction::Safepoint as i32;
const REQUEST: i32 = context_offset!(suspend_request);

machine_code! {
    // Counts until the counter reaches the number in the memory, with a safepoint in the loop.
    count:
        "push rbp",
        "mov rbp, rsp",
        "2:",
        "cmp dword ptr [rdi + {REQUEST}], 0",
        "jne 4f",
        "3:",
        "inc qword ptr [rdi + {COUNT}]",
        "mov rax, [rdi + {COUNT}]",
        "cmp rax, [rdi]",
        "jb 2b",
        "pop rbp",
        "ret",
        "4: call [rdi + {SAFEPOINT}]",
        "jmp 3b",
        REQUEST = REQUEST, COUNT = COUNT, SAFEPOINT = SAFEPOINT;
    // Waits in a loop for the request, passes one safepoint or breakpoint with all registers set, and stores them.
    registers:
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov rax, [rdi]",
        "mov rax, [rdi + rax * 8 + {RT}]",
        "mov [rdi + {FUNCTION}], rax",
        "movups xmm0, [rdi + 8192]",
        "movups xmm1, [rdi + 8208]",
        "movups xmm7, [rdi + 8304]",
        "movups xmm8, [rdi + 8320]",
        "movups xmm15, [rdi + 8432]",
        "mov rax, [rdi + 8448]",
        "mov rbx, [rdi + 8456]",
        "mov rcx, [rdi + 8464]",
        "mov rdx, [rdi + 8472]",
        "mov rsi, [rdi + 8480]",
        "mov rbp, [rdi + 8488]",
        "mov r8, [rdi + 8496]",
        "mov r9, [rdi + 8504]",
        "mov r10, [rdi + 8512]",
        "mov r11, [rdi + 8520]",
        "mov r12, [rdi + 8528]",
        "mov r13, [rdi + 8536]",
        "mov r14, [rdi + 8544]",
        "mov r15, [rdi + 8552]",
        "mov qword ptr [rdi + {COUNT}], 1",
        "2: cmp dword ptr [rdi + {REQUEST}], 0",
        "je 2b",
        "call [rdi + {FUNCTION}]",
        "movups [rdi + 12288], xmm0",
        "movups [rdi + 12304], xmm1",
        "movups [rdi + 12400], xmm7",
        "movups [rdi + 12416], xmm8",
        "movups [rdi + 12528], xmm15",
        "mov [rdi + 12544], rax",
        "mov [rdi + 12552], rbx",
        "mov [rdi + 12560], rcx",
        "mov [rdi + 12568], rdx",
        "mov [rdi + 12576], rsi",
        "mov [rdi + 12584], rbp",
        "mov [rdi + 12592], r8",
        "mov [rdi + 12600], r9",
        "mov [rdi + 12608], r10",
        "mov [rdi + 12616], r11",
        "mov [rdi + 12624], r12",
        "mov [rdi + 12632], r13",
        "mov [rdi + 12640], r14",
        "mov [rdi + 12648], r15",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        REQUEST = REQUEST, COUNT = COUNT, FUNCTION = FUNCTION, RT = context_offset!(rt);
    // Recurses without end, checking the stack limit.
    recurse:
        "push rbp",
        "mov rbp, rsp",
        "cmp rsp, [rdi + {limit}]",
        "jb 2f",
        "3: lea rax, [rip + gate_test_recurse]",
        "inc qword ptr [rdi + {COUNT}]",
        "call rax",
        "pop rbp",
        "ret",
        "2: call [rdi + {SAFEPOINT}]",
        "jmp 3b",
        limit = context_offset!(stack_limit), COUNT = COUNT, SAFEPOINT = SAFEPOINT;
    // One host call, then one more.
    two_calls:
        "push rbx",
        "mov rbx, rdi",
        "mov qword ptr [rbx], 0",
        "2:",
        "mov dword ptr [rbx + {state}], {unsent}",
        "3:",
        "mov rdi, rbx",
        "call [rbx + {host_call}]",
        "cmp dword ptr [rbx + {state}], 0",
        "je 4f",
        "mov rdi, rbx",
        "call [rbx + {SAFEPOINT}]",
        "jmp 3b",
        "4:",
        "mov rax, [rbx + {result}]",
        "add [rbx + {COUNT}], rax",
        "inc qword ptr [rbx]",
        "cmp qword ptr [rbx], 2",
        "jb 2b",
        "pop rbx",
        "ret",
        state = context_offset!(call.state), unsent = CallState::Unsent as u32,
        result = context_offset!(call.result), COUNT = COUNT, SAFEPOINT = SAFEPOINT,
        host_call = context_offset!(rt) + 8 * RtFunction::HostCall as i32;
    // Two entries, one after the other.
    start_and_entry:
        "inc qword ptr [rdi + {COUNT}]",
        "ret",
        ".balign 16",
        "push rbp",
        "mov rbp, rsp",
        "add qword ptr [rdi + {COUNT}], 100",
        "cmp dword ptr [rdi + {REQUEST}], 0",
        "je 2f",
        "call [rdi + {SAFEPOINT}]",
        "2: pop rbp",
        "ret",
        COUNT = COUNT, REQUEST = REQUEST, SAFEPOINT = SAFEPOINT;
}

/// Waits until the program has counted up to a number at least.
fn wait_for_count(program: &Program, count: u64) {
    let start = Instant::now();
    while program.memory_u64(COUNT) < count {
        assert!(start.elapsed() < Duration::from_secs(20), "the program does not get anywhere");
        std::thread::yield_now();
    }
}

#[test]
fn a_loop_stops_and_goes_on() {
    let mut container = Container::new();
    let mut program = Program::new(count());
    program.write_memory(0, &u64::MAX.to_le_bytes());
    let mut reached = 0;
    for _ in 0..50 {
        let _socket = program.start(&container, 1);
        wait_for_count(&program, reached + 1);
        container.request(Op::Suspend, 1, &[]);
        assert_eq!(container.death(1), 0);
        assert_eq!(program.exit_kind(), ExitKind::Frozen);
        reached = program.memory_u64(COUNT);
        program.thaw();
    }
    program.write_memory(0, &(reached + 1000).to_le_bytes());
    program.run_to_return(&mut container);
    assert_eq!(program.memory_u64(COUNT), reached + 1000);
}

#[test]
fn registers_are_preserved() {
    let mut container = Container::new();
    for (function, reason) in
        [(RtFunction::Safepoint, FrozenBy::Suspension), (RtFunction::Breakpoint, FrozenBy::Breakpoint)]
    {
        let mut program = Program::new(registers());
        let pattern: Vec<u8> = (0..(8552 + 8 - BEFORE)).map(|i| (i * 37 + 11) as u8).collect();
        program.write_memory(BEFORE, &pattern);
        program.write_memory(0, &(function as u64).to_le_bytes());
        let _socket = program.start(&container, 0);
        wait_for_count(&program, 1);
        container.request(Op::Suspend, 0, &[]);
        assert_eq!(container.death(0), 0);
        assert_eq!((program.exit_kind(), program.exit_value()), (ExitKind::Frozen, reason as u32));
        program.thaw();
        program.run_to_return(&mut container);
        for (offset, size) in [(0, 32), (112, 32), (240, 16), (256, 112)] {
            for i in offset..offset + size {
                assert_eq!(program.memory::<1>(AFTER + i)[0], pattern[i as usize], "byte {i}");
            }
        }
    }
}

#[test]
fn a_request_before_the_load_request_is_not_lost() {
    let mut container = Container::new();
    let mut program = Program::new(count());
    program.write_memory(0, &100u64.to_le_bytes());
    let (socket, peer) = socket_pair();
    container.request(Op::Create, 0, &[&peer]);
    container.request(Op::Suspend, 0, &[]);
    container.request(Op::Suspend, 0, &[]);
    container.settle();
    program.load(&socket);
    assert_eq!(container.death(0), 0);
    assert_eq!((program.exit_kind(), program.memory_u64(COUNT)), (ExitKind::Frozen, 0));
    program.thaw();
    program.run_to_return(&mut container);
    assert_eq!(program.memory_u64(COUNT), 100);
}

#[test]
fn a_stop_between_start_function_and_end() {
    let mut container = Container::new();
    let mut program = Program::new(start_and_entry());
    program.request.start = 0;
    program.request.entry = 16;
    let (socket, peer) = socket_pair();
    container.request(Op::Create, 0, &[&peer]);
    container.request(Op::Suspend, 0, &[]);
    container.settle();
    program.load(&socket);
    assert_eq!(container.death(0), 0);
    assert_eq!((program.exit_kind(), program.memory_u64(COUNT)), (ExitKind::Frozen, 101));
    program.thaw();
    program.run_to_return(&mut container);
    assert_eq!(program.memory_u64(COUNT), 101);
}

#[test]
fn host_calls_stop_and_go_on() {
    let mut container = Container::new();
    for suspend_count in [1, 3] {
        let mut program = Program::new(two_calls());
        let mut socket = program.start(&container, 0);
        let mut requests = 0;
        for _ in 0..suspend_count {
            if requests == 0 {
                CallRequest::decode(&message::<REQUEST_SIZE>(&socket)).unwrap();
                requests += 1;
            }
            container.request(Op::Suspend, 0, &[]);
            assert_eq!(container.death(0), 0);
            assert_eq!(program.exit_kind(), ExitKind::Frozen);
            assert_eq!(program.context_u32(context_offset!(call.state)), CallState::Sent as u32);
            program.thaw();
            socket = program.start(&container, 0);
        }
        // The first answer goes to another process than the one that asked.
        send(&socket, &CallReply::Return(40).encode(), &[]).unwrap();
        CallRequest::decode(&message::<REQUEST_SIZE>(&socket)).unwrap();
        send(&socket, &CallReply::Return(2).encode(), &[]).unwrap();
        assert_eq!(container.death(0), 0);
        assert_eq!((program.exit_kind(), program.memory_u64(COUNT)), (ExitKind::Returned, 42));
    }
}

/// The host finishes a call while the program is stopped.
#[test]
fn host_calls_end_while_stopped() {
    let mut container = Container::new();
    for (state, result) in [(CallState::Answered, 40), (CallState::Refused, TrapId::AbiViolation as u64)] {
        let mut program = Program::new(two_calls());
        let socket = program.start(&container, 0);
        CallRequest::decode(&message::<REQUEST_SIZE>(&socket)).unwrap();
        container.request(Op::Suspend, 0, &[]);
        assert_eq!(container.death(0), 0);
        assert_eq!(program.exit_kind(), ExitKind::Frozen);
        program.write_context(context_offset!(call.state), &(state as u32).to_le_bytes());
        program.write_context(context_offset!(call.result), &result.to_le_bytes());
        program.thaw();
        let socket = program.start(&container, 0);
        if state == CallState::Answered {
            // This is the second call.
            CallRequest::decode(&message::<REQUEST_SIZE>(&socket)).unwrap();
            send(&socket, &CallReply::Return(2).encode(), &[]).unwrap();
            assert_eq!(container.death(0), 0);
            assert_eq!((program.exit_kind(), program.memory_u64(COUNT)), (ExitKind::Returned, 42));
        } else {
            assert_eq!(container.death(0), 0);
            assert_eq!((program.exit_kind(), program.exit_value()), (ExitKind::Trapped, result as u32));
        }
        assert_eq!(program.context_u32(context_offset!(call.state)), CallState::Idle as u32);
    }
}

/// The host has lost what it was asked: it is asked again.
#[test]
fn host_calls_are_made_again_if_the_host_says_so() {
    let mut container = Container::new();
    let mut program = Program::new(two_calls());
    let socket = program.start(&container, 0);
    let request = CallRequest::decode(&message::<REQUEST_SIZE>(&socket)).unwrap();
    container.request(Op::Suspend, 0, &[]);
    assert_eq!(container.death(0), 0);
    program.write_context(context_offset!(call.state), &(CallState::Unsent as u32).to_le_bytes());
    program.thaw();
    let socket = program.start(&container, 0);
    assert_eq!(CallRequest::decode(&message::<REQUEST_SIZE>(&socket)).unwrap(), request);
    for result in [40, 2] {
        send(&socket, &CallReply::Return(result).encode(), &[]).unwrap();
    }
    assert_eq!(container.death(0), 0);
    assert_eq!((program.exit_kind(), program.memory_u64(COUNT)), (ExitKind::Returned, 42));
}

/// Requests come at every moment around the system calls: none may be slept through.
#[test]
fn no_request_is_slept_through() {
    let mut container = Container::new();
    for delay in 0..300 {
        let program = Program::new(two_calls());
        let _socket = program.start(&container, 0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_nanos(delay * 700) {
            std::hint::spin_loop();
        }
        container.request(Op::Suspend, 0, &[]);
        assert_eq!(container.death(0), 0);
        assert_eq!(program.exit_kind(), ExitKind::Frozen);
    }
}

#[test]
fn the_end_of_the_stack_is_a_trap() {
    let mut container = Container::new();
    let program = Program::new(recurse());
    assert_eq!(program.run(&mut container), 0);
    assert_eq!(
        (program.exit_kind(), program.exit_value()),
        (ExitKind::Trapped, TrapId::CallStackExhausted as u32)
    );
    let frames = program.memory_u64(COUNT);
    let expected = (STACK_SIZE - STACK_RESERVE) / 16;
    assert!((expected - 8..=expected).contains(&frames), "{frames} frames");
}

#[test]
fn the_end_of_the_stack_is_a_trap_after_a_stop_too() {
    let mut container = Container::new();
    let mut program = Program::new(recurse());
    for stops in 0..200 {
        let (socket, peer) = socket_pair();
        container.request(Op::Create, 0, &[&peer]);
        container.request(Op::Suspend, 0, &[]);
        container.settle();
        program.load(&socket);
        assert_eq!(container.death(0), 0);
        assert_eq!((program.exit_kind(), program.exit_value()), (ExitKind::Frozen, 0), "after {stops} stops");
        program.thaw();
    }
    assert_eq!(program.run(&mut container), 0);
    assert_eq!(
        (program.exit_kind(), program.exit_value()),
        (ExitKind::Trapped, TrapId::CallStackExhausted as u32)
    );
}
