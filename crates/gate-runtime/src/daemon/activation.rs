//! Sockets that a service manager hands over.

use super::DaemonError;
use rustix::net::{SocketType, sockopt};
use std::env;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};

/// Where such sockets begin.
const FIRST: RawFd = 3;

/// The listening socket that the service manager has opened for this process, if it has. Gives it once.
pub(super) fn listening_socket() -> Result<Option<OwnedFd>, DaemonError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let number = |name| env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        None | Some(0) => return Ok(None),
        Some(1) => {}
        Some(_) => return Err(DaemonError::Activation("is not the only one")),
    }
    // SAFETY: the service manager has opened it for this process, which has not taken it before.
    let socket = unsafe { OwnedFd::from_raw_fd(FIRST) };
    let flags = rustix::io::fcntl_getfd(&socket).map_err(|_| DaemonError::Activation("is not there"))?;
    rustix::io::fcntl_setfd(&socket, flags | rustix::io::FdFlags::CLOEXEC)
        .map_err(|_| DaemonError::Activation("cannot be kept from children"))?;
    match (sockopt::socket_type(&socket), sockopt::socket_acceptconn(&socket)) {
        (Ok(SocketType::SEQPACKET), Ok(true)) => Ok(Some(socket)),
        (Ok(SocketType::SEQPACKET), _) => Err(DaemonError::Activation("does not listen")),
        _ => Err(DaemonError::Activation("does not keep message boundaries (ListenSequentialPacket=)")),
    }
}

/// Tells the service manager that the daemon is ready, if it wants to know.
pub(super) fn notify_ready() {
    let Some(name) = env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty()) else { return };
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    // Nobody is worse off if it cannot be told but the manager, which logs it.
    let _ = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address));
}
