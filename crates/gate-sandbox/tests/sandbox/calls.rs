//! Calls from compiled code to rt and from there to the host.

use crate::container::{Container, receive, send};
use crate::machine_code;
use crate::program::{MEMORY_MAX, MEMORY_SIZE, Program, message};
use gate_wire::call::{CallReply, CallRequest, REQUEST_SIZE};
use gate_wire::context::{CallState, Context, ExitKind, RtFunction};
use gate_wire::context_offset;
use gate_wire::load::LoadFailure;
use gate_wire::trap::TrapId;
use gate_wire::wasi::WasiFunction;
use std::os::fd::OwnedFd;

/// Where the program that makes calls keeps the function, the arguments and the result.
const FUNCTION: u64 = 0;
const RESULT: u64 = 8;
const ARGS: u64 = 16;

machine_code! {
    // Makes a host call as an import thunk does.
    host_call:
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push rbx",
        "mov rbx, rdi",
        "mov eax, [rbx + {FUNCTION}]",
        "mov [rbx + {func}], eax",
        "lea rsi, [rbx + {ARGS}]",
        "lea rdi, [rbx + {args}]",
        "mov ecx, 12",
        "rep movsq",
        "mov dword ptr [rbx + {state}], {unsent}",
        "2:",
        "mov rdi, rbx",
        "call [rbx + {rt_host_call}]",
        "cmp dword ptr [rbx + {state}], 0",
        "je 3f",
        "mov rdi, rbx",
        "call [rbx + {rt_safepoint}]",
        "jmp 2b",
        "3:",
        "mov rax, [rbx + {result}]",
        "mov [rbx + {RESULT}], rax",
        "pop rbx",
        "pop rbx",
        "pop rbp",
        "ret",
        FUNCTION = FUNCTION, RESULT = RESULT, ARGS = ARGS,
        func = context_offset!(call.func), args = context_offset!(call.args),
        state = context_offset!(call.state), result = context_offset!(call.result),
        unsent = CallState::Unsent as u32,
        rt_host_call = context_offset!(rt) + 8 * RtFunction::HostCall as i32,
        rt_safepoint = context_offset!(rt) + 8 * RtFunction::Safepoint as i32;
    // Raises a trap. The frame pointer is to be found in the exit record.
    raise:
        "push rbp",
        "mov rbp, rsp",
        "mov [rdi], rbp",
        "mov esi, {trap}",
        "call [rdi + {rt_trap}]",
        "ud2",
        trap = TrapId::IntegerOverflow as u32,
        rt_trap = context_offset!(rt) + 8 * RtFunction::Trap as i32;
    // Fills one page after the other, growing the memory, until it cannot grow.
    grow:
        "push rbx",
        "mov rbx, rdi",
        "2:",
        "mov rdi, rbx",
        "lea rsi, [rbx - {desc}]",
        "xor edx, edx",
        "mov ecx, 1",
        "call [rbx + {rt_grow}]",
        "test rax, rax",
        "js 3f",
        "shl rax, 16",
        "mov [rbx + rax], rax",
        "jmp 2b",
        "3: pop rbx",
        "ret",
        desc = gate_wire::context::memory_desc_distance(0),
        rt_grow = context_offset!(rt) + 8 * RtFunction::MemoryGrow as i32;
}

fn calling(function: u32, args: &[u64]) -> Program {
    let program = Program::new(host_call());
    program.write_memory(FUNCTION, &function.to_le_bytes());
    for (i, arg) in args.iter().enumerate() {
        program.write_memory(ARGS + 8 * i as u64, &arg.to_le_bytes());
    }
    program
}

fn local_call(container: &mut Container, function: WasiFunction, args: &[u64]) -> (u64, Program) {
    let mut program = calling(function as u32, args);
    program.request.time_resolution = 1000;
    program.request.monotonic_origin = 5_000_000_000_000_000;
    program.run_to_return(container);
    (program.memory_u64(RESULT), program)
}

const OUT: u64 = 1024;
const EFAULT: u64 = 21;
const EINVAL: u64 = 28;

#[test]
fn clocks() {
    let mut container = Container::new();
    for clock in 0..4 {
        let (errno, program) = local_call(&mut container, WasiFunction::ClockTimeGet, &[clock, 0, OUT]);
        let time = program.memory_u64(OUT);
        assert_eq!((errno, time % 1000), (0, 0));
        match clock {
            0 => assert!(time > 1_700_000_000_000_000_000),
            1 => assert!((5_000_000_000_000_000..6_000_000_000_000_000_000).contains(&time)),
            _ => assert!(time < 10_000_000_000),
        }
        let (errno, program) = local_call(&mut container, WasiFunction::ClockResGet, &[clock, OUT]);
        assert_eq!((errno, program.memory_u64(OUT)), (0, 1000));
    }
    assert_eq!(local_call(&mut container, WasiFunction::ClockTimeGet, &[4, 0, OUT]).0, EINVAL);
    assert_eq!(local_call(&mut container, WasiFunction::ClockResGet, &[u64::MAX, OUT]).0, EINVAL);
}

#[test]
fn results_stay_in_memory() {
    let mut container = Container::new();
    let (errno, program) = local_call(&mut container, WasiFunction::ClockTimeGet, &[0, 0, MEMORY_SIZE - 8]);
    assert_eq!(errno, 0);
    assert_ne!(program.memory_u64(MEMORY_SIZE - 8), 0);
    for out in [MEMORY_SIZE - 7, MEMORY_SIZE, MEMORY_MAX, 0x7fff_ffff, u32::MAX.into()] {
        assert_eq!(local_call(&mut container, WasiFunction::ClockTimeGet, &[0, 0, out]).0, EFAULT);
        assert_eq!(local_call(&mut container, WasiFunction::ClockResGet, &[0, out]).0, EFAULT);
    }
}

#[test]
fn exit_and_yield() {
    let mut container = Container::new();
    assert_eq!(local_call(&mut container, WasiFunction::SchedYield, &[]).0, 0);
    let program = calling(WasiFunction::ProcExit as u32, &[77]);
    assert_eq!(program.run(&mut container), 0);
    assert_eq!((program.exit_kind(), program.exit_value()), (ExitKind::Terminated, 77));
}

fn receive_request(socket: &OwnedFd) -> CallRequest {
    CallRequest::decode(&message::<REQUEST_SIZE>(socket)).unwrap()
}

#[test]
fn the_host_answers() {
    let mut container = Container::new();
    let args = [1, 2, u64::MAX, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let program = calling(123_456, &args);
    let socket = program.start(&container, 0);
    assert_eq!(receive_request(&socket), CallRequest { func: 123_456, args });
    send(&socket, &CallReply::Return(0xfeed_face_cafe_beef).encode(), &[]).unwrap();
    assert_eq!(container.death(0), 0);
    assert_eq!(program.exit_kind(), ExitKind::Returned);
    assert_eq!(program.memory_u64(RESULT), 0xfeed_face_cafe_beef);
}

#[test]
fn the_host_answers_with_a_trap() {
    let mut container = Container::new();
    let program = calling(WasiFunction::FdWrite as u32, &[]);
    let socket = program.start(&container, 0);
    receive_request(&socket);
    send(&socket, &CallReply::Trap(TrapId::AbiViolation as u32).encode(), &[]).unwrap();
    assert_eq!(container.death(0), 0);
    assert_eq!((program.exit_kind(), program.exit_value()), (ExitKind::Trapped, TrapId::AbiViolation as u32));
    let pc = program.context_u64(context_offset!(exit.pc));
    assert!((program.request.text_addr..program.request.text_addr + 4096).contains(&pc));
}

#[test]
fn the_host_answers_nonsense() {
    let mut container = Container::new();
    for reply in [&[1][..], &[0; 15], &[0; 17], &[0xff; 16], &[0; 4096]] {
        let program = calling(WasiFunction::FdWrite as u32, &[]);
        let socket = program.start(&container, 0);
        receive_request(&socket);
        send(&socket, reply, &[]).unwrap();
        let status = container.death(0);
        // What is too long is cut, and is then like any other.
        if reply.len() <= 16 || status != 0 {
            assert_eq!(LoadFailure::from_status(status as i32 >> 8), Some(LoadFailure::InvalidReply));
        }
    }
}

#[test]
fn the_host_goes_away() {
    let mut container = Container::new();
    let program = calling(WasiFunction::FdWrite as u32, &[]);
    let socket = program.start(&container, 0);
    receive_request(&socket);
    drop(socket);
    assert_eq!(LoadFailure::from_status(container.death(0) as i32 >> 8), Some(LoadFailure::HostGone));

    // Before there is anything to run.
    let (socket, peer) = crate::container::socket_pair();
    container.request(gate_wire::control::Op::Create, 0, &[&peer]);
    drop(peer);
    drop(socket);
    assert_eq!(LoadFailure::from_status(container.death(0) as i32 >> 8), Some(LoadFailure::HostGone));
}

#[test]
fn descriptors_in_replies_go_nowhere() {
    let mut container = Container::new();
    let program = calling(WasiFunction::FdWrite as u32, &[]);
    let socket = program.start(&container, 0);
    receive_request(&socket);
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    send(&socket, &CallReply::Return(1).encode(), &[&file]).unwrap();
    assert_eq!(container.death(0), 0);
    // Nothing comes the other way either, but the closing.
    assert_eq!(receive(&socket, &mut [0; 16]).unwrap_or(0), 0);
}

#[test]
fn a_trap_tells_its_place() {
    let mut container = Container::new();
    let program = Program::new(raise());
    assert_eq!(program.run(&mut container), 0);
    assert_eq!(program.exit_kind(), ExitKind::Trapped);
    assert_eq!(program.exit_value(), TrapId::IntegerOverflow as u32);
    assert_eq!(program.context_u64(context_offset!(exit.fp)), program.memory_u64(0));
    let end = program.request.text_addr + raise().len() as u64;
    assert_eq!(program.context_u64(context_offset!(exit.pc)), end - 2);
}

#[test]
fn memory_grows_to_its_limit() {
    let mut container = Container::new();
    let program = Program::new(grow());
    program.run_to_return(&mut container);
    for page in 1..MEMORY_MAX >> 16 {
        assert_eq!(program.memory_u64(page << 16), page << 16);
    }
    let size = program.context_u64(-(gate_wire::context::memory_desc_distance(0) as i32));
    assert_eq!(size, MEMORY_MAX);
    assert!(size_of::<Context>() < 4096);
}
