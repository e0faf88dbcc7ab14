//! Executors.

use crate::config::{Config, MAX_PROCS};
use crate::container::{self, Container, Place};
use crate::control::{Control, ExecutorProcess};
use crate::daemon::{self, RemoteExecutor};
use crate::error::ExecutorError;
use crate::group::{GroupAccess, ProcessGroup};
use crate::life::Log;
use crate::metrics;
use crate::process::Process;
use crate::watch;
use gate_wire::control::{Report, SetupStep};
use gate_wire::load::STATE_FILE_STRIDE;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Resource, getrlimit};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::debug;
use tracing::instrument::WithSubscriber;

/// Makes processes in an isolated environment of their own.
///
/// Making an executor takes some milliseconds, so one should be made for many processes. Dropping it kills all
/// of them, like [`Executor::close`], but does not wait for their end.
pub struct Executor {
    control: Arc<Control>,
    access: Option<GroupAccess>,
    place: Place,
    max_procs: u32,
}

impl Executor {
    /// Makes a container, and starts an executor in it.
    ///
    /// Must be called within a tokio runtime that has its I/O and time drivers enabled. When that runtime is shut down, the
    /// executor is killed.
    pub async fn new(mut config: Config) -> Result<Self, ExecutorError> {
        match config.log.take() {
            Some(log) => Self::open(config, Log(Some(log.clone()))).with_subscriber(log).await,
            None => Self::open(config, Log::default()).await,
        }
    }

    async fn open(config: Config, log: Log) -> Result<Self, ExecutorError> {
        if !(1..=MAX_PROCS).contains(&config.max_procs) {
            return Err(ExecutorError::MaxProcs(config.max_procs));
        }
        check_file_size_limit()?;
        let begin = Instant::now();
        let (process, socket, place) = match (config.conn_file, config.daemon_socket) {
            (Some(conn), _) => Self::remote(daemon::request_on(conn).await?)?,
            (None, Some(path)) => Self::remote(daemon::request(&path).await?)?,
            (None, None) => {
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                let container = tokio::task::spawn_blocking(move || {
                    tracing::dispatcher::with_default(&dispatch, || container::start(&config.container))
                });
                // The task does not panic, but its runtime can be shut down.
                let Container { executor, control, place } =
                    container.await.map_err(|_| ExecutorError::Dead)??;
                let socket = watch_control(control)?;
                wait_ready(&socket).await?;
                (ExecutorProcess::Child(executor), socket, place)
            }
        };
        let max_procs = config.max_procs.min(descriptor_limit());
        let control = Arc::new(Control::new(socket, max_procs, log));
        let process = watch::executor(process).map_err(ExecutorError::system("watch the executor"))?;
        tokio::spawn(Arc::clone(&control).run(process));
        metrics::executor_started(begin.elapsed());
        debug!(max_procs, ids = ?place.ids, cgroup = ?place.cgroup, "an executor is ready");
        Ok(Self { control, access: place.access(), place, max_procs })
    }

    fn remote(remote: daemon::Reply) -> Result<(ExecutorProcess, AsyncFd<OwnedFd>, Place), ExecutorError> {
        let process = RemoteExecutor::new(remote.connection, remote.pidfd);
        Ok((ExecutorProcess::Remote(process), watch_control(remote.control)?, remote.place))
    }

    /// Makes a process in the default group, which waits for a program. If there are as many as there may be, waits for the
    /// end of one.
    ///
    /// Returns before the process exists: making it goes on while its image is being prepared. If it cannot be made,
    /// [`Process::serve`] tells.
    pub async fn new_process(&self) -> Result<Process, ExecutorError> {
        self.new_group_process(None).await
    }

    /// Makes a process like [`Executor::new_process`] does, but in a group: it is born there. If no group is given, it is
    /// the default one.
    pub async fn new_group_process(&self, group: Option<&ProcessGroup>) -> Result<Process, ExecutorError> {
        if let (Some(group), Some(access)) = (group, &self.access) {
            access.admit(group)?;
        }
        let mut vacancy = self.control.vacancy().await?;
        vacancy.group = group.or(self.place.default_group.as_ref()).cloned();
        Process::new(&self.control, vacancy)
    }

    /// User and group ids, as the host sees them, of the executor and its programs.
    pub fn ids(&self) -> (u32, u32) {
        self.place.ids
    }

    /// Path of the control group in which the executor is, if there are control groups.
    pub fn cgroup(&self) -> Option<&Path> {
        Some(self.place.cgroup.as_path()).filter(|path| path.is_absolute())
    }

    /// How many processes there can be at once.
    pub fn max_procs(&self) -> u32 {
        self.max_procs
    }

    /// How many processes there are now, or have been requested.
    pub fn processes(&self) -> usize {
        (self.max_procs as usize).saturating_sub(self.control.vacancies())
    }

    /// Whether it is closed or dead.
    pub fn is_dead(&self) -> bool {
        self.control.is_closed()
    }

    /// Kills all processes, and waits until the executor is gone.
    pub async fn close(self) {
        self.shut_down();
        self.control.dead().await;
    }

    /// Kills all processes, and waits for nothing. Others may still have the executor; it is of no use to them.
    pub fn shut_down(&self) {
        self.control.close();
    }

    /// Waits until the executor is dead. If that was not requested by closing it, something is wrong with the host.
    pub fn dead(&self) -> impl Future<Output = ()> + Send + use<> {
        let control = Arc::clone(&self.control);
        async move { control.dead().await }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("place", &self.place)
            .field("dead", &self.is_dead())
            .finish_non_exhaustive()
    }
}

/// How many processes an executor can hold descriptors of: it raises its limit as far as it may.
fn descriptor_limit() -> u32 {
    /// Its other descriptors, and a received one.
    const OTHERS: u64 = 16;
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    u32::try_from(hard.saturating_sub(OTHERS)).unwrap_or(u32::MAX).max(1)
}

/// No program's state would fit. The kernel would end the host for trying, unless it ignores the signal.
fn check_file_size_limit() -> Result<(), ExecutorError> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if limit < STATE_FILE_STRIDE => Err(ExecutorError::FileSizeLimit(limit)),
        _ => Ok(()),
    }
}

fn watch_control(control: OwnedFd) -> Result<AsyncFd<OwnedFd>, ExecutorError> {
    watch::socket(control, Interest::READABLE | Interest::WRITABLE)
        .map_err(ExecutorError::system("watch the control socket"))
}

/// Waits for the executor's first report.
pub(crate) async fn wait_ready(socket: &AsyncFd<OwnedFd>) -> Result<(), ExecutorError> {
    let mut buf = [0; Report::SIZE];
    let receive = |_: &OwnedFd| {
        let (size, _) = recv(socket, &mut buf[..], RecvFlags::DONTWAIT)?;
        Ok(if size == Report::SIZE { Report::decode(&buf) } else { None })
    };
    match socket.async_io(Interest::READABLE, receive).await {
        Ok(Some(Report::Ready)) => Ok(()),
        Ok(Some(Report::Failed { step, errno })) => {
            Err(container::failed(SetupStep::describe(step))(io::Error::from_raw_os_error(errno as i32)))
        }
        _ => Err(ExecutorError::Died),
    }
}
