//! `gate fork`: many copies of a program from one snapshot.

mod output;

use crate::cli::{ForkArgs, GrantArgs};
use crate::drive::sleep_until;
use crate::exit::{Problem, Status};
use crate::grants::Grants;
use crate::load::CachePlace;
use crate::module::Source;
use crate::output::report;
use crate::packets::{Offer, Offered, Place};
use crate::replace::Cancel;
use crate::session::{Ended, Session, Stopper, instance_problem};
use crate::signals::Signals;
use crate::snapshot::{self, Saved, Sizes};
use crate::wasm::Wasm;
use crate::{resume, runtime, values};
use anyhow::Context;
use gate_compiler::{Options, Value};
use gate_runtime::{Executor, ProcessPolicy};
use gate_wasi::WasiCtx;
use output::{Output, Outputs};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long the end of the sandbox is waited for when the command is interrupted.
const GRACE: Duration = Duration::from_secs(2);

/// What to copy, how often, and how to run the copies.
#[derive(Debug)]
pub(crate) struct Fork {
    source: Source,
    count: u32,
    input: Option<String>,
    grants: GrantArgs,
    missing_files_fail: bool,
    services: Vec<Offer>,
    output_dir: Option<PathBuf>,
    snapshot_dir: Option<PathBuf>,
    suspend_after: Option<Duration>,
    timeout: Option<Duration>,
    sizes: Sizes,
    policy: ProcessPolicy,
    options: Options,
    cache: CachePlace,
}

impl From<ForkArgs> for Fork {
    fn from(args: ForkArgs) -> Self {
        Self {
            source: Source::new(args.file),
            count: args.count,
            input: args.input,
            grants: args.grants,
            missing_files_fail: args.missing_files_fail,
            services: args.services.services,
            output_dir: args.output_dir,
            snapshot_dir: args.snapshot_dir,
            suspend_after: args.suspend_after,
            timeout: args.timeout,
            sizes: Sizes { stack_size: args.stack_size, max_memory: args.max_memory },
            policy: ProcessPolicy { time_resolution: args.time_resolution, ..ProcessPolicy::default() },
            options: args.compilation.options(&[]),
            cache: args.cache.into(),
        }
    }
}

/// Runs the copies, and returns how they ended.
pub(crate) fn run(fork: Fork) -> Result<Status, Problem> {
    runtime::block_on(fork.run())
}

impl Fork {
    async fn run(self) -> Result<Status, Problem> {
        for dir in [&self.output_dir, &self.snapshot_dir].into_iter().flatten() {
            fs::create_dir_all(dir)
                .with_context(|| format!("make {}", dir.display()))
                .map_err(Problem::gate_failed)?;
        }
        let mut signals = Signals::new()?;
        let needs = (self.count, &self.grants);
        let (saved, executor, grants) = tokio::select! {
            all = resume::restore(&self.source, &self.options, &self.cache, self.sizes, needs) => all?,
            signal = signals.next() => return Ok(Status::Signal(signal)),
        };
        let offered = tokio::select! {
            offered = Offered::open(&self.services) => offered?,
            signal = signals.next() => return Ok(Status::Signal(signal)),
        };
        let executor = Arc::new(executor);
        let result = self.run_copies(saved, &grants, &offered, &executor, &mut signals).await;
        if let Ok(Status::Signal(_)) = result
            && let Some(executor) = Arc::into_inner(executor)
        {
            let _ = tokio::time::timeout(GRACE, executor.close()).await;
        }
        result
    }

    async fn run_copies(
        &self,
        mut saved: Saved,
        grants: &Grants,
        offered: &Offered,
        executor: &Arc<Executor>,
        signals: &mut Signals,
    ) -> Result<Status, Problem> {
        let begin = Instant::now();
        let deadline = self.timeout.map(|timeout| begin + timeout);
        let mut suspend = pin!(sleep_until(self.suspend_after.map(|after| begin + after)));
        let (stopper, cancel) = (Stopper::default(), Cancel::default());
        let outputs = Outputs::default();
        let sessions = self
            .sessions(&mut saved, grants, offered, &outputs)
            .map_err(|problem| problem.about(&self.source))?;
        let mut copies = JoinSet::new();
        for (number, (session, output)) in (0..).zip(sessions) {
            let copy = Copy {
                session,
                wasm: saved.wasm.clone(),
                executor: Arc::clone(executor),
                stopper: stopper.clone(),
                cancel: cancel.clone(),
                deadline,
                snapshot: self.snapshot_dir.as_ref().map(|dir| dir.join(format!("{number}.wasm"))),
            };
            copies.spawn(async move { (number, copy.run(output).await) });
        }
        let mut statuses = BTreeMap::new();
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                ended = copies.join_next() => match ended {
                    // A copy that panics is Gate's fault, and told by its absence.
                    Some(Ok((number, status))) => drop(statuses.insert(number, status)),
                    Some(Err(_)) => {}
                    None => break,
                },
                signal = signals.next() => {
                    if self.snapshot_dir.is_none() || asked || signal == Signals::HANGUP {
                        cancel.cancel();
                        copies.shutdown().await;
                        return Ok(Status::Signal(signal));
                    }
                    asked = true;
                    stopper.stop();
                }
                () = &mut suspend, if !asked => {
                    asked = true;
                    stopper.stop();
                }
            }
        }
        report(format_args!("{}: {}", self.source, summary(&statuses, self.count)));
        Ok((0..self.count)
            .map(|number| statuses.get(&number).copied().unwrap_or(Status::GateFailed))
            .find(|status| status.code() != 0)
            .unwrap_or(Status::Success))
    }

    /// A session for each copy.
    fn sessions(
        &self,
        saved: &mut Saved,
        grants: &Grants,
        offered: &Offered,
        outputs: &Outputs,
    ) -> Result<Vec<(Session, Output)>, Problem> {
        let mut sessions = Vec::with_capacity(self.count as usize);
        for number in 0..self.count {
            let instance = saved.instance.fork().map_err(instance_problem)?;
            let streams = WasiCtx::builder().clock_resolution(self.policy.time_resolution);
            let mut streams = grants.give(streams)?;
            if self.missing_files_fail {
                streams = streams.tolerate_missing_files();
            }
            if let Some(input) = &self.input {
                let input = input.replace("{}", &number.to_string());
                let file = fs::File::open(&input).map_err(|err| Problem::not_readable(err).about(input))?;
                streams = streams.stdin_fd(file.into());
            }
            let (streams, output) = match &self.output_dir {
                Some(dir) => output::to_files(streams, dir, number)
                    .with_context(|| format!("write to {}", dir.display()))
                    .map_err(Problem::gate_failed)?,
                None => outputs.attach(streams, number),
            };
            let subject = format!("{}: copy {number}", self.source);
            let copy = Saved {
                wasm: saved.wasm.clone(),
                instance,
                services: saved.services.clone(),
                detour: saved.detour.clone(),
            };
            sessions.push((
                resume::session(subject, copy, streams, (Place::None, offered, Some(number)), self.policy)?,
                output,
            ));
        }
        Ok(sessions)
    }
}

/// One of the copies, and what it needs.
struct Copy {
    session: Session,
    wasm: Wasm,
    executor: Arc<Executor>,
    stopper: Stopper,
    cancel: Cancel,
    deadline: Option<Instant>,
    snapshot: Option<PathBuf>,
}

impl Copy {
    async fn run(self, output: Output) -> Status {
        let (result, results) = self.run_session().await;
        let result = match output.finish(&values::print_results(&results)).await {
            Ok(Status::Success) => result,
            failed => result.and(failed),
        };
        result.unwrap_or_else(|problem| {
            report(&problem);
            problem.status()
        })
    }

    /// How the session has ended, and what its function has returned.
    async fn run_session(mut self) -> (Result<Status, Problem>, Vec<Value>) {
        match self.session.run(&self.executor, &self.stopper, self.deadline).await {
            Ok(Ended::Stopped(_)) if let Some(path) = &self.snapshot => (
                snapshot::take(self.session, self.wasm, &self.executor, path, &self.cancel).await,
                Vec::new(),
            ),
            Ok(Ended::Returned(results)) => (Ok(Status::Success), results),
            Ok(ended) => (ended.tell(&self.session.subject), Vec::new()),
            Err(problem) => (Err(problem), Vec::new()),
        }
    }
}

/// How many copies have ended in which way.
fn summary(statuses: &BTreeMap<u32, Status>, count: u32) -> String {
    let mut ways: BTreeMap<(u8, String), u32> = BTreeMap::new();
    for number in 0..count {
        let status = statuses.get(&number).copied().unwrap_or(Status::GateFailed);
        *ways.entry((status.code(), status.to_string())).or_default() += 1;
    }
    let ways: Vec<_> = ways.iter().map(|((_, way), copies)| format!("{copies} {way}")).collect();
    let copies = if count == 1 { "copy" } else { "copies" };
    format!("{count} {copies}: {}", ways.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted() {
        let statuses = BTreeMap::from([
            (0, Status::Success),
            (1, Status::Program(3)),
            (2, Status::Program(0)),
            (3, Status::Suspended),
        ]);
        assert_eq!(
            summary(&statuses, 5),
            "5 copies: 2 exited with 0, 1 exited with 3, 1 suspended, 1 failed"
        );
        assert_eq!(summary(&BTreeMap::from([(0, Status::Trapped)]), 1), "1 copy: 1 trapped");
    }
}
