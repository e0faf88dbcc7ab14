//! `origin`: streams to whoever is attached to an instance.

use super::pump;
use crate::{Registry, Restored, Service, ServiceError, ServiceInstance, StreamEnd, Streams};
use futures_util::stream::{FuturesUnordered, StreamExt};
use gate_runtime::Packet;
use gate_wire::fields::Fields;
use gate_wire::packet::Domain;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Calls that are taken from the program before the first of them is answered.
const MAX_CALLS: usize = 64;

/// Connections that wait until the program accepts them.
const BACKLOG: usize = 64;

/// In the reply to a call: there is a new stream.
const ACCEPTED: i32 = 0;

/// In the reply to a call: nobody can connect any more.
const NOBODY: i32 = 1;

/// In the reply to a call: there are too many streams.
const TOO_MANY: i32 = 2;

/// What is attached to a stream.
pub struct Connection {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Connection {
    /// Attaches what the program is to receive, and where what it sends is to go.
    ///
    /// Nothing is read before there is room for it, and nothing is taken from the program before it has been written: what is
    /// on its way when the program is suspended goes along with it.
    pub fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self { reader: Box::new(reader), writer: Box::new(writer) }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Connects to an instance by its [`Origin`].
#[derive(Clone, Debug)]
pub struct Connector(mpsc::Sender<Connection>);

impl Connector {
    /// Waits for a place in the queue of connections that the program has not accepted yet. Gives the connection back if the
    /// service is gone.
    pub async fn connect(&self, connection: Connection) -> Result<(), Connection> {
        self.0.send(connection).await.map_err(|error| error.0)
    }
}

/// What becomes of streams that a program brings along when it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reattach {
    /// They end: whoever was there is elsewhere.
    #[default]
    End,
    /// They get the next connections, in the order in which they were opened.
    Next,
}

/// Streams of one instance.
#[derive(Debug)]
pub struct Origin {
    incoming: Arc<Mutex<mpsc::Receiver<Connection>>>,
    reattach: Reattach,
}

impl Origin {
    /// Makes the service, and that by which others connect. When all of the latter are gone, the program is told that there
    /// is nothing more to accept.
    pub fn new(reattach: Reattach) -> (Self, Connector) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self { incoming: Arc::new(Mutex::new(receiver)), reattach }, Connector(sender))
    }
}

impl Service for Origin {
    fn name(&self) -> &str {
        "origin"
    }

    fn create(
        &self,
        _: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        let mut instance = OriginInstance {
            incoming: Arc::clone(&self.incoming),
            streams: Streams::new(),
            calls: VecDeque::new(),
            orphans: VecDeque::new(),
            pumps: FuturesUnordered::new(),
            waiting: None,
        };
        if let Some(state) = restored.filter(|state| !state.is_empty()) {
            let mut fields = Fields::new(state);
            let count = fields.u32()? as usize;
            if count > MAX_CALLS {
                return Err("there are too many calls".into());
            }
            for _ in 0..count {
                instance.calls.push_back(if fields.u32()? == 0 { Call::Accept } else { Call::Unknown });
            }
            instance.streams = Streams::restore(&mut fields)?;
            fields.end()?;
            instance.orphans = instance.streams.ids().into();
            if self.reattach == Reattach::End {
                // Their ends are dropped at once.
                instance.orphans.drain(..).for_each(|id| drop(instance.streams.attach(id)));
            }
        }
        Ok(Box::new(instance))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Waits for a connection.
    Accept,
    /// Gets an empty reply.
    Unknown,
}

struct OriginInstance {
    incoming: Arc<Mutex<mpsc::Receiver<Connection>>>,
    streams: Streams,
    /// In the order in which they came.
    calls: VecDeque<Call>,
    /// Streams that wait for someone who is attached to them again.
    orphans: VecDeque<i32>,
    /// What carries bytes between streams and connections. It stands still while the program is suspended.
    pumps: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Of whom wants to make another call.
    waiting: Option<task::Waker>,
}

impl OriginInstance {
    fn poll_incoming(&self, cx: &mut task::Context<'_>) -> Poll<Option<Connection>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(cx)
    }

    fn attach(&mut self, end: StreamEnd, connection: Connection) {
        self.pumps.push(Box::pin(carry(end, connection)));
    }

    /// Carries bytes as long as there are any to carry.
    fn poll_pumps(&mut self, cx: &mut task::Context<'_>) {
        while let Poll::Ready(Some(())) = self.pumps.poll_next_unpin(cx) {}
    }

    fn poll_orphans(&mut self, cx: &mut task::Context<'_>) {
        while let Some(&id) = self.orphans.front() {
            let Poll::Ready(connection) = self.poll_incoming(cx) else { return };
            self.orphans.pop_front();
            // If nobody comes, the stream ends with what is dropped here.
            if let (Some(end), Some(connection)) = (self.streams.attach(id), connection) {
                self.attach(end, connection);
            }
        }
    }

    /// The reply to a call.
    fn poll_call(&mut self, cx: &mut task::Context<'_>) -> Poll<Packet> {
        if let Some(index) = self.calls.iter().position(|&call| call == Call::Unknown) {
            self.answered(index);
            return Poll::Ready(Packet { domain: Domain::Call, index: index as u8, content: Vec::new() });
        }
        if self.calls.is_empty() || !self.orphans.is_empty() {
            return Poll::Pending;
        }
        let (id, error) = match ready!(self.poll_incoming(cx)) {
            Some(connection) => match self.streams.open() {
                Some((id, end)) => {
                    self.attach(end, connection);
                    (id, ACCEPTED)
                }
                None => (-1, TOO_MANY),
            },
            None => (-1, NOBODY),
        };
        self.answered(0);
        Poll::Ready(Packet::new(Domain::Call, [id.to_le_bytes(), error.to_le_bytes()].concat()))
    }

    fn answered(&mut self, index: usize) {
        self.calls.remove(index);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

/// Carries bytes until both directions are at their end.
async fn carry(end: StreamEnd, connection: Connection) {
    let Connection { mut reader, writer } = connection;
    let towards_program = async {
        // An error is an end: the protocol has no other.
        pump::towards_program(&end, &mut reader).await;
        end.end_output();
    };
    tokio::join!(towards_program, pump::from_program(&end, writer));
}

impl ServiceInstance for OriginInstance {
    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.calls.len() < MAX_CALLS {
            return Poll::Ready(());
        }
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn handle(&mut self, packet: Packet) -> Result<(), ServiceError> {
        if packet.domain == Domain::Call {
            let call = if packet.content.is_empty() { Call::Accept } else { Call::Unknown };
            self.calls.push_back(call);
            return Ok(());
        }
        self.streams.handle(packet)
    }

    fn poll_packet(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Packet, ServiceError>> {
        self.poll_orphans(cx);
        if let Poll::Ready(packet) = self.poll_call(cx) {
            return Poll::Ready(Ok(packet));
        }
        self.poll_pumps(cx);
        self.streams.poll_packet(cx).map(Ok)
    }

    fn poll_finish(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        self.poll_orphans(cx);
        self.poll_pumps(cx);
        // Without a pump nothing would ever be taken.
        match self.pumps.is_empty() || !self.streams.has_input() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn save(&self) -> Vec<u8> {
        let mut state = (self.calls.len() as u32).to_le_bytes().to_vec();
        for &call in &self.calls {
            state.extend(u32::from(call == Call::Unknown).to_le_bytes());
        }
        self.streams.save(&mut state);
        state
    }
}
