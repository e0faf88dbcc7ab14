//! Programs start, end and are reported.

use crate::container::{Container, socket_pair};
use crate::machine_code;
use crate::program::Program;
use gate_wire::context::ExitKind;
use gate_wire::control::Op;
use std::time::{Duration, Instant};

machine_code! {
    nothing: "ret";
    faulty: "mov rbx, rsp", "ud2";
}

#[test]
fn a_program_returns() {
    let mut container = Container::new();
    Program::new(nothing()).run_to_return(&mut container);
}

#[test]
fn a_fault_is_recorded() {
    let mut container = Container::new();
    let program = Program::new(faulty());
    assert_eq!(program.run(&mut container), 0);
    assert_eq!((program.exit_kind(), program.exit_value()), (ExitKind::Faulted, libc::SIGILL as u32));
}

/// Prints how long starting takes. There is no limit to exceed: the machine may be busy with anything.
#[test]
fn starting_takes_time() {
    const COUNT: usize = 300;
    let mut container = Container::new();
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[COUNT / 2]
    };

    let mut run = |prepared| {
        let mut times = Vec::new();
        for _ in 0..COUNT {
            let program = Program::new(nothing());
            let (socket, peer) = socket_pair();
            let mut start = Instant::now();
            container.request(Op::Create, 0, &[&peer]);
            drop(peer);
            if prepared {
                // Until the loader waits. A machine that sleeps meanwhile would first have to wake up.
                while start.elapsed() < Duration::from_micros(500) {
                    std::hint::spin_loop();
                }
                start = Instant::now();
            }
            program.load(&socket);
            assert_eq!(container.death(0), 0);
            times.push(start.elapsed());
            assert_eq!(program.exit_kind(), ExitKind::Returned);
        }
        median(times)
    };
    println!("from request to reaped, median: {:?}; prepared: {:?}", run(false), run(true));
}
