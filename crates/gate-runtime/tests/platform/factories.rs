//! Processes made in advance, and by several executors.

use crate::machine::{executor, program, start, works};
use gate_runtime::{
    Config, Executor, ExecutorError, GroupProcessFactory, ProcessFactory, ProcessKey, ProcessPolicy,
    distribute_group_processes, distribute_processes, prepare_processes,
};
use std::sync::Arc;
use std::time::Duration;

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it takes too long");
}

#[tokio::test]
async fn prepared_processes_are_refilled_and_let_go() {
    let program = program();
    let executor = Arc::new(executor().await);
    let prepared = prepare_processes(Arc::clone(&executor), 5);
    for _ in 0..20 {
        works(prepared.new_process().await.unwrap(), &program).await;
    }
    until(|| prepared.prepared() == 5).await;
    until(|| executor.processes() == 5).await;
    drop(prepared);
    until(|| executor.processes() == 0).await;
    executor.shut_down();
    executor.dead().await;
}

#[tokio::test]
async fn prepared_processes_of_a_dead_executor_are_not_handed_out() {
    let executor = Arc::new(executor().await);
    let prepared = prepare_processes(Arc::clone(&executor), 3);
    until(|| prepared.prepared() == 3).await;
    executor.shut_down();
    executor.dead().await;
    assert_eq!(prepared.prepared(), 0);
    for _ in 0..5 {
        assert!(matches!(prepared.new_process().await.err(), Some(ExecutorError::Dead)));
    }
}

#[tokio::test]
async fn processes_are_distributed_evenly_and_past_the_dead() {
    let executors = [executor().await, executor().await, executor().await].map(Arc::new);
    let all = distribute_processes(executors.iter().map(|e| Arc::clone(e) as Arc<dyn ProcessFactory>));
    let mut processes = Vec::new();
    for _ in 0..30 {
        processes.push(all.new_process().await.unwrap());
    }
    assert!(executors.iter().all(|executor| executor.processes() == 10));
    executors[1].shut_down();
    executors[1].dead().await;
    for _ in 0..10 {
        processes.push(all.new_process().await.unwrap());
    }
    assert_eq!((executors[0].processes(), executors[2].processes()), (15, 15));
    let program = program();
    works(processes.pop().unwrap(), &program).await;
    executors[0].shut_down();
    executors[2].shut_down();
    assert!(matches!(all.new_process().await.err(), Some(ExecutorError::Dead)));
    assert!(all.is_dead());
}

#[tokio::test]
async fn what_is_prepared_comes_first() {
    let (busy, idle) = (Arc::new(executor().await), Arc::new(executor().await));
    let mut processes = Vec::new();
    for _ in 0..10 {
        processes.push(busy.new_process().await.unwrap());
    }
    let prepared = Arc::new(prepare_processes(Arc::clone(&busy), 2));
    until(|| prepared.prepared() == 2).await;
    let factories: [Arc<dyn ProcessFactory>; 2] = [Arc::clone(&idle) as _, Arc::clone(&prepared) as _];
    let all = distribute_processes(factories);
    let _process = all.new_process().await.unwrap();
    assert_eq!(idle.processes(), 0);

    let groups: [Arc<dyn GroupProcessFactory>; 2] = [Arc::clone(&idle) as _, Arc::clone(&busy) as _];
    let groups = distribute_group_processes(groups);
    let process = groups.new_group_process(None).await.unwrap();
    assert_eq!(idle.processes(), 1);
    works(process, &program()).await;
}

#[tokio::test]
async fn too_many_processes_for_one_wait_for_another() {
    let small = Arc::new(Executor::new(Config { max_procs: 1, ..Config::default() }).await.unwrap());
    let first = small.new_process().await.unwrap();
    let prepared = prepare_processes(Arc::clone(&small), 1);
    let waiting = tokio::time::timeout(Duration::from_millis(50), prepared.new_process()).await;
    assert!(waiting.is_err());
    drop(first);
    works(prepared.new_process().await.unwrap(), &program()).await;
}

#[tokio::test]
async fn keys_are_ordered_and_known_to_host_functions() {
    use gate_image::GuestMemory;
    use gate_runtime::{HostFault, HostFunctions};
    use gate_wire::call::{CallReply, CallRequest};

    struct Asker(Option<ProcessKey>);
    impl HostFunctions for Asker {
        async fn call(&mut self, _: &CallRequest, _: &GuestMemory) -> Result<CallReply, HostFault> {
            self.0 = ProcessKey::current();
            Ok(CallReply::Return(0))
        }
    }

    let wasm = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "fd_sync" (func $sync (param i32) (result i32)))
            (func (export "ask") (drop (call $sync (i32.const 0)))))"#,
    )
    .unwrap();
    let program = gate_compiler::compile(&wasm, &Default::default(), &gate_compiler::WasiImports).unwrap();
    let program = gate_image::Program::new(program).unwrap();
    let executor = executor().await;
    let mut a = executor.new_process().await.unwrap();
    let b = executor.new_process().await.unwrap();
    assert!(a.key() < b.key());
    let _instance = start(&mut a, &program, "ask", ProcessPolicy::default());
    let mut asker = Asker(None);
    a.serve(&mut asker).await.unwrap();
    assert_eq!(asker.0, Some(a.key()));
    assert_eq!(ProcessKey::current(), None);
    let dummy = ProcessKey::with_dummy(async { ProcessKey::current() }).await;
    assert!(dummy.unwrap() > b.key());
    executor.close().await;
}
