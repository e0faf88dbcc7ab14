//! What is told of a process while it lives: its key, its log, and what it uses.

use crate::control::End;
use crate::limit::{CpuClock, Limit};
use crate::metrics;
use crate::process::Process;
use crate::result::Outcome;
use gate_wire::trap::TrapId;
use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::{Dispatch, Span, debug, debug_span};

/// An opaque handle of a single process. Keys can be compared and ordered; no two processes of a host have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey(u64);

tokio::task_local! {
    static CURRENT: ProcessKey;
}

impl ProcessKey {
    fn unused() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The key of the process which is being served. Host functions can ask for it.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|key| *key).ok()
    }

    /// Runs something as if a process were being served, for tests of host functions. It has a key of its own.
    pub async fn with_dummy<F: Future>(future: F) -> F::Output {
        Self::unused().scope(future).await
    }

    /// Runs something for the process which has this key.
    pub(crate) async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }
}

/// What is told of a process.
pub(crate) struct Life {
    key: ProcessKey,
    created: Instant,
    log: Log,
    span: Span,
    pub(crate) cpu: CpuClock,
    pub(crate) limit: OnceLock<Limit>,
    suspending: OnceLock<Instant>,
}

impl Life {
    pub(crate) fn begin(executor: u64, id: u32, log: &Log) -> Self {
        let key = ProcessKey::unused();
        let span = log.with(|| debug_span!("process", key = key.0, executor, id));
        log.with(|| debug!(parent: &span, "requested"));
        metrics::process_requested();
        Self {
            key,
            created: Instant::now(),
            log: log.clone(),
            span,
            cpu: CpuClock::default(),
            limit: OnceLock::new(),
            suspending: OnceLock::new(),
        }
    }

    pub(crate) fn started(&self) {
        metrics::process_started(self.created.elapsed());
        self.log.with(|| debug!(parent: &self.span, "started"));
    }

    /// Somebody has asked for it to be suspended.
    pub(crate) fn suspending(&self) {
        let _ = self.suspending.set(Instant::now());
    }

    /// A host call has been answered.
    pub(crate) fn called(&self, received: usize, sent: usize) {
        metrics::call(received, sent);
    }

    /// Serving it is over.
    pub(crate) fn concluded<E: std::fmt::Display>(&self, outcome: &Result<Outcome, E>) {
        match outcome {
            Ok(outcome) => {
                metrics::program_ended(outcome.trap.name());
                if let (TrapId::Suspended, Some(begin)) = (outcome.trap, self.suspending.get()) {
                    metrics::program_suspended(begin.elapsed());
                }
                self.log.with(|| debug!(parent: &self.span, %outcome, "concluded"));
            }
            Err(error) => {
                metrics::program_ended("error");
                self.log.with(|| debug!(parent: &self.span, %error, "concluded"));
            }
        }
    }

    pub(crate) fn reached(&self, limit: Limit) {
        let _ = self.limit.set(limit);
        self.log.with(|| debug!(parent: &self.span, ?limit, "limit reached"));
    }

    pub(crate) fn ended(&self, end: End) {
        let cause = match end {
            End::Died { status } if libc::WIFSIGNALED(status) => "signal",
            End::Died { .. } => "exit",
            End::Refused { .. } => "refused",
            End::Closed => "closed",
            End::ExecutorDied => "executor_died",
        };
        metrics::process_ended(cause, self.created.elapsed());
        self.log.with(|| debug!(parent: &self.span, ?end, "ended"));
    }
}

/// Where events go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(pub(crate) Option<Dispatch>);

impl Log {
    pub(crate) fn with<T>(&self, f: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(dispatch) => tracing::dispatcher::with_default(dispatch, f),
            None => f(),
        }
    }
}

impl Process {
    /// Its key.
    pub fn key(&self) -> ProcessKey {
        self.shared.life.key
    }

    /// The limit of its policy which it has reached, if it has.
    pub fn limit_reached(&self) -> Option<Limit> {
        self.shared.life.limit.get().copied()
    }

    /// The span of its events.
    pub fn span(&self) -> &Span {
        &self.shared.life.span
    }

    /// How much processor time it has used until now, or until its end.
    pub async fn cpu_time(&self) -> Duration {
        self.shared.read_cpu_time().await
    }

    /// Whether it can be of any use.
    pub(crate) fn is_dead(&self) -> bool {
        self.shared.end.get().is_some()
    }
}
