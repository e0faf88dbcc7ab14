//! How many processes there can be.

use crate::machine::{compile, instantiate, run, start};
use gate_runtime::{Config, Executor, ExecutorError, MAX_PROCS, NoHostFunctions, TrapId};
use std::time::Duration;

#[tokio::test]
async fn the_configuration_is_checked() {
    for max_procs in [0, MAX_PROCS + 1] {
        let error = Executor::new(Config { max_procs, ..Config::default() }).await.err().unwrap();
        assert!(matches!(error, ExecutorError::MaxProcs(n) if n == max_procs), "{error}");
    }
}

#[tokio::test]
async fn new_processes_wait_for_others_to_end() {
    let executor = Executor::new(Config { max_procs: 2, ..Config::default() }).await.unwrap();
    let program = compile(r#"(module (func (export "spin") (loop $l (br $l))) (func (export "nothing")))"#);
    let mut instances = [instantiate(&program), instantiate(&program)];
    let [a, b] = &mut instances;
    let first = start(&executor, a, "spin", &[]).await;
    let mut second = start(&executor, b, "spin", &[]).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), executor.new_process()).await.is_err());
    drop(first);
    drop(executor.new_process().await.unwrap());
    for _ in 0..100 {
        let mut instance = instantiate(&program);
        assert_eq!(run(&executor, &mut instance, "nothing", &[]).await.unwrap().trap, TrapId::Exit);
    }
    second.kill();
    assert_eq!(second.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Killed);
    executor.close().await;
}

#[tokio::test]
async fn hundreds_of_processes_live_side_by_side() {
    let executor = Executor::new(Config::default()).await.unwrap();
    let program = compile(
        r#"(module
            (import "test" "add" (func $add (param i32 i32) (result i32)))
            (func (export "sum") (param i32 i32) (result i32) (call $add (local.get 0) (local.get 1))))"#,
    );
    let mut running = Vec::new();
    for n in 0..300 {
        let mut instance = instantiate(&program);
        let args = [gate_compiler::Value::I32(n), gate_compiler::Value::I32(1000)];
        let process = start(&executor, &mut instance, "sum", &args).await;
        running.push((n, instance, process));
    }
    for (n, instance, mut process) in running {
        let mut host = crate::machine::TestHost::default();
        assert_eq!(process.serve(&mut host).await.unwrap().trap, TrapId::Exit);
        assert_eq!(instance.results().unwrap(), [gate_compiler::Value::I32(n + 1000)]);
    }
    executor.close().await;
}
