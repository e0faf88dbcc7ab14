//! The end of executors.

use crate::machine::{TestHost, compile, executor, instantiate, start};
use gate_runtime::{ExecutorError, NoHostFunctions, ProcessError, TrapId};
use std::fs;
use std::time::Duration;

const SPIN: &str = r#"(module (func (export "spin") (loop $l (br $l))))"#;

/// Ids of this process's children which are executors.
fn executors() -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let children = tasks.flat_map(|task| {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
    });
    children
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "gate-executor\n"))
        .collect()
}

#[tokio::test]
async fn closing_kills_everything() {
    let executor = executor().await;
    let program = compile(SPIN);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "spin", &[]).await;
    let mut none = NoHostFunctions;
    let (outcome, ()) = tokio::join!(process.serve(&mut none), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        executor.close().await;
    });
    assert_eq!(outcome.unwrap().trap, TrapId::Killed);
}

#[tokio::test]
async fn dropping_kills_everything() {
    let executor = executor().await;
    let program = compile(SPIN);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "spin", &[]).await;
    let dead = executor.dead();
    drop(executor);
    assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Killed);
    dead.await;
}

/// In a process of its own, because it looks for the executor among the children.
#[test]
fn a_killed_executor_is_noticed() {
    crate::unprivileged::rerun("ends::killed_executor", |_| {});
}

#[tokio::test]
#[ignore = "run by another test"]
async fn killed_executor() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (import "test" "stuck" (func $stuck))
            (func (export "wait") (call $stuck))
            (func (export "spin") (loop $l (br $l))))"#,
    );
    let (mut spinning, mut waiting) = (instantiate(&program), instantiate(&program));
    let mut spinning = start(&executor, &mut spinning, "spin", &[]).await;
    let mut waiting = start(&executor, &mut waiting, "wait", &[]).await;
    let mut idle = executor.new_process().await.unwrap();
    let children = executors();
    assert_eq!(children.len(), 1);
    let mut host = TestHost::default();
    let mut none = NoHostFunctions;
    let (a, b, ()) = tokio::join!(spinning.serve(&mut none), waiting.serve(&mut host), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let pid = rustix::process::Pid::from_raw(children[0]).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    assert!(matches!(a, Err(ProcessError::ExecutorDied)), "{a:?}");
    assert!(matches!(b, Err(ProcessError::ExecutorDied)), "{b:?}");
    executor.dead().await;
    assert!(matches!(executor.new_process().await.err(), Some(ExecutorError::Dead)));
    let mut instance = instantiate(&program);
    instance.set_entry("spin", &[]).unwrap();
    idle.start(&program, &mut instance, Default::default()).unwrap();
    let error = idle.serve(&mut NoHostFunctions).await.unwrap_err();
    assert!(matches!(error, ProcessError::ExecutorDied), "{error}");
    // Nothing is left, not even a zombie.
    assert_eq!(executors(), []);
}

/// In a process of its own, because it looks for the executor among the children.
#[test]
fn a_runtime_that_goes_takes_its_executors_along() {
    crate::unprivileged::rerun("ends::runtime_shutdown", |_| {});
}

#[test]
#[ignore = "run by another test"]
fn runtime_shutdown() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let executor = runtime.block_on(executor());
    assert_eq!(executors().len(), 1);
    drop(runtime);
    assert_eq!(executors(), []);
    drop(executor);
}
