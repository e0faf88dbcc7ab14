//! A daemon which makes containers for others, so that they need no privileges.
//!
//! It listens on a Unix socket. Each connection is for one container, and lasts as long as that: the client asks, and gets
//! the control socket of an executor, after which the daemon only waits for the end of either. Programs have nothing to do
//! with it.

mod activation;
mod client;
mod peer;
mod privileges;
mod protocol;
mod server;

pub(crate) use client::{RemoteExecutor, Reply, request, request_on};
pub use peer::Access;
pub use server::{Daemon, DaemonConfig};

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a daemon listens, if nothing else is said.
pub const DAEMON_SOCKET: &str = "/run/gate/runtime.sock";

/// Why there is no daemon, or it does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// There is no daemon there.
    #[error("connect to the daemon at {path:?}: {source}")]
    Connect {
        /// Socket of the daemon.
        path: PathBuf,
        /// Why it cannot be reached.
        source: io::Error,
    },
    /// The connection has failed.
    #[error("talk to the daemon: {0}")]
    Connection(#[source] io::Error),
    /// The daemon says no.
    #[error("the daemon refuses: {0}")]
    Refused(String),
    /// It is something else, or another version of it.
    #[error("the daemon does not speak this version's language")]
    Protocol,
    /// The daemon cannot listen.
    #[error("listen on {path:?}: {source}")]
    Listen {
        /// Where it should.
        path: PathBuf,
        /// Why it cannot.
        source: io::Error,
    },
    /// The socket that was handed over is of no use.
    #[error("the socket which was handed over (LISTEN_FDS) {0}")]
    Activation(&'static str),
    /// Privileges could not be dropped.
    #[error("drop privileges: {action}: {source}")]
    Privileges {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// What a daemon says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// For how long it has been running.
    pub uptime: Duration,
    /// Containers that exist now.
    pub containers: u64,
    /// Containers that may exist at once.
    pub max_containers: u64,
    /// Containers that it has made.
    pub made: u64,
    /// Containers that it could not make.
    pub failed: u64,
    /// Requests that it did not accept.
    pub refused: u64,
}

impl DaemonStatus {
    /// Asks a daemon.
    pub async fn query(socket: &Path) -> Result<Self, DaemonError> {
        client::query(socket).await
    }
}
