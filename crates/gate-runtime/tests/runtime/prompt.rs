//! Programs that try not to stop, stop all the same, and soon.
//!
//! What is compared with the limit is the processor time that a program uses after the request, since on a machine that is busy
//! with other things any time may pass. `gate-bench stop` measures time as clocks on walls show it.

use crate::machine::{executor, instantiate};
use gate_compiler::Options;
use gate_image::{InstanceOptions, Program};
use gate_runtime::{Executor, NoHostFunctions, ProcessPolicy, TrapId};
use std::time::Duration;

mod stubborn;

/// The promise.
const LIMIT: Duration = Duration::from_millis(10);

/// How often a program is stopped at most, until it was quick enough once: a page fault or a signal can take long when memory is
/// short, but not whenever it is tried.
const TRIES: usize = 4;

async fn stop(executor: &Executor, program: &Program, delay: Duration) -> Duration {
    let mut instance = gate_image::Instance::new(
        program,
        &InstanceOptions { max_memory: Some(512 << 20), ..InstanceOptions::default() },
    )
    .unwrap();
    instance.set_entry("run", &[]).unwrap();
    let mut process = executor.new_process().await.unwrap();
    process.start(program, &mut instance, ProcessPolicy::default()).unwrap();
    tokio::time::sleep(delay).await;
    let before = process.cpu_time().await;
    process.suspend();
    let outcome = process.serve(&mut NoHostFunctions).await.unwrap();
    assert_eq!(outcome.trap, TrapId::Suspended);
    process.cpu_time().await.saturating_sub(before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stubborn_programs_stop_within_ten_milliseconds() {
    let executor = executor().await;
    for (name, text) in stubborn::programs(1) {
        let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let options = Options { threads: Some(2), ..Options::default() };
        let module = gate_compiler::compile(&wasm, &options, &gate_compiler::WasiImports);
        let program = Program::new(module.unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap();
        let mut best = Duration::MAX;
        for attempt in 0..TRIES {
            let delay = Duration::from_millis(3 + 7 * attempt as u64);
            best = best.min(stop(&executor, &program, delay).await);
            if best < LIMIT {
                break;
            }
        }
        println!("{name}: {best:?}");
        assert!(best < LIMIT, "{name}: {best:?}");
    }
    executor.close().await;
}

/// A function without a loop that is long is stopped inside, and goes on there.
#[tokio::test]
async fn straight_code_is_stopped_midway() {
    let executor = executor().await;
    let (_, text) =
        stubborn::programs(1).into_iter().find(|(name, _)| *name == "straight divisions").unwrap();
    let wasm = wat::parse_str(text).unwrap();
    let options = Options::default();
    let module = gate_compiler::compile(&wasm, &options, &gate_compiler::WasiImports).unwrap();
    let places = module.maps.safepoints.iter();
    let places = places.filter(|point| point.kind == gate_compiler::SafepointKind::Instruction).count();
    assert!(places > 10, "{places}");
    let program = Program::new(module).unwrap();
    let mut instance = instantiate(&program);
    instance.set_entry("run", &[]).unwrap();
    let mut inside = 0;
    for _ in 0..200 {
        let mut process = executor.new_process().await.unwrap();
        process.start(&instance.program().clone(), &mut instance, ProcessPolicy::default()).unwrap();
        let stop = tokio::time::sleep(Duration::from_micros(300));
        let outcome = process.serve_until(&mut NoHostFunctions, stop).await.unwrap();
        assert_eq!(outcome.trap, TrapId::Suspended);
        process.close().await;
        let frames = executor.export(&mut instance).await.unwrap();
        let innermost = frames.iter().unwrap().next().unwrap();
        inside += usize::from(innermost.kind == gate_compiler::SafepointKind::Instruction);
        instance.prepare_resume(&wasm, &options, &gate_compiler::WasiImports).unwrap();
        if inside > 3 {
            break;
        }
    }
    assert!(inside > 0);
    executor.close().await;
}
