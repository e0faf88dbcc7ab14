//! What the tests have in common.

use gate_compiler::{Options, Value, WasiImports};
use gate_image::{Instance, InstanceOptions, Program};
use gate_runtime::{Config, Executor, NoHostFunctions, Process, ProcessPolicy, TrapId};
use std::fs;
use std::process::Command;

/// Programs of the tests: a function that returns 6, and one that never returns.
pub(crate) fn program() -> Program {
    let wasm = wat::parse_str(
        r#"(module (func (export "six") (result i32) (i32.const 6)) (func (export "spin") (loop $l (br $l))))"#,
    )
    .unwrap();
    let options = Options { threads: Some(1), ..Options::default() };
    Program::new(gate_compiler::compile(&wasm, &options, &WasiImports).unwrap()).unwrap()
}

pub(crate) async fn executor() -> Executor {
    Executor::new(Config::default()).await.unwrap()
}

/// Starts a function in a process.
pub(crate) fn start(process: &mut Process, program: &Program, name: &str, policy: ProcessPolicy) -> Instance {
    let mut instance = Instance::new(program, &InstanceOptions::default()).unwrap();
    instance.set_entry(name, &[]).unwrap();
    process.start(program, &mut instance, policy).unwrap();
    instance
}

/// Whether a program runs in a process as it should.
pub(crate) async fn works(mut process: Process, program: &Program) {
    let instance = start(&mut process, program, "six", ProcessPolicy::default());
    assert_eq!(process.serve(&mut NoHostFunctions).await.unwrap().trap, TrapId::Exit);
    assert_eq!(instance.results().unwrap(), [Value::I32(6)]);
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs an ignored test of this binary in a process of its own, by way of another program and its arguments. It must pass.
pub(crate) fn rerun(test: &str, via: &[&str], prepare: impl FnOnce(&mut Command)) {
    let exe = std::env::current_exe().unwrap();
    let mut command = match via {
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(exe);
            command
        }
        [] => Command::new(exe),
    };
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    prepare(&mut command);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

/// Ids of a process's children that have a name.
pub(crate) fn children(parent: u32, name: &str) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let ids =
        lists.flat_map(|list| list.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<i32>>());
    ids.filter(|id| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.trim_end() == name))
        .collect()
}

pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
