//! Services that answer calls.

use crate::{Context, Registry, Restored, Service, ServiceInstance};
use gate_runtime::{Packet, ServiceError};
use gate_wire::fields::{Fields, put_bytes};
use gate_wire::packet::{Domain, HEADER_SIZE, MAX_PACKET_SIZE};
use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker, ready};

/// Calls that are taken from the program before the first of them is answered.
const MAX_CALLS: usize = 8;

/// A service that answers calls, and does nothing else.
///
/// Calls of an instance are made one after the other; those of several ones at the same time.
///
/// # Suspension
///
/// The future of a call is dropped when the program is suspended, and the call is made again when it goes on, here or
/// elsewhere. So what cannot be undone has to happen in the poll that completes the future.
pub trait CallService: Send + Sync + 'static {
    /// See [`Service::name`].
    fn name(&self) -> &str;

    /// See [`Service::revision`].
    fn revision(&self) -> &str {
        "0"
    }

    /// See [`Service::is_discoverable`].
    fn is_discoverable(&self, _context: &Context) -> bool {
        true
    }

    /// Answers a call. An empty answer is what programs get for calls that a service does not know.
    fn call(
        &self,
        context: &Context,
        content: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, ServiceError>> + Send;
}

/// Makes a service of one that answers calls.
pub(crate) struct Calls<S>(Arc<S>);

impl<S: CallService> Calls<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(Arc::new(service))
    }
}

impl<S: CallService> Service for Calls<S> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn revision(&self) -> &str {
        self.0.revision()
    }

    fn is_discoverable(&self, context: &Context) -> bool {
        self.0.is_discoverable(context)
    }

    fn create(
        &self,
        registry: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        let calls = decode(restored.unwrap_or_default())?;
        let (service, context) = (Arc::clone(&self.0), Arc::new(registry.context().clone()));
        Ok(Box::new(CallInstance { service, context, calls, current: None, waiting: None }))
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, ServiceError>> + Send>>;

struct CallInstance<S> {
    service: Arc<S>,
    context: Arc<Context>,
    /// Not answered yet, the current one included.
    calls: VecDeque<Arc<[u8]>>,
    current: Option<Answer>,
    /// Of whom wants to make another one.
    waiting: Option<Waker>,
}

impl<S: CallService> ServiceInstance for CallInstance<S> {
    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.calls.len() < MAX_CALLS {
            return Poll::Ready(());
        }
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn handle(&mut self, packet: Packet) -> Result<(), ServiceError> {
        // Nothing else means anything to it.
        if packet.domain == Domain::Call {
            self.calls.push_back(packet.content.into());
        }
        Ok(())
    }

    fn poll_packet(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Packet, ServiceError>> {
        let Some(content) = self.calls.front() else { return Poll::Pending };
        let current = self.current.get_or_insert_with(|| {
            let (service, context) = (Arc::clone(&self.service), Arc::clone(&self.context));
            let content = Arc::clone(content);
            Box::pin(async move { service.call(&context, &content).await })
        });
        let answer = ready!(current.as_mut().poll(cx));
        self.current = None;
        self.calls.pop_front();
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
        Poll::Ready(answer.and_then(|content| match content.len() <= MAX_PACKET_SIZE - HEADER_SIZE {
            true => Ok(Packet::new(Domain::Call, content)),
            false => Err(ServiceError::fault(format!("an answer of {} bytes is too long", content.len()))),
        }))
    }

    fn save(&self) -> Vec<u8> {
        let mut state = Vec::new();
        for call in &self.calls {
            put_bytes(&mut state, call);
        }
        state
    }
}

/// The calls in a state: of each the size in four bytes, and the content.
fn decode(state: &[u8]) -> Result<VecDeque<Arc<[u8]>>, &'static str> {
    let mut fields = Fields::new(state);
    let mut calls = VecDeque::new();
    while !fields.is_empty() {
        let call = fields.bytes()?;
        if call.len() > MAX_PACKET_SIZE - HEADER_SIZE || calls.len() == MAX_CALLS {
            return Err("there are too many calls, or too long ones");
        }
        calls.push_back(call.into());
    }
    Ok(calls)
}
