//! Killing, at any time.

use crate::machine::{TestHost, compile, executor, instantiate, start};
use gate_image::{Exit, InstanceError, ProgramError};
use gate_runtime::{NoHostFunctions, Outcome, ProcessError, ProcessPolicy, TrapId};
use std::time::Duration;

const SPIN: &str = r#"(module (func (export "spin") (loop $l (br $l))))"#;

#[tokio::test]
async fn a_spinning_program_is_killed() {
    let executor = executor().await;
    let program = compile(SPIN);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "spin", &[]).await;
    let killer = process.killer();
    let mut none = NoHostFunctions;
    let (outcome, ()) = tokio::join!(process.serve(&mut none), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        killer.kill();
        killer.kill();
    });
    assert_eq!(outcome.unwrap().trap, TrapId::Killed);
    process.kill();
    process.close().await;
    killer.kill();
    // Its state is what it was at some moment: nothing to go on with.
    assert!(instance.set_entry("spin", &[]).is_ok());
    let mut process = executor.new_process().await.unwrap();
    let error = process.start(&program, &mut instance, ProcessPolicy::default()).unwrap_err();
    assert!(
        matches!(error, ProcessError::Instance(InstanceError::Program(ProgramError::Ended { .. }))),
        "{error}"
    );
    executor.close().await;
}

#[tokio::test]
async fn a_spinning_program_is_suspended() {
    let executor = executor().await;
    let program = compile(SPIN);
    for delay in [0, 20] {
        let mut instance = instantiate(&program);
        let mut process = start(&executor, &mut instance, "spin", &[]).await;
        let killer = process.killer();
        let mut none = NoHostFunctions;
        let (outcome, ()) = tokio::join!(process.serve(&mut none), async {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            killer.suspend();
            killer.suspend();
        });
        assert_eq!(outcome.unwrap().trap, TrapId::Suspended);
        assert_eq!(instance.exit().unwrap(), Exit::Frozen);
    }
    executor.close().await;
}

#[tokio::test]
async fn a_process_is_killed_before_it_is_started() {
    let executor = executor().await;
    let program = compile(SPIN);
    let mut instance = instantiate(&program);
    for delay in [0, 5] {
        let mut instance = instantiate(&program);
        instance.set_entry("spin", &[]).unwrap();
        let mut process = executor.new_process().await.unwrap();
        process.kill();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        process.start(&program, &mut instance, ProcessPolicy::default()).unwrap();
        assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Killed);
    }
    instance.set_entry("spin", &[]).unwrap();
    executor.close().await;
}

#[tokio::test]
async fn a_program_is_killed_in_a_host_call() {
    let executor = executor().await;
    let program =
        compile(r#"(module (import "test" "stuck" (func $stuck)) (func (export "wait") (call $stuck)))"#);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "wait", &[]).await;
    let killer = process.killer();
    let mut host = TestHost::default();
    let (outcome, ()) = tokio::join!(process.serve(&mut host), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        killer.kill();
    });
    assert_eq!(outcome.unwrap().trap, TrapId::Killed);
    assert_eq!(host.calls, 1);
    executor.close().await;
}

#[tokio::test]
async fn a_host_fault_ends_the_program() {
    let executor = executor().await;
    let program =
        compile(r#"(module (import "test" "broken" (func $broken)) (func (export "call") (call $broken)))"#);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "call", &[]).await;
    let error = process.serve(&mut TestHost::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "host function: it is broken");
    assert_eq!(error.trap(), TrapId::InternalError);
    executor.close().await;
}

#[tokio::test]
async fn serving_can_be_interrupted() {
    let executor = executor().await;
    let program =
        compile(r#"(module (import "test" "stuck" (func $stuck)) (func (export "wait") (call $stuck)))"#);
    let mut instance = instantiate(&program);
    let mut process = start(&executor, &mut instance, "wait", &[]).await;
    let mut host = TestHost::default();
    let interrupted = tokio::time::timeout(Duration::from_millis(20), process.serve(&mut host)).await;
    assert!(interrupted.is_err());
    let error = instance.set_entry("wait", &[]).unwrap_err();
    assert!(matches!(error, InstanceError::Program(ProgramError::Running)), "{error}");
    // The call has not been answered, so it is made again.
    let killer = process.killer();
    let (outcome, ()) = tokio::join!(process.serve(&mut host), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        killer.kill();
    });
    assert_eq!(outcome.unwrap().trap, TrapId::Killed);
    assert_eq!(host.calls, 2);
    executor.close().await;
}

#[tokio::test]
async fn a_dropped_process_lets_go_of_its_state() {
    let executor = executor().await;
    let program = compile(SPIN);
    let mut instance = instantiate(&program);
    drop(start(&executor, &mut instance, "spin", &[]).await);
    for _ in 0..1000 {
        match instance.set_entry("spin", &[]) {
            Ok(()) => return executor.close().await,
            Err(InstanceError::Program(ProgramError::Running)) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the instance is still in use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_at_random_moments_is_told_correctly() {
    let executor = executor().await;
    let program = compile(
        r#"(module
            (import "test" "add" (func $add (param i32 i32) (result i32)))
            (func (export "work") (result i32) (local $i i32)
                (loop $again
                    (local.set $i (call $add (local.get $i) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $i) (i32.const 10))))
                local.get $i))"#,
    );
    let (mut killed, mut exited) = (0, 0);
    for _ in 0..300 {
        let mut instance = instantiate(&program);
        let mut process = start(&executor, &mut instance, "work", &[]).await;
        let killer = process.killer();
        let delay = Duration::from_micros(rand::random_range(0..2000));
        let kill = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            killer.kill();
        });
        match process.serve(&mut TestHost::default()).await.unwrap() {
            Outcome { trap: TrapId::Killed, .. } => killed += 1,
            Outcome { trap: TrapId::Exit, result } => {
                assert_eq!(result.value(), 10);
                exited += 1;
            }
            outcome => panic!("{outcome}"),
        }
        kill.await.unwrap();
    }
    println!("{killed} killed, {exited} exited");
    assert!(killed > 0);
    executor.close().await;
}
