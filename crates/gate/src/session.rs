//! A program from where it is to its end, or until it is suspended.

use crate::detour::Detour;
use crate::exit::{Problem, Status};
use crate::host::Host;
use crate::output::{print_backtrace, report};
use crate::plan::Plan;
use crate::profile::{COLLECT_INTERVAL, Profile};
use crate::values;
use gate_compiler::Value;
use gate_image::{Instance, InstanceError};
use gate_runtime::{Executor, HostFunctions, Outcome, ProcessError, ProcessPolicy, SavedService, TrapId};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::SetOnce;
use tokio::time::Instant;
use tracing::debug;

/// An instance, and what it is run with.
#[derive(Debug)]
pub(crate) struct Session {
    /// What messages are about.
    pub(crate) subject: String,
    pub(crate) instance: Instance,
    pub(crate) host: Host,
    pub(crate) plan: Plan,
    pub(crate) policy: ProcessPolicy,
    /// The instance has something to do already: it was suspended.
    pub(crate) goes_on: bool,
    /// What it is to go on with as soon as it can.
    pub(crate) detour: Option<Detour>,
    /// What is written down about where it spends its time.
    pub(crate) profile: Option<Profile>,
}

/// How a session is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    /// The last function has returned these.
    Returned(Vec<Value>),
    /// Otherwise.
    Status(Status),
    /// It can go on.
    Stopped(Stop),
}

/// Why a program was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Suspended,
    Breakpoint,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Suspended => "suspended",
            Self::Breakpoint => "stopped at a breakpoint",
        })
    }
}

/// Asks any number of sessions to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stopper(Arc<SetOnce<()>>);

impl Stopper {
    pub(crate) fn stop(&self) {
        // Once is enough.
        let _ = self.0.set(());
    }

    fn is_stopped(&self) -> bool {
        self.0.get().is_some()
    }

    fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let asked = Arc::clone(&self.0);
        async move {
            asked.wait().await;
        }
    }
}

/// What comes after a function.
enum Next {
    Call,
    End(Ended),
}

impl Session {
    /// Runs the program until it has ended or is stopped. If it is still running at the deadline, it is killed.
    pub(crate) async fn run(
        &mut self,
        executor: &Executor,
        stopper: &Stopper,
        deadline: Option<Instant>,
    ) -> Result<Ended, Problem> {
        let run = self.run_calls(executor, stopper);
        let result = match deadline {
            None => run.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, run).await {
                Ok(result) => result,
                Err(_) => {
                    report(format_args!("{}: stopped after the time limit", self.subject));
                    Ok(Ended::Status(Status::Timeout))
                }
            },
        };
        result.map_err(|problem| problem.about(&self.subject))
    }

    /// What has to be known to let the program go on, besides its instance.
    pub(crate) async fn services(&mut self) -> Result<Vec<SavedService>, Problem> {
        self.host.suspend().await.map_err(|fault| Problem::gate_failed(fault).about(&self.subject))?;
        let mut services = self.host.save();
        services.push(self.plan.save());
        Ok(services)
    }

    async fn run_calls(&mut self, executor: &Executor, stopper: &Stopper) -> Result<Ended, Problem> {
        loop {
            if !std::mem::take(&mut self.goes_on) {
                let Some(call) = self.plan.calls.pop_front() else { break };
                self.instance.set_entry(&call.name, &call.args).map_err(instance_problem)?;
            }
            let mut process = executor.new_process().await.map_err(Problem::gate_failed)?;
            let program = self.instance.program().clone();
            if let Some(profile) = &self.profile {
                profile.prepare(&mut self.instance);
            }
            let outcome = match process.start(&program, &mut self.instance, self.policy) {
                Ok(()) => {
                    if self.detour.is_some() {
                        process.suspend();
                    }
                    if let Some(profile) = &mut self.profile {
                        profile.begin(&self.instance);
                    }
                    let served = process.serve_until(&mut self.host, stopper.stopped());
                    collecting(self.profile.as_mut(), served).await
                }
                Err(err) => Err(err),
            };
            process.close().await;
            if let Some(profile) = &mut self.profile {
                profile.end();
            }
            if outcome.as_ref().is_ok_and(|outcome| !can_go_on(outcome.trap)) {
                self.host.finish().await;
            }
            match self.conclude(outcome)? {
                Next::Call => {}
                Next::End(Ended::Stopped(stop)) if self.detour.is_some() => {
                    let gone = self.take_detour(executor).await?;
                    match stop {
                        // This one is wanted.
                        Stop::Breakpoint if gone => return Ok(Ended::Stopped(stop)),
                        _ if stopper.is_stopped() => return Ok(Ended::Stopped(Stop::Suspended)),
                        _ => self.goes_on = true,
                    }
                }
                Next::End(ended) => return Ok(ended),
            }
        }
        match self.plan.prints_results {
            true => Ok(Ended::Returned(self.instance.results().map_err(Problem::gate_failed)?)),
            false => Ok(Ended::Returned(Vec::new())),
        }
    }

    async fn take_detour(&mut self, executor: &Executor) -> Result<bool, Problem> {
        let Some(detour) = &self.detour else { return Ok(false) };
        let gone = detour.take(&mut self.instance, executor).await?;
        if gone {
            self.detour = None;
        }
        Ok(gone)
    }

    fn conclude(&self, outcome: Result<Outcome, ProcessError>) -> Result<Next, Problem> {
        let status = |status| Ok(Next::End(Ended::Status(status)));
        if self.host.wasi().closed_pipe() {
            return status(Status::CLOSED_PIPE);
        }
        if let Some(signal) = self.host.wasi().raised() {
            return status(Status::Signal(signal.host_number()));
        }
        let outcome = outcome.map_err(process_problem)?;
        debug!("{outcome}");
        match outcome.trap {
            // As the operating system does: only eight bits of the code are seen.
            TrapId::Exit if outcome.result.terminated() => {
                status(Status::Program(outcome.result.value() as u8))
            }
            // Functions that are called by name return what they like.
            TrapId::Exit if self.plan.prints_results => Ok(Next::Call),
            TrapId::Exit => match outcome.result.value() {
                0 => Ok(Next::Call),
                _ => status(Status::Program(1)),
            },
            TrapId::Suspended => Ok(Next::End(Ended::Stopped(Stop::Suspended))),
            TrapId::Breakpoint => Ok(Next::End(Ended::Stopped(Stop::Breakpoint))),
            TrapId::Killed => {
                report(format_args!("{}: killed", self.subject));
                status(Status::KILLED)
            }
            trap => {
                match self.host.violation() {
                    Some(violation) => report(format_args!("{}: trap: {trap}: {violation}", self.subject)),
                    None => report(format_args!("{}: trap: {trap}", self.subject)),
                }
                match self.instance.backtrace() {
                    Ok(backtrace) => print_backtrace(&backtrace),
                    Err(err) => debug!("no backtrace: {err}"),
                }
                status(Status::Trapped)
            }
        }
    }
}

/// Takes samples of the program as long as it is served.
async fn collecting<T>(profile: Option<&mut Profile>, served: impl Future<Output = T>) -> T {
    let Some(profile) = profile else { return served.await };
    let mut served = pin!(served);
    loop {
        tokio::select! {
            biased;
            result = &mut served => return result,
            () = tokio::time::sleep(COLLECT_INTERVAL) => profile.collect(),
        }
    }
}

impl Ended {
    /// Output and exit code of a program whose state is not kept.
    pub(crate) fn tell(self, subject: &str) -> Result<Status, Problem> {
        match self {
            Self::Returned(results) => crate::output::print(values::print_results(&results).as_bytes()),
            Self::Status(status) => Ok(status),
            Self::Stopped(_) => {
                report(format_args!("{subject}: trap: {}", TrapId::Breakpoint));
                Ok(Status::Trapped)
            }
        }
    }
}

/// Whether a program that was stopped so has more to do, maybe.
fn can_go_on(trap: TrapId) -> bool {
    matches!(trap, TrapId::Suspended | TrapId::Breakpoint | TrapId::Killed)
}

pub(crate) fn instance_problem(err: InstanceError) -> Problem {
    match err {
        InstanceError::Program(err) => Problem::cannot_run(err),
        err => Problem::gate_failed(err),
    }
}

fn process_problem(err: ProcessError) -> Problem {
    match err {
        ProcessError::Instance(err) => instance_problem(err),
        err => Problem::gate_failed(err),
    }
}
