//! Instances which are suspended.

use crate::process::{export, export_bytes, frame, freeze, poke, safepoints, values};
use crate::{Subject, compile};
use gate_compiler::{OptLevel, Options, SafepointKind, Value, WasiImports};
use gate_image::{
    CallOutcome, Exit, Frames, FramesError, Instance, InstanceOptions, PendingCall, Program, ProgramError,
    Purpose, RebaseError,
};
use gate_wire::call::CallReply;
use gate_wire::context::CallState;
use gate_wire::frames::{FRAMES_COMPLETE, FRAMES_GUARD, FRAMES_START};
use gate_wire::load::{FLAG_EXPORT, FLAG_THAW, NO_ENTRY};
use std::sync::Arc;

/// A function that has all types of values in a loop, which is called in several ways.
pub(crate) const MODULE: &str = r#"(module
    (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
    (type $loop (func (param i32 i64 f32 f64 v128 funcref externref) (result i32)))
    (memory 2 10)
    (table $t 4 100 funcref)
    (table 2 externref)
    (elem (table $t) (i32.const 2) func $main)
    (elem $passive func $main $yield)
    (global $g (mut funcref) (ref.func $yield))
    (global $x (mut externref) (ref.null extern))
    (global $v (mut v128) (v128.const i64x2 1 2))
    (data (i32.const 0) "hello")
    (data $d "passive")
    (start $start)
    (func $start (drop (call $recurse (i32.const 1))))
    (func $loop (type $loop)
        (loop $again
            (br_if $again (i32.eqz (i32.add (local.get 0) (i32.trunc_sat_f32_s (local.get 2))))))
        (drop (i32.wrap_i64 (local.get 1)))
        (drop (f64.neg (local.get 3)))
        (drop (v128.not (local.get 4)))
        (table.set $t (i32.const 0) (local.get 5))
        (global.set $x (local.get 6))
        (i64.store (i32.const 0) (local.get 1))
        (f64.store (i32.const 8) (local.get 3))
        (v128.store (i32.const 16) (local.get 4))
        (local.get 0))
    (func $main (export "main") (param i32) (result i32)
        (i32.add (local.get 0) (call $recurse (local.get 0))))
    (func $recurse (export "recurse") (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
            (then
                (call_indirect $t (type $loop)
                    (local.get 0) (i64.const 1) (f32.const 2) (f64.const 3) (v128.const i64x2 4 5)
                    (ref.func $yield) (ref.null extern) (i32.const 3)))
            (else
                (i32.add (call $yield) (call $recurse (i32.sub (local.get 0) (i32.const 1)))))))
    (func (export "bulk")
        (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))
        (data.drop $d)
        (table.init $t $passive (i32.const 0) (i32.const 0) (i32.const 1))
        (elem.drop $passive)))"#;

const YIELD: u32 = 0;
const START: u32 = 1;
const LOOP: u32 = 2;
const MAIN: u32 = 3;
const RECURSE: u32 = 4;

/// The frames of a program which is in the loop, called through `depth` recursions from `outermost`.
pub(crate) fn in_loop(program: &Program, depth: u32, outermost: u32) -> Vec<Vec<u8>> {
    // Which call it is tells the callee.
    let calls = safepoints(program, RECURSE, SafepointKind::Call);
    let callee = |signature: bool| {
        calls.iter().find(|s| matches!(s.callee, Some(gate_compiler::Callee::Signature(_))) == signature)
    };
    let direct = calls.iter().find(|s| s.callee == Some(gate_compiler::Callee::Function(RECURSE))).unwrap();
    let mut frames = vec![
        frame(&safepoints(program, LOOP, SafepointKind::Loop)[0], 1000),
        frame(callee(true).unwrap(), 2000),
    ];
    frames.extend((0..depth).map(|index| frame(direct, 3000 + index)));
    frames.push(frame(&safepoints(program, outermost, SafepointKind::Call)[0], 4000));
    frames
}

pub(crate) fn suspended(subject: &Subject, depth: u32) -> Instance {
    let mut instance = subject.instance();
    instance.set_entry("main", &[Value::I32(5)]).unwrap();
    freeze(&mut instance, None);
    export(&mut instance, &in_loop(&subject.program, depth, MAIN)).unwrap();
    instance
}

fn rejected(frames: Result<Arc<Frames>, FramesError>) -> String {
    frames.unwrap_err().to_string()
}

#[test]
fn frozen_programs_go_on_at_the_same_addresses() {
    let subject = Subject::new(MODULE);
    let mut instance = subject.instance();
    instance.set_entry("main", &[Value::I32(5)]).unwrap();
    let first = instance.launch(4096, Purpose::Run).unwrap().request;
    assert_eq!(instance.exit().unwrap(), Exit::None);
    let mut instance = subject.instance();
    instance.set_entry("main", &[Value::I32(5)]).unwrap();
    freeze(&mut instance, None);
    assert_eq!(instance.exit().unwrap(), Exit::Frozen);
    assert!(matches!(
        instance.set_entry("main", &[Value::I32(5)]),
        Err(gate_image::InstanceError::Program(ProgramError::Suspended))
    ));
    let export = instance.launch(4096, Purpose::Export { max_size: 5000 }).unwrap();
    assert_eq!(export.request.flags, FLAG_THAW | FLAG_EXPORT);
    assert_eq!((export.request.frames_size, export.files().len()), (8192, 3));
    let exported = export.request;
    drop(export);
    let thaw = instance.launch(4096, Purpose::Run).unwrap();
    let request = thaw.request;
    assert_eq!((request.flags, request.start, request.entry), (FLAG_THAW, NO_ENTRY, NO_ENTRY));
    assert_eq!((request.text_addr, request.state_addr), (exported.text_addr, exported.state_addr));
    assert_ne!(request.rt_addr, exported.rt_addr);
    assert_ne!(first.state_addr, request.state_addr);
    assert_eq!((request.frames_size, thaw.files().len()), (0, 2));
    let frames = exported.frames_addr..exported.frames_addr + exported.frames_size + FRAMES_GUARD;
    for (addr, size) in [(exported.rt_addr, 4096), (exported.text_addr, exported.text_size)] {
        assert!(addr + size <= frames.start || frames.end <= addr);
    }
}

#[test]
fn frames_are_what_was_written_down() {
    let subject = Subject::new(MODULE);
    let instance = suspended(&subject, 2);
    let frames = instance.frames().unwrap();
    let list: Vec<_> = frames.iter().unwrap().collect();
    let functions: Vec<_> = list.iter().map(|frame| frame.function).collect();
    assert_eq!(functions, [LOOP, RECURSE, RECURSE, RECURSE, MAIN]);
    let safepoint = &safepoints(&subject.program, LOOP, SafepointKind::Loop)[0];
    assert_eq!(list[0].locals.len(), 7);
    let found = list[0].locals.iter().map(|&(_, value)| value).chain(list[0].operands.iter().copied());
    assert_eq!(found.collect::<Vec<_>>(), values(safepoint, 1000));
    assert_eq!((list[0].kind, list[1].kind), (SafepointKind::Loop, SafepointKind::Call));
    assert_eq!(frames.called(), MAIN);
}

#[test]
fn suspended_programs_are_restored_and_go_on_under_other_text() {
    let subject = Subject::new(MODULE);
    let mut instance = suspended(&subject, 3);
    let info = subject.program.info();
    poke(&mut instance, info.tables[0].distance, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4]);
    poke(&mut instance, info.tables[1].distance - 4, &99u32.to_le_bytes());
    poke(&mut instance, info.globals[0].distance, &[0; 8]);
    poke(&mut instance, info.globals[1].distance, &100u32.to_le_bytes());
    poke(&mut instance, info.globals[2].distance, &[0xee; 16]);
    instance.memory(0).unwrap().write(3, b"p!").unwrap();
    let snapshot = subject.snapshot(&instance, &[]);
    assert!(snapshot.len() < subject.wasm.len() + 2000);

    let restored = subject.restore(&snapshot);
    assert_eq!(restored.exit().unwrap(), Exit::Frozen);
    let frames = |instance: &Instance| instance.frames().unwrap().iter().unwrap().collect::<Vec<_>>();
    assert_eq!(frames(&restored), frames(&instance));

    let options = Options { opt_level: OptLevel::None, threads: Some(1), ..Options::default() };
    let other = Subject { wasm: subject.wasm.clone(), program: compile(&subject.wasm, options.clone()) };
    let mut restored = other.restore(&snapshot);
    assert!(restored.launch(4096, Purpose::Run).is_err(), "without text to go on with");
    restored.prepare_resume(&subject.wasm, &options, &WasiImports).unwrap();
    let launch = restored.launch(4096, Purpose::Run).unwrap();
    let request = launch.request;
    assert_eq!((request.flags, request.start), (0, NO_ENTRY));
    assert!(request.entry >= other.program.text_size() && request.entry < request.text_size);
    assert!(request.frames_size > 0 && request.frames_size.is_multiple_of(4096));
    let mut word = [0; 8];
    rustix::io::pread(launch.files()[2], &mut word, FRAMES_START).unwrap();
    assert_ne!(word, [0; 8]);
}

#[test]
fn a_start_function_is_gone_on_with_before_the_entry_function() {
    let subject = Subject::new(MODULE);
    let mut instance = subject.instance();
    instance.set_entry("main", &[Value::I32(5)]).unwrap();
    freeze(&mut instance, None);
    export(&mut instance, &in_loop(&subject.program, 0, START)).unwrap();
    let snapshot = subject.snapshot(&instance, &[]);
    let mut restored = subject.restore(&snapshot);
    let options = Options { threads: Some(1), ..Options::default() };
    restored.prepare_resume(&subject.wasm, &options, &WasiImports).unwrap();
    let request = restored.launch(4096, Purpose::Run).unwrap().request;
    assert!(request.start >= subject.program.text_size());
    assert!(request.entry < subject.program.text_size());
}

#[test]
fn instances_move_to_other_text_and_layouts() {
    let subject = Subject::new(MODULE);
    let mut instance = suspended(&subject, 1);
    let before = subject.snapshot(&instance, &[]);
    let limits = gate_compiler::Limits { table_elements: 1000, ..Default::default() };
    let other = Subject {
        wasm: subject.wasm.clone(),
        program: compile(&subject.wasm, Options { limits, ..Options::default() }),
    };
    assert_ne!(other.program.info().layout, subject.program.info().layout);
    instance.rebase(&other.program).unwrap();
    assert!(other.snapshot(&instance, &[]) == before);
    // Nothing is known of the frames any more when it has run.
    let mut frozen = subject.instance();
    frozen.set_entry("main", &[Value::I32(1)]).unwrap();
    freeze(&mut frozen, None);
    assert!(matches!(frozen.rebase(&other.program), Err(RebaseError::Frames(FramesError::Incomplete))));
    let mut fresh = subject.instance();
    let alien = Subject::new("(module)");
    assert!(matches!(fresh.rebase(&alien.program), Err(RebaseError::Instance(_))));
    fresh.rebase(&other.program).unwrap();
    assert!(other.snapshot(&fresh, &[]) == subject.snapshot(&subject.instance(), &[]));
}

#[test]
fn host_calls_are_settled_and_kept() {
    let subject = Subject::new(MODULE);
    let yielding = |instance: &mut Instance| {
        let calls = safepoints(&subject.program, RECURSE, SafepointKind::Call);
        let call = calls.iter().find(|s| s.callee == Some(gate_compiler::Callee::Function(YIELD))).unwrap();
        let thunk = &safepoints(&subject.program, YIELD, SafepointKind::Entry)[0];
        export(instance, &[frame(thunk, 1), frame(call, 2)])
    };
    let call = |reply| Some(PendingCall { function: 7, args: args(), reply });
    let settled = |state, reply: Option<CallReply>| {
        let mut instance = subject.instance();
        instance.set_entry("recurse", &[Value::I32(1)]).unwrap();
        freeze(&mut instance, Some(state));
        instance.launch(4096, Purpose::Run).unwrap().mutation.settle_call(reply).unwrap();
        yielding(&mut instance).unwrap();
        let pending = instance.pending_call().unwrap();
        let restored = subject.restore(&subject.snapshot(&instance, &[]));
        assert_eq!(restored.pending_call().unwrap(), pending);
        pending
    };
    assert_eq!(settled(CallState::Sent, None), call(None));
    assert_eq!(settled(CallState::Unsent, Some(CallReply::Return(9))), call(None));
    let answered = call(Some(CallOutcome::Returned(u64::MAX)));
    assert_eq!(settled(CallState::Sent, Some(CallReply::Return(u64::MAX))), answered);
    let refused = call(Some(CallOutcome::Refused(28)));
    assert_eq!(settled(CallState::Sent, Some(CallReply::Trap(28))), refused);

    // A function of the host is the innermost one if there is a call, and only then.
    let mut instance = subject.instance();
    instance.set_entry("recurse", &[Value::I32(1)]).unwrap();
    freeze(&mut instance, None);
    assert!(matches!(yielding(&mut instance), Err(FramesError::HostCall)));
    let mut instance = subject.instance();
    instance.set_entry("main", &[Value::I32(1)]).unwrap();
    freeze(&mut instance, Some(CallState::Sent));
    let frames = in_loop(&subject.program, 0, MAIN);
    assert!(matches!(export(&mut instance, &frames), Err(FramesError::HostCall)));
}

fn args() -> [u64; 12] {
    let mut args = [0; 12];
    args[0] = 0x1234_5678_9abc;
    args
}

#[test]
fn frames_which_make_no_sense_are_refused() {
    let subject = Subject::new(MODULE);
    let program = &subject.program;
    let mut instance = subject.instance();
    instance.set_entry("main", &[Value::I32(5)]).unwrap();
    freeze(&mut instance, None);
    let good = in_loop(program, 1, MAIN);
    let mut refuse = |frames: &[Vec<u8>], message: &str| {
        let error = rejected(export(&mut instance, frames));
        assert!(error.contains(message), "{error}");
        assert!(instance.frames().is_none());
    };
    refuse(&[], "no frames");
    refuse(&good[1..], "frame 0: function 4 at code offset");
    refuse(&good[..3], "outermost function is 4");
    refuse(&[good[0].clone(), good[0].clone()], "not innermost");
    refuse(&[good[0].clone(), good[2].clone(), good[3].clone()], "does not call function 2");
    refuse(&[good[0].clone(), good[1].clone(), good[1].clone()], "does not call function 4");
    let mut changed = good.clone();
    changed[1][4] ^= 1;
    refuse(&changed, "frame 1: function 4 cannot stop");
    let mut changed = good.clone();
    changed[0][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    refuse(&changed, "cannot stop");
    let mut changed = good.clone();
    changed[3].pop();
    refuse(&changed, "frame 3 is cut short");
    // The function reference is behind 32, 64, 32, 64 and 128 bits.
    let mut changed = good.clone();
    changed[0][8 + 4 * 8 + 16] = 7;
    refuse(&changed, "reference to function 6, but there are 6");

    let all = good.concat();
    for (header, message) in [
        ([0, all.len() as u64], "not been written down completely"),
        ([FRAMES_COMPLETE, 1 << 20], "at most"),
        ([FRAMES_COMPLETE, u64::MAX], "at most"),
        ([FRAMES_COMPLETE, all.len() as u64 + 3], "cut short"),
        ([FRAMES_COMPLETE, 3], "cut short"),
    ] {
        let error = rejected(export_bytes(&mut instance, header, &all));
        assert!(error.contains(message), "{error}");
    }
    export(&mut instance, &good).unwrap();
}

#[test]
fn deep_stacks_take_little_memory() {
    let subject = Subject::new(MODULE);
    let mut instance = subject.instance();
    instance.set_entry("main", &[Value::I32(5)]).unwrap();
    freeze(&mut instance, None);
    let frames = in_loop(&subject.program, 200_000, MAIN).concat();
    let launch = instance.launch(4096, Purpose::EXPORT).unwrap();
    let header = [FRAMES_COMPLETE.to_le_bytes(), (frames.len() as u64).to_le_bytes()].concat();
    rustix::io::pwrite(launch.files()[2], &header, 0).unwrap();
    rustix::io::pwrite(launch.files()[2], &frames, FRAMES_START).unwrap();
    assert_eq!(launch.mutation.finish_export().unwrap().len(), 200_003);
    drop(launch);
    let restored = subject.restore(&subject.snapshot(&instance, &[]));
    assert_eq!(restored.frames().unwrap().len(), 200_003);
}

#[test]
fn forks_of_suspended_instances_go_on_alike() {
    let subject = Subject::new(MODULE);
    let mut instance = suspended(&subject, 1);
    let snapshot = subject.snapshot(&instance, &[]);
    let mut fork = instance.fork().unwrap();
    assert!(subject.snapshot(&fork, &[]) == snapshot);
    let launch = fork.launch(4096, Purpose::Run).unwrap();
    assert_eq!(launch.request.flags & FLAG_THAW, FLAG_THAW);
    let mut restored = subject.restore(&snapshot);
    let mut fork = restored.fork().unwrap();
    let options = Options { threads: Some(1), ..Options::default() };
    for instance in [&mut fork, &mut restored] {
        instance.prepare_resume(&subject.wasm, &options, &WasiImports).unwrap();
    }
    let text = |instance: &mut Instance| {
        let launch = instance.launch(4096, Purpose::Run).unwrap();
        rustix::fs::fstat(launch.files()[0]).unwrap().st_ino
    };
    assert_eq!(text(&mut fork), text(&mut restored), "text is compiled once");
    assert_eq!(InstanceOptions::default(), fork.options());
}
