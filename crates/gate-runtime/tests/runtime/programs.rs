//! What programs do by themselves.

use crate::machine::{TestHost, call, compile, executor, instantiate, run, start};
use gate_compiler::Value::{F64, FuncRef, I32, I64, V128};
use gate_image::{Exit, InstanceError, ProgramError};
use gate_runtime::{NoHostFunctions, ProcessError, ProcessPolicy, TrapId};

#[tokio::test]
async fn functions_compute() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (func $fib (export "fib") (param i32) (result i32)
                (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                    (then (local.get 0))
                    (else (i32.add
                        (call $fib (i32.sub (local.get 0) (i32.const 1)))
                        (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
            (func (export "all") (param i32 i64 f64 v128 funcref) (result funcref v128 f64 i64 i32)
                local.get 4 local.get 3 local.get 2 local.get 1 local.get 0))"#,
    );
    let mut instance = instantiate(&program);
    assert_eq!(call(&executor, &mut instance, "fib", &[I32(20)]).await, [I32(6765)]);
    let vector = V128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    let nan = F64(0x7ff8_0000_dead_beef);
    let args = [I32(-1), I64(i64::MIN), nan, vector, FuncRef(Some(1))];
    let results = [FuncRef(Some(1)), vector, nan, I64(i64::MIN), I32(-1)];
    assert_eq!(call(&executor, &mut instance, "all", &args).await, results);
    executor.close().await;
}

#[tokio::test]
async fn an_instance_keeps_its_state_between_entries() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (memory (export "memory") 1 3)
            (global $count (mut i32) (i32.const 40))
            (data (i32.const 65530) "abc")
            (func $init (global.set $count (i32.add (global.get $count) (i32.const 1))))
            (start $init)
            (func (export "count") (result i32)
                (global.set $count (i32.add (global.get $count) (i32.const 1)))
                global.get $count)
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
            (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
            (func (export "trap") unreachable))"#,
    );
    let mut instance = instantiate(&program);
    let memory = instance.memory(0).unwrap();
    assert_eq!(memory.size().unwrap(), 65536);

    assert_eq!(call(&executor, &mut instance, "count", &[]).await, [I32(42)]);
    assert_eq!(call(&executor, &mut instance, "count", &[]).await, [I32(43)]);
    assert_eq!(call(&executor, &mut instance, "load", &[I32(65531)]).await, [I32(98)]);
    assert_eq!(
        run(&executor, &mut instance, "load", &[I32(65536)]).await.unwrap().trap,
        TrapId::MemoryAccessOutOfBounds
    );
    assert_eq!(call(&executor, &mut instance, "grow", &[I32(2)]).await, [I32(1)]);
    assert_eq!(memory.size().unwrap(), 3 * 65536);
    assert_eq!(call(&executor, &mut instance, "grow", &[I32(1)]).await, [I32(-1)]);
    call(&executor, &mut instance, "store", &[I32(3 * 65536 - 1), I32(7)]).await;
    let mut byte = [0];
    memory.read(3 * 65536 - 1, &mut byte).unwrap();
    assert_eq!(byte, [7]);
    assert!(memory.read(3 * 65536 - 1, &mut [0, 0]).is_err());
    memory.write(65536, &[9]).unwrap();
    assert_eq!(call(&executor, &mut instance, "load", &[I32(65536)]).await, [I32(9)]);
    assert_eq!(run(&executor, &mut instance, "trap", &[]).await.unwrap().trap, TrapId::Unreachable);
    assert_eq!(call(&executor, &mut instance, "count", &[]).await, [I32(44)]);
    executor.close().await;
}

#[tokio::test]
async fn the_memory_limit_holds() {
    let executor = executor().await;
    let program = compile(
        r#"(module (memory 1) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#,
    );
    let options = gate_image::InstanceOptions { max_memory: Some(200_000), ..Default::default() };
    let mut instance = gate_image::Instance::new(&program, &options).unwrap();
    assert_eq!(call(&executor, &mut instance, "grow", &[I32(3)]).await, [I32(-1)]);
    assert_eq!(call(&executor, &mut instance, "grow", &[I32(2)]).await, [I32(1)]);
    executor.close().await;
}

#[tokio::test]
async fn traps_are_named_and_located() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (memory 1)
            (table 2 funcref)
            (type $t (func))
            (func $wrong (param i32))
            (elem (i32.const 0) $wrong)
            (func $inner (param i32) (drop (i32.div_u (i32.const 1) (local.get 0))))
            (func $middle (param i32) (call $inner (local.get 0)))
            (func (export "divide") (call $middle (i32.const 0)))
            (func (export "overflow") (result i32)
                (i32.div_s (i32.const 0x80000000) (i32.load (i32.const 4))))
            (data (i32.const 4) "\ff\ff\ff\ff")
            (func (export "load") (result i32) (i32.load offset=0xffffffff (i32.const -1)))
            (func (export "element") (call_indirect (type $t) (i32.const 2)))
            (func (export "null") (call_indirect (type $t) (i32.const 1)))
            (func (export "type") (call_indirect (type $t) (i32.const 0)))
            (func (export "nan") (result i32) (i32.trunc_f32_s (f32.const nan)))
            (func (export "fill") (memory.fill (i32.const 65535) (i32.const 0) (i32.const 2)))
            (func $deep (export "deep") (call $deep) (call $deep)))"#,
    );
    let mut instance = instantiate(&program);
    for (name, trap) in [
        ("overflow", TrapId::IntegerOverflow),
        ("load", TrapId::MemoryAccessOutOfBounds),
        ("element", TrapId::IndirectCallIndexOutOfBounds),
        ("null", TrapId::IndirectCallToNull),
        ("type", TrapId::IndirectCallSignatureMismatch),
        ("nan", TrapId::InvalidConversionToInteger),
        ("fill", TrapId::MemoryAccessOutOfBounds),
        ("divide", TrapId::IntegerDivideByZero),
    ] {
        assert_eq!(run(&executor, &mut instance, name, &[]).await.unwrap().trap, trap, "{name}");
        assert_eq!(instance.exit().unwrap(), Exit::Trapped(trap));
    }

    let trace = instance.backtrace().unwrap();
    let names: Vec<_> = trace.frames().iter().map(|f| f.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["inner", "middle", "divide"], "{trace}");
    assert!(trace.frames().iter().all(|f| f.wasm_offset.is_some()), "{trace}");
    assert!(trace.to_string().starts_with("  0: inner (wasm offset 0x"), "{trace}");

    assert_eq!(run(&executor, &mut instance, "deep", &[]).await.unwrap().trap, TrapId::CallStackExhausted);
    let trace = instance.backtrace().unwrap();
    assert_eq!(trace.frames().len(), 50);
    assert!(trace.omitted() > 1000, "{trace}");
    assert_eq!(trace.frames()[49].name.as_deref(), Some("deep"));
    executor.close().await;
}

#[tokio::test]
async fn entry_functions_tell_success() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
            (func (export "zero") (result i32) (i32.const 0))
            (func (export "three") (result i32) (i32.const 3))
            (func (export "nothing"))
            (func (export "long") (result i64) (i64.const 5)))"#,
    );
    let mut instance = instantiate(&program);
    for (name, value) in [("zero", 0), ("three", 3), ("nothing", 0), ("long", 0)] {
        let result = run(&executor, &mut instance, name, &[]).await.unwrap().result;
        assert_eq!((result.value(), result.terminated()), (value, false), "{name}");
    }
    executor.close().await;
}

#[tokio::test]
async fn what_has_terminated_does_not_run_again() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (func (export "exit") (call $exit (i32.const 7)) unreachable))"#,
    );
    let mut instance = instantiate(&program);
    let outcome = run(&executor, &mut instance, "exit", &[]).await.unwrap();
    assert_eq!(outcome.to_string(), "terminated: failure (7)");
    instance.set_entry("exit", &[]).unwrap();
    let mut process = executor.new_process().await.unwrap();
    let error = process.start(&program, &mut instance, ProcessPolicy::default()).unwrap_err();
    assert!(
        matches!(error, ProcessError::Instance(InstanceError::Program(ProgramError::Ended { .. }))),
        "{error}"
    );
    process.close().await;
    executor.close().await;
}

#[tokio::test]
async fn without_a_function_nothing_starts() {
    let executor = executor().await;
    let program = compile("(module (func))");
    let mut process = executor.new_process().await.unwrap();
    let error = process.start(&program, &mut instantiate(&program), ProcessPolicy::default()).unwrap_err();
    assert_eq!(error.trap(), TrapId::NoFunction);
    let error = process.serve(&mut NoHostFunctions).await.unwrap_err();
    assert!(matches!(error, ProcessError::Order(_)), "{error}");
    executor.close().await;
}

#[tokio::test]
async fn a_start_function_alone_is_a_program() {
    let executor = executor().await;
    let program =
        compile("(module (memory 1) (func $s (i32.store8 (i32.const 5) (i32.const 6))) (start $s))");
    let mut instance = instantiate(&program);
    let mut process = executor.new_process().await.unwrap();
    process.start(&program, &mut instance, ProcessPolicy::default()).unwrap();
    assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Exit);
    let mut byte = [0];
    instance.memory(0).unwrap().read(5, &mut byte).unwrap();
    assert_eq!(byte, [6]);
    executor.close().await;
}

#[tokio::test]
async fn the_host_is_called() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (import "test" "add" (func $add (param i32 i32) (result i32)))
            (import "test" "uppercase" (func $uppercase (param i32 i32)))
            (memory 1)
            (data (i32.const 65531) "hello")
            (func (export "sum") (param $n i32) (result i32) (local $sum i32)
                (loop $again
                    (local.set $sum (call $add (local.get $sum) (local.get $n)))
                    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                local.get $sum)
            (func (export "shout") (call $uppercase (i32.const 65531) (i32.const 5)))
            (func (export "too_far") (call $uppercase (i32.const 65531) (i32.const 6))))"#,
    );
    let mut instance = instantiate(&program);
    let mut host = TestHost::default();
    let mut process = start(&executor, &mut instance, "sum", &[I32(1000)]).await;
    assert_eq!(process.serve(&mut host).await.unwrap().trap, TrapId::Exit);
    assert_eq!(instance.results().unwrap(), [I32(500_500)]);
    assert_eq!(host.calls, 1000);

    let mut process = start(&executor, &mut instance, "shout", &[]).await;
    assert_eq!(process.serve(&mut host).await.unwrap().trap, TrapId::Exit);
    let mut text = [0; 5];
    instance.memory(0).unwrap().read(65531, &mut text).unwrap();
    assert_eq!(&text, b"HELLO");

    let mut process = start(&executor, &mut instance, "too_far", &[]).await;
    let error = process.serve(&mut host).await.unwrap_err();
    assert!(matches!(error, ProcessError::Host(_)), "{error}");
    executor.close().await;
}

#[tokio::test]
async fn the_host_can_trap() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (import "test" "add" (func $add (param i32 i32) (result i32)))
            (func $caller (export "call") (drop (call $add (i32.const 1) (i32.const 2)))))"#,
    );
    let mut instance = instantiate(&program);
    assert_eq!(run(&executor, &mut instance, "call", &[]).await.unwrap().trap, TrapId::AbiViolation);
    let trace = instance.backtrace().unwrap();
    assert_eq!(trace.frames().last().unwrap().name.as_deref(), Some("caller"), "{trace}");
    executor.close().await;
}
