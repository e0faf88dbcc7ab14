//! The executor does what it is asked, refuses what it dislikes, and outlives its programs.

use crate::container::{Container, is_root, memfd, send, socket_pair};
use crate::machine_code;
use crate::program::{Program, message};
use gate_wire::MAX_PROCS;
use gate_wire::context::ExitKind;
use gate_wire::control::{Op, Report, Request, Setup, SetupStep};
use gate_wire::load::{LoadFailure, LoadRequest, MAX_MEMORIES, MemoryMap};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

machine_code! {
    nothing: "ret";
    spin: "mov eax, 1", "mov rsi, rdi", "xor edi, edi", "mov edx, 8", "syscall", "2: pause", "jmp 2b";
    busy: "mov ecx, 300000000", "2: dec ecx", "jnz 2b", "ret";
}

const EEXIST: u32 = libc::EEXIST as u32;
const EINVAL: u32 = libc::EINVAL as u32;
const EBADMSG: u32 = libc::EBADMSG as u32;
const KILLED: u32 = libc::SIGKILL as u32;

/// Makes a process that waits for its load request.
fn prepare(container: &Container, id: u32) -> OwnedFd {
    let (socket, peer) = socket_pair();
    container.request(Op::Create, id, &[&peer]);
    socket
}

#[test]
fn ids_are_in_use_until_the_death_is_reported() {
    let mut container = Container::new();
    let _first = prepare(&container, 7);
    let _second = prepare(&container, 7);
    assert_eq!(container.report(), Report::Refused { id: 7, errno: EEXIST });
    container.request(Op::Kill, 7, &[]);
    assert_eq!(container.death(7), KILLED);
    let _third = prepare(&container, 7);
    container.request(Op::Kill, 7, &[]);
    assert_eq!(container.death(7), KILLED);
    // All at once, with late and repeated ones.
    container.request(Op::Kill, 7, &[]);
    let _fourth = prepare(&container, 7);
    container.request(Op::Kill, 7, &[]);
    container.request(Op::Kill, 7, &[]);
    container.request(Op::Suspend, 7, &[]);
    assert_eq!(container.death(7), KILLED);
    container.settle();
}

#[test]
fn odd_messages_are_refused() {
    let mut container = Container::new();
    let program = Program::new(spin());
    let socket = program.start(&container, 3);
    message::<8>(&socket);
    let file = memfd(c"file", &[]);

    let create = |id| Request { op: Op::Create, id }.encode();
    let kill = Request { op: Op::Kill, id: 3 }.encode();
    let unknown = [9, 0, 0, 0, 3, 0, 0, 0];
    let no_id = u32::MAX;
    let cases: [(&[u8], &[&OwnedFd], u32, u32); 13] = [
        (&[], &[], no_id, EBADMSG),
        (&[1], &[], no_id, EBADMSG),
        (&kill[..7], &[], no_id, EBADMSG),
        (&[0; 8], &[], no_id, EBADMSG),
        (&unknown, &[], no_id, EBADMSG),
        (&[1; 4096], &[&file], no_id, EBADMSG),
        (&create(5), &[], 5, EBADMSG),
        (&create(5), &[&file, &file, &file], 5, EBADMSG),
        (&create(5), &[&file, &file, &file, &file, &file, &file], 5, EBADMSG),
        (&create(MAX_PROCS), &[&file], MAX_PROCS, EINVAL),
        (&create(u32::MAX), &[&file], u32::MAX, EINVAL),
        (&kill, &[&file], 3, EBADMSG),
        (&create(3), &[&file], 3, EEXIST),
    ];
    for (bytes, fds, id, errno) in cases {
        container.send(bytes, fds);
        assert_eq!(
            container.report(),
            Report::Refused { id, errno },
            "{bytes:?} with {} descriptors",
            fds.len()
        );
    }
    // A second descriptor which is no cgroup directory.
    container.send(&create(5), &[&file, &file]);
    assert!(matches!(container.report(), Report::Refused { id: 5, .. }));
    // The other process has not noticed, and nothing has leaked.
    if let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", container.pid)) {
        assert_eq!(entries.count(), 5);
    }
    container.request(Op::Kill, 3, &[]);
    assert_eq!(container.death(3), KILLED);
    Program::new(nothing()).run_to_return(&mut container);
}

#[test]
fn what_cannot_be_executed_is_refused() {
    let mut container = Container::with_loader(b"not an executable");
    for id in [0, 1, 0] {
        let _socket = prepare(&container, id);
        assert_eq!(container.report(), Report::Refused { id, errno: libc::ENOEXEC as u32 });
    }
    assert_eq!(container.children(), []);
}

#[test]
fn a_call_socket_can_be_anything() {
    // What the host gives is the host's business, but it must not hurt others.
    let mut container = Container::new();
    container.request(Op::Create, 0, &[&memfd(c"file", &[])]);
    let status = container.death(0);
    assert_eq!(LoadFailure::from_status(status as i32 >> 8), Some(LoadFailure::ReceiveRequest));
}

#[test]
fn reports_wait_for_a_slow_host() {
    const COUNT: u32 = 3000;
    let mut container = Container::new();
    // A small buffer, so that it is full soon.
    let size: i32 = 4096;
    // SAFETY: one number.
    unsafe {
        libc::setsockopt(
            container.control.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            (&raw const size).cast(),
            size_of::<i32>() as u32,
        );
    }
    let sender = container.control.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in 0..COUNT {
                let (_socket, peer) = socket_pair();
                // The process finds that there is no host, and exits.
                send(&sender, &Request { op: Op::Create, id }.encode(), &[&peer]).unwrap();
                if id % 10 == 0 {
                    send(&sender, &Request { op: Op::Kill, id: MAX_PROCS }.encode(), &[]).unwrap();
                }
            }
        });
        let mut died = vec![false; COUNT as usize];
        let mut refused = 0;
        std::thread::sleep(std::time::Duration::from_millis(200));
        while refused < COUNT / 10 || died.contains(&false) {
            match container.report() {
                Report::Died { id, .. } => assert!(!std::mem::replace(&mut died[id as usize], true)),
                Report::Refused { id: MAX_PROCS, errno: EINVAL } => refused += 1,
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(container.children(), []);
}

#[test]
fn nothing_leaks() {
    let mut container = Container::new();
    for round in 0..500 {
        let id = round % 7;
        if round % 3 == 0 {
            let socket = prepare(&container, id);
            container.request(Op::Kill, id, &[]);
            assert_eq!(container.death(id), KILLED);
            drop(socket);
        } else {
            let program = Program::new(nothing());
            let _socket = program.start(&container, id);
            assert_eq!(container.death(id), 0);
            assert_eq!(program.exit_kind(), ExitKind::Returned);
        }
    }
    assert_eq!(container.children(), []);
    if let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", container.pid)) {
        assert_eq!(entries.count(), 4);
    }
}

#[test]
fn many_processes_at_once() {
    const COUNT: u32 = 400;
    let mut container = Container::new();
    let sockets: Vec<_> = (0..COUNT).map(|id| prepare(&container, id)).collect();
    container.settle();
    assert_eq!(container.children().len(), COUNT as usize);
    let program = Program::new(nothing());
    program.load(&sockets[COUNT as usize / 2]);
    assert_eq!(container.death(COUNT / 2), 0);
    drop(sockets);
    let mut ids: Vec<u32> = (1..COUNT)
        .map(|_| match container.report() {
            Report::Died { id, .. } => id,
            other => panic!("{other:?}"),
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..COUNT).filter(|id| *id != COUNT / 2).collect::<Vec<_>>());
}

#[test]
fn processor_time_is_reported() {
    let mut container = Container::new();
    let program = Program::new(busy());
    let _socket = program.start(&container, 0);
    let Report::Died { id: 0, status: 0, cpu_time } = container.report() else { panic!() };
    assert!((10_000_000..20_000_000_000).contains(&cpu_time), "{cpu_time} ns");
}

#[test]
fn load_requests_are_checked() {
    type Change = fn(&mut Program);
    let cases: [(Change, LoadFailure); 12] = [
        (|p| p.request.text_addr += 1, LoadFailure::InvalidRequest),
        (|p| p.request.text_addr = 0x1000, LoadFailure::InvalidRequest),
        (|p| p.request.text_addr = 0x7000_0000_0000, LoadFailure::InvalidRequest),
        (|p| p.request.rt_addr = 0x5000_0000_0000, LoadFailure::InvalidRequest),
        (|p| p.request.rt_addr = p.request.state_addr, LoadFailure::MapRt),
        (|p| p.request.text_addr = p.request.context_addr() + (1 << 30), LoadFailure::MapText),
        (|p| p.request.entry = p.request.text_size, LoadFailure::InvalidRequest),
        (|p| p.request.stack_size = u64::MAX - 4095, LoadFailure::InvalidRequest),
        (|p| p.request.instance_size = 0, LoadFailure::InvalidRequest),
        (|p| p.request.time_resolution = 0, LoadFailure::InvalidRequest),
        (|p| p.memories[0].size = p.memories[0].max + 4096, LoadFailure::InvalidRequest),
        (|p| p.memories[0].max = gate_wire::MEMORY_RESERVATION, LoadFailure::InvalidRequest),
    ];
    let mut container = Container::new();
    for (i, (change, expected)) in cases.into_iter().enumerate() {
        let mut program = Program::new(nothing());
        change(&mut program);
        let status = program.run(&mut container);
        assert_eq!(LoadFailure::from_status(status as i32 >> 8), Some(expected), "case {i}");
    }

    // Messages that are no load requests at all.
    for (bytes, fds, expected) in [
        (vec![0; 50], 0, LoadFailure::InvalidRequest),
        (vec![0; LoadRequest::MAX_SIZE + 8], 2, LoadFailure::InvalidRequest),
    ] {
        let socket = prepare(&container, 0);
        let file = memfd(c"file", &[]);
        send(&socket, &bytes, &vec![&file; fds]).unwrap();
        assert_eq!(LoadFailure::from_status(container.death(0) as i32 >> 8), Some(expected));
    }
    let mut buf = [0; LoadRequest::MAX_SIZE];
    let size = Program::new(nothing()).request.encode(&[], &mut buf).unwrap();
    for fds in [0, 1, 3] {
        let socket = prepare(&container, 0);
        let file = memfd(c"file", &[]);
        send(&socket, &buf[..size], &vec![&file; fds]).unwrap();
        let status = container.death(0);
        assert_eq!(LoadFailure::from_status(status as i32 >> 8), Some(LoadFailure::MissingDescriptors));
    }
}

#[test]
fn many_memories_and_none() {
    let mut container = Container::new();
    let mut program = Program::new(nothing());
    let offset = program.memories[0].offset;
    program.memories =
        vec![MemoryMap { size: 4096, max: 8192, offset, base_size: 0, base_offset: 0 }; MAX_MEMORIES];
    program.run_to_return(&mut container);
    program.memories.clear();
    program.run_to_return(&mut container);
}

#[test]
fn set_up_failures_are_reported() {
    let mut container = Container::start();
    container.configure(Setup { uid: 99, gid: 99, flags: 0 });
    let step = SetupStep::SetIds as u32;
    // The kernel refuses one thing or another.
    let errno = if is_root() { EINVAL } else { libc::EPERM as u32 };
    assert_eq!(container.report(), Report::Failed { step, errno });
    assert!(container.ends());

    let mut container = Container::start();
    container.send(&[0; Setup::SIZE], &[]);
    let step = SetupStep::ReceiveSetup as u32;
    assert_eq!(container.report(), Report::Failed { step, errno: EBADMSG });
    assert!(container.ends());
}
