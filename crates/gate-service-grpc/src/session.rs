//! Messages of a session, both ways.

use crate::link::told;
use crate::outbox::Outbox;
use crate::proto::host_message::Kind;
use crate::proto::service_message::Kind as ServiceKind;
use crate::proto::{Close, Data, End, Flow, ServiceMessage, Suspend};
use crate::requests::Requests;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use gate_service::{StreamEnd, Streams};
use gate_wire::packet::{HEADER_SIZE, MAX_PACKET_SIZE};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Streaming;

/// Greatest number of streams at a time.
pub(crate) const MAX_STREAMS: usize = 256;

/// Infos for the program that are kept while the server is listened to.
const MAX_INFOS: usize = 8;

/// Infos that a server sends before it has suspended an instance.
pub(crate) const MAX_LAST_INFOS: usize = 64;

/// Messages that are received at a time: others want to do something, too.
const TURN: usize = 64;

/// How much more the server may send on a stream at a time, in bytes.
const GRANT: usize = 64 << 10;

/// Most that the server may send on a stream before the program has taken it, in bytes.
const MAX_GRANTED: usize = 3 * GRANT;

/// Most that is sent on a stream at a time, in bytes.
const PIECE: usize = 64 << 10;

/// Largest content of a packet, in bytes.
const MAX_CONTENT: usize = MAX_PACKET_SIZE - HEADER_SIZE;

/// The host's end of a stream, and how it stands with the server.
#[derive(Debug)]
pub(crate) struct Carrier {
    pub(crate) end: StreamEnd,
    /// How much the server wants, in bytes.
    wanted: u32,
    /// How much it may send, in bytes.
    granted: usize,
    /// It has been told that the program sends nothing more, or does not want to know.
    input_over: bool,
    /// It sends nothing more, or has been told that nothing is wanted.
    output_over: bool,
}

impl Carrier {
    /// A stream of which the server knows.
    pub(crate) fn new(end: StreamEnd) -> Self {
        Self { end, wanted: 0, granted: 0, input_over: false, output_over: false }
    }

    /// There is another session.
    pub(crate) fn rewind(&mut self) {
        (self.wanted, self.granted, self.input_over, self.output_over) = (0, 0, false, false);
    }
}

/// What an instance has besides its session.
pub(crate) struct Sides<'a> {
    pub(crate) requests: &'a mut Requests,
    pub(crate) streams: &'a Streams,
    pub(crate) carriers: &'a mut BTreeMap<i32, Carrier>,
    /// For the program.
    pub(crate) infos: &'a mut VecDeque<Bytes>,
    pub(crate) max_state: usize,
    pub(crate) suspend_timeout: Duration,
}

/// How a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The server has given its state.
    Suspended(Bytes),
    /// The program has ended before.
    Finished,
    /// For a reason that is the server's.
    Lost(String),
}

/// A session that has begun.
#[derive(Debug)]
pub(crate) struct Session {
    outbox: Outbox,
    incoming: Streaming<ServiceMessage>,
    /// Nothing more is sent.
    closed: bool,
    suspension: Option<Suspension>,
    pub(crate) began: Instant,
}

#[derive(Debug)]
struct Suspension {
    limit: Pin<Box<Sleep>>,
    /// Size of the state.
    size: Option<usize>,
    state: BytesMut,
}

impl Session {
    pub(crate) fn new(outbox: Outbox, incoming: Streaming<ServiceMessage>) -> Self {
        Self { outbox, incoming, closed: false, suspension: None, began: Instant::now() }
    }

    /// Asks the server for its state.
    pub(crate) fn suspend(&mut self, limit: Duration) {
        if self.suspension.is_none() {
            self.outbox.push(Kind::Suspend(Suspend {}), 0);
            self.outbox.close();
            let limit = Box::pin(sleep(limit));
            self.suspension = Some(Suspension { limit, size: None, state: BytesMut::new() });
        }
    }

    /// Tells the server that the program has ended.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.outbox.close();
    }

    /// Receives and sends what can be, until the session is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, sides: &mut Sides<'_>) -> Poll<Over> {
        if let Poll::Ready(over) = self.poll_incoming(cx, sides) {
            return Poll::Ready(over);
        }
        match &mut self.suspension {
            Some(suspension) => suspension
                .limit
                .as_mut()
                .poll(cx)
                .map(|()| Over::Lost("it has not given its state in time".into())),
            None => {
                if !self.closed {
                    self.send(cx, sides);
                }
                Poll::Pending
            }
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>, sides: &mut Sides<'_>) -> Poll<Over> {
        for _ in 0..TURN {
            let suspending = self.suspension.is_some();
            // What is received can lead to something that is to be sent.
            if !suspending && (sides.infos.len() >= MAX_INFOS || !self.outbox.has_room(cx)) {
                return Poll::Pending;
            }
            let lost = match Pin::new(&mut self.incoming).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => match self.receive(message, sides) {
                    Ok(None) => continue,
                    Ok(Some(state)) => return Poll::Ready(Over::Suspended(state)),
                    Err(fault) => fault,
                },
                Poll::Ready(Some(Err(status))) => told(&status),
                Poll::Ready(None) if self.closed => return Poll::Ready(Over::Finished),
                Poll::Ready(None) => "it has ended the session".into(),
            };
            return Poll::Ready(Over::Lost(lost));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes a message. Returns the state when it is complete.
    fn receive(&mut self, message: ServiceMessage, sides: &mut Sides<'_>) -> Result<Option<Bytes>, String> {
        // Of a kind that is not known yet.
        let Some(kind) = message.kind else { return Ok(None) };
        if let Some(suspension) = self.suspension.as_mut().filter(|suspension| suspension.size.is_some()) {
            let ServiceKind::State(part) = kind else { return Err("something comes amid a state".into()) };
            return suspension.add(&part.bytes);
        }
        match kind {
            ServiceKind::Reply(reply) => {
                check_content(&reply.content)?;
                if !sides.requests.answer(reply.number, reply.content) {
                    return Err(format!("there is no call {}", reply.number));
                }
                open_all(sides, &reply.opens)?;
            }
            ServiceKind::Info(info) => {
                check_content(&info.content)?;
                if sides.infos.len() >= MAX_LAST_INFOS {
                    return Err("there are too many infos".into());
                }
                sides.infos.push_back(info.content);
                open_all(sides, &info.opens)?;
            }
            ServiceKind::Flow(flow) => {
                if let Some(carrier) = find(sides, flow.stream)? {
                    let wanted = carrier.wanted.checked_add(flow.more).filter(|&sum| sum <= i32::MAX as u32);
                    carrier.wanted =
                        wanted.ok_or_else(|| format!("too much is wanted on stream {}", flow.stream))?;
                }
            }
            ServiceKind::Close(close) => {
                if let Some(carrier) = find(sides, close.stream)? {
                    carrier.end.close_input();
                    carrier.input_over = true;
                }
            }
            ServiceKind::Data(data) => {
                if let Some(carrier) = find(sides, data.stream)? {
                    let granted = carrier.granted.checked_sub(data.bytes.len());
                    carrier.granted = granted
                        .ok_or_else(|| format!("more than is wanted comes on stream {}", data.stream))?;
                    // There is room, or the program does not want it any more.
                    carrier.end.write_now(&data.bytes);
                }
            }
            ServiceKind::End(end) => {
                if let Some(carrier) = find(sides, end.stream)? {
                    match end.cut {
                        true => carrier.end.cut_output(),
                        false => carrier.end.end_output(),
                    }
                    (carrier.output_over, carrier.granted) = (true, 0);
                }
            }
            ServiceKind::Leave(_) => self.suspend(sides.suspend_timeout),
            ServiceKind::Suspended(suspended) => {
                let Some(suspension) = &mut self.suspension else {
                    return Err("it gives a state that nobody has asked for".into());
                };
                let size = usize::try_from(suspended.state_size).ok().filter(|&size| size <= sides.max_state);
                suspension.size = Some(
                    size.ok_or_else(|| format!("a state of {} bytes is too large", suspended.state_size))?,
                );
                return suspension.add(&[]);
            }
            ServiceKind::Ready(_) | ServiceKind::State(_) => {
                return Err("it sends Ready or State without reason".into());
            }
        }
        Ok(None)
    }

    fn send(&mut self, cx: &mut Context<'_>, sides: &mut Sides<'_>) {
        while self.outbox.has_room(cx) {
            let Some((kind, size)) = sides.requests.next() else { break };
            self.outbox.push(kind, size);
        }
        let outbox = &self.outbox;
        sides.carriers.retain(|&id, carrier| {
            carrier.towards_server(cx, id, outbox);
            carrier.towards_program(cx, id, outbox);
            !carrier.input_over || !carrier.output_over
        });
    }
}

impl Suspension {
    /// Appends to the state, and returns it when it is complete.
    fn add(&mut self, part: &[u8]) -> Result<Option<Bytes>, String> {
        let size = self.size.unwrap_or_default();
        if part.len() > size - self.state.len() {
            return Err("its state is longer than it says".into());
        }
        self.state.extend_from_slice(part);
        Ok((self.state.len() == size).then(|| std::mem::take(&mut self.state).freeze()))
    }
}

impl Carrier {
    /// Sends what the program has sent, as much as the server wants.
    fn towards_server(&mut self, cx: &mut Context<'_>, stream: i32, outbox: &Outbox) {
        while !self.input_over && outbox.has_room(cx) {
            let Poll::Ready(chunk) = self.end.poll_chunk(cx) else { return };
            if chunk.is_empty() {
                self.input_over = true;
                outbox.push(Kind::End(End { stream, cut: false }), 0);
                return;
            }
            let size = chunk.len().min(self.wanted as usize).min(PIECE);
            if size == 0 {
                return;
            }
            self.wanted -= size as u32;
            self.end.consume(size);
            outbox.push(Kind::Data(Data { stream, bytes: chunk.slice(..size) }), size);
        }
    }

    /// Lets the server send as much as there is room for.
    fn towards_program(&mut self, cx: &mut Context<'_>, stream: i32, outbox: &Outbox) {
        while !self.output_over && outbox.has_room(cx) {
            match self.end.poll_room(cx, self.granted + GRANT) {
                Poll::Pending => return,
                Poll::Ready(true) if self.granted >= MAX_GRANTED => return,
                Poll::Ready(true) => {
                    self.granted += GRANT;
                    outbox.push(Kind::Flow(Flow { stream, more: GRANT as u32 }), 0);
                }
                Poll::Ready(false) => {
                    self.output_over = true;
                    outbox.push(Kind::Close(Close { stream }), 0);
                }
            }
        }
    }
}

/// A stream, or none if it is over: what the server says about it may have been on its way.
fn find<'a>(sides: &'a mut Sides<'_>, id: i32) -> Result<Option<&'a mut Carrier>, String> {
    if !(0..sides.streams.next_id()).contains(&id) {
        return Err(format!("there is no stream {id}"));
    }
    Ok(sides.carriers.get_mut(&id))
}

/// Adds streams. The program gets what tells it of them before their first packets.
fn open_all(sides: &mut Sides<'_>, ids: &[i32]) -> Result<(), String> {
    for &id in ids {
        let end = sides.streams.open_as(id).filter(|_| sides.carriers.len() < MAX_STREAMS);
        let end = end.ok_or_else(|| format!("stream {id} cannot be opened"))?;
        sides.carriers.insert(id, Carrier::new(end));
    }
    Ok(())
}

fn check_content(content: &Bytes) -> Result<(), String> {
    match content.len() {
        0..=MAX_CONTENT => Ok(()),
        size => Err(format!("a content of {size} bytes is too long")),
    }
}
