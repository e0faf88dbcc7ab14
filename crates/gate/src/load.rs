//! From a module to a program that can be run.

use crate::cli::CacheArgs;
use crate::exit::Problem;
use crate::module::Source;
use anyhow::{Context, anyhow};
use gate_compiler::{CompileError, ErrorKind, Options, WasiImports};
use gate_image::{Cache, CacheOutcome, LoadError, Program};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::DirBuilder;
use std::io::{self, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;
use tracing::debug;

/// How long a compilation may last without a sign of life.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// Reads and compiles a module, or finds it in the cache. If that takes long, a terminal is told.
pub(crate) async fn load(source: Source, options: Options, cache: CachePlace) -> Result<Program, Problem> {
    let subject = source.to_string();
    let mut task = tokio::task::spawn_blocking(move || {
        let wasm = source.read(options.limits.module_size)?;
        build(&wasm, &options, &cache)
    });
    let result = match tokio::time::timeout(PATIENCE, &mut task).await {
        Ok(result) => result,
        Err(_) => {
            let progress = show_progress(&subject);
            let result = task.await;
            progress.finish_and_clear();
            result
        }
    };
    match result {
        Ok(Ok(program)) => Ok(program),
        Ok(Err(problem)) => Err(problem.about(subject)),
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
    };
    Problem::cannot_run(anyhow!(err).context(what))
}

fn build(wasm: &[u8], options: &Options, cache: &CachePlace) -> Result<Program, Problem> {
    let Some(cache) = cache.open()? else {
        let module = gate_compiler::compile(wasm, options, &WasiImports).map_err(compile_problem)?;
        return Program::new(module).context("make the program's image").map_err(Problem::gate_failed);
    };
    match cache.load_or_compile(wasm, options, &WasiImports) {
        Ok((program, outcome)) => {
            match outcome {
                CacheOutcome::Hit => debug!("compiled module found in cache"),
                CacheOutcome::Compiled => debug!("compiled module stored in cache"),
                CacheOutcome::Rebuilt(damage) => debug!("damaged cache entry was rebuilt: {damage:?}"),
                CacheOutcome::NotStored(err) => debug!("compiled module cannot be stored in cache: {err}"),
            }
            Ok(program)
        }
        Err(LoadError::Compile(err)) => Err(compile_problem(err)),
        Err(err) => Err(Problem::gate_failed(err)),
    }
}

fn show_progress(subject: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} compiling {msg} ({elapsed})")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let progress = ProgressBar::new_spinner().with_style(style).with_message(crate::exit::one_line(subject));
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}
