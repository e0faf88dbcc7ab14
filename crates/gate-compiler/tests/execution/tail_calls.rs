//! Calls that take the caller's place.

use crate::machine::{Code, Machine, Outcome};
use crate::resuming::check;
use gate_compiler::{Options, SafepointKind, Value, WasiImports};
use gate_wire::trap::TrapId;
use std::time::Duration;

/// Two functions that call each other, of which one has its arguments on the stack; through a table; and through a host function.
const CHAINS: &str = r#"(module
    (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
    (type $narrow (func (param i64 i64) (result i64)))
    (type $wide (func (param i64 i64 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 f64 f64 i32 i32 i32 i32 i64 i64) (result i64)))
    (table funcref (elem $narrow $wide))
    (func $narrow (export "direct") (type $narrow)
        (if (i64.eqz (local.get 0)) (then (return (local.get 1))))
        (return_call $wide
            (i64.sub (local.get 0) (i64.const 1)) (i64.const 0)
            (v128.const i64x2 1 2) (v128.const i64x2 3 4) (v128.const i64x2 5 6) (v128.const i64x2 7 8)
            (v128.const i64x2 9 10) (v128.const i64x2 11 12) (v128.const i64x2 13 14) (v128.const i64x2 15 16)
            (v128.const i64x2 17 18) (v128.const i64x2 19 20) (f64.const 1) (f64.const 2)
            (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4)
            (local.get 1) (i64.const 5)))
    (func $wide (type $wide)
        (return_call_indirect (type $narrow)
            (local.get 0)
            (i64.add (i64.add (local.get 18) (local.get 19))
                (i64.add (i64x2.extract_lane 1 (local.get 11)) (i64.extend_i32_u (local.get 17))))
            (i32.const 0)))
    (func $outer (param i64) (result i64) (local $sum i64)
        (loop $again
            (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 3))
                (call_indirect (type $narrow) (local.get 0) (local.get $sum) (i32.const 0))))
            (local.set $sum (i64.add (local.get $sum) (call $narrow (local.get 0) (i64.const 1))))
            (br_if $again (i64.ne (local.tee 0 (i64.sub (local.get 0) (i64.const 1))) (i64.const 0))))
        (local.get $sum))
    (func $hosted (param i32) (result i32) (local i32)
        (loop $again
            (local.set 1 (i32.add (local.get 1) (call $to_host)))
            (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (i32.add (local.get 1) (call $to_host)))
    (func $to_host (result i32) (return_call $yield))
    (func $many (export "many") (param i64) (result i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
        (if (i64.gt_s (local.get 0) (i64.const 0))
            (then (return_call $many (i64.sub (local.get 0) (i64.const 1)))))
        (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5) (i64.const 6)
        (i64.const 7) (i64.const 8) (local.get 0))
    (func $midst (param i64) (result i64) (local i64)
        (i64.const 7)
        (block (result i64)
            (loop $again
                (local.set 1 (i64.add (local.get 1) (local.get 0)))
                (br_if $again (i64.ne (local.tee 0 (i64.sub (local.get 0) (i64.const 1))) (i64.const 0))))
            (return_call $narrow (i64.const 5) (local.get 1)))
        (i64.add))
    (func (export "all") (result i64)
        (call $many (i64.const 2))
        drop drop drop drop drop drop drop
        (i64.add (call $narrow (i64.const 3) (i64.const 3)))
        (i64.add (call $outer (i64.const 2)))
        (i64.add (call $midst (i64.const 2)))
        (i64.add (i64.extend_i32_u (call $hosted (i32.const 2))))
        (i64.add)
        (i64.add))
)"#;

#[test]
fn chains_of_tail_calls_stop_and_go_on() {
    let coverage = check(CHAINS, "all", &[]);
    assert!(coverage.has(SafepointKind::Entry, "any") && coverage.has(SafepointKind::Call, "any"));
}

#[test]
fn chains_of_tail_calls_take_no_stack() {
    let mut machine = Machine::new(CHAINS);
    machine.stack_size = 64 << 10;
    let results = machine.call("direct", &[Value::I64(300_000), Value::I64(0)]);
    assert_eq!(results, [Value::I64(300_000 * (5 + 20 + 4))]);
    let results = machine.call("many", &[Value::I64(300_000)]);
    assert_eq!((results[9], results[8]), (Value::I64(0), Value::I64(8)));
}

#[test]
fn endless_chains_of_tail_calls_stop() {
    for body in [
        "(func $f (export \"f\") return_call $f)",
        "(func $f (export \"f\") return_call $g) (func $g return_call $h) (func $h return_call $f)",
        "(table funcref (elem $f)) (func $f (export \"f\") (return_call_indirect (i32.const 0)))",
        "(table funcref (elem $g)) (func $f (export \"f\") return_call $g)
         (func $g (if (i32.eqz (i32.const 0)) (then (return_call_indirect (i32.const 0)))) (loop))",
    ] {
        let mut machine = Machine::new(&format!("(module {body})"));
        machine.call_until("f", &[], Duration::from_millis(20));
        let frames = machine.frames();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].safepoint.kind, SafepointKind::Entry);
    }
}

#[test]
fn large_arguments_of_tail_calls_are_checked() {
    // The arguments of the inner function take more than what is reserved for functions without a check of their size.
    let types = "v128 ".repeat(900);
    let args = "(v128.const i64x2 0 0)".repeat(900);
    let wat = format!(
        r#"(module
            (func $leaf (param {types}))
            (func $middle (return_call $leaf {args}))
            (func $f (export "f") (param i32)
                (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))))
                (call $middle)))"#
    );
    let wasm = wat::parse_str(&wat).unwrap();
    let mut machine = Machine::with_code(Code::new(&wasm, &Options::default(), &WasiImports));
    let middle = &machine.code.module.maps.functions[1];
    assert!(middle.tail_calls && middle.frame_size > 14_400);
    machine.stack_size = 256 << 10;
    assert_eq!(machine.run_uninterrupted("f", &[Value::I32(5)]), Outcome::Returned(vec![]));
    // It is noticed by a check at an entry, whose trap is rt's, or by one of a frame's size.
    let outcome = machine.run_uninterrupted("f", &[Value::I32(100_000)]);
    assert!(
        matches!(outcome, Outcome::Trapped(TrapId::CallStackExhausted | TrapId::InternalError)),
        "{outcome:?}"
    );
}
