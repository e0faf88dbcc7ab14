//! From a session to a snapshot, and from a snapshot to an instance.

use crate::detour::Detour;
use crate::exit::{Problem, Status};
use crate::load::{self, CachePlace};
use crate::module::Source;
use crate::progress::Progress;
use crate::replace::Cancel;
use crate::session::Session;
use crate::writing;
use anyhow::anyhow;
use gate_compiler::{OptLevel, Options};
use gate_image::{
    Exit, ImageError, Instance, Restored, ServiceState, Snapshot, SnapshotError, SnapshotLimits,
};
use gate_runtime::{Executor, SavedService};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// How much of a snapshot is read at a time.
const BUFFER: usize = 256 << 10;

/// What was read from a snapshot.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The module of which the instance is one.
    pub(crate) wasm: Arc<Vec<u8>>,
    pub(crate) instance: Instance,
    pub(crate) services: Vec<SavedService>,
    /// The program was stopped at a breakpoint at which it is not to stop any more.
    pub(crate) detour: Option<Detour>,
}

/// What an instance is restored for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Run(Sizes),
    Look,
}

/// What the instance is given in place of what it had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) stack_size: Option<u64>,
    pub(crate) max_memory: Option<u64>,
}

/// Options of the compiler for programs which are not run.
pub(crate) fn look_options() -> Options {
    Options { opt_level: OptLevel::None, ..Options::default() }
}

/// Writes down a session that was stopped.
///
/// Returns [`Status::Suspended`] if the snapshot is complete.
pub(crate) async fn take(
    mut session: Session,
    wasm: Arc<Vec<u8>>,
    executor: &Executor,
    path: &Path,
    cancel: &Cancel,
) -> Result<Status, Problem> {
    let convert = |SavedService { name, state }| ServiceState { name, state };
    let services: Vec<_> = session.services().into_iter().map(convert).collect();
    if matches!(session.instance.exit(), Ok(Exit::Frozen)) {
        executor
            .export(&mut session.instance)
            .await
            .map_err(|err| Problem::gate_failed(err).about(&session.subject))?;
    }
    let instance = session.instance;
    let written = writing::write(path, cancel, move |out| {
        match Snapshot::new(&instance, &wasm, &services)?.write(out) {
            // What was being done is told once.
            Err(SnapshotError::Write(err)) => Err(err.into()),
            result => Ok(result?),
        }
    });
    match written.await? {
        Status::Success => Ok(Status::Suspended),
        status => Ok(status),
    }
}

/// Reads a snapshot and makes its instance. If that takes long, a terminal is told.
pub(crate) async fn restore(
    source: Source,
    options: Options,
    cache: CachePlace,
    purpose: Purpose,
) -> Result<Saved, Problem> {
    let subject = source.to_string();
    let progress = Progress::counting(&format!("reading {subject}"));
    let bar = progress.bar();
    let task = tokio::task::spawn_blocking(move || {
        let limits = SnapshotLimits { module_size: options.limits.module_size as u64, ..Default::default() };
        let input: Box<dyn Read> = match &source {
            Source::Stdin => Box::new(io::stdin().lock()),
            Source::File(path) => Box::new(File::open(path).map_err(Problem::not_readable)?),
        };
        let input = bar.wrap_read(BufReader::with_capacity(BUFFER, input));
        let restored = Restored::read(input, &limits).map_err(snapshot_problem)?;
        build(restored, options, &cache, purpose)
    });
    match progress.wait(task).await {
        Ok(result) => result.map_err(|problem| problem.about(subject)),
        Err(err) => Err(Problem::gate_failed(anyhow!("reader: {err}")).about(subject)),
    }
}

fn build(
    mut restored: Restored,
    mut options: Options,
    cache: &CachePlace,
    purpose: Purpose,
) -> Result<Saved, Problem> {
    restored.check_features(options.features).map_err(snapshot_problem)?;
    let breakpoint = restored.breakpoint();
    let wasm = Arc::new(restored.take_module());
    let mut detour = None;
    if let Some(breakpoint) = breakpoint
        && !options.breakpoints.contains(&breakpoint)
    {
        if let Purpose::Run(_) = purpose {
            let (program, wasm) = (load::compile(&wasm, &options, cache)?, Arc::clone(&wasm));
            detour = Some(Detour { program, wasm, options: options.clone() });
        }
        // Where it is, only text with the breakpoint can go on.
        options.breakpoints.insert(breakpoint);
    }
    let program = load::compile(&wasm, &options, cache)?;
    let convert = |ServiceState { name, state }: &ServiceState| SavedService {
        name: name.clone(),
        state: state.clone(),
    };
    let services = restored.services().iter().map(convert).collect();
    let mut sizes = restored.options();
    if let Purpose::Run(Sizes { stack_size, max_memory }) = purpose {
        sizes.stack_size = stack_size.unwrap_or(sizes.stack_size);
        sizes.max_memory = max_memory.or(sizes.max_memory);
    }
    let mut instance = restored.instance(&program, &sizes).map_err(snapshot_problem)?;
    if let Purpose::Run(_) = purpose {
        load::prepare_resume(&mut instance, &wasm, &options, cache)?;
    }
    Ok(Saved { wasm, instance, services, detour })
}

fn snapshot_problem(err: SnapshotError) -> Problem {
    match err {
        SnapshotError::Read(err) => Problem::not_readable(err),
        SnapshotError::Host(err @ ImageError::System { .. }) => Problem::gate_failed(err),
        SnapshotError::Invalid { problem: gate_image::Problem::NotSnapshot, .. } => {
            Problem::cannot_run(anyhow!("it is a module, but not a snapshot: `gate run` runs it"))
        }
        err => Problem::cannot_run(err),
    }
}
