//! Limits on how long a program runs.

use crate::config::ProcessPolicy;
use crate::process::Shared;
use gate_wire::control::Op;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// What happens to a program that reaches a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitAction {
    /// It is killed.
    #[default]
    Kill,
    /// It is suspended, and can go on in another process.
    Suspend,
}

/// A limit that a program has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`ProcessPolicy::time_limit`].
    Time,
    /// [`ProcessPolicy::cpu_limit`].
    Cpu,
}

/// Processor time of a process, as last told by the executor.
#[derive(Default)]
pub(crate) struct CpuClock {
    nanos: AtomicU64,
    told: Notify,
}

impl CpuClock {
    pub(crate) fn tell(&self, nanos: u64) {
        self.nanos.fetch_max(nanos, Ordering::Relaxed);
        self.told.notify_waiters();
    }

    fn read(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Asks the executor for the processor time, and waits for the answer or for the end.
    pub(crate) async fn read_cpu_time(&self) -> Duration {
        let cpu = &self.life.cpu;
        let mut told = std::pin::pin!(cpu.told.notified());
        told.as_mut().enable();
        self.signal(Op::CpuTime);
        tokio::select! {
            () = told => {}
            _ = self.end.wait() => {}
        }
        cpu.read()
    }
}

/// Sees to it that a program which has been started keeps to its limits.
pub(crate) fn enforce(shared: &Arc<Shared>, policy: &ProcessPolicy) {
    let (time, cpu) = (policy.time_limit, policy.cpu_limit);
    if time.is_none() && cpu.is_none() {
        return;
    }
    let now = Instant::now();
    // What is beyond the clock's range is no limit.
    let deadline = time.and_then(|limit| now.checked_add(limit));
    let (weak, action) = (Arc::downgrade(shared), policy.limit_action);
    tokio::spawn(async move {
        let limit = tokio::select! {
            biased;
            () = ended(&weak) => return,
            () = until(deadline) => Limit::Time,
            () = exhausted(&weak, cpu) => Limit::Cpu,
        };
        if let Some(shared) = weak.upgrade() {
            shared.life.reached(limit);
            match action {
                LimitAction::Kill => shared.kill(),
                LimitAction::Suspend => shared.suspend(),
            }
        }
    });
}

async fn ended(shared: &Weak<Shared>) {
    // The executor's table keeps what it is about until its end, so this keeps nothing longer.
    if let Some(shared) = shared.upgrade() {
        shared.end.wait().await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Waits until a process has used up its processor time.
async fn exhausted(shared: &Weak<Shared>, limit: Option<Duration>) {
    /// Asking more often would cost more than it is worth.
    const SHORTEST: Duration = Duration::from_millis(1);
    let Some(limit) = limit else { return std::future::pending().await };
    let mut used = Duration::ZERO;
    while used < limit {
        // It has one thread, so it cannot use processor time faster than time passes.
        sleep((limit - used).max(SHORTEST)).await;
        let Some(shared) = shared.upgrade() else { return std::future::pending().await };
        used = shared.read_cpu_time().await;
    }
}
