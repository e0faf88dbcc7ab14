//! `localhost`: HTTP requests to origins that the host names.

mod exchange;
mod protocol;

use crate::{Registry, Restored, Service, ServiceError, ServiceInstance, StreamEnd, Streams};
use exchange::{Client, Exchange, Transfer};
use futures_util::stream::{FuturesUnordered, StreamExt};
use gate_runtime::Packet;
use gate_wire::fields::{Fields, put_bytes};
use gate_wire::packet::{Domain, HEADER_SIZE, MAX_PACKET_SIZE};
use protocol::{Failure, Message};
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

pub use exchange::HttpOriginError;

/// Calls that are taken from the program before the first of them is answered.
const MAX_CALLS: usize = 16;

/// Streams that are open at a time.
const MAX_OPEN: usize = 64;

/// What requests of a program may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// How long a connection is waited for.
    pub connect_timeout: Duration,
    /// How long the answer's head is waited for, the time to send the request included; and how long each further part of its
    /// body.
    pub timeout: Duration,
    /// Size of a body on a stream, in either direction, in bytes.
    pub max_body: u64,
}

impl Default for HttpLimits {
    /// 5 seconds, 60 seconds, and 1 GiB.
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), timeout: Duration::from_secs(60), max_body: 1 << 30 }
    }
}

/// Makes HTTP requests to a few origins, which programs know by names.
///
/// # Suspension
///
/// A request by `GET` or `HEAD` without a stream is made again when the program goes on. Another one that was on its way is
/// answered by an error then: it may have been dealt with, or not. Streams end, with the note that something is missing.
#[derive(Clone, Debug)]
pub struct Localhost {
    client: Arc<Client>,
}

impl Localhost {
    /// Programs may make requests to these origins, by name: `http://127.0.0.1:8000`.
    pub fn new<'a>(
        origins: impl IntoIterator<Item = (&'a str, &'a str)>,
        limits: HttpLimits,
    ) -> Result<Self, HttpOriginError> {
        Ok(Self { client: Arc::new(Client::new(origins, limits)?) })
    }
}

impl Service for Localhost {
    fn name(&self) -> &str {
        "localhost"
    }

    fn create(
        &self,
        _: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        let mut instance = LocalhostInstance {
            client: Arc::clone(&self.client),
            streams: Streams::new(),
            open: BTreeMap::new(),
            calls: VecDeque::new(),
            next_call: 0,
            exchanges: FuturesUnordered::new(),
            transfers: FuturesUnordered::new(),
            waiting: None,
        };
        if let Some(state) = restored.filter(|state| !state.is_empty()) {
            let mut fields = Fields::new(state);
            let count = fields.u32()? as usize;
            if count > MAX_CALLS {
                return Err("there are too many calls".into());
            }
            for _ in 0..count {
                let kind = fields.u32()?;
                let content = fields.bytes()?;
                if content.len() > MAX_PACKET_SIZE - HEADER_SIZE {
                    return Err("a call is too long".into());
                }
                match kind {
                    ANSWERED => instance.push(Call::Answered(content.to_vec())),
                    AGAIN => instance.call(content.to_vec()),
                    _ => return Err("a call is of an unknown kind".into()),
                }
            }
            instance.streams = Streams::restore(&mut fields)?;
            fields.end()?;
            for id in instance.streams.ids() {
                instance.streams.attach(id).iter().for_each(StreamEnd::cut_output);
            }
        }
        Ok(Box::new(instance))
    }
}

/// In a state: a call with its answer.
const ANSWERED: u32 = 0;

/// In a state: a call that is to be made again.
const AGAIN: u32 = 1;

enum Call {
    /// Its request is on its way. The content, if it may be sent again.
    Begun(Option<Vec<u8>>),
    /// The answer is here.
    Answered(Vec<u8>),
}

type Work<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>;

struct LocalhostInstance {
    client: Arc<Client>,
    streams: Streams,
    /// Streams without a request.
    open: BTreeMap<i32, StreamEnd>,
    /// In the order in which they came, with numbers to find them by.
    calls: VecDeque<(u64, Call)>,
    next_call: u64,
    exchanges: Work<(u64, Vec<u8>, Option<Transfer>)>,
    /// Bodies of answers, on streams.
    transfers: Work<()>,
    /// Of whom wants to make another call.
    waiting: Option<task::Waker>,
}

impl LocalhostInstance {
    fn push(&mut self, call: Call) {
        self.calls.push_back((self.next_call, call));
        self.next_call += 1;
    }

    fn call(&mut self, content: Vec<u8>) {
        let call = match Message::decode(&content) {
            None => Call::Answered(Vec::new()),
            Some(Err(failure)) => Call::Answered(failure.reply()),
            Some(Ok(Message::Open)) => Call::Answered(self.open()),
            Some(Ok(Message::Request(request))) => {
                let end = match request.stream {
                    Some(id) => match self.open.remove(&id) {
                        Some(end) => Some(end),
                        None => return self.push(Call::Answered(Failure::NoStream.reply())),
                    },
                    None => None,
                };
                let again = end.is_none() && request.is_safe();
                match Exchange::new(&self.client, *request, end) {
                    Ok(exchange) => {
                        let number = self.next_call;
                        self.exchanges.push(Box::pin(async move {
                            let (reply, transfer) = exchange.run().await;
                            (number, reply, transfer)
                        }));
                        Call::Begun(again.then_some(content))
                    }
                    Err(failure) => Call::Answered(failure.reply()),
                }
            }
        };
        self.push(call);
    }

    /// Opens a stream, and returns the reply.
    fn open(&mut self) -> Vec<u8> {
        // Those that the program has closed already are in nobody's way.
        let ids = self.streams.ids();
        self.open.retain(|id, _| ids.binary_search(id).is_ok());
        match self.streams.open().filter(|_| ids.len() < MAX_OPEN) {
            Some((id, end)) => {
                self.open.insert(id, end);
                protocol::opened(id)
            }
            None => protocol::not_opened(),
        }
    }

    /// Lets requests make progress.
    fn poll_exchanges(&mut self, cx: &mut task::Context<'_>) {
        while let Poll::Ready(Some((number, reply, transfer))) = self.exchanges.poll_next_unpin(cx) {
            if let Some((_, call)) = self.calls.iter_mut().find(|(other, _)| *other == number) {
                *call = Call::Answered(reply);
            }
            if let Some(transfer) = transfer {
                self.transfers.push(Box::pin(transfer.run()));
            }
        }
        while let Poll::Ready(Some(())) = self.transfers.poll_next_unpin(cx) {}
    }
}

impl ServiceInstance for LocalhostInstance {
    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.calls.len() < MAX_CALLS {
            return Poll::Ready(());
        }
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn handle(&mut self, packet: Packet) -> Result<(), ServiceError> {
        if packet.domain == Domain::Call {
            self.call(packet.content);
            return Ok(());
        }
        self.streams.handle(packet)
    }

    fn poll_packet(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Packet, ServiceError>> {
        self.poll_exchanges(cx);
        for index in 0..self.calls.len() {
            if let Call::Answered(reply) = &mut self.calls[index].1 {
                let content = std::mem::take(reply);
                self.calls.remove(index);
                if let Some(waker) = self.waiting.take() {
                    waker.wake();
                }
                return Poll::Ready(Ok(Packet { domain: Domain::Call, index: index as u8, content }));
            }
        }
        self.streams.poll_packet(cx).map(Ok)
    }

    fn poll_finish(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        self.poll_exchanges(cx);
        // Nobody reads what is transferred now, but what was asked for is done.
        if self.exchanges.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn save(&self) -> Vec<u8> {
        let mut state = (self.calls.len() as u32).to_le_bytes().to_vec();
        let interrupted = Failure::Interrupted.reply();
        for (_, call) in &self.calls {
            let (kind, content) = match call {
                Call::Begun(Some(content)) => (AGAIN, content),
                Call::Begun(None) => (ANSWERED, &interrupted),
                Call::Answered(reply) => (ANSWERED, reply),
            };
            state.extend(kind.to_le_bytes());
            put_bytes(&mut state, content);
        }
        self.streams.save(&mut state);
        state
    }
}
