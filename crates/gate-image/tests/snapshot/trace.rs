//! Where a program trapped.

use crate::hostile::{Sections, custom, find, join, split};
use crate::{Subject, read};
use gate_compiler::{OptLevel, Options};
use gate_image::{Inspector, InstanceOptions};

/// A golden snapshot of a program that has trapped, and its program.
fn trapped(options: Options) -> (Subject, Vec<u8>) {
    let snapshot = include_bytes!("../golden/v1/trapped.wasm").to_vec();
    let wasm = read(&snapshot).unwrap().module().to_vec();
    let program = crate::compile(&wasm, options);
    (Subject { wasm, program }, snapshot)
}

#[test]
fn a_trap_is_shown_wherever_the_instance_goes() {
    let (subject, snapshot) = trapped(Options::default());
    let mut instance = subject.restore(&snapshot);
    let backtrace = instance.backtrace().unwrap();
    let names: Vec<_> = backtrace.frames().iter().map(|frame| frame.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["divide", "dig", "dig", "dig", "trap"]);
    assert!(backtrace.frames().iter().all(|frame| frame.wasm_offset.is_some()));

    let other = Options { opt_level: OptLevel::None, ..Options::default() };
    instance.rebase(&crate::compile(&subject.wasm, other)).unwrap();
    let fork = instance.fork().unwrap();
    for instance in [&instance, &fork] {
        assert_eq!(instance.backtrace().unwrap(), backtrace);
        let inspector = Inspector::new(instance, &subject.wasm);
        let next: Vec<_> = inspector.trace().unwrap().iter().map(|frame| frame.next).collect();
        assert_eq!(next, ["trap", "call", "call", "call", "call"]);
    }
    // The next run has another end.
    instance.set_entry("load", &[]).unwrap();
    crate::process::run(&mut instance, gate_wire::context::ExitKind::Returned, 0);
    assert!(instance.backtrace().unwrap().frames().is_empty());
}

#[test]
fn traces_are_those_of_the_module() {
    let (subject, snapshot) = trapped(Options::default());
    let sections = split(&snapshot);
    let trace = find(&sections, "gate.trace");
    let refuse = |change: &dyn Fn(&mut Sections), message: &str| {
        let mut sections = sections.clone();
        change(&mut sections);
        let instance = read(&join(&sections))
            .and_then(|restored| restored.instance(&subject.program, &InstanceOptions::default()));
        let error = instance.map(drop).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    let with = |contents: &[u8], message: &str| {
        refuse(&|s| s[trace] = custom("gate.trace", contents), message);
    };
    with(&[0, 0], "section gate.trace: invalid number of frames");
    with(&[51], "number of frames is 51, but at most 50");
    with(&[1, 1, 0], "section too short");
    with(&[1, 1, 2, 0], "invalid code offset");
    with(&[1, 1, 0, 0, 0], "1 bytes too many");
    with(&[1, 0, 0, 0], "invalid function in which it trapped");
    with(&[1, 99, 0, 0], "invalid function in which it trapped");
    with(&[1, 1, 1, 0xff, 0xff, 3, 0], "code offset is 65535, but at most");
    refuse(&|s| s.push(s[trace].clone()), "gate.trace section out of order");
    // Of one that has not trapped.
    let state = find(&sections, "gate.state");
    let mut returned = sections.clone();
    assert_eq!(returned[state].1[11..][..2], [5, 8]);
    returned[state].1.splice(11..13, [6]);
    let error = read(&join(&returned)).map(drop).unwrap_err().to_string();
    assert!(error.contains("unexpected section \"gate.trace\""), "{error}");
}
