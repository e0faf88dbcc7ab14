//! An executor which is replaced when it dies.

use crate::config::{Config, ContainerConfig};
use crate::error::ExecutorError;
use crate::executor::Executor;
use crate::factory::{GroupProcessFactory, NewProcess, ProcessFactory};
use crate::group::ProcessGroup;
use crate::process::Process;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::{error, warn};

/// How a [`Supervisor`] replaces executors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// How long to wait before a new one is made, if the dead one did not live long. It doubles from one to the next.
    pub min_pause: Duration,
    /// How long to wait at most.
    pub max_pause: Duration,
    /// One that has lived for this time has lived long.
    pub long_life: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            min_pause: Duration::from_millis(10),
            max_pause: Duration::from_secs(10),
            long_life: Duration::from_secs(60),
        }
    }
}

/// Has an executor, and makes a new one when it dies. Processes of the dead one are lost.
pub struct Supervisor {
    state: Arc<State>,
    current: watch::Receiver<Option<Arc<Executor>>>,
    task: JoinHandle<()>,
}

struct State {
    config: Template,
    policy: RestartPolicy,
    restarts: AtomicU64,
    stop: Notify,
}

/// What executors are made from, again and again.
struct Template {
    max_procs: u32,
    daemon_socket: Option<PathBuf>,
    container: ContainerConfig,
    log: Option<tracing::Dispatch>,
}

impl Template {
    fn config(&self) -> Config {
        Config {
            max_procs: self.max_procs,
            conn_file: None,
            daemon_socket: self.daemon_socket.clone(),
            container: self.container.clone(),
            log: self.log.clone(),
        }
    }
}

impl Supervisor {
    /// Makes the first executor. It fails if that does.
    ///
    /// With [`Config::conn_file`] it fails, too: there can be no second container on a connection.
    pub async fn new(config: Config, policy: RestartPolicy) -> Result<Self, ExecutorError> {
        if config.conn_file.is_some() {
            return Err(ExecutorError::Supervised);
        }
        let Config { max_procs, daemon_socket, container, log, .. } = config;
        let config = Template { max_procs, daemon_socket, container, log };
        let first = Arc::new(Executor::new(config.config()).await?);
        let (sender, current) = watch::channel(Some(Arc::clone(&first)));
        let state = Arc::new(State { config, policy, restarts: AtomicU64::new(0), stop: Notify::new() });
        let task = tokio::spawn(Arc::clone(&state).replace(first, sender));
        Ok(Self { state, current, task })
    }

    /// The executor, if there is one at this moment.
    pub fn executor(&self) -> Option<Arc<Executor>> {
        self.current.borrow().clone().filter(|executor| !executor.is_dead())
    }

    /// How many times it was replaced.
    pub fn restarts(&self) -> u64 {
        self.state.restarts.load(Ordering::Relaxed)
    }

    /// Makes a process in the default group. Waits if there is no executor at this moment.
    pub async fn new_process(&self) -> Result<Process, ExecutorError> {
        self.new_group_process(None).await
    }

    /// Makes a process in a group. Waits if there is no executor at this moment.
    pub async fn new_group_process(&self, group: Option<&ProcessGroup>) -> Result<Process, ExecutorError> {
        let mut current = self.current.clone();
        loop {
            let executor = current.wait_for(|executor| executor.as_ref().is_some_and(|e| !e.is_dead())).await;
            let Some(executor) = executor.map_err(|_| ExecutorError::Dead)?.clone() else { continue };
            match executor.new_group_process(group).await {
                // It has died meanwhile.
                Err(ExecutorError::Dead) => {}
                result => return result,
            }
            drop(executor);
            // A dead one stays where it is until it is replaced.
            current.changed().await.map_err(|_| ExecutorError::Dead)?;
        }
    }

    /// Kills all processes, and waits until the executor is gone.
    pub async fn close(mut self) {
        self.state.stop.notify_one();
        // It does not panic, but its runtime can be shut down.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.state.stop.notify_one();
    }
}

impl State {
    async fn replace(self: Arc<Self>, first: Arc<Executor>, current: watch::Sender<Option<Arc<Executor>>>) {
        let mut pause = self.policy.min_pause;
        let mut executor = first;
        loop {
            let begin = Instant::now();
            tokio::select! {
                () = self.stop.notified() => break,
                () = executor.dead() => {}
            }
            error!("an executor died and is being replaced");
            if begin.elapsed() >= self.policy.long_life {
                pause = self.policy.min_pause;
            }
            current.send_replace(None);
            executor = loop {
                tokio::select! {
                    () = self.stop.notified() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(self.policy.max_pause);
                match Executor::new(self.config.config()).await {
                    Ok(executor) => break Arc::new(executor),
                    Err(error) => warn!("replace an executor: {error}"),
                }
            };
            self.restarts.fetch_add(1, Ordering::Relaxed);
            current.send_replace(Some(Arc::clone(&executor)));
        }
        // Whoever waits for it is told that there will be none.
        drop(current);
        executor.shut_down();
        executor.dead().await;
    }
}

impl ProcessFactory for Supervisor {
    fn new_process(&self) -> NewProcess<'_> {
        Box::pin(Supervisor::new_process(self))
    }

    fn load(&self) -> usize {
        // While there is none, others are to be preferred.
        self.executor().map_or(usize::MAX, |executor| executor.processes())
    }

    fn is_dead(&self) -> bool {
        self.task.is_finished()
    }
}

impl GroupProcessFactory for Supervisor {
    fn new_group_process<'a>(&'a self, group: Option<&'a ProcessGroup>) -> NewProcess<'a> {
        Box::pin(Supervisor::new_group_process(self, group))
    }
}
