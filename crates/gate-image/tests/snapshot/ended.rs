//! Instances which are not suspended.

use crate::{Subject, process, read};
use gate_compiler::Value::{self, F64, FuncRef, I32, V128};
use gate_image::{Exit, InstanceOptions, Purpose, ServiceState};
use gate_wire::context::ExitKind;
use gate_wire::load::NO_ENTRY;
use gate_wire::trap::TrapId;

#[test]
fn a_new_instance_is_restored_with_its_entry() {
    let subject = Subject::new(
        r#"(module
            (memory 1 10) (data (i32.const 8) "original")
            (global (mut i64) (i64.const -5))
            (global f32 (f32.const nan:0x200001))
            (table 3 funcref) (elem (i32.const 1) $start)
            (start $start)
            (func $start)
            (func (export "main") (param i32 v128 f64 funcref))
            (func (export "other")))"#,
    );
    let mut instance = subject.instance();
    let args = [I32(-7), V128(u128::MAX - 2), F64(0x7ff8_0000_0000_0001), FuncRef(Some(2))];
    instance.set_entry("main", &args).unwrap();
    let snapshot = subject.snapshot(&instance, &[]);
    let mut restored = subject.restore(&snapshot);
    assert_eq!(restored.exit().unwrap(), Exit::None);
    let mut buf = [0; 16];
    restored.memory(0).unwrap().read(8, &mut buf).unwrap();
    assert_eq!(&buf, b"original\0\0\0\0\0\0\0\0");
    let launch = restored.launch(4096, Purpose::Run).unwrap();
    assert!(launch.request.start != NO_ENTRY && launch.request.entry != NO_ENTRY);
    assert_eq!(launch.request.frames_size, 0);
}

#[test]
fn results_and_services_and_clocks_are_kept() {
    let subject =
        Subject::new(r#"(module (func (export "f") (result i32 i64) (i32.const 0) (i64.const 0)))"#);
    let mut instance = subject.instance();
    instance.set_entry("f", &[]).unwrap();
    let distance = subject.program.info().layout.entry_distance;
    {
        let launch = instance.launch(4096, Purpose::Run).unwrap();
        launch.mutation.set_monotonic_time(123_456_789_012);
        let slots = [77u64.to_le_bytes(), 88u64.to_le_bytes()].concat();
        let offset = gate_wire::load::STATE_FILE_STRIDE - u64::from(distance);
        rustix::io::pwrite(launch.mutation.file(), &slots, offset).unwrap();
        let exit =
            gate_wire::load::STATE_FILE_STRIDE - u64::from(gate_wire::context_offset!(exit).unsigned_abs());
        rustix::io::pwrite(launch.mutation.file(), &(ExitKind::Returned as u32).to_le_bytes(), exit).unwrap();
    }
    let services = [
        ServiceState { name: "wasi".into(), state: b"descriptors".to_vec() },
        ServiceState { name: "empty".into(), state: Vec::new() },
    ];
    let snapshot = subject.snapshot(&instance, &services);
    assert_eq!(read(&snapshot).unwrap().services(), services);
    let mut restored = subject.restore(&snapshot);
    assert_eq!(restored.exit().unwrap(), Exit::Returned);
    assert_eq!(restored.results().unwrap(), [I32(77), Value::I64(88)]);
    assert_eq!(restored.monotonic_time(), 123_456_789_012);
    restored.set_entry("f", &[]).unwrap();
    assert_eq!(restored.launch(4096, Purpose::Run).unwrap().request.start, NO_ENTRY);
}

#[test]
fn every_end_is_kept() {
    let subject = Subject::new(r#"(module (func (export "f")))"#);
    let ends = [
        (ExitKind::Terminated, 42, Exit::Terminated { code: 42 }),
        (ExitKind::Trapped, TrapId::IntegerOverflow as u32, Exit::Trapped(TrapId::IntegerOverflow)),
        (ExitKind::None, 0, Exit::None),
    ];
    for (kind, value, exit) in ends {
        let mut instance = subject.instance();
        instance.set_entry("f", &[]).unwrap();
        process::run(&mut instance, kind, value);
        let mut restored = subject.restore(&subject.snapshot(&instance, &[]));
        assert_eq!(restored.exit().unwrap(), exit);
        restored.set_entry("f", &[]).unwrap();
        assert_eq!(restored.launch(4096, Purpose::Run).is_ok(), matches!(exit, Exit::Trapped(_)));
    }
}

#[test]
fn memories_hold_what_was_written_over_what_was_there() {
    let subject = Subject::new(
        r#"(module (memory 3 40)
            (data (i32.const 10) "0123456789") (data $passive "xyz") (data (i32.const 65530) "abcdefghijkl")
            (func (export "f") (data.drop $passive)))"#,
    );
    let instance = subject.instance();
    let memory = instance.memory(0).unwrap();
    memory.write(12, &[0, 0]).unwrap();
    memory.write(65535, b"F").unwrap();
    memory.write(100_000, &[1; 5000]).unwrap();
    memory.write(3 * 65536 - 1, &[9]).unwrap();
    let mut all = vec![0; 3 * 65536];
    memory.read(0, &mut all).unwrap();
    let snapshot = subject.snapshot(&instance, &[]);
    // Two segments of a few bytes, one of five thousand.
    assert!(snapshot.len() < subject.wasm.len() + 5000 + 400, "{}", snapshot.len());
    let restored = subject.restore(&snapshot);
    let mut contents = vec![1; 3 * 65536];
    restored.memory(0).unwrap().read(0, &mut contents).unwrap();
    assert!(contents == all);
}

#[test]
fn many_small_differences_become_fewer_segments() {
    let subject = Subject::new("(module (memory 400))");
    let instance = subject.instance();
    let memory = instance.memory(0).unwrap();
    for index in 0..200_000u64 {
        memory.write(index * 128, &[index as u8 | 1]).unwrap();
    }
    let snapshot = subject.snapshot(&instance, &[]);
    let restored = subject.restore(&snapshot);
    let mut byte = [0];
    for index in [0, 1, 99_999, 199_999u64] {
        restored.memory(0).unwrap().read(index * 128, &mut byte).unwrap();
        assert_eq!(byte, [index as u8 | 1]);
    }
}

#[test]
fn a_fork_has_the_same_snapshot() {
    let subject = Subject::new(r#"(module (memory 5) (data (i32.const 0) "abc") (func (export "f")))"#);
    let mut instance = subject.instance();
    instance.memory(0).unwrap().write(70_000, b"before").unwrap();
    let before = subject.snapshot(&instance, &[]);
    let fork = instance.fork().unwrap();
    assert!(subject.snapshot(&fork, &[]) == before);
    assert!(subject.snapshot(&instance, &[]) == before);
    fork.memory(0).unwrap().write(140_000, b"after").unwrap();
    fork.memory(0).unwrap().write(1, &[0]).unwrap();
    let after = subject.snapshot(&fork, &[]);
    assert!(after != before);
    let restored = subject.restore(&after);
    let mut buf = [0; 5];
    restored.memory(0).unwrap().read(140_000, &mut buf).unwrap();
    assert_eq!(&buf, b"after");
    assert!(subject.snapshot(&instance, &[]) == before);
}

#[test]
fn memories_may_be_restored_within_another_limit() {
    let subject = Subject::new("(module (memory 3 40))");
    let snapshot = subject.snapshot(&subject.instance(), &[]);
    let instance = |max_memory| {
        let options = InstanceOptions { max_memory, ..Default::default() };
        read(&snapshot).unwrap().instance(&subject.program, &options)
    };
    assert_eq!(instance(Some(5 << 16)).unwrap().memory_maps().unwrap()[0].max, 5 << 16);
    assert!(instance(Some(2 << 16)).is_err());
}
