//! From a session to a snapshot, and from a snapshot to an instance.

use crate::detour::Detour;
use crate::exit::{Problem, Status};
use crate::load::{self, CachePlace};
use crate::module::Source;
use crate::progress::Progress;
use crate::replace::Cancel;
use crate::session::Session;
use crate::wasm::Wasm;
use crate::writing;
use anyhow::anyhow;
use gate_compiler::{OptLevel, Options};
use gate_image::{
    Cache, Exit, FileIdentity, ImageError, Instance, KeptInstance, Origin, Restored, ServiceState, Snapshot,
    SnapshotError, SnapshotLimits,
};
use gate_runtime::{Executor, SavedService};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use tracing::debug;

/// How much of a snapshot is read at a time.
const BUFFER: usize = 256 << 10;

/// What was read from a snapshot.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The module of which the instance is one.
    pub(crate) wasm: Wasm,
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
    wasm: Wasm,
    executor: &Executor,
    path: &Path,
    cancel: &Cancel,
) -> Result<Status, Problem> {
    let convert = |SavedService { name, state }| ServiceState { name, state };
    let services: Vec<_> = session.services().await?.into_iter().map(convert).collect();
    if matches!(session.instance.exit(), Ok(Exit::Frozen)) {
        executor
            .export(&mut session.instance)
            .await
            .map_err(|err| Problem::gate_failed(err).about(&session.subject))?;
    }
    let instance = session.instance;
    let subject = session.subject;
    let written = writing::write(path, cancel, move |out| {
        let wasm = wasm.get().map_err(|problem| anyhow!("{}", problem.about(subject)))?;
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
        let file = source.open().map_err(Problem::not_readable)?.map(Arc::new);
        let keeper = Keeper::new(file.as_ref(), &options, &cache, purpose)?;
        if let Some(saved) = keeper.as_ref().map(|keeper| keeper.find(&options)).transpose()?.flatten() {
            return Ok(saved);
        }
        let input: Box<dyn Read> = match &file {
            None => Box::new(io::stdin().lock()),
            Some(file) => Box::new(&**file),
        };
        let input = bar.wrap_read(BufReader::with_capacity(BUFFER, input));
        let restored = Restored::read(input, &limits(&options)).map_err(snapshot_problem)?;
        build(restored, options, &cache, purpose, keeper)
    });
    match progress.wait(task).await {
        Ok(result) => result.map_err(|problem| problem.about(subject)),
        Err(err) => Err(Problem::gate_failed(anyhow!("reader: {err}")).about(subject)),
    }
}

fn limits(options: &Options) -> SnapshotLimits {
    SnapshotLimits { module_size: options.limits.module_size as u64, ..Default::default() }
}

/// Keeps in the cache what a file was read to, so that it need not be read the next time.
struct Keeper {
    cache: Cache,
    file: Arc<File>,
    identity: FileIdentity,
    sizes: Sizes,
}

impl Keeper {
    /// There is none for what cannot be kept.
    fn new(
        file: Option<&Arc<File>>,
        options: &Options,
        cache: &CachePlace,
        purpose: Purpose,
    ) -> Result<Option<Self>, Problem> {
        let (Purpose::Run(sizes), Some(file), true) = (purpose, file, options.breakpoints.is_empty()) else {
            return Ok(None);
        };
        let (Some(cache), Some(identity)) = (cache.open()?, FileIdentity::of(file)) else { return Ok(None) };
        Ok(Some(Self { cache, file: Arc::clone(file), identity, sizes }))
    }

    fn find(&self, options: &Options) -> Result<Option<Saved>, Problem> {
        let Sizes { stack_size, max_memory } = self.sizes;
        let kept = self.cache.restored(&self.identity, options, stack_size, max_memory);
        let Some(KeptInstance { instance, services, module }) = kept.map_err(load::load_problem)? else {
            return Ok(None);
        };
        debug!("snapshot found in cache");
        let (file, limits) = (Arc::clone(&self.file), limits(options));
        let wasm = Wasm::elsewhere(module.into(), move || {
            let mut file = &*file;
            file.rewind().map_err(Problem::not_readable)?;
            let input = BufReader::with_capacity(BUFFER, file);
            Ok(Restored::read(input, &limits).map_err(snapshot_problem)?.take_module())
        });
        Ok(Some(Saved {
            wasm,
            instance,
            services: services.iter().map(saved_service).collect(),
            detour: None,
        }))
    }
}

fn saved_service(ServiceState { name, state }: &ServiceState) -> SavedService {
    SavedService { name: name.clone(), state: state.clone() }
}

fn build(
    mut restored: Restored,
    mut options: Options,
    cache: &CachePlace,
    purpose: Purpose,
    keeper: Option<Keeper>,
) -> Result<Saved, Problem> {
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
    let services = restored.services().to_vec();
    let own_sizes = restored.options();
    let mut sizes = own_sizes;
    if let Purpose::Run(Sizes { stack_size, max_memory }) = purpose {
        sizes.stack_size = stack_size.unwrap_or(sizes.stack_size);
        sizes.max_memory = max_memory.or(sizes.max_memory);
    }
    let mut instance = restored.instance(&program, &sizes).map_err(snapshot_problem)?;
    if let Purpose::Run(_) = purpose {
        load::prepare_resume(&mut instance, &wasm, &options, cache)?;
    }
    let saved_services = services.iter().map(saved_service).collect();
    let kept = KeptInstance { instance, services, module: blake3::hash(&wasm).into() };
    if let (Some(keeper), None) = (keeper, breakpoint) {
        let origin = Origin { sizes: own_sizes, options: &options };
        keeper.cache.keep_restored(&keeper.file, &keeper.identity, &kept, &origin);
    }
    let wasm = Wasm::from(Arc::unwrap_or_clone(wasm));
    Ok(Saved { wasm, instance: kept.instance, services: saved_services, detour })
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
