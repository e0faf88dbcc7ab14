//! How long a program may run.

use crate::machine::{executor, program, start, works};
use gate_runtime::{Limit, LimitAction, NoHostFunctions, ProcessPolicy, TrapId};
use std::time::{Duration, Instant};

#[tokio::test]
async fn time_is_limited() {
    let executor = executor().await;
    let program = program();
    for (limit_action, trap) in
        [(LimitAction::Kill, TrapId::Killed), (LimitAction::Suspend, TrapId::Suspended)]
    {
        let mut process = executor.new_process().await.unwrap();
        let limit = Duration::from_millis(50);
        let policy = ProcessPolicy { time_limit: Some(limit), limit_action, ..Default::default() };
        let begin = Instant::now();
        let _instance = start(&mut process, &program, "spin", policy);
        assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, trap);
        assert!((limit..limit * 20).contains(&begin.elapsed()));
        assert_eq!(process.limit_reached(), Some(Limit::Time));
    }
    executor.close().await;
}

#[tokio::test]
async fn processor_time_is_limited_and_told() {
    let executor = executor().await;
    let program = program();
    let limit = Duration::from_millis(60);
    let policy = ProcessPolicy { cpu_limit: Some(limit), ..Default::default() };
    let mut process = executor.new_process().await.unwrap();
    // Waiting does not count.
    tokio::time::sleep(limit).await;
    let idle = process.cpu_time().await;
    assert!(idle < limit / 2, "{idle:?}");
    let _instance = start(&mut process, &program, "spin", policy);
    assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Killed);
    assert_eq!(process.limit_reached(), Some(Limit::Cpu));
    let used = process.cpu_time().await;
    assert!((limit..limit * 20).contains(&used), "{used:?}");
    executor.close().await;
}

#[tokio::test]
async fn limits_that_are_not_reached_do_nothing() {
    let executor = executor().await;
    let hour = Some(Duration::from_secs(3600));
    let policy = ProcessPolicy { time_limit: Some(Duration::MAX), cpu_limit: hour, ..Default::default() };
    let mut process = executor.new_process().await.unwrap();
    let program = program();
    let _instance = start(&mut process, &program, "six", policy);
    assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Exit);
    assert_eq!(process.limit_reached(), None);
    works(executor.new_process().await.unwrap(), &program).await;
    executor.close().await;
}
