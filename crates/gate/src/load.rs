//! From a module to a program that can be run.

use crate::cli::CacheArgs;
use crate::exit::Problem;
use crate::module::Source;
use crate::progress::Progress;
use anyhow::{Context, anyhow};
use gate_compiler::{CompileError, ErrorKind, GateImports, Options};
use gate_image::{Cache, CacheOutcome, Instance, LoadError, Program};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use tracing::debug;

/// Where compiled modules are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CachePlace {
    /// Nowhere.
    None,
    /// In the user's cache directory, if that can be used.
    Default,
    /// In a directory which must be usable.
    Dir(PathBuf),
}

impl From<CacheArgs> for CachePlace {
    fn from(args: CacheArgs) -> Self {
        match args.cache_dir {
            _ if args.no_cache => Self::None,
            Some(dir) => Self::Dir(dir),
            None => Self::Default,
        }
    }
}

impl CachePlace {
    fn open(&self) -> Result<Option<Cache>, Problem> {
        match self {
            Self::None => Ok(None),
            Self::Dir(dir) => Cache::open(dir).map(Some).map_err(Problem::gate_failed),
            Self::Default => Ok(open_default()),
        }
    }
}

fn open_default() -> Option<Cache> {
    let Some(parent) = dirs::cache_dir() else {
        debug!("no cache: there is no cache directory");
        return None;
    };
    // What cannot be made cannot be opened either, and opening says why.
    let _ = DirBuilder::new().recursive(true).mode(0o700).create(&parent);
    match Cache::open(parent.join("gate")) {
        Ok(cache) => Some(cache),
        Err(err) => {
            debug!("no cache: {err}");
            None
        }
    }
}

/// A module and what it was compiled to.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) wasm: Vec<u8>,
    pub(crate) program: Program,
}

/// Reads and compiles a module, or finds it in the cache. If that takes long, a terminal is told.
pub(crate) async fn load(source: Source, options: Options, cache: CachePlace) -> Result<Loaded, Problem> {
    let subject = source.to_string();
    let task = tokio::task::spawn_blocking(move || {
        let wasm = source.read(options.limits.module_size)?;
        let program = compile(&wasm, &options, &cache)?;
        Ok(Loaded { wasm, program })
    });
    match Progress::new(&format!("compiling {subject}")).wait(task).await {
        Ok(Ok(loaded)) => Ok(loaded),
        Ok(Err(problem)) => Err(Problem::about(problem, subject)),
        Err(err) => Err(Problem::gate_failed(anyhow!("compiler: {err}")).about(subject)),
    }
}

/// What to call a failed compilation.
pub(crate) fn compile_problem(err: CompileError) -> Problem {
    let what = match err.kind() {
        ErrorKind::Internal => return Problem::gate_failed(anyhow!(err).context("compiler")),
        ErrorKind::Invalid => "invalid module",
        ErrorKind::Unsupported => "unsupported module",
        ErrorKind::Limit => "module too large",
        ErrorKind::Import => "unsatisfied import",
        ErrorKind::Breakpoint => "invalid breakpoint",
    };
    Problem::cannot_run(anyhow!(err).context(what))
}

/// Compiles a module, or finds it in the cache.
pub(crate) fn compile(wasm: &[u8], options: &Options, cache: &CachePlace) -> Result<Program, Problem> {
    let Some(cache) = cache.open()? else {
        let module = gate_compiler::compile(wasm, options, &GateImports).map_err(compile_problem)?;
        return Program::new(module).context("make the program's image").map_err(Problem::gate_failed);
    };
    let (program, outcome) = cache.load_or_compile(wasm, options, &GateImports).map_err(load_problem)?;
    log_outcome("compiled module", &outcome);
    Ok(program)
}

/// Compiles what a suspended instance needs to go on, or finds it in the cache.
pub(crate) fn prepare_resume(
    instance: &mut Instance,
    wasm: &[u8],
    options: &Options,
    cache: &CachePlace,
) -> Result<(), Problem> {
    let Some(cache) = cache.open()? else {
        return instance.prepare_resume(wasm, options, &GateImports).map_err(load_problem);
    };
    let outcome = cache.prepare_resume(instance, wasm, options, &GateImports).map_err(load_problem)?;
    if let Some(outcome) = outcome {
        log_outcome("code for going on", &outcome);
    }
    Ok(())
}

/// What to call what was neither found nor compiled.
pub(crate) fn load_problem(err: LoadError) -> Problem {
    match err {
        LoadError::Compile(err) => compile_problem(err),
        LoadError::Host(err) => Problem::gate_failed(err),
    }
}

fn log_outcome(what: &str, outcome: &CacheOutcome) {
    match outcome {
        CacheOutcome::Hit => debug!("{what} found in cache"),
        CacheOutcome::Compiled => debug!("{what} stored in cache"),
        CacheOutcome::Rebuilt(damage) => debug!("{what} in cache was damaged, and is rebuilt: {damage:?}"),
        CacheOutcome::NotStored(err) => debug!("{what} cannot be stored in cache: {err}"),
    }
}
