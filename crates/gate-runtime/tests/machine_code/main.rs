//! Programs of hand-written machine code: what the runtime does when a process does something unusual.

mod text;

use gate_image::{Exit, Instance, InstanceOptions, Program};
use gate_runtime::{Config, Executor, NoHostFunctions, Outcome, ProcessError, ProcessPolicy, TrapId};
use text::Text;

async fn executor() -> Executor {
    Executor::new(Config::default()).await.expect("executor")
}

async fn run(executor: &Executor, text: Text) -> (Instance, Result<Outcome, ProcessError>) {
    let program = Program::new(text.module()).unwrap();
    let mut instance = Instance::new(&program, &InstanceOptions::default()).unwrap();
    instance.set_entry("entry", &[]).unwrap();
    let mut process = executor.new_process().await.unwrap();
    process.start(&program, &mut instance, ProcessPolicy::default()).unwrap();
    let outcome = process.serve(&mut NoHostFunctions).await;
    (instance, outcome)
}

#[tokio::test]
async fn returning_is_success() {
    let executor = executor().await;
    let (instance, outcome) = run(&executor, Text::new().ret()).await;
    let outcome = outcome.unwrap();
    assert_eq!(outcome.trap, TrapId::Exit);
    assert!(!outcome.result.terminated());
    assert_eq!(instance.exit().unwrap(), Exit::Returned);
    executor.close().await;
}
