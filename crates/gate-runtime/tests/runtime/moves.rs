//! Going on with other text, and as several copies.

use crate::machine::{TestHost, TestImports, call, executor, instantiate};
use crate::stops::{Stops, run_with_stops};
use gate_compiler::Value::{I32, I64};
use gate_compiler::{OptLevel, Options};
use gate_image::{Exit, Instance, InstanceError, Program, ProgramError};
use gate_runtime::{Executor, ExportError, NoHostFunctions, ProcessPolicy, TrapId};
use std::time::Duration;

const PROGRAM: &str = r#"(module
    (import "test" "add" (func $add (param i32 i32) (result i32)))
    (memory 4)
    (global $g (mut i64) (i64.const 3))
    (func $inner (param $depth i32) (param $x i64) (result i64) (local $f f64) (local $v v128) (local $i i32)
        (local.set $v (i64x2.splat (local.get $x)))
        (loop $again
            (local.set $f (f64.add (local.get $f) (f64.convert_i32_u (local.get $i))))
            (local.set $v (i64x2.add (local.get $v) (local.get $v)))
            (i64.store (i32.and (i32.mul (local.get $i) (i32.const 8)) (i32.const 0x1fff8)) (local.get $x))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2000))))
        (global.set $g (i64.add (global.get $g) (i64.extend_i32_u
            (call $add (local.get $depth) (i32.const 5)))))
        (if (local.get $depth) (then
            (local.set $x (call $inner (i32.sub (local.get $depth) (i32.const 1))
                (i64.rotl (local.get $x) (i64.const 3))))))
        (i64.xor (local.get $x) (i64.xor (i64.reinterpret_f64 (local.get $f)) (i64x2.extract_lane 1 (local.get $v)))))
    (func (export "work") (param $n i32) (result i64) (local $x i64)
        (local.set $x (i64.const 0x123456789))
        (loop $again
            (local.set $x (i64.add (local.get $x) (call $inner (i32.const 40) (local.get $x))))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (i64.add (local.get $x) (global.get $g))))"#;

pub(crate) fn options(opt_level: OptLevel) -> Options {
    Options { threads: Some(1), opt_level, ..Options::default() }
}

pub(crate) fn compile(options: &Options) -> (Vec<u8>, Program) {
    let wasm = wat::parse_str(PROGRAM).expect("text format");
    let module = gate_compiler::compile(&wasm, options, &TestImports).expect("module");
    (wasm, Program::new(module).expect("program"))
}

/// Runs until it is suspended after the delay, or at its end.
pub(crate) async fn run_for(executor: &Executor, instance: &mut Instance, delay: Duration) -> TrapId {
    let mut process = executor.new_process().await.unwrap();
    process.start(&instance.program().clone(), instance, ProcessPolicy::default()).unwrap();
    let outcome = process.serve_until(&mut TestHost::default(), tokio::time::sleep(delay)).await.unwrap();
    outcome.trap
}

pub(crate) async fn undisturbed(executor: &Executor, n: i32) -> Vec<gate_compiler::Value> {
    let (_, program) = compile(&options(OptLevel::default()));
    let mut instance = instantiate(&program);
    instance.set_entry("work", &[I32(n)]).unwrap();
    let stops = Stops { most: 0, delays: 0..1 };
    let (outcome, _) = run_with_stops(executor, &mut instance, &mut TestHost::default(), stops).await;
    assert_eq!(outcome.trap, TrapId::Exit);
    instance.results().unwrap()
}

#[tokio::test]
async fn an_export_leaves_the_program_as_it_was() {
    let executor = executor().await;
    let expected = undisturbed(&executor, 200).await;
    let (_, program) = compile(&options(OptLevel::default()));
    let mut instance = instantiate(&program);
    instance.set_entry("work", &[I32(200)]).unwrap();
    let error = executor.export(&mut instance).await.unwrap_err();
    assert!(
        matches!(error, ExportError::Instance(InstanceError::Program(ProgramError::NotFrozen))),
        "{error}"
    );
    assert_eq!(run_for(&executor, &mut instance, Duration::from_millis(20)).await, TrapId::Suspended);
    let time = instance.monotonic_time();
    let frames = executor.export(&mut instance).await.unwrap();
    assert!((1..=43).contains(&frames.len()), "{}", frames.len());
    assert_eq!(executor.export(&mut instance).await.unwrap().len(), frames.len());
    assert_eq!((instance.exit().unwrap(), instance.monotonic_time()), (Exit::Frozen, time));
    // It thaws all the same.
    assert_eq!(run_for(&executor, &mut instance, Duration::from_secs(60)).await, TrapId::Exit);
    assert_eq!(instance.results().unwrap(), expected);
    let error = executor.export(&mut instance).await.unwrap_err();
    assert!(matches!(error, ExportError::Instance(_)), "{error}");
    executor.close().await;
}

#[tokio::test]
async fn programs_go_on_with_other_text() {
    const N: i32 = 400;
    let executor = executor().await;
    let expected = undisturbed(&executor, N).await;
    let settings = [OptLevel::None, OptLevel::Speed].map(|level| (options(level), compile(&options(level))));
    let mut instance = instantiate(&settings[0].1.1);
    instance.set_entry("work", &[I32(N)]).unwrap();
    let mut moves = 0;
    loop {
        let delay = Duration::from_micros(rand::random_range(0..4000));
        match run_for(&executor, &mut instance, delay).await {
            TrapId::Suspended => {}
            TrapId::Exit => break,
            trap => panic!("{trap}"),
        }
        if moves >= 40 || instance.exit().unwrap() == Exit::None {
            continue;
        }
        executor.export(&mut instance).await.unwrap();
        moves += 1;
        let (options, (wasm, program)) = &settings[moves % 2];
        instance.rebase(program).unwrap();
        instance.prepare_resume(wasm, options, &TestImports).unwrap();
    }
    assert_eq!(instance.results().unwrap(), expected);
    println!("{moves} moves");
    assert!(moves > 3);
    executor.close().await;
}

#[tokio::test]
async fn forks_go_on_by_themselves() {
    const N: i32 = 150;
    let executor = executor().await;
    let expected = undisturbed(&executor, N).await;
    let (_, program) = compile(&options(OptLevel::default()));
    let mut instance = instantiate(&program);
    instance.set_entry("work", &[I32(N)]).unwrap();
    assert_eq!(run_for(&executor, &mut instance, Duration::from_millis(8)).await, TrapId::Suspended);
    let mut forks = vec![instance];
    for _ in 0..6 {
        let at = rand::random_range(0..forks.len());
        let mut fork = forks[at].fork().unwrap();
        if run_for(&executor, &mut fork, Duration::from_millis(2)).await == TrapId::Exit {
            assert_eq!(fork.results().unwrap(), expected);
            continue;
        }
        forks.push(fork);
    }
    for mut fork in forks {
        let stops = Stops { most: 20, delays: 0..1500 };
        let mut host = TestHost::default();
        let (outcome, _) = run_with_stops(&executor, &mut fork, &mut host, stops).await;
        assert_eq!(outcome.trap, TrapId::Exit);
        assert_eq!(fork.results().unwrap(), expected);
        assert!(host.starts.iter().all(|start| start.resumed));
    }
    executor.close().await;
}

#[tokio::test]
async fn breakpoints_stop_and_go_on() {
    const PROGRAM: &str = r#"(module (global $n (mut i64) (i64.const 0))
        (func (export "count") (result i64) (local $i i32)
            (loop $again
                (global.set $n (i64.add (global.get $n) (i64.const 7)))
                (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
            global.get $n))"#;
    let executor = executor().await;
    let wasm = wat::parse_str(PROGRAM).unwrap();
    // The instruction behind the loop's beginning.
    let at = wasm.windows(2).position(|bytes| bytes == [0x03, 0x40]).unwrap() as u32 + 2;
    let options = Options { breakpoints: [at].into(), ..options(OptLevel::default()) };
    let program = Program::new(gate_compiler::compile(&wasm, &options, &TestImports).unwrap()).unwrap();
    let mut instance = instantiate(&program);
    instance.set_entry("count", &[]).unwrap();
    for _ in 0..3 {
        let mut process = executor.new_process().await.unwrap();
        process.start(&program, &mut instance, ProcessPolicy::default()).unwrap();
        assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Breakpoint);
        assert_eq!(instance.exit().unwrap(), Exit::Frozen);
        executor.export(&mut instance).await.unwrap();
    }
    assert_eq!(run_for(&executor, &mut instance, Duration::from_secs(60)).await, TrapId::Exit);
    assert_eq!(instance.results().unwrap(), [I64(21)]);
    let mut other = instantiate(&compile_plain(&wasm));
    assert_eq!(call(&executor, &mut other, "count", &[]).await, [I64(21)]);
    executor.close().await;
}

fn compile_plain(wasm: &[u8]) -> Program {
    let module = gate_compiler::compile(wasm, &options(OptLevel::default()), &TestImports).unwrap();
    Program::new(module).unwrap()
}
