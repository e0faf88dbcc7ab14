//! Nothing is left behind: descriptors, processes, ids. Alone in its process, because it counts.

use gate_compiler::{Options, WasiImports};
use gate_image::{Instance, InstanceOptions, Program};
use gate_runtime::{Config, Executor, NoHostFunctions, ProcessPolicy, TrapId};
use std::fs;
use std::time::Duration;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Processes whose ancestor this one is, zombies included.
fn descendants() -> usize {
    let children = |pid: u32| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        lists
            .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>())
            .collect()
    };
    let mut generation: Vec<u32> = children(std::process::id());
    let mut count = 0;
    while !generation.is_empty() {
        count += generation.len();
        generation = generation.into_iter().flat_map(|pid| -> Vec<u32> { children(pid) }).collect();
    }
    count
}

/// Waits until the processes that have ended are reaped.
async fn settled(descendants_expected: usize) -> (usize, usize) {
    for _ in 0..500 {
        if descendants() == descendants_expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The host lets go of what they had when it is told.
    tokio::time::sleep(Duration::from_millis(100)).await;
    (descriptors(), descendants())
}

#[tokio::test]
async fn thousands_of_processes_leave_nothing() {
    const ROUNDS: usize = 3000;
    /// So few ids that each is used many times.
    const MAX_PROCS: u32 = 8;

    let wasm = wat::parse_str(
        r#"(module (memory 1)
            (func (export "nothing"))
            (func (export "trap") unreachable)
            (func (export "spin") (loop $l (br $l))))"#,
    )
    .unwrap();
    let program =
        Program::new(gate_compiler::compile(&wasm, &Options::default(), &WasiImports).unwrap()).unwrap();
    // Descriptors of tokio's own exist from the first use on.
    let warm_up = Executor::new(Config::default()).await.unwrap();
    warm_up.close().await;
    let before = settled(0).await;

    let executor = Executor::new(Config { max_procs: MAX_PROCS, ..Config::default() }).await.unwrap();
    let with_executor = settled(1).await;
    for round in 0..ROUNDS {
        let mut process = executor.new_process().await.unwrap();
        let kind = round % 9;
        if kind == 0 {
            // Never used.
            continue;
        }
        let mut instance = Instance::new(&program, &InstanceOptions::default()).unwrap();
        let (entry, trap) = match kind {
            1 | 2 => ("nothing", TrapId::Exit),
            3 => ("trap", TrapId::Unreachable),
            4 | 5 => ("spin", TrapId::Killed),
            _ => ("spin", TrapId::Suspended),
        };
        instance.set_entry(entry, &[]).unwrap();
        process.start(&program, &mut instance, ProcessPolicy::default()).unwrap();
        match kind {
            // Never served.
            2 | 4 => {}
            5 => {
                process.kill();
                assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, trap);
                process.close().await;
            }
            // Suspended, and nobody sees it.
            6 => process.suspend(),
            7 | 8 => {
                process.suspend();
                assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, trap);
                if kind == 8 {
                    executor.export(&mut instance).await.unwrap();
                }
                let mut process = executor.new_process().await.unwrap();
                process.start(&program, &mut instance, ProcessPolicy::default()).unwrap();
                process.suspend();
                let mut copy = match process.serve(&mut NoHostFunctions).await.unwrap().trap {
                    TrapId::Suspended => instance.fork().unwrap(),
                    trap => panic!("{trap}"),
                };
                let mut process = executor.new_process().await.unwrap();
                process.start(&program, &mut copy, ProcessPolicy::default()).unwrap();
            }
            _ => assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, trap),
        }
    }
    assert_eq!(settled(1).await, with_executor);

    executor.close().await;
    assert_eq!(settled(0).await, before);
}
