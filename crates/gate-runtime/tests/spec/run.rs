//! Assertions about modules which run, each in a process of its own.

use crate::report::{Category, Report};
use crate::script::{Action, Expected, Script};
use crate::unit::Unit;
use crate::values::Pattern;
use gate_compiler::{Features, Options, Value, WasiImports};
use gate_image::{Exit, Instance, InstanceError, InstanceOptions, Program, ProgramError};
use gate_runtime::{Executor, NoHostFunctions, ProcessPolicy};
use gate_wire::trap::TrapId;
use std::sync::Arc;
use std::time::Duration;

/// How long an assertion may take.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Runs all steps of a script that concern the modules of a unit.
pub(crate) async fn run(executor: &Executor, script: &Script, unit: Arc<Unit>, options: Options) -> Report {
    let mut report = Report::default();
    let program = match compile(&unit, options).await {
        Ok(program) => program,
        Err(problem) => {
            report.record(&script.name, 0, Category::Action, Err(format!("{:?}: {problem}", unit.parts)));
            return report;
        }
    };
    let mut runner = Runner { executor, unit: &unit, program, instance: None };
    for step in &script.steps {
        let (category, result) = match &step.action {
            Action::Instantiate { module, trap } if unit.parts.contains(module) => match trap {
                None => (Category::Action, runner.instantiate(*module).await.and_then(expect_return)),
                Some(trap) => (
                    Category::Trap,
                    runner.instantiate(*module).await.and_then(|exit| expect_trap(exit, trap)),
                ),
            },
            Action::Invoke { module, export, args, expected } if unit.parts.contains(module) => {
                let exit = runner.call(&unit.function(*module, export), args).await;
                match expected {
                    Expected::Nothing => (Category::Action, exit.and_then(expect_return)),
                    Expected::Results(patterns) => {
                        (Category::Return, exit.and_then(|exit| runner.expect_results(exit, patterns)))
                    }
                    Expected::Trap(trap) => (Category::Trap, exit.and_then(|exit| expect_trap(exit, trap))),
                    Expected::Exhaustion => (
                        Category::Exhaustion,
                        exit.and_then(|exit| expect_trap(exit, TrapId::CallStackExhausted.message())),
                    ),
                }
            }
            Action::Get { module, export, expected } if unit.parts.contains(module) => {
                let exit = runner.call(&unit.getter(*module, export), &[]).await;
                (Category::Return, exit.and_then(|exit| runner.expect_results(exit, expected)))
            }
            _ => continue,
        };
        report.record(&script.name, step.line, category, result);
    }
    report
}

async fn compile(unit: &Arc<Unit>, mut options: Options) -> Result<Program, String> {
    if unit.merged {
        options.features = Features::ALL;
    }
    let unit = Arc::clone(unit);
    let compiled =
        tokio::task::spawn_blocking(move || gate_compiler::compile(&unit.wasm, &options, &WasiImports));
    let module = compiled.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Program::new(module).map_err(|error| error.to_string())
}

struct Runner<'a> {
    executor: &'a Executor,
    unit: &'a Unit,
    program: Program,
    instance: Option<Instance>,
}

impl Runner<'_> {
    /// Instantiates a module of the unit. The unit's instance is made for its first module.
    async fn instantiate(&mut self, module: usize) -> Result<Exit, String> {
        if self.instance.is_none() {
            match Instance::new(&self.program, &InstanceOptions::default()) {
                Ok(instance) => self.instance = Some(instance),
                Err(InstanceError::Program(ProgramError::Instantiation { trap, .. })) => {
                    return Ok(Exit::Trapped(trap));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        match self.unit.initialiser(module) {
            Some(initialiser) => self.call(&initialiser, &[]).await,
            None if self.program.info().start.is_some() => self.execute().await,
            None => Ok(Exit::Returned),
        }
    }

    async fn call(&mut self, function: &str, args: &[Value]) -> Result<Exit, String> {
        let instance = self.instance.as_mut().ok_or("the module was not instantiated")?;
        instance.set_entry(function, args).map_err(|error| error.to_string())?;
        self.execute().await
    }

    async fn execute(&mut self) -> Result<Exit, String> {
        let instance = self.instance.as_mut().ok_or("the module was not instantiated")?;
        let run = run_process(self.executor, &self.program, instance);
        tokio::time::timeout(TIME_LIMIT, run).await.map_err(|_| "it takes too long")??;
        instance.exit().map_err(|error| error.to_string())
    }

    fn expect_results(&self, exit: Exit, patterns: &[Pattern]) -> Result<(), String> {
        expect_return(exit)?;
        let instance = self.instance.as_ref().ok_or("the module was not instantiated")?;
        let results = instance.results().map_err(|error| error.to_string())?;
        let same = results.len() == patterns.len()
            && patterns.iter().zip(&results).all(|(pattern, result)| pattern.matches(*result));
        if same { Ok(()) } else { Err(format!("{results:x?} instead of {patterns:x?}")) }
    }
}

/// Runs the instance's start function or entry function in a process of its own.
async fn run_process(executor: &Executor, program: &Program, instance: &mut Instance) -> Result<(), String> {
    let mut process = executor.new_process().await.map_err(|error| error.to_string())?;
    process.start(program, instance, ProcessPolicy::default()).map_err(|error| error.to_string())?;
    process.serve(&mut NoHostFunctions).await.map_err(|error| error.to_string())?;
    Ok(())
}

fn expect_return(exit: Exit) -> Result<(), String> {
    match exit {
        Exit::Returned => Ok(()),
        other => Err(format!("{other:?} instead of a return")),
    }
}

/// The suite abbreviates some messages and adds details to others.
fn expect_trap(exit: Exit, message: &str) -> Result<(), String> {
    match exit {
        Exit::Trapped(trap) if message.starts_with(trap.message()) || trap.message().starts_with(message) => {
            Ok(())
        }
        Exit::Trapped(TrapId::NullReference) if message.starts_with("null ") => Ok(()),
        other => Err(format!("{other:?} instead of a trap: {message}")),
    }
}
