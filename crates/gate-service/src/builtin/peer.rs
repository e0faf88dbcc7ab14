//! `peer`: streams to other programs of the same group.

mod hub;
mod link;

use super::pump;
use crate::{
    Context, MAX_STREAMS, Registry, Restored, Service, ServiceError, ServiceInstance, StreamEnd, Streams,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use gate_runtime::Packet;
use gate_wire::fields::{Fields, put_bytes};
use gate_wire::packet::{Domain, HEADER_SIZE, MAX_NAME_SIZE, MAX_PACKET_SIZE};
use hub::{ConnectError, LinkId, Membership};
use link::LinkEnd;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::pin::Pin;
use std::task::{self, Poll};

pub use hub::PeerHub;

/// Calls that are taken from the program before the first of them is answered.
const MAX_CALLS: usize = 64;

/// Size of what every reply begins with.
const REPLY_HEADER: usize = 8;

const ACCEPT: u8 = 0;
const CONNECT: u8 = 1;
const LIST: u8 = 2;

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// There is nobody of that name.
    Absent = 1,
    /// This program has too many streams.
    TooMany = 2,
    /// The other one has too many connections that it has not accepted.
    Busy = 3,
    /// This program is not in the group.
    Outside = 4,
}

impl Refusal {
    fn reply(self) -> Vec<u8> {
        head(self as i32, -1)
    }
}

fn head(error: i32, value: i32) -> Vec<u8> {
    [error.to_le_bytes(), value.to_le_bytes()].concat()
}

/// Connects programs of the same [`Context::group`], which find each other by [`Context::name`].
///
/// # Suspension
///
/// A program that is suspended keeps its place in the hub. When it goes on there, under the same name, all its streams do.
#[derive(Clone, Debug)]
pub struct Peer {
    hub: PeerHub,
}

impl Peer {
    /// Finds the programs that are in the same hub.
    pub fn new(hub: &PeerHub) -> Self {
        Self { hub: hub.clone() }
    }
}

/// Group and name, if a program has both.
fn place(context: &Context) -> Option<(&str, &str)> {
    let sized = |text: &&str| (1..=MAX_NAME_SIZE).contains(&text.len());
    context.group.as_deref().filter(sized).zip(context.name.as_deref().filter(sized))
}

impl Service for Peer {
    fn name(&self) -> &str {
        "peer"
    }

    fn is_discoverable(&self, context: &Context) -> bool {
        place(context).is_some()
    }

    fn create(
        &self,
        registry: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        let (group, name) = place(registry.context()).ok_or("the program has no place in a group")?;
        let state = restored.filter(|state| !state.is_empty()).map(State::decode).transpose()?;
        let mut instance = PeerInstance {
            membership: self.hub.join(group, name, state.is_some()),
            suspended: Cell::new(false),
            finished: false,
            streams: Streams::new(),
            links: BTreeMap::new(),
            calls: VecDeque::new(),
            pumps: FuturesUnordered::new(),
            waiting: None,
        };
        if let Some(state) = state {
            instance.resume(state);
        }
        Ok(Box::new(instance))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// Waits for a connection.
    Accept,
    Answered(Vec<u8>),
}

struct PeerInstance {
    /// None if another one has the place.
    membership: Option<Membership>,
    /// The place is kept for later.
    suspended: Cell<bool>,
    /// The program has ended.
    finished: bool,
    streams: Streams,
    /// By the streams that are attached to them.
    links: BTreeMap<i32, LinkId>,
    /// In the order in which they came.
    calls: VecDeque<Call>,
    /// What carries bytes between streams and links. It stands still while the program is suspended.
    pumps: FuturesUnordered<Pin<Box<dyn Future<Output = i32> + Send>>>,
    /// Of whom wants to make another call.
    waiting: Option<task::Waker>,
}

impl PeerInstance {
    fn resume(&mut self, state: State) {
        self.calls = state.calls;
        self.streams = state.streams;
        for id in self.streams.ids() {
            let Some(end) = self.streams.attach(id) else { continue };
            let link =
                state.links.get(&id).and_then(|link| Some((link, self.membership.as_ref()?.link(link)?)));
            match link {
                Some((link, link_end)) => self.attach(id, end, *link, link_end),
                // The other one is elsewhere, or has been connected to a copy.
                None => end.cut_output(),
            }
        }
        if let Some(membership) = &self.membership {
            membership.retain(&self.links.values().copied().collect());
        }
    }

    fn attach(&mut self, id: i32, end: StreamEnd, link: LinkId, link_end: LinkEnd) {
        self.links.insert(id, link);
        self.pumps.push(Box::pin(async move {
            carry(end, link_end).await;
            id
        }));
    }

    /// The place, of which is known from now on that the program runs.
    fn running(&self) -> Option<&Membership> {
        let membership = self.membership.as_ref()?;
        if self.suspended.replace(false) {
            membership.set_suspended(false);
        }
        Some(membership)
    }

    fn connect(&mut self, name: &str) -> Result<Vec<u8>, Result<Refusal, ServiceError>> {
        let membership = self.running().ok_or(Ok(Refusal::Outside))?;
        if self.links.len() >= MAX_STREAMS {
            return Err(Ok(Refusal::TooMany));
        }
        let mut ids = [LinkId::default(); 2];
        // So few bytes come all at once.
        rustix::rand::getrandom(ids.as_flattened_mut(), rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Err(ServiceError::fault(std::io::Error::from(errno))))?;
        let link_end = membership.connect(name, ids).map_err(|error| {
            Ok(match error {
                ConnectError::Absent => Refusal::Absent,
                ConnectError::Busy => Refusal::Busy,
            })
        })?;
        let Some((id, end)) = self.streams.open() else {
            membership.finish(&ids[0]);
            return Err(Ok(Refusal::TooMany));
        };
        self.attach(id, end, ids[0], link_end);
        Ok(head(0, id))
    }

    fn list(&self, after: &str) -> Vec<u8> {
        let Some(membership) = self.running() else { return Refusal::Outside.reply() };
        let (names, more) = membership.names(after, MAX_PACKET_SIZE - HEADER_SIZE - REPLY_HEADER);
        let mut reply = head(0, more.into());
        for name in names {
            reply.push(name.len() as u8);
            reply.extend(name.as_bytes());
        }
        reply
    }

    /// The reply to a call.
    fn poll_call(&mut self, cx: &mut task::Context<'_>) -> Option<Packet> {
        let position = |calls: &VecDeque<Call>, accept| {
            calls.iter().position(|call| matches!(call, Call::Accept) == accept)
        };
        if let Some(index) = position(&self.calls, false)
            && let Some(Call::Answered(content)) = self.calls.remove(index)
        {
            return Some(self.answer(index, content));
        }
        let index = position(&self.calls, true)?;
        let reply = match &self.membership {
            None => Refusal::Outside.reply(),
            Some(membership) => {
                let Poll::Ready(incoming) = membership.poll_accept(cx) else { return None };
                match self.streams.open() {
                    Some((id, end)) => {
                        self.attach(id, end, incoming.id, incoming.end);
                        [&head(0, id)[..], incoming.from.as_bytes()].concat()
                    }
                    None => {
                        membership.finish(&incoming.id);
                        Refusal::TooMany.reply()
                    }
                }
            }
        };
        self.calls.remove(index);
        Some(self.answer(index, reply))
    }

    fn answer(&mut self, index: usize, content: Vec<u8>) -> Packet {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
        Packet { domain: Domain::Call, index: index as u8, content }
    }

    /// Carries bytes as long as there are any to carry.
    fn poll_pumps(&mut self, cx: &mut task::Context<'_>) {
        while let Poll::Ready(Some(id)) = self.pumps.poll_next_unpin(cx) {
            if let (Some(link), Some(membership)) = (self.links.remove(&id), &self.membership) {
                membership.finish(&link);
            }
        }
    }
}

/// Carries bytes until both directions are at their end.
async fn carry(end: StreamEnd, link: LinkEnd) {
    let mut reader = link.reader();
    let towards_program = async {
        match pump::towards_program(&end, &mut reader).await {
            true => end.end_output(),
            false => end.cut_output(),
        }
        reader.close();
    };
    tokio::join!(towards_program, pump::from_program(&end, link.writer()));
}

impl ServiceInstance for PeerInstance {
    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.calls.len() < MAX_CALLS {
            return Poll::Ready(());
        }
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn handle(&mut self, packet: Packet) -> Result<(), ServiceError> {
        if packet.domain != Domain::Call {
            return self.streams.handle(packet);
        }
        let reply = match packet.content.split_first() {
            Some((&ACCEPT, [])) => {
                self.calls.push_back(Call::Accept);
                return Ok(());
            }
            Some((&CONNECT, name)) => match std::str::from_utf8(name).map(|name| self.connect(name)) {
                Ok(Ok(reply)) => reply,
                Ok(Err(refusal)) => refusal?.reply(),
                Err(_) => Refusal::Absent.reply(),
            },
            Some((&LIST, after)) => std::str::from_utf8(after).map_or(Vec::new(), |after| self.list(after)),
            _ => Vec::new(),
        };
        self.calls.push_back(Call::Answered(reply));
        Ok(())
    }

    fn poll_packet(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Packet, ServiceError>> {
        self.running();
        if let Some(packet) = self.poll_call(cx) {
            return Poll::Ready(Ok(packet));
        }
        self.poll_pumps(cx);
        self.streams.poll_packet(cx).map(Ok)
    }

    fn poll_finish(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        self.finished = true;
        if let Some(membership) = self.running() {
            // The others take it when they like: they may be suspended.
            membership.hurry();
        }
        self.poll_pumps(cx);
        match self.pumps.is_empty() || !self.streams.has_input() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn save(&self) -> Vec<u8> {
        if let Some(membership) = self.membership.as_ref().filter(|_| !self.finished) {
            self.suspended.set(true);
            membership.set_suspended(true);
        }
        let mut state = (self.calls.len() as u32).to_le_bytes().to_vec();
        for call in &self.calls {
            let (kind, reply) = match call {
                Call::Accept => (0u32, &[][..]),
                Call::Answered(reply) => (1, &reply[..]),
            };
            state.extend(kind.to_le_bytes());
            put_bytes(&mut state, reply);
        }
        state.extend((self.links.len() as u32).to_le_bytes());
        for (id, link) in &self.links {
            state.extend(id.to_le_bytes());
            put_bytes(&mut state, link);
        }
        self.streams.save(&mut state);
        state
    }
}

/// What comes with a program that goes on.
struct State {
    calls: VecDeque<Call>,
    links: BTreeMap<i32, LinkId>,
    streams: Streams,
}

impl State {
    fn decode(state: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut fields = Fields::new(state);
        let count = fields.u32()? as usize;
        if count > MAX_CALLS {
            return Err("there are too many calls".into());
        }
        let mut calls = VecDeque::new();
        for _ in 0..count {
            let (kind, reply) = (fields.u32()?, fields.bytes()?);
            if reply.len() > MAX_PACKET_SIZE - HEADER_SIZE {
                return Err("a reply is too long".into());
            }
            calls.push_back(if kind == 0 { Call::Accept } else { Call::Answered(reply.to_vec()) });
        }
        let count = fields.u32()? as usize;
        let (mut links, mut used) = (BTreeMap::new(), BTreeSet::new());
        for _ in 0..count {
            let id = fields.u32()?.cast_signed();
            let link = LinkId::try_from(fields.bytes()?)?;
            if links.insert(id, link).is_some() || !used.insert(link) {
                return Err("two streams have the same link".into());
            }
        }
        let streams = Streams::restore(&mut fields)?;
        fields.end()?;
        Ok(Self { calls, links, streams })
    }
}
