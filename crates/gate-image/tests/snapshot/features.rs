//! What is beyond WebAssembly 2.0: stacks after tail calls, memories and tables with 64-bit addresses, and what snapshots say
//! about features.

use crate::hostile::{join, split};
use crate::process::{export, frame, freeze, safepoints};
use crate::{Subject, read};
use gate_compiler::{Feature, Features, Safepoint, SafepointKind, Value};
use gate_image::{FramesError, Instance, InstanceOptions, Purpose, SnapshotError};
use gate_wire::MAX_MEMORY64_SIZE;

/// Functions that end in tail calls, and functions that don't.
const TAILS: &str = r#"(module
    (table funcref (elem $tail $plain))
    (type $long (func (param i32) (result i64)))
    (func $main (export "main") (param i32) (result i64)
        (i64.add (call $tail (local.get 0)) (i64.add (call $plain (local.get 0)) (call $wordy (local.get 0) (f64.const 1)))))
    (func $tail (type $long) (return_call $plain (local.get 0)))
    (func $plain (type $long) (loop (br_if 0 (local.get 0))) (i64.const 1))
    (func $wordy (param i32 f64) (result i64) (loop (br_if 0 (local.get 0))) (i64.const 1))
    (func $other (param i32) (result i32) (loop (br_if 0 (local.get 0))) (i32.const 1))
    (func $indirect (export "indirect") (result i64) (call_indirect (type $long) (i32.const 3) (i32.const 0)))
    (func $away (export "away") (param i32) (result i64) (return_call $indirect)))"#;

const MAIN: u32 = 0;
const TAIL: u32 = 1;
const PLAIN: u32 = 2;
const WORDY: u32 = 3;
const OTHER: u32 = 4;
const INDIRECT: u32 = 5;

fn stopped(subject: &Subject, entry: &str, args: &[Value]) -> Instance {
    let mut instance = subject.instance();
    instance.set_entry(entry, args).unwrap();
    freeze(&mut instance, None);
    instance
}

fn in_loop(subject: &Subject, function: u32) -> Vec<u8> {
    frame(&safepoints(&subject.program, function, SafepointKind::Loop)[0], 100)
}

fn in_call(subject: &Subject, function: u32, number: usize) -> Vec<u8> {
    let calls: Vec<Safepoint> = safepoints(&subject.program, function, SafepointKind::Call);
    frame(&calls[number], 200)
}

#[test]
fn a_tail_call_leaves_its_place_to_functions_with_the_same_results() {
    let subject = Subject::new(TAILS);
    let maps = subject.program.maps().unwrap();
    let ending: Vec<_> = maps.functions.iter().filter(|f| f.tail_calls).map(|f| f.function).collect();
    assert_eq!(ending, [TAIL, 6]);

    // Behind the call of a function with a tail call, whatever has the same results may be; behind others, only the callee.
    for (call, inner, right) in [
        (0, PLAIN, true),
        (0, WORDY, true),
        (0, OTHER, false),
        (1, PLAIN, true),
        (1, WORDY, false),
        (2, WORDY, true),
        (2, PLAIN, false),
    ] {
        let mut instance = stopped(&subject, "main", &[Value::I32(1)]);
        let frames = [in_loop(&subject, inner), in_call(&subject, MAIN, call)];
        match export(&mut instance, &frames) {
            Ok(frames) => {
                assert!(right, "{inner} in call {call}");
                assert_eq!((frames.len(), frames.called()), (2, MAIN));
                let snapshot = subject.snapshot(&instance, &[]);
                subject.restore(&snapshot);
            }
            Err(error) => {
                assert!(
                    !right && matches!(error, FramesError::Callee { .. }),
                    "{inner} in call {call}: {error}"
                );
            }
        }
    }
    // Among the functions of the type is one that ends in a tail call.
    for (inner, right) in [(PLAIN, true), (WORDY, true), (OTHER, false)] {
        let mut instance = stopped(&subject, "indirect", &[]);
        let result = export(&mut instance, &[in_loop(&subject, inner), in_call(&subject, INDIRECT, 0)]);
        assert_eq!(result.is_ok(), right, "{inner}");
    }
}

#[test]
fn the_function_that_was_called_may_have_left() {
    let subject = Subject::new(TAILS);
    let frames = [in_loop(&subject, PLAIN), in_call(&subject, INDIRECT, 0)];
    let mut instance = stopped(&subject, "away", &[Value::I32(1)]);
    assert_eq!(export(&mut instance, &frames).unwrap().called(), 6);
    let snapshot = subject.snapshot(&instance, &[]);
    let mut restored = subject.restore(&snapshot);
    restored
        .prepare_resume(&subject.wasm, &gate_compiler::Options::default(), &gate_compiler::WasiImports)
        .unwrap();
    let launch = restored.launch(4096, Purpose::Run).unwrap();
    assert!(launch.request.frames_size > 0);

    let mut instance = stopped(&subject, "away", &[Value::I32(1)]);
    let error = export(&mut instance, &[in_loop(&subject, OTHER)]).unwrap_err();
    assert!(matches!(error, FramesError::Outermost { function: OTHER }), "{error}");
    let mut instance = stopped(&subject, "main", &[Value::I32(1)]);
    let error = export(&mut instance, &frames).unwrap_err();
    assert!(matches!(error, FramesError::Outermost { function: INDIRECT }), "{error}");
}

#[test]
fn wide_memories_and_tables_are_written_with_wide_offsets() {
    let subject = Subject::new(
        r#"(module
            (memory (export "memory") i64 2 131072)
            (memory 1)
            (memory i64 65537)
            (data (i64.const 70000) "initial")
            (table i64 5 100 funcref)
            (table 5 funcref)
            (elem (i64.const 2) func $f)
            (func $f (export "f")))"#,
    );
    let instance = subject.instance();
    let far = 65_537 * 65_536 - 9;
    for (memory, addr) in [(0, 3), (0, 131_000), (1, 7), (2, 5), (2, far)] {
        instance.memory(memory).unwrap().write(addr, b"changed").unwrap();
    }
    let snapshot = subject.snapshot(&instance, &[]);
    let restored = subject.restore(&snapshot);
    for (memory, addr) in [(0, 3), (0, 131_000), (1, 7), (2, 5), (2, far)] {
        let mut buf = [0; 7];
        restored.memory(memory).unwrap().read(addr, &mut buf).unwrap();
        assert_eq!(&buf, b"changed", "memory {memory} at {addr}");
    }
    let maps = restored.memory_maps().unwrap();
    assert_eq!([maps[0].max, maps[2].max], [MAX_MEMORY64_SIZE; 2]);
    assert_eq!(maps[1].max, 4 << 30);
    let mut dump = Vec::new();
    restored.write_core_dump("wide", None, &mut dump).unwrap();
    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all()).validate_all(&dump).unwrap();
}

#[test]
fn snapshots_say_what_they_need() {
    let plain = Subject::new("(module (memory 1))");
    let snapshot = plain.snapshot(&plain.instance(), &[]);
    assert_eq!(read(&snapshot).unwrap().features(), Features::NONE);
    assert!(!snapshot.windows(13).any(|name| name == b"gate.features"));

    let subject = Subject::new("(module (memory i64 1) (memory 1) (func $f (export \"f\") return_call $f))");
    let snapshot = subject.snapshot(&subject.instance(), &[]);
    let restored = read(&snapshot).unwrap();
    let used: Vec<_> = restored.features().iter().collect();
    assert_eq!(used, [Feature::TailCalls, Feature::MultiMemory, Feature::Memory64]);
    restored.check_features(Features::ALL).unwrap();
    for feature in used {
        let mut available = Features::ALL;
        available.set(feature, false);
        let error = restored.check_features(available).unwrap_err();
        assert!(matches!(error, SnapshotError::FeatureOff(off) if off == feature), "{error}");
        assert!(error.to_string().contains(feature.name()));
    }
    restored.instance(&subject.program, &InstanceOptions::default()).unwrap();

    let with_name = |name: &[u8]| {
        let mut sections = split(&snapshot);
        let section = sections.iter_mut().find(|(_, contents)| contents.starts_with(b"\x0dgate.features"));
        let contents = &mut section.unwrap().1;
        contents.truncate(14);
        contents.extend([1, name.len() as u8]);
        contents.extend(name);
        read(&join(&sections)).map(|restored| restored.features())
    };
    assert_eq!(with_name(b"memory64").unwrap().iter().collect::<Vec<_>>(), [Feature::Memory64]);
    let error = with_name(b"time-travel").unwrap_err().to_string();
    assert!(error.contains("uses \"time-travel\", which this build of Gate does not know"), "{error}");
}
