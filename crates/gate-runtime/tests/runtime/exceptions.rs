//! Exceptions, and references which may be null.

use crate::machine::{call, compile, executor, instantiate, run};
use gate_compiler::Value::{I32, I64};
use gate_runtime::TrapId;

#[tokio::test]
async fn exceptions_that_nobody_catches_are_traps() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (tag $e (param i32))
            (func $throw (throw $e (i32.const 1)))
            (func (export "throw") (call $throw))
            (func (export "catch") (result i32)
                (block $h (result i32) (try_table (catch $e $h) (call $throw)) (i32.const 0)))
            (func (export "null") (throw_ref (ref.null exn))))"#,
    );
    let mut instance = instantiate(&program);
    assert_eq!(run(&executor, &mut instance, "throw", &[]).await.unwrap().trap, TrapId::UncaughtException);
    // Nothing of it is left.
    assert_eq!(call(&executor, &mut instance, "catch", &[]).await, [I32(1)]);
    assert_eq!(run(&executor, &mut instance, "null", &[]).await.unwrap().trap, TrapId::NullReference);
    executor.close().await;
}

#[tokio::test]
async fn exceptions_that_are_forgotten_take_no_room() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (tag $e (param i64 exnref))
            (table $kept 100000 exnref)
            (global $last (export "last") (mut exnref) (ref.null exn))
            (func $new (param $n i32) (param $inner exnref) (result exnref)
                (block $h (result exnref)
                    (try_table (catch_all_ref $h)
                        (throw $e (i64.extend_i32_u (local.get $n)) (local.get $inner)))
                    (unreachable)))
            (func $number (param exnref) (result i64 exnref)
                (block $h (result i64 exnref)
                    (try_table (catch $e $h) (throw_ref (local.get 0)))
                    (unreachable)))
            ;; Each exception has the one before last in it, but only ten of them are kept.
            (func (export "forget") (param $rounds i32) (result i64)
                (local $n i32) (local $sum i64)
                (loop $more
                    (global.set $last
                        (call $new (local.get $n)
                            (if (result exnref) (i32.rem_u (local.get $n) (i32.const 10))
                                (then (global.get $last))
                                (else (ref.null exn)))))
                    (table.set $kept (i32.rem_u (local.get $n) (i32.const 10)) (global.get $last))
                    (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (local.get $rounds))))
                (local.set $n (i32.const 0))
                (loop $more
                    (call $number (table.get $kept (local.get $n)))
                    (drop)
                    (local.set $sum (i64.add (local.get $sum)))
                    (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10))))
                (local.get $sum))
            (func (export "keep") (param $rounds i32)
                (local $n i32)
                (loop $more
                    (table.set $kept (local.get $n) (call $new (local.get $n) (ref.null exn)))
                    (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (local.get $rounds))))))"#,
    );
    let mut instance = instantiate(&program);
    let most = program.info().exceptions.as_ref().unwrap().capacity;
    let rounds = 4 * most as i32;
    let last = i64::from(rounds - 1);
    let expected = (last - 9..=last).sum();
    assert_eq!(call(&executor, &mut instance, "forget", &[I32(rounds)]).await, [I64(expected)]);
    // Record 0 is not one that can be kept, and that of the global is.
    let fits = run(&executor, &mut instance, "keep", &[I32(most as i32 - 20)]).await.unwrap();
    assert_eq!(fits.trap, TrapId::Exit);
    let full = run(&executor, &mut instance, "keep", &[I32(most as i32)]).await.unwrap();
    assert_eq!(full.trap, TrapId::TooManyExceptions);
    executor.close().await;
}

#[tokio::test]
async fn null_references_are_not_called() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (type $t (func (result i32)))
            (func $seven (type $t) (i32.const 7))
            (elem declare func $seven)
            (func $call (param (ref null $t)) (result i32) (call_ref $t (local.get 0)))
            (func (export "call") (result i32) (call $call (ref.func $seven)))
            (func (export "call null") (result i32) (call $call (ref.null $t)))
            (func (export "as non-null") (drop (ref.as_non_null (ref.null $t)))))"#,
    );
    let mut instance = instantiate(&program);
    assert_eq!(call(&executor, &mut instance, "call", &[]).await, [I32(7)]);
    for name in ["call null", "as non-null"] {
        assert_eq!(run(&executor, &mut instance, name, &[]).await.unwrap().trap, TrapId::NullReference);
    }
    executor.close().await;
}
