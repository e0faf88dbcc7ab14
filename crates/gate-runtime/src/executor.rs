//! Executors.

use crate::config::{Config, MAX_PROCS};
use crate::container::{self, Container};
use crate::control::{Control, ExecutorProcess};
use crate::error::ExecutorError;
use crate::process::Process;
use crate::watch;
use gate_wire::control::{Report, SetupStep};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{Resource, getrlimit};
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Makes processes in an isolated environment of their own.
///
/// Making an executor takes some milliseconds, so one should be made for many processes. Dropping it kills all
/// of them, like [`Executor::close`], but does not wait for their end.
pub struct Executor {
    control: Arc<Control>,
}

impl Executor {
    /// Makes a container, and starts an executor in it.
    ///
    /// Must be called within a tokio runtime that has its I/O driver enabled. When that runtime is shut down, the executor is
    /// killed.
    pub async fn new(config: Config) -> Result<Self, ExecutorError> {
        if !(1..=MAX_PROCS).contains(&config.max_procs) {
            return Err(ExecutorError::MaxProcs(config.max_procs));
        }
        let container = config.container;
        let container = tokio::task::spawn_blocking(move || container::start(&container)).await;
        // The task does not panic, but its runtime can be shut down.
        let Container { executor, control, setup } = container.map_err(|_| ExecutorError::Dead)??;

        let socket = watch::socket(control, Interest::READABLE | Interest::WRITABLE)
            .map_err(ExecutorError::system("watch the control socket"))?;
        send(&socket, &setup.encode(), SendFlags::NOSIGNAL)
            .map_err(container::failed("configure the container"))?;
        wait_ready(&socket).await?;

        let control = Arc::new(Control::new(socket, config.max_procs.min(descriptor_limit())));
        let process = watch::executor(ExecutorProcess(executor))
            .map_err(ExecutorError::system("watch the executor"))?;
        tokio::spawn(Arc::clone(&control).run(process));
        Ok(Self { control })
    }

    /// Makes a process, which waits for a program. If there are as many as there may be, waits for the end of one.
    ///
    /// Returns before the process exists: making it goes on while its image is being prepared. If it cannot be made,
    /// [`Process::serve`] tells.
    pub async fn new_process(&self) -> Result<Process, ExecutorError> {
        let vacancy = self.control.vacancy().await?;
        Process::new(&self.control, vacancy)
    }

    /// Kills all processes, and waits until the executor is gone.
    pub async fn close(self) {
        self.control.close();
        self.control.dead().await;
    }

    /// Waits until the executor is dead. If that was not requested by closing it, something is wrong with the host.
    pub fn dead(&self) -> impl Future<Output = ()> + Send + use<> {
        let control = Arc::clone(&self.control);
        async move { control.dead().await }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.control.close();
    }
}

/// How many processes an executor can hold descriptors of: it raises its limit as far as it may.
fn descriptor_limit() -> u32 {
    /// Its other descriptors, and a received one.
    const OTHERS: u64 = 16;
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    u32::try_from(hard.saturating_sub(OTHERS)).unwrap_or(u32::MAX).max(1)
}

/// Waits for the executor's first report.
async fn wait_ready(socket: &AsyncFd<OwnedFd>) -> Result<(), ExecutorError> {
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
