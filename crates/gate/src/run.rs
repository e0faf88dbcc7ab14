//! `gate run`: a program from its file to its exit code.

use crate::cli::{GrantArgs, RunArgs, Tmpfs, Variable};
use crate::drive::{self, Limits};
use crate::exit::{Problem, Status};
use crate::grants::Grants;
use crate::host::Host;
use crate::load::{self, CachePlace, Loaded};
use crate::module::Source;
use crate::packets::{self, Offer, Offered, Place};
use crate::plan::{Call, Plan};
use crate::profile::Profile;
use crate::runtime;
use crate::session::{Session, instance_problem};
use crate::signals::Signals;
use crate::values;
use anyhow::{Context, anyhow};
use gate_compiler::{ExportKind, FuncType, ModuleInfo, Options};
use gate_image::{Instance, InstanceOptions};
use gate_runtime::{Config, Executor, ProcessPolicy};
use gate_wasi::WasiCtx;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Entry function of WASI commands.
const START: &str = "_start";

/// Function of WASI reactors which is to be called before any other.
const INITIALIZE: &str = "_initialize";

/// What to run, and how.
#[derive(Debug)]
pub(crate) struct Run {
    source: Source,
    invoke: Option<String>,
    args: Vec<OsString>,
    env: Vec<(String, Vec<u8>)>,
    argv0: Option<OsString>,
    grants: GrantArgs,
    tmpfs: Vec<Tmpfs>,
    limits: Limits,
    instance: InstanceOptions,
    policy: ProcessPolicy,
    profile: Option<PathBuf>,
    origin: Option<Place>,
    services: Vec<Offer>,
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
            argv0: args.argv0,
            grants: args.grants,
            tmpfs: args.tmpfs,
            instance: InstanceOptions { stack_size: args.stack_size, max_memory: args.max_memory },
            policy: ProcessPolicy { time_resolution: args.time_resolution, ..ProcessPolicy::default() },
            profile: args.profile,
            origin: args.origin,
            services: args.services.services,
            options: args.compilation.options(&args.suspend.breakpoints),
            limits: Limits {
                timeout: args.timeout,
                suspend_after: args.suspend.suspend_after,
                suspend_at_input: args.suspend.suspend_at_input,
                snapshot: args.suspend.snapshot,
            },
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
    runtime::block_on(run.run())
}

impl Run {
    async fn run(self) -> Result<Status, Problem> {
        let mut signals = Signals::new()?;
        let (loaded, executor, grants) = tokio::select! {
            all = self.prepare() => all?,
            signal = signals.next() => return Ok(Status::Signal(signal)),
        };
        let offered = tokio::select! {
            offered = Offered::open_for_one(&self.services) => offered?,
            signal = signals.next() => return Ok(Status::Signal(signal)),
        };
        let session =
            self.session(&loaded, &offered, &grants).map_err(|problem| problem.about(&self.source))?;
        drive::drive(session, loaded.wasm, self.limits, executor, signals).await
    }

    /// The program is compiled while the sandbox is being set up.
    async fn prepare(&self) -> Result<(Loaded, Executor, Grants), Problem> {
        let config = Config { max_procs: 1, ..Config::default() };
        let (loaded, executor, grants) = tokio::join!(
            load::load(self.source.clone(), self.options.clone(), self.cache.clone()),
            Executor::new(config),
            Grants::open(self.grants.clone()),
        );
        // What is wrong with the program can be mended more easily.
        let loaded = loaded?;
        let grants = grants?;
        Ok((loaded, executor.context("set up the sandbox").map_err(Problem::gate_failed)?, grants))
    }

    fn session(&self, loaded: &Loaded, offered: &Offered, grants: &Grants) -> Result<Session, Problem> {
        let packets = packets::are_used(loaded.program.info());
        let origin = self.origin.unwrap_or(if packets { Place::Stdio } else { Place::None });
        let registry = packets::registry(origin, offered, None).map_err(Problem::gate_failed)?;
        Ok(Session {
            subject: self.source.to_string(),
            plan: self.plan(loaded.program.info()).map_err(Problem::cannot_run)?,
            instance: Instance::new(&loaded.program, &self.instance).map_err(instance_problem)?,
            host: Host::new(self.wasi(packets, origin, grants)?, registry).map_err(Problem::gate_failed)?,
            policy: self.policy,
            goes_on: false,
            detour: None,
            profile: self.profile.clone().map(Profile::new),
        })
    }

    /// Functions to call one after the other, with their arguments.
    fn plan(&self, info: &ModuleInfo) -> anyhow::Result<Plan> {
        let Some(name) = &self.invoke else {
            values::check_command(START, function_type(info, START)?)?;
            let call = Call { name: START.into(), args: Vec::new() };
            return Ok(Plan { calls: [call].into(), prints_results: false });
        };
        let ty = function_type(info, name)?;
        let args: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let call = Call { name: name.clone(), args: values::parse_args(name, ty, &args)? };
        let mut plan = Plan { calls: [call].into(), prints_results: true };
        if let Ok(ty) = function_type(info, INITIALIZE)
            && name != INITIALIZE
        {
            values::check_command(INITIALIZE, ty)?;
            plan.calls.push_front(Call { name: INITIALIZE.into(), args: Vec::new() });
        }
        Ok(plan)
    }

    fn wasi(&self, packets: bool, origin: Place, grants: &Grants) -> Result<WasiCtx, Problem> {
        let argv0 = match &self.argv0 {
            Some(name) => name.clone().into_vec(),
            None => self.source.program_name().into_owned(),
        };
        let mut builder = crate::streams::builder(&self.source, &self.limits, self.policy, origin)
            .map_err(Problem::gate_failed)?
            .args([argv0])
            .args(self.args.iter().cloned().map(OsString::into_vec));
        if packets {
            builder = builder.packets();
        }
        for (name, value) in &self.env {
            builder = builder.env(name, value);
        }
        builder = grants.give(builder)?;
        for Tmpfs { guest, size } in &self.tmpfs {
            builder = builder.memory_directory(guest, *size);
        }
        builder.build().map_err(Problem::gate_failed)
    }
}

fn function_type<'a>(info: &'a ModuleInfo, name: &str) -> anyhow::Result<&'a FuncType> {
    let functions = || info.exports.iter().filter(|export| export.kind == ExportKind::Function);
    let export = functions().find(|export| export.name == name).ok_or_else(|| {
        let names: Vec<_> = functions().map(|export| export.name.as_str()).collect();
        anyhow!("no exported function {name:?}: {}", values::list_names(&names))
    })?;
    info.functions.get(export.index as usize).context("exported function does not exist")
}
