//! Who may have containers.

use rustix::net::sockopt;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::BorrowedFd;

/// Which users a daemon serves, besides its own and the almighty one. The socket's permissions come before that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// These users.
    pub users: BTreeSet<u32>,
    /// Members of these groups.
    pub groups: BTreeSet<u32>,
    /// Everybody who can connect.
    pub everybody: bool,
}

/// Somebody who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    gid: u32,
    pub(super) pid: i32,
}

impl Peer {
    /// As whom the other end has connected.
    pub(super) fn of(socket: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let credentials = sockopt::socket_peercred(socket)?;
        Ok(Self {
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
            pid: credentials.pid.as_raw_nonzero().get(),
        })
    }

    /// Groups besides the first. Whoever has exited since has none; the number may be another's by now, but then that one can
    /// only be in groups which are allowed, and this one has no container.
    fn groups(&self) -> Vec<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
        groups.split_whitespace().filter_map(|group| group.parse().ok()).collect()
    }
}

impl Access {
    pub(super) fn admits(&self, peer: &Peer) -> bool {
        let own = rustix::process::geteuid().as_raw();
        self.everybody
            || peer.uid == 0
            || peer.uid == own
            || self.users.contains(&peer.uid)
            || self.groups.contains(&peer.gid)
            || (!self.groups.is_empty() && peer.groups().iter().any(|group| self.groups.contains(group)))
    }
}
