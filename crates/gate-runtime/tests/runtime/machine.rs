//! What the tests have in common: compiling, running, host functions.

use gate_compiler::{FuncType, ImportProblem, ImportResolver, Options, Value};
use gate_image::{GuestMemory, Instance, InstanceOptions, Program};
use gate_runtime::{
    Config, Executor, HostFault, HostFunctions, NoHostFunctions, Outcome, Process, ProcessError,
    ProcessPolicy, Start,
};
use gate_wire::call::{CallReply, CallRequest};
use std::future::Future;

/// Numbers of the host functions that tests import from the module `test`.
pub(crate) const ADD: u32 = 1;
pub(crate) const UPPERCASE: u32 = 2;
pub(crate) const STUCK: u32 = 3;
pub(crate) const BROKEN: u32 = 4;

pub(crate) struct TestImports;

impl ImportResolver for TestImports {
    fn resolve(&self, module: &str, name: &str, ty: &FuncType) -> Result<u32, ImportProblem> {
        match (module, name) {
            ("test", "add") => Ok(ADD),
            ("test", "uppercase") => Ok(UPPERCASE),
            ("test", "stuck") => Ok(STUCK),
            ("test", "broken") => Ok(BROKEN),
            _ => gate_compiler::WasiImports.resolve(module, name, ty),
        }
    }
}

/// Counts its calls.
pub(crate) struct TestHost {
    pub(crate) calls: usize,
    /// Whether [`STUCK`] is.
    pub(crate) stuck: bool,
    pub(crate) starts: Vec<Start>,
}

impl Default for TestHost {
    fn default() -> Self {
        Self { calls: 0, stuck: true, starts: Vec::new() }
    }
}

impl HostFunctions for TestHost {
    fn call(
        &mut self,
        request: &CallRequest,
        memory: &GuestMemory,
    ) -> impl Future<Output = Result<CallReply, HostFault>> + Send {
        self.calls += 1;
        let [a, b, ..] = request.args;
        let func = request.func;
        let stuck = self.stuck;
        async move {
            match func {
                ADD => Ok(CallReply::Return((a as u32).wrapping_add(b as u32).into())),
                UPPERCASE => {
                    let mut text = vec![0; b as usize];
                    memory.read(a, &mut text).map_err(HostFault::new)?;
                    text.make_ascii_uppercase();
                    memory.write(a, &text).map_err(HostFault::new)?;
                    Ok(CallReply::Return(0))
                }
                STUCK if stuck => std::future::pending().await,
                STUCK => Ok(CallReply::Return(0)),
                BROKEN => Err(HostFault::new("it is broken")),
                _ => Ok(CallReply::Trap(gate_runtime::TrapId::AbiViolation as u32)),
            }
        }
    }

    fn begin(&mut self, start: &Start) {
        self.starts.push(*start);
    }
}

pub(crate) fn compile(wat: &str) -> Program {
    let wasm = wat::parse_str(wat).expect("text format");
    let options = Options { threads: Some(1), ..Options::default() };
    Program::new(gate_compiler::compile(&wasm, &options, &TestImports).expect("module")).expect("program")
}

pub(crate) fn instantiate(program: &Program) -> Instance {
    Instance::new(program, &InstanceOptions::default()).expect("instance")
}

pub(crate) async fn executor() -> Executor {
    Executor::new(Config::default()).await.expect("executor")
}

/// A process in which the instance's function has been started.
pub(crate) async fn start(
    executor: &Executor,
    instance: &mut Instance,
    name: &str,
    args: &[Value],
) -> Process {
    instance.set_entry(name, args).expect("entry");
    let mut process = executor.new_process().await.expect("process");
    let program = instance.program().clone();
    process.start(&program, instance, ProcessPolicy::default()).expect("start");
    process
}

/// Calls a function of the instance, without host functions.
pub(crate) async fn run(
    executor: &Executor,
    instance: &mut Instance,
    name: &str,
    args: &[Value],
) -> Result<Outcome, ProcessError> {
    start(executor, instance, name, args).await.serve(&mut NoHostFunctions).await
}

/// Calls a function of the instance, which must return, and gives its results.
pub(crate) async fn call(
    executor: &Executor,
    instance: &mut Instance,
    name: &str,
    args: &[Value],
) -> Vec<Value> {
    let outcome = run(executor, instance, name, args).await.expect("outcome");
    assert_eq!(outcome.trap, gate_runtime::TrapId::Exit, "{name}: {outcome}");
    instance.results().expect("results")
}
