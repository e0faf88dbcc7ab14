//! What is known about services and streams, and how packets change it.

mod bytes;
mod stream;
mod timers;
mod waiters;

pub(crate) use timers::TimerId;
pub(crate) use waiters::Waiters;

use crate::packet::{
    Domain, Fields, Header, CODE_SERVICES, MAX_CALLS, MAX_CONTENT_SIZE, MAX_NAME_SIZE, MAX_SERVICES,
    SERVICE_AVAILABLE,
};
use crate::{sys, Error};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::{Input, Output};
use core::cell::RefCell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use stream::{wake, StreamState};
use timers::Timers;

/// Packets of a service that were not asked for, and are kept until somebody wants them.
const MAX_INFOS: usize = 16;

/// A future of which nobody waits for the result.
pub(crate) type Spawned = Pin<Box<dyn Future<Output = ()>>>;

/// Everything that the futures of a program share.
pub(crate) struct State {
    input: Input,
    output: Output,
    /// In the order of discovery.
    services: Vec<ServiceState>,
    /// Indexes of services that have been asked for, and not been answered.
    discoveries: VecDeque<usize>,
    /// Streams that have something to tell.
    news: VecDeque<(usize, i32)>,
    /// Who waits for room in the output.
    senders: Vec<Waker>,
    pub(crate) timers: Timers,
    /// Tasks that the executor has not seen yet.
    pub(crate) spawned: Vec<Spawned>,
    /// A transfer has taken place.
    started: bool,
    resumptions: u64,
    /// Who waits for a resumption.
    pub(crate) resumed: Waiters,
}

struct ServiceState {
    name: String,
    presence: Presence,
    /// Who waits until it is known.
    waiting: Vec<Waker>,
    /// Not answered, in the order in which they were sent.
    calls: VecDeque<Rc<RefCell<Reply>>>,
    /// Who waits for another call to be answered, because there are too many.
    callers: Vec<Waker>,
    streams: BTreeMap<i32, StreamState>,
    infos: VecDeque<Vec<u8>>,
    /// Somebody has asked for infos.
    wants_infos: bool,
    info_waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Unknown,
    Known {
        available: bool,
    },
    /// There are too many services already.
    Refused,
}

/// What becomes of a call.
pub(crate) struct Reply {
    progress: Progress,
    /// Finds the stream which the reply opens, if it does.
    opens: fn(&[u8]) -> Option<i32>,
}

#[derive(Debug)]
enum Progress {
    Waiting(Option<Waker>),
    Answered {
        content: Vec<u8>,
        stream: Option<i32>,
    },
    /// Nobody waits for the reply any more.
    Dropped,
}

/// Identifies a stream: index of its service, and its id.
pub(crate) type StreamKey = (usize, i32);

impl State {
    pub(crate) fn new() -> Self {
        Self {
            input: Input::new(),
            output: Output::default(),
            services: Vec::new(),
            discoveries: VecDeque::new(),
            news: VecDeque::new(),
            senders: Vec::new(),
            timers: Timers::default(),
            spawned: Vec::new(),
            started: false,
            resumptions: 0,
            resumed: Waiters::default(),
        }
    }

    /// Sends and receives, and wakes those for whom that changes something. If nothing can be transferred, waits until that
    /// changes or somebody's time has come; but only if `wait`.
    pub(crate) fn transfer(&mut self, wait: bool) {
        self.tell_news();
        let timeout = match wait {
            true => self.timers.left(sys::monotonic_time),
            false => Some(Duration::from_nanos(0)),
        };
        let transfer = sys::io(self.input.room(), self.output.slices(), timeout);
        self.input.received(transfer.received);
        self.output.sent(transfer.sent);
        if transfer.started && core::mem::replace(&mut self.started, true) {
            self.resumptions += 1;
            self.resumed.wake();
        }
        self.started = true;
        let mut input = core::mem::replace(&mut self.input, Input::none());
        input.take_packets(|header, content| {
            // What is not understood is from a newer host, or means nothing to this program.
            let _ = self.receive(header, content);
        });
        self.input = input;
        if self.output.has_room() {
            wake_all(&mut self.senders);
        }
        self.timers.wake(sys::monotonic_time);
    }

    /// Sends what is left, and takes no notice of what is received.
    pub(crate) fn finish(&mut self) {
        while !self.news.is_empty() || !self.output.is_empty() {
            self.transfer(true);
        }
    }

    fn tell_news(&mut self) {
        while self.output.has_room() {
            let (service, id) = match self.news.pop_front() {
                Some(key) => key,
                None => return,
            };
            let available = self.is_available(service);
            let streams = &mut self.services[service].streams;
            if let Some(stream) = streams.get_mut(&id) {
                stream.listed = false;
                if !available {
                    // It will be listed again when the service is there.
                    continue;
                }
                stream.tell(&mut self.output, service as i16, id);
                if stream.is_over() {
                    streams.remove(&id);
                }
            }
        }
    }

    fn receive(&mut self, header: Header, content: &[u8]) -> Option<()> {
        let domain = header.domain?;
        if header.code == CODE_SERVICES {
            return self.services_changed(domain, content);
        }
        let index = usize::try_from(header.code).ok()?;
        let service = self.services.get_mut(index)?;
        match domain {
            Domain::Call => {
                let reply = service.calls.remove(header.index.into())?;
                wake_all(&mut service.callers);
                let stream = (reply.borrow().opens)(content);
                if let Some(id) = stream {
                    service.streams.insert(id, StreamState::new());
                }
                if !reply.borrow_mut().answer(content, stream) {
                    self.close_stream(index, stream);
                }
            }
            Domain::Info => {
                if service.wants_infos {
                    if service.infos.len() == MAX_INFOS {
                        service.infos.pop_front();
                    }
                    service.infos.push_back(content.to_vec());
                    wake(&mut service.info_waker);
                }
            }
            Domain::Flow => {
                let mut fields = Fields(content);
                while let (Some(id), Some(value)) = (fields.i32(), fields.i32()) {
                    if let Some(stream) = service.streams.get_mut(&id) {
                        stream.flow(value);
                    }
                }
            }
            Domain::Data => {
                let mut fields = Fields(content);
                let (id, note) = (fields.i32()?, fields.i32()?);
                service.streams.get_mut(&id)?.data(note, fields.0);
            }
        }
        Some(())
    }

    /// A reply to a discovery, or news about which services there are.
    fn services_changed(&mut self, domain: Domain, content: &[u8]) -> Option<()> {
        let mut fields = Fields(content);
        let count = usize::from(fields.u16()?);
        let states = fields.bytes(count)?;
        for (index, (service, state)) in self.services.iter_mut().zip(states).enumerate() {
            let presence = Presence::Known { available: state & SERVICE_AVAILABLE != 0 };
            if core::mem::replace(&mut service.presence, presence) == presence {
                continue;
            }
            wake_all(&mut service.waiting);
            for (&id, stream) in &mut service.streams {
                // Who waits to write is to learn that there is nobody, if so.
                stream.wake_writer();
                if stream.has_news() && !core::mem::replace(&mut stream.listed, true) {
                    self.news.push_back((index, id));
                }
            }
        }
        if domain == Domain::Call {
            let asked = self.discoveries.pop_front()?;
            if asked >= count {
                let service = self.services.get_mut(asked)?;
                service.presence = Presence::Refused;
                wake_all(&mut service.waiting);
            }
        }
        Some(())
    }

    /// Index of a service, which is asked for if it is not known.
    pub(crate) fn poll_service(&mut self, cx: &mut Context<'_>, name: &str) -> Poll<Result<usize, Error>> {
        let index = match self.services.iter().position(|service| service.name == name) {
            Some(index) => index,
            None => {
                if !(1..=MAX_NAME_SIZE).contains(&name.len()) {
                    return Poll::Ready(Err(Error::Name));
                }
                if self.services.len() == MAX_SERVICES {
                    return Poll::Ready(Err(Error::TooManyServices));
                }
                if self.poll_room(cx).is_pending() {
                    return Poll::Pending;
                }
                let count = 1u16.to_le_bytes();
                let content = [&count, &[name.len() as u8][..], name.as_bytes()];
                self.output.push(CODE_SERVICES, Domain::Call, &content);
                self.discoveries.push_back(self.services.len());
                self.services.push(ServiceState::new(name));
                self.services.len() - 1
            }
        };
        let service = &mut self.services[index];
        Poll::Ready(match service.presence {
            Presence::Known { available: true } => Ok(index),
            Presence::Known { available: false } => Err(Error::Unavailable),
            Presence::Refused => Err(Error::TooManyServices),
            Presence::Unknown => {
                add_waker(&mut service.waiting, cx);
                return Poll::Pending;
            }
        })
    }

    /// Whether a service can be told something.
    pub(crate) fn is_available(&self, service: usize) -> bool {
        self.services[service].presence == Presence::Known { available: true }
    }

    /// Sends a packet that no reply comes to.
    pub(crate) fn poll_info(
        &mut self,
        cx: &mut Context<'_>,
        service: usize,
        content: &[u8],
    ) -> Poll<Result<(), Error>> {
        if content.len() > MAX_CONTENT_SIZE {
            return Poll::Ready(Err(Error::TooLong));
        }
        if !self.is_available(service) {
            return Poll::Ready(Err(Error::Unavailable));
        }
        self.poll_room(cx).map(|()| {
            self.output.push(service as i16, Domain::Info, &[content]);
            Ok(())
        })
    }

    /// The next packet that was not asked for.
    pub(crate) fn poll_received_info(&mut self, cx: &mut Context<'_>, service: usize) -> Poll<Vec<u8>> {
        let service = &mut self.services[service];
        service.wants_infos = true;
        match service.infos.pop_front() {
            Some(content) => Poll::Ready(content),
            None => {
                service.info_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Sends a call. The reply is given to what is returned.
    pub(crate) fn poll_call(
        &mut self,
        cx: &mut Context<'_>,
        service: usize,
        content: &[u8],
        opens: fn(&[u8]) -> Option<i32>,
    ) -> Poll<Result<Rc<RefCell<Reply>>, Error>> {
        if content.len() > MAX_CONTENT_SIZE {
            return Poll::Ready(Err(Error::TooLong));
        }
        if !self.is_available(service) {
            return Poll::Ready(Err(Error::Unavailable));
        }
        if self.services[service].calls.len() == MAX_CALLS {
            add_waker(&mut self.services[service].callers, cx);
            return Poll::Pending;
        }
        self.poll_room(cx).map(|()| {
            self.output.push(service as i16, Domain::Call, &[content]);
            let reply = Rc::new(RefCell::new(Reply { progress: Progress::Waiting(None), opens }));
            self.services[service].calls.push_back(Rc::clone(&reply));
            Ok(reply)
        })
    }

    /// Nobody waits for a reply any more.
    pub(crate) fn drop_reply(&mut self, service: usize, reply: &RefCell<Reply>) {
        let progress = core::mem::replace(&mut reply.borrow_mut().progress, Progress::Dropped);
        if let Progress::Answered { stream, .. } = progress {
            self.close_stream(service, stream);
        }
    }

    fn close_stream(&mut self, service: usize, stream: Option<i32>) {
        if let Some(id) = stream {
            self.with_stream((service, id), |stream| {
                stream.close_reading();
                stream.close_writing();
            });
        }
    }

    /// Does something with a stream, about which there may be something to tell afterwards. None if it is not there any more.
    pub(crate) fn with_stream<T>(
        &mut self,
        key: StreamKey,
        f: impl FnOnce(&mut StreamState) -> T,
    ) -> Option<T> {
        let stream = self.services.get_mut(key.0)?.streams.get_mut(&key.1)?;
        let result = f(stream);
        if stream.has_news() && !core::mem::replace(&mut stream.listed, true) {
            self.news.push_back(key);
        }
        Some(result)
    }

    /// Sends as much as the other side of a stream wants, and returns how much that is.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        key: StreamKey,
        data: &[u8],
    ) -> Poll<Result<usize, Error>> {
        if !self.is_available(key.0) {
            return Poll::Ready(Err(Error::Unavailable));
        }
        let limit = match self.with_stream(key, |stream| stream.poll_writable(cx)) {
            Some(Poll::Ready(Ok(limit))) => limit,
            Some(other) => return other,
            None => return Poll::Ready(Err(Error::Closed)),
        };
        self.poll_room(cx).map(|()| {
            let data = &data[..data.len().min(limit)];
            if !data.is_empty() {
                let head = crate::packet::pair(key.1, 0);
                self.output.push(key.0 as i16, Domain::Data, &[&head, data]);
                self.with_stream(key, |stream| stream.wrote(data.len()));
            }
            Ok(data.len())
        })
    }

    pub(crate) fn resumptions(&self) -> u64 {
        self.resumptions
    }

    /// Waits until another packet can be sent.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.output.has_room() {
            return Poll::Ready(());
        }
        add_waker(&mut self.senders, cx);
        Poll::Pending
    }
}

impl ServiceState {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            presence: Presence::Unknown,
            waiting: Vec::new(),
            calls: VecDeque::new(),
            callers: Vec::new(),
            streams: BTreeMap::new(),
            infos: VecDeque::new(),
            wants_infos: false,
            info_waker: None,
        }
    }
}

impl Reply {
    /// Keeps a reply. Returns whether anybody waits for it.
    fn answer(&mut self, content: &[u8], stream: Option<i32>) -> bool {
        if let Progress::Waiting(waker) = &mut self.progress {
            wake(waker);
            self.progress = Progress::Answered { content: content.to_vec(), stream };
            return true;
        }
        false
    }

    /// The reply, and the stream that it opens.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Vec<u8>, Option<i32>)> {
        match core::mem::replace(&mut self.progress, Progress::Dropped) {
            Progress::Answered { content, stream } => Poll::Ready((content, stream)),
            _ => {
                self.progress = Progress::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// Has a task woken, once.
fn add_waker(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

fn wake_all(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(Waker::wake);
}
