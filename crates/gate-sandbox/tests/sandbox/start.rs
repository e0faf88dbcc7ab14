//! Programs start, end and are reported.

use crate::container::Container;
use crate::machine_code;
use crate::program::Program;
use gate_wire::context::ExitKind;
use std::time::Instant;

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

#[test]
fn starting_is_quick() {
    let mut container = Container::new();
    let mut times: Vec<_> = (0..500)
        .map(|_| {
            let program = Program::new(nothing());
            let start = Instant::now();
            program.run_to_return(&mut container);
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("from request to report: median {:?}, 99 % {:?}", times[250], times[495]);
}
