//! The client's side of a daemon's socket.

use super::protocol::{Answer, MAX_ANSWER, MAX_FDS, Request};
use super::{DaemonError, DaemonStatus};
use crate::cgroup::Directory;
use crate::container::Place;
use crate::group::ProcessGroup;
use crate::watch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, send, shutdown, socket_with,
};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

/// How long a daemon may take for a container.
const PATIENCE: Duration = Duration::from_secs(60);

/// A container that a daemon has made.
pub(crate) struct Reply {
    /// The container lasts as long as this.
    pub(crate) connection: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) pidfd: OwnedFd,
    pub(crate) place: Place,
}

/// Asks the daemon at a path for a container.
pub(crate) async fn request(path: &Path) -> Result<Reply, DaemonError> {
    request_on(open(path).await?).await
}

/// Asks the daemon at the other end of a connection for a container.
pub(crate) async fn request_on(connection: OwnedFd) -> Result<Reply, DaemonError> {
    let (connection, answer, fds) = ask(connection, Request::Container).await?;
    let made = match answer {
        Answer::Container(made) => made,
        Answer::Refused(reason) => return Err(DaemonError::Refused(reason)),
        Answer::Status(_) => return Err(DaemonError::Protocol),
    };
    let mut fds = fds.into_iter();
    let (Some(control), Some(pidfd)) = (fds.next(), fds.next()) else { return Err(DaemonError::Protocol) };
    let default_group = match (made.default_group, fds.next()) {
        (Some(path), Some(fd)) => Some(ProcessGroup::new(Directory::from_fd(fd, PathBuf::from(path)), None)),
        (None, None) => None,
        _ => return Err(DaemonError::Protocol),
    };
    let place = Place {
        ids: (made.uid, made.gid),
        cgroup: made.cgroup.into(),
        domain: made.domain.map(PathBuf::from),
        default_group,
    };
    Ok(Reply { connection, control, pidfd, place })
}

/// Asks the daemon at a path how it is.
pub(super) async fn query(path: &Path) -> Result<DaemonStatus, DaemonError> {
    match ask(open(path).await?, Request::Status).await?.1 {
        Answer::Status(status) => Ok(status),
        Answer::Refused(reason) => Err(DaemonError::Refused(reason)),
        Answer::Container(_) => Err(DaemonError::Protocol),
    }
}

async fn open(path: &Path) -> Result<OwnedFd, DaemonError> {
    let failed = |source: io::Error| DaemonError::Connect { path: path.to_owned(), source };
    let address = SocketAddrUnix::new(path).map_err(|errno| failed(errno.into()))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let attempt = || {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&socket, &address).map(|()| socket)
    };
    let mut pause = Duration::from_millis(1);
    loop {
        match attempt() {
            // Its queue is full.
            Err(Errno::AGAIN) if pause < Duration::from_secs(2) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return result.map_err(|errno| failed(errno.into())),
        }
    }
}

async fn ask(connection: OwnedFd, request: Request) -> Result<(OwnedFd, Answer, Vec<OwnedFd>), DaemonError> {
    let flags = rustix::fs::fcntl_getfl(&connection).map_err(|e| DaemonError::Connection(e.into()))?;
    rustix::fs::fcntl_setfl(&connection, flags | rustix::fs::OFlags::NONBLOCK)
        .map_err(|e| DaemonError::Connection(e.into()))?;
    let connection = watch::socket(connection, Interest::READABLE).map_err(DaemonError::Connection)?;
    let talk = async {
        match send(&connection, &request.encode(), SendFlags::NOSIGNAL) {
            // It may have said why before it hung up.
            Ok(_) | Err(Errno::PIPE) => {}
            Err(errno) => return Err(DaemonError::Connection(errno.into())),
        }
        let received = connection.async_io(Interest::READABLE, receive).await;
        received.map_err(DaemonError::Connection)
    };
    let (bytes, fds) = match timeout(PATIENCE, talk).await {
        Ok(received) => received?,
        Err(_) => return Err(DaemonError::Connection(io::ErrorKind::TimedOut.into())),
    };
    if bytes.is_empty() {
        return Err(DaemonError::Connection(io::ErrorKind::UnexpectedEof.into()));
    }
    let answer = Answer::decode(&bytes).ok_or(DaemonError::Protocol)?;
    Ok((AsyncFd::into_inner(connection), answer, fds))
}

fn receive(socket: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; MAX_ANSWER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let size = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?.bytes;
    bytes.truncate(size);
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok((bytes, fds.flatten().collect()))
}

/// An executor which is a daemon's child.
pub(crate) struct RemoteExecutor {
    connection: OwnedFd,
    pidfd: OwnedFd,
}

impl RemoteExecutor {
    pub(crate) fn new(connection: OwnedFd, pidfd: OwnedFd) -> Self {
        Self { connection, pidfd }
    }

    /// The descriptor that becomes readable when it is dead.
    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Makes the daemon kill it.
    pub(crate) fn kill(&self) {
        let _ = shutdown(&self.connection, Shutdown::Both);
    }
}

impl Drop for RemoteExecutor {
    fn drop(&mut self) {
        /// A daemon that works needs milliseconds. One that does not may be stopped.
        const SECONDS: i64 = 10;
        self.kill();
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let limit = Timespec { tv_sec: SECONDS, tv_nsec: 0 };
        let _ = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit)));
    }
}
