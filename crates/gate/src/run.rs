//! `gate run`: a program from its file to its exit code.

use crate::cli::{RunArgs, Variable};
use crate::exit::{Problem, Status};
use crate::load::{self, CachePlace};
use crate::module::Source;
use crate::output::{print, report};
use crate::signals::Signals;
use crate::values;
use anyhow::{Context, anyhow};
use gate_compiler::{ExportKind, FuncType, ModuleInfo, Options, Value};
use gate_image::{Instance, InstanceError, InstanceOptions, Program};
use gate_runtime::{
    Config, Executor, HostFault, HostFunctions, Outcome, Process, ProcessError, ProcessPolicy,
};
use gate_wasi::WasiCtx;
use gate_wire::call::{CallReply, CallRequest};
use gate_wire::trap::TrapId;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;
use tracing::debug;

/// Entry function of WASI commands.
const START: &str = "_start";

/// Function of WASI reactors which is to be called before any other.
const INITIALIZE: &str = "_initialize";

/// How long the end of the sandbox is waited for when the command is interrupted.
const GRACE: Duration = Duration::from_secs(2);

/// How long after the program's unexplained end a signal may come that explains it: an interrupt from the terminal goes
/// to all processes at once.
const EXPLANATION: Duration = Duration::from_millis(20);

/// What to run, and how.
#[derive(Debug)]
pub(crate) struct Run {
    source: Source,
    invoke: Option<String>,
    args: Vec<OsString>,
    env: Vec<(String, Vec<u8>)>,
    timeout: Option<Duration>,
    instance: InstanceOptions,
    policy: ProcessPolicy,
    options: Options,
    cache: CachePlace,
}

impl From<RunArgs> for Run {
    fn from(args: RunArgs) -> Self {
        let mut file_and_args = args.file_and_args.into_iter();
        Self {
            // The parser insists on a first one.
            source: Source::new(file_and_args.next().unwrap_or_default().into()),
            invoke: args.invoke,
            args: file_and_args.collect(),
            env: args.env.into_iter().filter_map(resolve_variable).collect(),
            timeout: args.timeout,
            instance: InstanceOptions { stack_size: args.stack_size, max_memory: args.max_memory },
            policy: ProcessPolicy { time_resolution: args.time_resolution },
            options: args.compilation.options(),
            cache: args.cache.into(),
        }
    }
}

/// A variable that is to be handed on, but does not exist, does not exist for the program either.
fn resolve_variable(variable: Variable) -> Option<(String, Vec<u8>)> {
    let value = match variable.value {
        Some(value) => value.into_bytes(),
        None => std::env::var_os(&variable.name)?.into_vec(),
    };
    Some((variable.name, value))
}

/// Runs a program, and returns how it ended.
pub(crate) fn run(run: Run) -> Result<Status, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")
        .map_err(Problem::gate_failed)?;
    let result = runtime.block_on(run.run());
    // An interrupted compilation is not waited for.
    runtime.shutdown_background();
    result
}

impl Run {
    async fn run(self) -> Result<Status, Problem> {
        let mut signals = Signals::new()?;
        let (program, executor) = tokio::select! {
            both = self.prepare() => both?,
            signal = signals.next() => return Ok(Status::Signal(signal)),
        };
        let result = tokio::select! {
            result = self.execute(&program, &executor) => result,
            signal = signals.next() => Ok(Status::Signal(signal)),
        };
        let result = match result {
            Ok(Status::KILLED) | Err(_) => match tokio::time::timeout(EXPLANATION, signals.next()).await {
                Ok(signal) => Ok(Status::Signal(signal)),
                Err(_) => result,
            },
            result => result,
        };
        if let Ok(Status::Signal(_) | Status::Timeout) = result {
            // Who interrupts a program wants it to be gone when the prompt comes back.
            let _ = tokio::time::timeout(GRACE, executor.close()).await;
        }
        result
    }

    /// The program is compiled while the sandbox is being set up.
    async fn prepare(&self) -> Result<(Program, Executor), Problem> {
        let config = Config { max_procs: 1, ..Config::default() };
        let (program, executor) = tokio::join!(
            load::load(self.source.clone(), self.options.clone(), self.cache.clone()),
            Executor::new(config)
        );
        // What is wrong with the program can be mended more easily.
        let program = program?;
        Ok((program, executor.context("set up the sandbox").map_err(Problem::gate_failed)?))
    }

    async fn execute(&self, program: &Program, executor: &Executor) -> Result<Status, Problem> {
        let about = |problem: Problem| problem.about(&self.source);
        let calls = self.calls(program.info()).map_err(Problem::cannot_run).map_err(about)?;
        let mut instance = Instance::new(program, &self.instance).map_err(instance_problem).map_err(about)?;
        let mut host = Host { wasi: self.wasi()? };
        let deadline = self.timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        for (name, args) in calls {
            instance.set_entry(&name, &args).map_err(instance_problem).map_err(about)?;
            let mut process = executor.new_process().await.map_err(Problem::gate_failed)?;
            let outcome = {
                let run = serve(&mut process, program, &mut instance, self.policy, &mut host);
                match deadline {
                    None => run.await,
                    Some(deadline) => match tokio::time::timeout_at(deadline, run).await {
                        Ok(outcome) => outcome,
                        Err(_) => {
                            report(format_args!("{}: stopped after the time limit", self.source));
                            return Ok(Status::Timeout);
                        }
                    },
                }
            };
            process.close().await;
            let status = self.conclude(outcome, &host, &instance).map_err(about)?;
            if status != Status::Success {
                return Ok(status);
            }
        }
        let results = match self.invoke {
            Some(_) => instance.results().map_err(Problem::gate_failed).map_err(about)?,
            None => Vec::new(),
        };
        print(values::print_results(&results).as_bytes())
    }

    /// Functions to call one after the other, with their arguments.
    fn calls(&self, info: &ModuleInfo) -> anyhow::Result<Vec<(String, Vec<Value>)>> {
        let Some(name) = &self.invoke else {
            values::check_command(START, function_type(info, START)?)?;
            return Ok(vec![(START.into(), Vec::new())]);
        };
        let ty = function_type(info, name)?;
        let args: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let call = (name.clone(), values::parse_args(name, ty, &args)?);
        match function_type(info, INITIALIZE) {
            Ok(ty) if name != INITIALIZE => {
                values::check_command(INITIALIZE, ty)?;
                Ok(vec![(INITIALIZE.into(), Vec::new()), call])
            }
            _ => Ok(vec![call]),
        }
    }

    fn wasi(&self) -> Result<WasiCtx, Problem> {
        let mut builder = WasiCtx::builder()
            .args([self.source.program_name().into_owned()])
            .args(self.args.iter().cloned().map(OsString::into_vec))
            .inherit_stdout()
            .inherit_stderr()
            .clock_resolution(self.policy.time_resolution);
        for (name, value) in &self.env {
            builder = builder.env(name, value);
        }
        // Standard input that was the module is at its end.
        if self.source != Source::Stdin {
            builder = builder.inherit_stdin();
        }
        builder.build().map_err(Problem::gate_failed)
    }

    /// How the command ends because of how the program has ended; success if it goes on.
    fn conclude(
        &self,
        outcome: Result<Outcome, ProcessError>,
        host: &Host,
        instance: &Instance,
    ) -> Result<Status, Problem> {
        if host.wasi.closed_pipe() {
            return Ok(Status::CLOSED_PIPE);
        }
        if let Some(signal) = host.wasi.raised() {
            return Ok(Status::Signal(signal.host_number()));
        }
        let outcome = outcome.map_err(process_problem)?;
        debug!("{outcome}");
        match outcome.trap {
            // As the operating system does: only eight bits of the code are seen.
            TrapId::Exit if outcome.result.terminated() => Ok(Status::Program(outcome.result.value() as u8)),
            // Functions that are called by name return what they like.
            TrapId::Exit if self.invoke.is_some() => Ok(Status::Success),
            TrapId::Exit => match outcome.result.value() {
                0 => Ok(Status::Success),
                _ => Ok(Status::Program(1)),
            },
            TrapId::Killed => {
                report(format_args!("{}: killed", self.source));
                Ok(Status::KILLED)
            }
            trap => {
                report(format_args!("{}: trap: {trap}", self.source));
                match instance.backtrace() {
                    Ok(backtrace) => crate::output::print_backtrace(&backtrace),
                    Err(err) => debug!("no backtrace: {err}"),
                }
                Ok(Status::Trapped)
            }
        }
    }
}

/// Answers the program's calls.
struct Host {
    wasi: WasiCtx,
}

impl HostFunctions for Host {
    /// Ends the program where the operating system would end a native one.
    async fn call(
        &mut self,
        request: &CallRequest,
        memory: &gate_image::GuestMemory,
    ) -> Result<CallReply, HostFault> {
        let reply = HostFunctions::call(&mut self.wasi, request, memory).await?;
        if self.wasi.closed_pipe() {
            return Err(HostFault::new("a pipe is closed"));
        }
        if self.wasi.raised().is_some() {
            return Err(HostFault::new("the program raised a signal"));
        }
        Ok(reply)
    }
}

async fn serve(
    process: &mut Process,
    program: &Program,
    instance: &mut Instance,
    policy: ProcessPolicy,
    host: &mut Host,
) -> Result<Outcome, ProcessError> {
    let time = instance.monotonic_time();
    process.start(program, instance, policy)?;
    host.wasi.set_monotonic_time(time);
    process.serve(host).await
}

fn function_type<'a>(info: &'a ModuleInfo, name: &str) -> anyhow::Result<&'a FuncType> {
    let functions = || info.exports.iter().filter(|export| export.kind == ExportKind::Function);
    let export = functions().find(|export| export.name == name).ok_or_else(|| {
        let names: Vec<_> = functions().map(|export| export.name.as_str()).collect();
        anyhow!("no exported function {name:?}: {}", values::list_names(&names))
    })?;
    info.functions.get(export.index as usize).context("exported function does not exist")
}

fn instance_problem(err: InstanceError) -> Problem {
    match err {
        InstanceError::Program(err) => Problem::cannot_run(err),
        err => Problem::gate_failed(err),
    }
}

fn process_problem(err: ProcessError) -> Problem {
    match err {
        ProcessError::Instance(err) => instance_problem(err),
        err => Problem::gate_failed(err),
    }
}
