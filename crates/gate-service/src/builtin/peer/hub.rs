//! Who can be found, and what connects whom.

use super::link::{LinkEnd, link};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Waker};

/// Greatest number of members of all groups.
const MAX_MEMBERS: usize = 16384;

/// Connections that wait until a program accepts them.
const BACKLOG: usize = 64;

/// Tells ends of links apart, also those of different hosts. Random.
pub(super) type LinkId = [u8; 16];

/// Where programs of a host find each other.
///
/// Clones are the same. Programs which are to find each other have registries with services of the same one.
#[derive(Clone, Debug, Default)]
pub struct PeerHub(Arc<Mutex<Members>>);

#[derive(Debug, Default)]
struct Members {
    /// By group and name.
    members: BTreeMap<(String, String), Member>,
    next_ticket: u64,
}

#[derive(Debug, Default)]
struct Member {
    /// Of the service instance that the place belongs to.
    ticket: u64,
    /// The program is suspended, and may go on.
    suspended: bool,
    backlog: VecDeque<Incoming>,
    links: BTreeMap<LinkId, LinkEnd>,
    /// Of whom waits for connections.
    waker: Option<Waker>,
}

impl Member {
    fn new(ticket: u64) -> Self {
        let mut member = Self::default();
        member.ticket = ticket;
        member
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.links.values().chain(self.backlog.iter().map(|incoming| &incoming.end)).for_each(LinkEnd::close);
    }
}

/// A connection that was not accepted yet.
#[derive(Debug)]
pub(super) struct Incoming {
    /// Name of the other one.
    pub(super) from: String,
    pub(super) id: LinkId,
    pub(super) end: LinkEnd,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectError {
    Absent,
    Busy,
}

impl PeerHub {
    /// A place where nobody is yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes leave of a program that is suspended, and will not go on here: those who are connected with it find their streams
    /// at their end.
    pub fn forget(&self, group: &str, name: &str) {
        let key = (group.to_owned(), name.to_owned());
        let mut members = self.lock();
        if members.members.get(&key).is_some_and(|member| member.suspended) {
            members.members.remove(&key);
        }
    }

    /// Takes a place. None if it is taken, or if there are too many. A program that goes on gets back what it has had.
    pub(super) fn join(&self, group: &str, name: &str, goes_on: bool) -> Option<Membership> {
        let key = (group.to_owned(), name.to_owned());
        let mut members = self.lock();
        let ticket = members.next_ticket;
        let count = members.members.len();
        match members.members.get_mut(&key) {
            Some(member) if !member.suspended => return None,
            Some(member) if goes_on => {
                member.suspended = false;
                member.ticket = ticket;
            }
            // Whoever was there does not come back.
            Some(member) => *member = Member::new(ticket),
            None if count >= MAX_MEMBERS => return None,
            None => drop(members.members.insert(key.clone(), Member::new(ticket))),
        }
        members.next_ticket += 1;
        drop(members);
        Some(Membership { hub: self.clone(), key, ticket })
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a hub. When it is dropped, it is free, unless the program is suspended.
#[derive(Debug)]
pub(super) struct Membership {
    hub: PeerHub,
    key: (String, String),
    ticket: u64,
}

impl Membership {
    /// Keeps the place for a program that is suspended, or does so no longer.
    pub(super) fn set_suspended(&self, suspended: bool) {
        self.with(|member| member.suspended = suspended);
    }

    /// Connects to another one.
    pub(super) fn connect(&self, name: &str, ids: [LinkId; 2]) -> Result<LinkEnd, ConnectError> {
        let mut members = self.hub.lock();
        let other = (self.key.0.clone(), name.to_owned());
        let member = members.members.get_mut(&other).ok_or(ConnectError::Absent)?;
        if member.backlog.len() >= BACKLOG {
            return Err(ConnectError::Busy);
        }
        let (end, far_end) = link();
        member.backlog.push_back(Incoming { from: self.key.1.clone(), id: ids[1], end: far_end });
        if let Some(waker) = member.waker.take() {
            waker.wake();
        }
        drop(members);
        if self.with(|member| member.links.insert(ids[0], end.clone())).is_none() {
            // The place is another one's by now.
            end.close();
        }
        Ok(end)
    }

    /// Waits for a connection.
    pub(super) fn poll_accept(&self, cx: &mut task::Context<'_>) -> Poll<Incoming> {
        let incoming = self.with(|member| {
            let incoming = member.backlog.pop_front();
            match &incoming {
                Some(Incoming { id, end, .. }) => drop(member.links.insert(*id, end.clone())),
                None => member.waker = Some(cx.waker().clone()),
            }
            incoming
        });
        incoming.flatten().map_or(Poll::Pending, Poll::Ready)
    }

    /// An end that belongs to the place.
    pub(super) fn link(&self, id: &LinkId) -> Option<LinkEnd> {
        self.with(|member| member.links.get(id).cloned()).flatten()
    }

    /// Closes ends that nobody needs.
    pub(super) fn retain(&self, ids: &BTreeSet<LinkId>) {
        self.with(|member| {
            member.links.retain(|id, end| {
                let needed = ids.contains(id);
                if !needed {
                    end.close();
                }
                needed
            });
        });
    }

    /// Lets everything that is to be written be written at once.
    pub(super) fn hurry(&self) {
        self.with(|member| member.links.values().for_each(LinkEnd::hurry));
    }

    /// Forgets an end that is at its end.
    pub(super) fn finish(&self, id: &LinkId) {
        self.with(|member| {
            if let Some(end) = member.links.remove(id) {
                end.close();
            }
        });
    }

    /// Some names of the group behind one, in their order, and whether there are more.
    pub(super) fn names(&self, after: &str, max_size: usize) -> (Vec<String>, bool) {
        let members = self.hub.lock();
        let begin = (self.key.0.clone(), after.to_owned());
        let all = members.members.range((Bound::Excluded(begin), Bound::Unbounded));
        let mut size = 0;
        let mut names = Vec::new();
        for (_, name) in all.map(|(key, _)| key).take_while(|(group, _)| *group == self.key.0) {
            size += 1 + name.len();
            if size > max_size {
                return (names, true);
            }
            names.push(name.clone());
        }
        (names, false)
    }

    /// None if the place belongs to another one by now.
    fn with<T>(&self, work: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let mut members = self.hub.lock();
        members.members.get_mut(&self.key).filter(|member| member.ticket == self.ticket).map(work)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut members = self.hub.lock();
        if members.members.get(&self.key).is_some_and(|m| m.ticket == self.ticket && !m.suspended) {
            members.members.remove(&self.key);
        }
    }
}
