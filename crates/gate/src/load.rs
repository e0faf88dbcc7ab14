//! From a module to a program that can be run.

use crate::cli::CacheArgs;
use crate::exit::Problem;
use crate::module::Source;
use crate::progress::Progress;
use crate::wasm::Wasm;
use anyhow::{Context, anyhow};
use gate_compiler::{CompileError, ErrorKind, GateImports, Options};
use gate_image::{Cache, CacheOutcome, FileIdentity, Instance, LoadError, Program};
use std::fs::{DirBuilder, File};
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
    /// Opens the cache, if there is to be one.
    pub(crate) fn open(&self) -> Result<Option<Cache>, Problem> {
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
    pub(crate) wasm: Wasm,
    pub(crate) program: Program,
}

/// Reads and compiles a module, or finds it in the cache. If that takes long, a terminal is told.
pub(crate) async fn load(source: Source, options: Options, cache: CachePlace) -> Result<Loaded, Problem> {
    let subject = source.to_string();
    let task = tokio::task::spawn_blocking(move || {
        let file = source.open().map_err(Problem::not_readable)?;
        match (file, cache.open()?) {
            (Some(file), Some(cache)) => load_file(file, &options, &cache),
            (file, cache) => {
                let wasm = Source::read_opened(file.as_ref(), options.limits.module_size)?;
                let program = compile_with(&wasm, &options, cache.as_ref())?;
                Ok(Loaded { wasm: wasm.into(), program })
            }
        }
    });
    match Progress::new(&format!("compiling {subject}")).wait(task).await {
        Ok(Ok(loaded)) => Ok(loaded),
        Ok(Err(problem)) => Err(Problem::about(problem, subject)),
        Err(err) => Err(Problem::gate_failed(anyhow!("compiler: {err}")).about(subject)),
    }
}

/// A file that has been seen before, and has not changed since, is not read.
fn load_file(file: File, options: &Options, cache: &Cache) -> Result<Loaded, Problem> {
    let limit = options.limits.module_size;
    let identity = FileIdentity::of(&file);
    if let Some(hash) = identity.as_ref().and_then(|identity| cache.remembered(identity))
        && file.metadata().is_ok_and(|metadata| metadata.len() <= limit as u64)
        && let Some(program) = cache.load_by_hash(&hash, options).map_err(load_problem)?
    {
        log_outcome("compiled module", &CacheOutcome::Hit);
        let wasm = Wasm::elsewhere(hash, move || Source::read_opened(Some(&file), limit));
        return Ok(Loaded { wasm, program });
    }
    let wasm = Source::read_opened(Some(&file), limit)?;
    let program = compile_with(&wasm, options, Some(cache))?;
    // What is in text form was translated: that is not in the file.
    if let Some(identity) = identity.filter(|_| wasm.starts_with(b"\0asm") && is_as_large(&file, &wasm)) {
        cache.remember(&file, &identity, &blake3::hash(&wasm));
    }
    Ok(Loaded { wasm: wasm.into(), program })
}

fn is_as_large(file: &File, wasm: &[u8]) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() == wasm.len() as u64)
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
    compile_with(wasm, options, cache.open()?.as_ref())
}

fn compile_with(wasm: &[u8], options: &Options, cache: Option<&Cache>) -> Result<Program, Problem> {
    let Some(cache) = cache else {
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
