//! The daemon's side of its socket.

use super::peer::{Access, Peer};
use super::protocol::{Answer, Made, REQUEST_SIZE, Request};
use super::{DaemonError, DaemonStatus, activation, privileges};
use crate::config::ContainerConfig;
use crate::container::{self, Container};
use crate::control::ExecutorProcess;
use crate::error::ExecutorError;
use crate::executor::wait_ready;
use crate::watch;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept_with, bind, connect, listen, recv, sendmsg, socket_with,
};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, future::Future};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, debug, info, info_span, warn};

/// How long a client may take to say what it wants, or to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many clients there may be besides those that have containers.
const UNDECIDED: usize = 128;

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 128;

/// How a daemon works.
#[derive(Clone, Debug)]
pub struct DaemonConfig {
    /// How containers are made.
    pub container: ContainerConfig,
    /// Who may have them.
    pub access: Access,
    /// How many there may be at once.
    pub max_containers: usize,
    /// How many there may be at once of one user.
    pub max_containers_per_user: usize,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self {
            container: ContainerConfig::default(),
            access: Access::default(),
            max_containers: 256,
            max_containers_per_user: 64,
        }
    }
}

impl DaemonConfig {
    /// Gives up all capabilities of this thread which a daemon with this configuration does not need. To be called before
    /// there are other threads, such as those of a tokio runtime: they would keep theirs.
    pub fn drop_privileges(&self) -> Result<(), DaemonError> {
        privileges::drop_unneeded(&self.container)
    }
}

/// A listening daemon.
#[derive(Debug)]
pub struct Daemon {
    socket: AsyncFd<OwnedFd>,
    /// What to remove in the end.
    path: Option<PathBuf>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    config: DaemonConfig,
    start: Instant,
    /// Containers of each user.
    users: Mutex<HashMap<u32, usize>>,
    made: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

impl Daemon {
    /// Listens on the socket that a service manager has opened for this process (`LISTEN_FDS`), if there is one.
    pub fn activated(config: &DaemonConfig) -> Result<Option<Self>, DaemonError> {
        let Some(socket) = activation::listening_socket()? else { return Ok(None) };
        let nonblocking = rustix::io::ioctl_fionbio(&socket, true);
        nonblocking.map_err(|_| DaemonError::Activation("cannot be made non-blocking"))?;
        Self::new(socket, None, config).map(Some)
    }

    /// Listens on a socket of its own, with the given permissions. A socket that is there already, and nobody listens on, is
    /// replaced. Needs a tokio runtime with its I/O and time drivers enabled.
    pub fn bind(path: &Path, mode: u32, config: &DaemonConfig) -> Result<Self, DaemonError> {
        let failed = |errno: Errno| DaemonError::Listen { path: path.to_owned(), source: errno.into() };
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = || socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let socket = open().map_err(failed)?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE)
                if connect(open().map_err(failed)?, &address) == Err(Errno::CONNREFUSED) =>
            {
                fs::remove_file(path)
                    .map_err(|source| DaemonError::Listen { path: path.to_owned(), source })?;
                bind(&socket, &address).map_err(failed)?;
            }
            result => result.map_err(failed)?,
        }
        // Nobody can connect before it listens.
        rustix::fs::chmod(path, Mode::from_raw_mode(mode)).map_err(failed)?;
        listen(&socket, BACKLOG).map_err(failed)?;
        Self::new(socket, Some(path.to_owned()), config)
    }

    fn new(socket: OwnedFd, path: Option<PathBuf>, config: &DaemonConfig) -> Result<Self, DaemonError> {
        let socket = watch::socket(socket, Interest::READABLE).map_err(DaemonError::Connection)?;
        let state = State {
            config: config.clone(),
            start: Instant::now(),
            users: Mutex::default(),
            made: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Ok(Self { socket, path, state: Arc::new(state) })
    }

    /// Serves clients until `stop` is done. All containers end with it.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        // Dropping it ends the tasks, and they take the containers with them.
        let mut clients = JoinSet::new();
        activation::notify_ready();
        info!("ready");
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = clients.join_next() => {}
                accepted = self.socket.async_io(Interest::READABLE, accept) => match accepted {
                    // Whoever is too much for the queue of those who have not said what they want.
                    Ok(_) if clients.len() >= self.state.config.max_containers + UNDECIDED => {}
                    Ok(connection) => {
                        let state = Arc::clone(&self.state);
                        clients.spawn(async move { state.client(connection).await });
                    }
                    Err(error) => {
                        // Its own descriptors are used up, perhaps. Others will be served when some are free.
                        warn!("accept a client: {error}");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        clients.shutdown().await;
        info!("stopped");
    }

    /// What the daemon says of itself.
    pub fn status(&self) -> DaemonStatus {
        self.state.status()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

fn accept(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        match accept_with(socket, flags) {
            // Who has given up is no reason to wait.
            Err(Errno::CONNABORTED | Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

impl State {
    async fn client(self: Arc<Self>, connection: OwnedFd) {
        let Ok(peer) = Peer::of(connection.as_fd()) else { return };
        let Ok(connection) = watch::socket(connection, Interest::READABLE) else { return };
        let span = info_span!("client", uid = peer.uid, pid = peer.pid);
        self.talk(peer, connection).instrument(span).await;
    }

    async fn talk(self: Arc<Self>, peer: Peer, connection: AsyncFd<OwnedFd>) {
        // Even if it does not matter: closing a connection with something unread in it would take the answer away.
        let request = timeout(PATIENCE, connection.async_io(Interest::READABLE, receive)).await;
        if !self.config.access.admits(&peer) {
            return self.refuse(&connection, format!("user {} may not have containers", peer.uid));
        }
        match request {
            Ok(Ok(Some(Request::Status))) => answer(&connection, &Answer::Status(self.status()), &[]),
            Ok(Ok(Some(Request::Container))) => self.container(peer, &connection).await,
            Ok(Ok(None)) => self.refuse(&connection, "the request is not understood".into()),
            Ok(Err(error)) => debug!("gone: {error}"),
            Err(_) => self.refuse(&connection, "no request".into()),
        }
    }

    async fn container(self: &Arc<Self>, peer: Peer, connection: &AsyncFd<OwnedFd>) {
        let Some(_admission) = Admission::take(self, peer.uid) else {
            return self.refuse(connection, "there are too many containers".into());
        };
        let (process, place, control) = match self.make().await {
            Ok(made) => made,
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                warn!("{error}");
                return answer(connection, &Answer::Refused(error.to_string()), &[]);
            }
        };
        self.made.fetch_add(1, Ordering::Relaxed);
        let text = |path: &Path| path.to_str().map(str::to_owned);
        let made = Made {
            uid: place.ids.0,
            gid: place.ids.1,
            cgroup: text(&place.cgroup).unwrap_or_default(),
            domain: place.domain.as_deref().and_then(text),
            default_group: place.default_group.as_ref().and_then(|group| text(group.path())),
        };
        let mut fds = vec![control.as_fd(), process.get_ref().pidfd().as_fd()];
        if made.default_group.is_some() {
            fds.extend(place.default_group.as_ref().map(AsFd::as_fd));
        }
        answer(connection, &Answer::Container(made), &fds);
        // From now on only the client has it.
        drop(control);
        info!("a container is made");
        tokio::select! {
            _ = process.readable() => info!("a container has ended"),
            // It has nothing more to say: whatever comes is the end.
            _ = connection.async_io(Interest::READABLE, receive) => info!("a client has left its container"),
        }
        // Dropping the process kills it.
    }

    async fn make(&self) -> Result<(AsyncFd<ExecutorProcess>, container::Place, OwnedFd), ExecutorError> {
        let config = self.config.container.clone();
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let container = tokio::task::spawn_blocking(move || {
            tracing::dispatcher::with_default(&dispatch, || container::start(&config))
        });
        let Container { executor, control, place } = container.await.map_err(|_| ExecutorError::Dead)??;
        let process = watch::executor(ExecutorProcess::Child(executor))
            .map_err(ExecutorError::system("watch the executor"))?;
        let control = watch::socket(control, Interest::READABLE)
            .map_err(ExecutorError::system("watch the control socket"))?;
        wait_ready(&control).await?;
        Ok((process, place, AsyncFd::into_inner(control)))
    }

    fn refuse(&self, connection: &AsyncFd<OwnedFd>, reason: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        warn!("refused: {reason}");
        answer(connection, &Answer::Refused(reason), &[]);
    }

    fn status(&self) -> DaemonStatus {
        DaemonStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime: self.start.elapsed(),
            containers: self.users().values().sum::<usize>() as u64,
            max_containers: self.config.max_containers as u64,
            made: self.made.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn users(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A user's right to a container.
struct Admission {
    state: Arc<State>,
    uid: u32,
}

impl Admission {
    fn take(state: &Arc<State>, uid: u32) -> Option<Self> {
        let mut users = state.users();
        let all: usize = users.values().sum();
        let own = users.entry(uid).or_default();
        if all >= state.config.max_containers || *own >= state.config.max_containers_per_user {
            return None;
        }
        *own += 1;
        drop(users);
        Some(Self { state: Arc::clone(state), uid })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut users = self.state.users();
        if let Some(count) = users.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

/// Receives a request. Gives `None` if it is none.
fn receive(socket: &OwnedFd) -> io::Result<Option<Request>> {
    // One byte more shows that a message is too long.
    let mut buf = [0; REQUEST_SIZE + 1];
    match recv(socket, &mut buf[..], RecvFlags::DONTWAIT)? {
        (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
        (size, _) => Ok(buf.get(..size).and_then(Request::decode)),
    }
}

/// Sends an answer. The socket is new, so there is space; whoever is gone does not need it.
fn answer(connection: &AsyncFd<OwnedFd>, answer: &Answer, fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let bytes = answer.encode();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if let Err(error) = sendmsg(connection, &[IoSlice::new(&bytes)], &mut control, flags) {
        debug!("answer a client: {error}");
    }
}
