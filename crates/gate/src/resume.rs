//! `gate resume`: a program from its snapshot to its end, or to the next snapshot.

use crate::cli::{GrantArgs, ResumeArgs};
use crate::drive::{self, Limits};
use crate::exit::{Problem, Status};
use crate::grants::Grants;
use crate::host::Host;
use crate::load::CachePlace;
use crate::module::Source;
use crate::packets::{self, Offer, Offered, Place};
use crate::plan::Plan;
use crate::runtime;
use crate::session::Session;
use crate::signals::Signals;
use crate::snapshot::{self, Purpose, Saved, Sizes};
use anyhow::Context;
use gate_compiler::Options;
use gate_runtime::{Config, Executor, HostFunctions, ProcessPolicy, RestoreError};
use gate_wasi::Builder;

/// What to resume, and how.
#[derive(Debug)]
pub(crate) struct Resume {
    source: Source,
    grants: GrantArgs,
    missing_files_fail: bool,
    limits: Limits,
    sizes: Sizes,
    policy: ProcessPolicy,
    origin: Option<Place>,
    services: Vec<Offer>,
    options: Options,
    cache: CachePlace,
}

impl From<ResumeArgs> for Resume {
    fn from(args: ResumeArgs) -> Self {
        Self {
            source: Source::new(args.file),
            origin: args.origin,
            services: args.services.services,
            options: args.compilation.options(&args.suspend.breakpoints),
            grants: args.grants,
            missing_files_fail: args.missing_files_fail,
            limits: Limits {
                timeout: args.timeout,
                suspend_after: args.suspend.suspend_after,
                suspend_at_input: args.suspend.suspend_at_input,
                snapshot: args.suspend.snapshot,
            },
            sizes: Sizes { stack_size: args.stack_size, max_memory: args.max_memory },
            policy: ProcessPolicy { time_resolution: args.time_resolution, ..ProcessPolicy::default() },
            cache: args.cache.into(),
        }
    }
}

/// Lets a program go on, and returns how it ended.
pub(crate) fn run(resume: Resume) -> Result<Status, Problem> {
    runtime::block_on(resume.run())
}

impl Resume {
    async fn run(self) -> Result<Status, Problem> {
        let mut signals = Signals::new()?;
        let (saved, executor, grants) = tokio::select! {
            all = restore(&self.source, &self.options, &self.cache, self.sizes, (1, &self.grants)) => all?,
            signal = signals.next() => return Ok(Status::Signal(signal)),
        };
        let wasm = saved.wasm.clone();
        let origin = match self.origin {
            None if packets::are_used(saved.instance.program().info()) => Place::Stdio,
            origin => origin.unwrap_or_default(),
        };
        let builder = crate::streams::builder(&self.source, &self.limits, self.policy, origin)
            .map_err(Problem::gate_failed)?;
        let mut builder = grants.give(builder)?;
        if self.missing_files_fail {
            builder = builder.tolerate_missing_files();
        }
        let offered = tokio::select! {
            offered = Offered::open_for_one(&self.services) => offered?,
            signal = signals.next() => return Ok(Status::Signal(signal)),
        };
        let session = session(self.source.to_string(), saved, builder, (origin, &offered, None), self.policy)
            .map_err(|problem| problem.about(&self.source))?;
        drive::drive(session, wasm, self.limits, executor, signals).await
    }
}

/// Reads a snapshot, and prepares the program for going on, while the sandbox is being set up.
pub(crate) async fn restore(
    source: &Source,
    options: &Options,
    cache: &CachePlace,
    sizes: Sizes,
    (max_procs, grants): (u32, &GrantArgs),
) -> Result<(Saved, Executor, Grants), Problem> {
    let config = Config { max_procs, ..Config::default() };
    let (saved, executor, grants) = tokio::join!(
        snapshot::restore(source.clone(), options.clone(), cache.clone(), Purpose::Run(sizes)),
        Executor::new(config),
        Grants::open(grants.clone()),
    );
    let (saved, grants) = (saved?, grants?);
    Ok((saved, executor.context("set up the sandbox").map_err(Problem::gate_failed)?, grants))
}

/// A session that goes on where the program was suspended, with other streams.
pub(crate) fn session(
    subject: String,
    saved: Saved,
    streams: Builder,
    (origin, offered, copy): (Place, &Offered, Option<u32>),
    policy: ProcessPolicy,
) -> Result<Session, Problem> {
    let Saved { instance, mut services, detour, .. } = saved;
    let invalid = |err: RestoreError| Problem::cannot_run(err).about("invalid snapshot");
    let plan = Plan::restore(&mut services).map_err(invalid)?;
    let registry = packets::registry(origin, offered, copy).map_err(Problem::gate_failed)?;
    // A program that had no descriptor for packets does not get one.
    let wasi = streams.packets().build().map_err(Problem::gate_failed)?;
    let mut host = Host::new(wasi, registry).map_err(Problem::gate_failed)?;
    host.restore(&services).map_err(invalid)?;
    Ok(Session { subject, instance, host, plan, policy, goes_on: true, detour, profile: None })
}
