//! Frames are written down without any trace in the state, and read again.

use crate::container::{Container, receive};
use crate::machine_code;
use crate::program::{CONTEXT_OFFSET, INSTANCE_SIZE, MEMORY_SIZE, Program, STACK_SIZE};
use gate_wire::PAGE_SIZE;
use gate_wire::context::{CallState, ExitKind, FrozenBy, RtFunction};
use gate_wire::context_offset;
use gate_wire::frames::{FRAMES_COMPLETE, FRAMES_START};
use gate_wire::load::{FLAG_EXPORT, LoadFailure};
use std::os::unix::fs::FileExt;

/// Size of the frames file.
const FRAMES_SIZE: u64 = 2 * PAGE_SIZE;

/// What programs do after a breakpoint.
const WRITE_FRAMES: u64 = 0;
const OVERFLOW: u64 = 1;
const RETURN: u64 = 2;
const STOP_UNWINDING: u64 = 3;
const FORGE: u64 = 4;
const STOP_AGAIN: u64 = 5;
const CALL_HOST: u64 = 6;
const TRAP: u64 = 7;
const FAULT: u64 = 8;
const TOUCH_MEMORY: u64 = 9;
const JUMP_BACKWARDS: u64 = 10;

const UNWINDING: i32 = context_offset!(unwinding);
const DUMP_NEXT: i32 = context_offset!(dump_next);
const RT: i32 = context_offset!(rt);

machine_code! {
    // Passes a breakpoint with a number in a register which tells what to do if frames are to be written. If not,
    // stores numbers in the memory and returns.
    exported:
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "mov rbx, rdi",
        "mov r12, [rbx]",
        "call [rbx + {BREAKPOINT}]",
        "cmp dword ptr [rbx + {UNWINDING}], 0",
        "jne 2f",
        "mov qword ptr [rbx + 8], 1",
        "jmp 9f",
        // Two frames, one of them changed in place after that.
        "2:",
        "mov rax, [rbx + {DUMP_NEXT}]",
        "cmp r12, 0",
        "jne 3f",
        "mov dword ptr [rax], 7",
        "mov dword ptr [rax + 4], 70",
        "mov [rax + 8], r12",
        "mov dword ptr [rax + 16], 8",
        "mov dword ptr [rax + 20], 80",
        "add qword ptr [rbx + {DUMP_NEXT}], 24",
        // To be forgotten.
        "mov dword ptr [rbx + {EXIT}], 77",
        "push rax",
        "pop rax",
        "jmp 9f",
        "3:",
        "cmp r12, 1",
        "jne 3f",
        "4: mov [rax], rax",
        "add rax, 8",
        "jmp 4b",
        "3:",
        "cmp r12, 2",
        "je 9f",
        "cmp r12, 3",
        "jne 3f",
        "mov dword ptr [rbx + {UNWINDING}], 0",
        "add qword ptr [rbx + {DUMP_NEXT}], 24",
        "jmp 9f",
        "3:",
        "cmp r12, 4",
        "jne 3f",
        "mov rcx, {COMPLETE}",
        "mov [rax - {FRAMES_START}], rcx",
        "mov qword ptr [rax - {FRAMES_START} + 8], -1",
        "mov eax, 231",
        "xor edi, edi",
        "syscall",
        "3:",
        "mov rdi, rbx",
        "cmp r12, 5",
        "jne 3f",
        "call [rbx + {SAFEPOINT}]",
        "3:",
        "cmp r12, 6",
        "jne 3f",
        "mov dword ptr [rbx + {CALL_STATE}], {UNSENT}",
        "call [rbx + {HOST_CALL}]",
        "3:",
        "mov esi, 3",
        "cmp r12, 7",
        "jne 3f",
        "call [rbx + {RT_TRAP}]",
        "3:",
        "cmp r12, 8",
        "jne 3f",
        "ud2",
        "3:",
        "cmp r12, 9",
        "jne 3f",
        "mov [rbx], rax",
        "3:",
        "cmp r12, 10",
        "jne 3f",
        "sub qword ptr [rbx + {DUMP_NEXT}], 8",
        "3:",
        "9:",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        UNWINDING = UNWINDING, DUMP_NEXT = DUMP_NEXT, EXIT = context_offset!(exit.value),
        COMPLETE = FRAMES_COMPLETE, FRAMES_START = FRAMES_START,
        CALL_STATE = context_offset!(call.state), UNSENT = CallState::Unsent as u32,
        BREAKPOINT = RT + 8 * RtFunction::Breakpoint as i32,
        SAFEPOINT = RT + 8 * RtFunction::Safepoint as i32,
        HOST_CALL = RT + 8 * RtFunction::HostCall as i32,
        RT_TRAP = RT + 8 * RtFunction::Trap as i32;
    // Stores what tells about frames, and the first word of them if there are any.
    look:
        "mov eax, [rdi + {UNWINDING}]",
        "mov [rdi], rax",
        "mov rax, [rdi + {DUMP_NEXT}]",
        "mov [rdi + 8], rax",
        "mov rax, [rdi + {RESUME_NEXT}]",
        "mov [rdi + 16], rax",
        "test rax, rax",
        "jz 2f",
        "mov rax, [rax]",
        "mov [rdi + 24], rax",
        "2: ret",
        UNWINDING = UNWINDING, DUMP_NEXT = DUMP_NEXT, RESUME_NEXT = context_offset!(resume_next);
    write_frames: "mov rax, [rdi + {RESUME_NEXT}]", "mov [rax], rax", "ret",
        RESUME_NEXT = context_offset!(resume_next);
}

/// A program at its breakpoint, which is going to do something else than to go on.
fn stopped(container: &mut Container, action: u64) -> Program {
    let program = Program::new(exported());
    program.write_memory(0, &action.to_le_bytes());
    assert_eq!(program.run(container), 0);
    assert_eq!((program.exit_kind(), program.exit_value()), (ExitKind::Frozen, FrozenBy::Breakpoint as u32));
    program
}

/// All there is in the state file.
fn state(program: &Program) -> Vec<u8> {
    let mut bytes = vec![0; (STACK_SIZE + INSTANCE_SIZE + MEMORY_SIZE) as usize];
    let start = CONTEXT_OFFSET - STACK_SIZE - INSTANCE_SIZE;
    program.state.read_exact_at(&mut bytes, start).unwrap();
    bytes
}

/// A number in the frames file.
fn frame_word(program: &Program, offset: u64) -> u64 {
    let mut bytes = [0; 8];
    program.frames.as_ref().unwrap().read_exact_at(&mut bytes, offset).unwrap();
    u64::from_le_bytes(bytes)
}

#[test]
fn frames_are_written_and_the_state_stays() {
    let mut container = Container::new();
    let mut program = stopped(&mut container, WRITE_FRAMES);
    let before = state(&program);
    for _ in 0..2 {
        program.export(FRAMES_SIZE);
        assert_eq!(program.run(&mut container), 0);
        assert!(state(&program) == before);
        assert_eq!((frame_word(&program, 0), frame_word(&program, 8)), (FRAMES_COMPLETE, 24));
        let frames = [0, 8, 16].map(|offset| frame_word(&program, FRAMES_START + offset));
        assert_eq!(frames, [70 << 32 | 7, 0, 80 << 32 | 8]);
    }
    // It goes on all the same.
    program.thaw();
    program.run_to_return(&mut container);
    assert_eq!(program.memory_u64(8), 1);
}

#[test]
fn whatever_else_happens_is_a_failure() {
    let mut container = Container::new();
    for (action, expected) in [
        (OVERFLOW, LoadFailure::FramesFull),
        (RETURN, LoadFailure::Export),
        (STOP_UNWINDING, LoadFailure::Export),
        (STOP_AGAIN, LoadFailure::Export),
        (CALL_HOST, LoadFailure::Export),
        (TRAP, LoadFailure::Export),
        (FAULT, LoadFailure::Export),
        (TOUCH_MEMORY, LoadFailure::Export),
        (JUMP_BACKWARDS, LoadFailure::Export),
    ] {
        let mut program = stopped(&mut container, action);
        let before = state(&program);
        program.export(FRAMES_SIZE);
        let socket = program.start(&container, 0);
        let status = container.death(0);
        assert_eq!(LoadFailure::from_status(status as i32 >> 8), Some(expected), "action {action}");
        assert!(state(&program) == before);
        assert_ne!(frame_word(&program, 0), FRAMES_COMPLETE);
        // Nothing has been asked of the host: there is only the end.
        assert_eq!(receive(&socket, &mut [0; 256]).unwrap_or(0), 0);
    }
}

/// A program can say that it has written frames, in the place for them and nowhere else. The host has to look at them.
#[test]
fn a_forged_header_is_all_that_a_program_can_make() {
    let mut container = Container::new();
    let mut program = stopped(&mut container, FORGE);
    let before = state(&program);
    program.export(FRAMES_SIZE);
    assert_eq!(program.run(&mut container), 0);
    assert!(state(&program) == before);
    assert_eq!((frame_word(&program, 0), frame_word(&program, 8)), (FRAMES_COMPLETE, u64::MAX));
    assert_eq!(program.frames.as_ref().unwrap().metadata().unwrap().len(), FRAMES_SIZE);
    program.thaw();
    program.run_to_return(&mut container);
}

#[test]
fn a_request_for_suspension_does_not_disturb() {
    let mut container = Container::new();
    let mut program = stopped(&mut container, WRITE_FRAMES);
    program.export(FRAMES_SIZE);
    let (socket, peer) = crate::container::socket_pair();
    container.request(gate_wire::control::Op::Create, 0, &[&peer]);
    container.request(gate_wire::control::Op::Suspend, 0, &[]);
    container.settle();
    program.load(&socket);
    assert_eq!(container.death(0), 0);
    assert_eq!(frame_word(&program, 8), 24);
}

#[test]
fn frames_to_go_on_with_are_found_and_not_changed() {
    let mut container = Container::new();
    let mut content = vec![0; FRAMES_START as usize];
    content.extend(0xfeed_u64.to_le_bytes());
    let mut program = Program::new(look());
    program.set_frames(&content, FRAMES_SIZE);
    // What a state from elsewhere may contain.
    program.write_context(UNWINDING, &[1; 4]);
    program.run_to_return(&mut container);
    let first = program.request.frames_addr + FRAMES_START;
    assert_eq!([0, 16, 24].map(|offset| program.memory_u64(offset)), [0, first, 0xfeed]);

    let program = Program::new(look());
    program.write_context(context_offset!(resume_next), &[1; 8]);
    program.write_context(DUMP_NEXT, &[1; 8]);
    program.run_to_return(&mut container);
    assert_eq!([0, 8, 16].map(|offset| program.memory_u64(offset)), [0; 3]);

    let mut program = Program::new(write_frames());
    program.set_frames(&content, FRAMES_SIZE);
    assert_eq!(program.run(&mut container), 0);
    assert_eq!((program.exit_kind(), program.exit_value()), (ExitKind::Faulted, libc::SIGSEGV as u32));
    assert_eq!(frame_word(&program, FRAMES_START), 0xfeed);
}

#[test]
fn a_program_that_goes_on_does_not_unwind() {
    let mut container = Container::new();
    let mut program = stopped(&mut container, WRITE_FRAMES);
    program.write_context(UNWINDING, &1u32.to_le_bytes());
    program.thaw();
    program.run_to_return(&mut container);
    assert_eq!(program.memory_u64(8), 1);
}

#[test]
fn requests_about_frames_are_checked() {
    type Change = fn(&mut Program);
    let cases: [(Change, LoadFailure); 8] = [
        (|p| p.request.flags = FLAG_EXPORT, LoadFailure::InvalidRequest),
        (|p| p.request.flags |= 8, LoadFailure::InvalidRequest),
        (|p| p.request.frames_addr += 1, LoadFailure::InvalidRequest),
        (|p| p.request.frames_size += 1, LoadFailure::InvalidRequest),
        (|p| p.request.frames_addr = 0x4fff_ffff_0000, LoadFailure::InvalidRequest),
        (|p| p.request.frames_addr = p.request.context_addr() + (1 << 30), LoadFailure::MapFrames),
        (|p| p.request.frames_size = 0, LoadFailure::MissingDescriptors),
        (
            |p| {
                p.request.frames_size = 0;
                p.frames = None;
            },
            LoadFailure::InvalidRequest,
        ),
    ];
    let mut container = Container::new();
    for (i, (change, expected)) in cases.into_iter().enumerate() {
        let mut program = stopped(&mut container, WRITE_FRAMES);
        program.export(FRAMES_SIZE);
        change(&mut program);
        assert_eq!(program.run_to_failure(&mut container), expected, "case {i}");
    }
}
