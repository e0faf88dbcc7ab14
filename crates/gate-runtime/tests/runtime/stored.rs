//! Suspended programs that outlast their host, and the build of Gate that has stored them.

use crate::machine::{TestImports, executor, instantiate};
use crate::moves::{compile, options, run_for, undisturbed};
use gate_compiler::OptLevel;
use gate_compiler::Value::I32;
use gate_image::{Directory, Exit, Instance, StorageError, StoredInstance};
use gate_runtime::{Executor, TrapId};
use std::time::Duration;

const N: i32 = 20;

/// Runs for a random moment, or to its end, and stores what has come of it. Tells whether there is more to do.
async fn run_and_commit(executor: &Executor, stored: &mut StoredInstance, instance: &mut Instance) -> bool {
    let delay = Duration::from_micros(rand::random_range(500..4000));
    let trap = run_for(executor, instance, delay).await;
    assert!(matches!(trap, TrapId::Suspended | TrapId::Exit), "{trap}");
    if trap == TrapId::Suspended && instance.exit().unwrap() == Exit::Frozen {
        executor.export(instance).await.unwrap();
    }
    stored.commit(instance, &[]).unwrap();
    trap == TrapId::Suspended
}

#[tokio::test]
async fn a_suspended_program_goes_on_under_another_build() {
    let executor = executor().await;
    let expected = undisturbed(&executor, N).await;
    let temporary = tempfile::tempdir().unwrap();
    // Both the runtime inside the process and the text differ, and with the text the frames on the native stack.
    let builds = [("this rt", OptLevel::Speed), ("another rt", OptLevel::None)]
        .map(|(rt, level)| (rt.as_bytes(), options(level), compile(&options(level))));
    let open = |index: usize| Directory::open(temporary.path(), builds[index % 2].0).unwrap();

    let (_, _, (wasm, program)) = &builds[0];
    let mut instance = instantiate(program);
    instance.set_entry("work", &[I32(N)]).unwrap();
    let mut stored = open(0).create("a", wasm, &mut instance, &[]).unwrap();
    stored.prepare(&mut instance).unwrap();
    let mut suspended = run_and_commit(&executor, &mut stored, &mut instance).await;
    assert!(suspended);

    let (mut thawed, mut restored) = (0, 0);
    while suspended {
        // The host has been started again, and every third time it is another build.
        drop((stored, instance));
        let build = (thawed + restored) / 3;
        let (_, options, (wasm, program)) = &builds[build % 2];
        stored = open(build).open_instance("a").unwrap();
        match stored.instance(program) {
            Ok(frozen) => {
                instance = frozen;
                stored.prepare(&mut instance).unwrap();
                thawed += 1;
            }
            // The native stack which is stored is of no use, the frames are.
            Err(StorageError::OtherBuild { .. }) => {
                assert!(build > 0);
                instance = stored.restore(program).unwrap();
                instance.prepare_resume(wasm, options, &TestImports).unwrap();
                restored += 1;
            }
            Err(error) => panic!("{error}"),
        }
        suspended = run_and_commit(&executor, &mut stored, &mut instance).await;
    }
    assert_eq!(instance.results().unwrap(), expected);
    println!("{thawed} thawed, {restored} restored");
    assert!(thawed == 3 && restored > 2, "{thawed} thawed, {restored} restored");
    executor.close().await;
}
