//! Streams of bytes with flow control.
//!
//! Each direction of a stream carries only as much as its receiver has asked for. What was sent and not yet taken, and what is
//! asked for and not yet sent, is part of the state: a stream outlasts the suspension of its program, and a move to
//! another host.

mod end;
mod state;
mod stream;

pub use end::StreamEnd;

use gate_runtime::{Packet, ServiceError};
use gate_wire::packet::{Data, Domain, Flow};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use stream::Stream;

/// Greatest number of streams at a time.
pub const MAX_STREAMS: usize = 1024;

/// A service instance's streams, by id.
#[derive(Debug, Default)]
pub struct Streams {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    streams: BTreeMap<i32, Stream>,
    /// Ids below were in use.
    next_id: i32,
    /// After this stream it is the next one's turn to send.
    last_turn: i32,
    /// Of whom waits for packets.
    waker: Option<Waker>,
}

impl Streams {
    /// No streams.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a stream. `None` if there are too many.
    pub fn open(&self) -> Option<(i32, StreamEnd)> {
        let id = self.next_id();
        Some((id, self.open_as(id)?))
    }

    /// Opens a stream with an id of the caller's choice. `None` if there are too many, or if the id is not greater than all that
    /// were in use.
    pub fn open_as(&self, id: i32) -> Option<StreamEnd> {
        let mut shared = self.lock();
        if shared.streams.len() >= MAX_STREAMS || id < shared.next_id {
            return None;
        }
        shared.next_id = id.checked_add(1)?;
        shared.streams.insert(id, Stream::default());
        shared.wake();
        drop(shared);
        Some(StreamEnd::new(&self.shared, id))
    }

    /// Least id that no stream has had.
    pub fn next_id(&self) -> i32 {
        self.lock().next_id
    }

    /// Ids of all streams, ascending.
    pub fn ids(&self) -> Vec<i32> {
        self.lock().streams.keys().copied().collect()
    }

    /// The host's end of a stream that has come with a program. There must be only one end at a time.
    pub fn attach(&self, id: i32) -> Option<StreamEnd> {
        self.lock().streams.contains_key(&id).then(|| StreamEnd::new(&self.shared, id))
    }

    /// Whether the program has sent something that nobody has taken yet.
    pub fn has_input(&self) -> bool {
        self.lock().streams.values().any(|stream| stream.input.len() > 0)
    }

    /// Takes a flow packet or a data packet from the program. Others are ignored.
    pub fn handle(&self, packet: Packet) -> Result<(), ServiceError> {
        let violation = |error: &dyn std::fmt::Display| ServiceError::violation(error.to_string());
        let mut shared = self.lock();
        match packet.domain {
            Domain::Flow => {
                for Flow { id, value } in Flow::decode_all(&packet.content).map_err(|e| violation(&e))? {
                    if let Some(stream) = shared.find(id)? {
                        stream.allow(id, value)?;
                        shared.collect(id);
                    }
                }
                shared.wake();
            }
            Domain::Data => {
                let Data { id, .. } = Data::decode(&packet.content).map_err(|e| violation(&e))?;
                if let Some(stream) = shared.find(id)? {
                    stream.receive(id, packet.content)?;
                    shared.collect(id);
                }
            }
            Domain::Call | Domain::Info => {}
        }
        Ok(())
    }

    /// Waits for a flow packet or a data packet for the program.
    pub fn poll_packet(&self, cx: &mut Context<'_>) -> Poll<Packet> {
        let mut shared = self.lock();
        let last = shared.last_turn;
        let ids = shared.streams.range(last.saturating_add(1)..).chain(shared.streams.range(..=last));
        let ready = ids.into_iter().find(|(_, stream)| stream.has_packet()).map(|(&id, _)| id);
        if let Some(id) = ready
            && let Some(packet) = shared.streams.get_mut(&id).and_then(|stream| stream.packet(id))
        {
            shared.last_turn = id;
            shared.collect(id);
            return Poll::Ready(packet);
        }
        shared.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Shared {
    /// A stream, or none if it has ended: what the program says about it may have been on its way.
    fn find(&mut self, id: i32) -> Result<Option<&mut Stream>, ServiceError> {
        if !(0..self.next_id).contains(&id) {
            return Err(ServiceError::violation(format!("there is no stream {id}")));
        }
        Ok(self.streams.get_mut(&id))
    }

    /// A stream, if the host can still write to it.
    fn writable(&mut self, id: i32) -> Option<&mut Stream> {
        self.streams.get_mut(&id).filter(|stream| !stream.output_closed && !stream.output_ended)
    }

    /// Forgets a stream that has ended in both directions.
    fn collect(&mut self, id: i32) {
        if self.streams.get(&id).is_some_and(Stream::is_over) {
            self.streams.remove(&id);
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
