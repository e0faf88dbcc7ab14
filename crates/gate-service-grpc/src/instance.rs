//! A service as one program sees it.

use crate::link::{Link, LinkState};
use crate::opening::{OpenError, Opening, open};
use crate::proto::Start;
use crate::requests::Requests;
use crate::session::{Carrier, Over, Session, Sides};
use crate::state::{External, State};
use bytes::Bytes;
use futures_util::Stream;
use gate_service::{Context, Domain, Packet, Restored, ServiceError, ServiceInstance, Streams};
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};
use tokio_stream::wrappers::WatchStream;
use tracing::{debug, warn};

/// How long a session lasts whose end is not taken for one failure of many.
const STABLE: Duration = Duration::from_secs(10);

/// How it stands with the server.
enum Phase {
    /// There is no session, and can be one.
    Closed,
    /// There is no session for a while.
    Waiting(Pin<Box<Sleep>>),
    Opening(Opening),
    Open(Box<Session>),
}

pub(crate) struct GrpcInstance {
    link: Arc<Link>,
    /// What the server is told about the instance.
    start: Start,
    link_states: WatchStream<LinkState>,
    link_state: LinkState,
    requests: Requests,
    streams: Streams,
    carriers: BTreeMap<i32, Carrier>,
    /// For the program.
    infos: VecDeque<Bytes>,
    /// What the server has given, and gets in the next session.
    state: Option<Bytes>,
    phase: Phase,
    /// The last session was lost, or could not begin.
    failed: bool,
    /// How long to wait before the next session.
    backoff: Duration,
    /// How long the end of the program is kept waiting.
    finish: Option<Pin<Box<Sleep>>>,
}

impl GrpcInstance {
    pub(crate) fn new(
        link: Arc<Link>,
        context: &Context,
        restored: Restored<'_>,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let start = Start {
            service: link.name.clone(),
            principal: context.principal.clone().unwrap_or_default(),
            instance: context.instance.map(|id| Bytes::copy_from_slice(&id)).unwrap_or_default(),
            group: context.group.clone().unwrap_or_default(),
            name: context.name.clone().unwrap_or_default(),
            ..Start::default()
        };
        let mut states = link.watch();
        let link_state = states.borrow_and_update().clone();
        let mut instance = Self {
            start,
            link_states: WatchStream::from_changes(states),
            link_state,
            requests: Requests::default(),
            streams: Streams::new(),
            carriers: BTreeMap::new(),
            infos: VecDeque::new(),
            state: None,
            phase: Phase::Closed,
            failed: false,
            backoff: link.options.min_backoff,
            finish: None,
            link,
        };
        if let Some(state) = restored.filter(|state| !state.is_empty()) {
            instance.restore(State::decode(state, instance.link.options.max_state)?);
        }
        Ok(instance)
    }

    fn restore(&mut self, state: State) {
        (self.requests, self.infos, self.streams) = (state.requests, state.infos, state.streams);
        let attach = |&id: &i32| Some((id, Carrier::new(self.streams.attach(id)?)));
        self.carriers = self.streams.ids().iter().filter_map(attach).collect();
        match state.external {
            External::None => {}
            External::State(bytes) => self.state = Some(bytes),
            External::Lost => self.lose(),
        }
    }

    /// What the server knew of the program is lost.
    fn lose(&mut self) {
        self.state = None;
        self.requests.fail();
        for (_, carrier) in std::mem::take(&mut self.carriers) {
            carrier.end.cut_output();
        }
    }

    /// There is no server. What waits for a state to be of use goes on waiting.
    fn refuse(&mut self) {
        if self.state.is_none() {
            self.requests.fail();
        }
    }

    fn wait(&mut self) {
        self.phase = Phase::Waiting(Box::pin(sleep(self.backoff)));
        self.backoff = (self.backoff * 2).min(self.link.options.max_backoff);
    }

    fn is_available(&self) -> bool {
        match self.link_state {
            LinkState::Unknown | LinkState::Up { serving: true, .. } => !self.failed,
            LinkState::Up { serving: false, .. } | LinkState::Down(_) => false,
        }
    }

    /// Whether there is somebody who deals with requests, or will be.
    fn is_served(&self) -> bool {
        matches!(self.phase, Phase::Open(_)) || self.state.is_some() || self.is_available()
    }

    /// Makes as much progress as can be.
    fn drive(&mut self, cx: &mut task::Context<'_>) {
        loop {
            while let Poll::Ready(Some(state)) = Pin::new(&mut self.link_states).poll_next(cx) {
                self.link_state = state;
            }
            match &mut self.phase {
                Phase::Waiting(sleep) => match sleep.as_mut().poll(cx) {
                    Poll::Ready(()) => self.phase = Phase::Closed,
                    Poll::Pending => return,
                },
                Phase::Closed => match &self.link_state {
                    LinkState::Up { channel, serving: true } => {
                        let channel = channel.clone();
                        self.phase = Phase::Opening(self.open(channel));
                    }
                    LinkState::Up { serving: false, .. } | LinkState::Down(_) => return self.refuse(),
                    LinkState::Unknown => return,
                },
                Phase::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(session)) => self.opened(session),
                    Poll::Ready(Err(error)) => self.not_opened(error),
                },
                Phase::Open(_) => match self.poll_open(cx) {
                    Poll::Pending => return,
                    Poll::Ready(over) => self.over(over),
                },
            }
        }
    }

    fn open(&self, channel: tonic::transport::Channel) -> Opening {
        let (streams, next_stream) = (self.carriers.keys().copied().collect(), self.streams.next_id());
        let start = Start { streams, next_stream, ..self.start.clone() };
        open(channel, start, self.state.clone(), self.link.options.open_timeout)
    }

    fn opened(&mut self, session: Session) {
        self.state = None;
        self.failed = false;
        self.requests.rewind();
        self.carriers.values_mut().for_each(Carrier::rewind);
        self.phase = Phase::Open(Box::new(session));
    }

    fn not_opened(&mut self, error: OpenError) {
        let name = &self.link.name;
        match error {
            OpenError::Refused(reason) => {
                warn!(service = name, "the server does not take a state back: {reason}");
                self.lose();
            }
            OpenError::Failed(reason) => {
                if self.failed {
                    debug!(service = name, "a session does not begin: {reason}");
                } else {
                    warn!(service = name, "a session does not begin: {reason}");
                }
                self.refuse();
            }
        }
        self.failed = true;
        self.link.doubt();
        self.wait();
    }

    fn poll_open(&mut self, cx: &mut task::Context<'_>) -> Poll<Over> {
        let Phase::Open(session) = &mut self.phase else { return Poll::Pending };
        let mut sides = Sides {
            requests: &mut self.requests,
            streams: &self.streams,
            carriers: &mut self.carriers,
            infos: &mut self.infos,
            max_state: self.link.options.max_state,
            suspend_timeout: self.link.options.suspend_timeout,
        };
        session.poll(cx, &mut sides)
    }

    /// The session is over.
    fn over(&mut self, over: Over) {
        if let Phase::Open(session) = &self.phase
            && session.began.elapsed() >= STABLE
        {
            self.backoff = self.link.options.min_backoff;
        }
        let name = &self.link.name;
        match over {
            Over::Suspended(state) => {
                debug!(service = name, size = state.len(), "the server has given its state");
                self.state = Some(state);
            }
            Over::Finished => {}
            Over::Lost(reason) => {
                warn!(service = name, "a session is lost: {reason}");
                self.lose();
                self.link.doubt();
            }
        }
        self.failed = true;
        self.wait();
    }
}

impl ServiceInstance for GrpcInstance {
    fn poll_available(&mut self, cx: &mut task::Context<'_>) -> bool {
        while let Poll::Ready(Some(state)) = Pin::new(&mut self.link_states).poll_next(cx) {
            self.link_state = state;
            // There may be more to do about it.
            cx.waker().wake_by_ref();
        }
        self.is_available()
    }

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        self.requests.poll_ready(cx)
    }

    fn handle(&mut self, packet: Packet) -> Result<(), ServiceError> {
        match packet.domain {
            Domain::Call if self.is_served() => self.requests.call(packet.content.into()),
            Domain::Call => self.requests.call_in_vain(),
            Domain::Info if self.is_served() => self.requests.info(packet.content.into()),
            Domain::Info => {}
            Domain::Flow | Domain::Data => self.streams.handle(packet)?,
        }
        Ok(())
    }

    fn poll_packet(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Packet, ServiceError>> {
        self.drive(cx);
        if let Some(reply) = self.requests.take_reply() {
            return Poll::Ready(Ok(reply));
        }
        if let Some(content) = self.infos.pop_front() {
            return Poll::Ready(Ok(Packet::new(Domain::Info, content.into())));
        }
        // The program knows of the streams now.
        self.streams.poll_packet(cx).map(Ok)
    }

    fn poll_finish(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let limit = self.link.options.finish_timeout;
        if self.finish.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Nobody wants to know any more.
        self.infos.clear();
        self.drive(cx);
        let all_sent = !self.requests.has_unsent() && !self.streams.has_input();
        let in_vain = !self.is_available();
        match &mut self.phase {
            Phase::Open(session) => {
                if all_sent {
                    session.close();
                    self.drive(cx);
                }
                if matches!(self.phase, Phase::Open(_)) { Poll::Pending } else { Poll::Ready(()) }
            }
            _ if all_sent || in_vain => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    fn poll_suspend(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), ServiceError>> {
        let limit = self.link.options.suspend_timeout;
        match &mut self.phase {
            Phase::Open(session) => {
                session.suspend(limit);
                let over = task::ready!(self.poll_open(cx));
                self.over(over);
                (self.failed, self.backoff) = (false, self.link.options.min_backoff);
            }
            // The server has only heard of it, if that.
            Phase::Opening(_) | Phase::Closed | Phase::Waiting(_) => {}
        }
        self.phase = Phase::Closed;
        Poll::Ready(Ok(()))
    }

    fn save(&self) -> Vec<u8> {
        let external = match (&self.phase, &self.state) {
            // Nobody has asked it.
            (Phase::Open(_), _) => External::Lost,
            (_, Some(state)) => External::State(state.clone()),
            (_, None) => External::None,
        };
        crate::state::encode(&external, &self.requests, &self.infos, &self.streams)
    }
}
