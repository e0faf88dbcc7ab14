//! Compiled code computes what it should, and writes down its frames when it is asked to stop.

use crate::machine::{BULK_WORK, COUNTDOWN, Frame, Machine};
use gate_compiler::{SafepointKind, ValType, Value};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(5);

fn i32s(frame: &Frame) -> Vec<i32> {
    let values = frame.locals.iter().chain(&frame.operands);
    let i32 = |value: &Value| match *value {
        Value::I32(value) => value,
        other => panic!("{other:?}"),
    };
    values.map(i32).collect()
}

#[test]
fn functions_compute() {
    let mut machine = Machine::new(
        r#"(module
            (memory (data "\01\00\00\00\02\00\00\00"))
            (global $g (mut i64) (i64.const 5))
            (table funcref (elem $fib $double))
            (type $f (func (param i32) (result i32)))
            (func $fib (export "fib") (param i32) (result i32)
                (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                    (then (local.get 0))
                    (else (i32.add
                        (call $fib (i32.sub (local.get 0) (i32.const 1)))
                        (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
            (func $double (type $f) (i32.shl (local.get 0) (i32.const 1)))
            (func (export "indirect") (param i32 i32) (result i32)
                (call_indirect (type $f) (local.get 0) (local.get 1)))
            (func (export "memory") (result i32 i64 i32)
                (i64.store (i32.const 8) (i64.load (i32.const 0)))
                (global.set $g (i64.add (global.get $g) (i64.const 1)))
                (i32.load (i32.const 12)) (global.get $g) (memory.size)))"#,
    );
    assert_eq!(machine.call("fib", &[Value::I32(20)]), [Value::I32(6765)]);
    assert_eq!(machine.call("indirect", &[Value::I32(10), Value::I32(0)]), [Value::I32(55)]);
    assert_eq!(machine.call("indirect", &[Value::I32(10), Value::I32(1)]), [Value::I32(20)]);
    assert_eq!(machine.call("memory", &[]), [Value::I32(2), Value::I64(6), Value::I32(1)]);
    assert_eq!(machine.frames().len(), 0);
}

#[test]
fn loops_keep_every_type() {
    let mut machine = Machine::new(
        r#"(module (func (export "spin") (param i32 i64 f32 f64 v128 funcref externref) (local i64)
            (loop $l (result f64)
                (local.set 7 (i64.add (local.get 7) (i64.const 1)))
                (br_if $l (local.get 0))
                (drop (local.get 1)) (drop (local.get 2)) (drop (local.get 4)) (drop (local.get 5)) (drop (local.get 6))
                (local.get 3))
            drop))"#,
    );
    let args = [
        Value::I32(-1),
        Value::I64(i64::MIN),
        Value::F32(0x7fa0_0001),
        Value::F64(0x7ff4_0000_0000_0001),
        Value::V128(0x0123_4567_89ab_cdef_1122_3344_5566_7788),
        Value::FuncRef(Some(0)),
        Value::ExternRef(None),
    ];
    machine.call_until("spin", &args, SOON);
    let [frame] = &machine.frames()[..] else { panic!() };
    assert_eq!(frame.safepoint.kind, SafepointKind::Loop);
    assert_eq!(frame.locals[..7], args);
    assert!(matches!(frame.locals[7], Value::I64(count) if count > 1000));
}

/// A check that is optimised away in any of these makes the test hang.
#[test]
fn every_kind_of_loop_stops() {
    let functions = [
        "(func (export \"f\") (loop (br 0)))",
        "(func (export \"f\") (param i32) (loop (br_if 0 (i32.eqz (local.get 0)))))",
        "(func (export \"f\") (param i32) (loop (block (br_table 1 1 1 (local.get 0)))))",
        "(func (export \"f\") (loop (loop (br 1))))",
        "(func (export \"f\") (loop (loop (br 0))))",
        // The inner loop's check comes right after the outer loop's.
        "(func (export \"f\") (local i32) (loop (local.set 0 (i32.const 1000))
            (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (br 0)))",
        "(func (export \"f\") (param i32) (loop (if (local.get 0) (then (br 1)) (else (br 1)))))",
        // Stores do not alias the flag, so they are no reason to load it again.
        "(memory 1) (func (export \"f\") (loop (i32.store (i32.const 0) (i32.const 1)) (br 0)))",
        "(memory 1) (func (export \"f\") (loop (drop (i32.load (i32.const 0))) (br 0)))",
        "(global $g (mut i32) (i32.const 0)) (func (export \"f\") (loop (global.set $g (global.get $g)) (br 0)))",
        // A callee without any check.
        "(func $leaf) (func (export \"f\") (loop (call $leaf) (br 0)))",
        "(func (export \"f\") (i64.const 0) (loop (param i64) (result i64) (br 0 (i64.add (i64.const 1)))) drop)",
        // The outer loop needs its check: there is a way round the inner loop, or round the call.
        "(func (export \"f\") (param i32) (loop (if (local.get 0) (then (loop (br_if 0 (local.get 0))))) (br 0)))",
        "(func (export \"f\") (param i32)
            (loop $o (block $b (br_table $b $o (local.get 0))) (loop (br_if 0 (local.get 0))) (br $o)))",
        "(func (export \"f\") (param i32) (loop $o (br_if $o (i32.eqz (local.get 0))) (loop (br_if 0 (local.get 0))) (br $o)))",
        "(func $r (call $r)) (func (export \"f\") (param i32) (loop (if (local.get 0) (then (call $r))) (br 0)))",
        // It needs none.
        "(func $r (param i32) (if (local.get 0) (then (call $r (i32.const 0)))))
            (func (export \"f\") (loop (loop (call $r (i32.const 1)) (br 1)) (br 0)))",
        "(table funcref (elem $g)) (func $g) (func (export \"f\") (loop (call_indirect (i32.const 0)) (br 0)))",
    ];
    for function in functions {
        let mut machine = Machine::new(&format!("(module {function})"));
        let ty = machine.code.module.info.functions.last().unwrap().clone();
        let args: Vec<_> = ty.params.iter().map(|_| Value::I32(0)).collect();
        machine.call_until("f", &args, SOON);
        assert!(!machine.frames().is_empty(), "{function}");
    }
}

#[test]
fn recursion_is_unwound() {
    let mut machine = Machine::new(
        r#"(module
            (func $down (export "down") (param $n i32) (param $unused i32) (result i32)
                (i32.const 100)
                (if (result i32) (local.get $n)
                    (then (call $down (i32.sub (local.get $n) (i32.const 1)) (i32.const 5)))
                    (else (loop (br 0)) (unreachable)))
                (i32.add (local.get $n))
                i32.add))"#,
    );
    machine.call_until("down", &[Value::I32(1000), Value::I32(0)], SOON);
    let frames = machine.frames();
    assert_eq!(frames.len(), 1001);
    assert_eq!(frames[0].safepoint.kind, SafepointKind::Loop);
    for (n, frame) in frames.iter().enumerate().skip(1) {
        assert_eq!(frame.safepoint.kind, SafepointKind::Call);
        assert_eq!(i32s(frame), [n as i32, 100]);
    }
}

#[test]
fn functions_stop_at_their_entry() {
    let mut machine = Machine::new(
        r#"(module (func $f (export "f") (param i32 i64) (result i64)
            (call $f (local.get 0) (local.get 1)) (i64.add (local.get 1))))"#,
    );
    machine.stop().request();
    assert_eq!(machine.call("f", &[Value::I32(1), Value::I64(2)]), [Value::I64(0)]);
    let [frame] = &machine.frames()[..] else { panic!() };
    assert_eq!(frame.safepoint.kind, SafepointKind::Entry);
    assert_eq!(frame.locals, [Value::I32(1), Value::I64(2)]);
}

/// Tests that count calls of rt take turns.
static COUNTING: Mutex<()> = Mutex::new(());

#[test]
fn bulk_operations_stop_half_way() {
    let _turn = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut machine = Machine::new(
        r#"(module (memory 1)
            (table $t 20 funcref) (elem (table $t) (i32.const 0) func $a $b $a $b $a $b $a $b $a $b)
            (func $a) (func $b)
            (func (export "fill") (param i32 i32 i32) (result i32)
                (i32.const 9) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
            (func (export "copy") (param i32 i32 i32) (table.copy (local.get 0) (local.get 1) (local.get 2)))
            (func (export "get") (param i32) (result funcref) (table.get (local.get 0))))"#,
    );
    let args = |values: [i32; 3]| values.map(Value::I32);

    assert_eq!(machine.call("fill", &args([10, 0x55, 100])), [Value::I32(9)]);
    assert_eq!(machine.memory(9, 102), [&[0][..], &[0x55; 100], &[0]].concat());

    COUNTDOWN.store(4, Ordering::Relaxed);
    machine.call("fill", &args([1000, 0x66, 100]));
    let [frame] = &machine.frames()[..] else { panic!() };
    assert_eq!(frame.safepoint.kind, SafepointKind::Instruction);
    let done = 4 * BULK_WORK as i32;
    assert_eq!(i32s(frame), [9, 1000 + done, 0x66, 100 - done]);
    assert_eq!(machine.memory(999, 14), [&[0][..], &[0x66; 12], &[0]].concat());

    // Upwards, then downwards: the whole of it, and stopped after two steps.
    for (dst, src) in [(0, 1), (4, 1)] {
        let before: Vec<_> = (0..20).map(|index| machine.call("get", &[Value::I32(index)])[0]).collect();
        machine.call("copy", &args([dst, src, 8]));
        for index in 0..8 {
            let copied = machine.call("get", &[Value::I32(dst + index)])[0];
            assert_eq!(copied, before[(src + index) as usize]);
        }
        COUNTDOWN.store(2, Ordering::Relaxed);
        machine.call("copy", &args([dst, src, 8]));
        let [frame] = &machine.frames()[..] else { panic!() };
        let done = 2 * BULK_WORK as i32;
        let rest = if dst <= src { [dst + done, src + done, 8 - done] } else { [dst, src, 8 - done] };
        assert_eq!(i32s(frame), rest);
    }
}

#[test]
fn host_calls_are_interrupted() {
    let _turn = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut machine = Machine::new(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
            (func (export "f") (param i32) (result i32)
                (call $seek (i32.const 1) (i64.const -2) (i32.const 3) (i32.const 4))
                (i32.add (local.get 0))))"#,
    );
    assert_eq!(machine.call("f", &[Value::I32(1)]), [Value::I32(8)]);
    COUNTDOWN.store(1, Ordering::Relaxed);
    assert_eq!(machine.call("f", &[Value::I32(1)]), [Value::I32(0)]);
    let [thunk, caller] = &machine.frames()[..] else { panic!() };
    assert_eq!((thunk.safepoint.function, thunk.safepoint.code_offset), (0, 0));
    assert_eq!(thunk.locals, [Value::I32(1), Value::I64(-2), Value::I32(3), Value::I32(4)]);
    assert_eq!(caller.safepoint.kind, SafepointKind::Call);
    assert_eq!(i32s(caller), [1]);
}

#[test]
fn many_results_and_large_frames() {
    let count = 900;
    let types = "i64 ".repeat(count);
    let pushes: String = (0..count).map(|n| format!("(i64.add (local.get 0) (i64.const {n}))")).collect();
    let sum = "i64.add ".repeat(count - 1);
    let mut machine = Machine::new(&format!(
        r#"(module
            (func $many (param i64) (result {types}) (loop (br_if 0 (i64.eqz (local.get 0)))) {pushes})
            (func (export "f") (param i64) (result i64) (call $many (local.get 0)) {sum}))"#
    ));
    let frame_size = |machine: &Machine| machine.code.module.maps.functions[1].frame_size;
    assert!(frame_size(&machine) > 4096);
    let expected = (0..count as i64).map(|n| n + 3).sum();
    assert_eq!(machine.call("f", &[Value::I64(3)]), [Value::I64(expected)]);
    machine.call_until("f", &[Value::I64(0)], SOON);
    let frames = machine.frames();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].locals, [Value::I64(0)]);
}

/// Stops at many moments; each time, all that was written down fits together.
#[test]
fn frames_are_consistent_at_any_moment() {
    let mut machine = Machine::new(
        r#"(module (memory 1)
            (func $work (param $depth i32) (param $expected i64) (result i64) (local $i i32) (local $sum i64)
                (local.set $i (i32.const 50))
                (loop $l
                    (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (local.get $i))))
                    (if (local.get $depth) (then
                        (drop (call $work (i32.sub (local.get $depth) (i32.const 1)) (i64.add (local.get $expected) (i64.const 1))))))
                    (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
                (i64.add (local.get $sum) (local.get $expected)))
            (func (export "forever") (loop (drop (call $work (i32.const 4) (i64.const 10))) (br 0))))"#,
    );
    let mut kinds = std::collections::HashSet::new();
    for moment in 0..200 {
        machine.call_until("forever", &[], Duration::from_micros(50 * moment));
        let frames = machine.frames();
        let (outermost, work) = frames.split_last().unwrap();
        assert_eq!(outermost.safepoint.function, 1);
        for (index, frame) in work.iter().rev().enumerate() {
            kinds.insert(frame.safepoint.kind);
            let locals = frame.safepoint.locals.iter().map(|&(local, _)| local).zip(&frame.locals);
            let mut sum = None;
            let mut remaining = None;
            for (local, value) in locals {
                match (local, *value) {
                    (0, Value::I32(depth)) => assert_eq!(depth, 4 - index as i32),
                    (1, Value::I64(expected)) => assert_eq!(expected, 10 + index as i64),
                    (2, Value::I32(i)) => remaining = Some(i64::from(i)),
                    (3, Value::I64(value)) => sum = Some(value),
                    other => panic!("{other:?}"),
                }
            }
            // At a loop's header, numbers down to `remaining`, not included, have been added; at the call, it has.
            if let (Some(sum), Some(remaining)) = (sum, remaining) {
                let next =
                    if frame.safepoint.kind == SafepointKind::Loop { remaining + 1 } else { remaining };
                assert_eq!(sum, (next..=50).sum::<i64>());
            }
        }
    }
    assert!(kinds.contains(&SafepointKind::Loop) && kinds.contains(&SafepointKind::Call), "{kinds:?}");
}

#[test]
fn maps_name_types_of_what_is_written_down() {
    let machine = Machine::new(
        r#"(module (func $f (export "f") (param f32 v128) (result v128)
            (f64.const 1) (local.get 0) (drop (call $f (local.get 0) (local.get 1))) drop drop (local.get 1)))"#,
    );
    let calls =
        machine.code.module.maps.safepoints.iter().filter(|safepoint| safepoint.kind == SafepointKind::Call);
    let [call] = &calls.collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(call.locals, [(1, ValType::V128)]);
    assert_eq!(call.operands, [ValType::F64, ValType::F32]);
}
