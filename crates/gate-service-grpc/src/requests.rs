//! What a program wants of a server.

use crate::proto::host_message::Kind;
use crate::proto::{Call, Info};
use bytes::Bytes;
use gate_service::{Domain, Packet};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// Calls and infos that are taken from the program before the first of them is dealt with.
pub(crate) const MAX_REQUESTS: usize = 64;

/// One call, or one info.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A call that the server has not answered.
    Open { number: u64, content: Bytes, sent: bool },
    /// A call with its reply.
    Answered { reply: Bytes },
    /// An info that has not been sent.
    Info { content: Bytes },
}

/// In the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) queue: VecDeque<Request>,
    /// Number of the next call.
    pub(crate) next_number: u64,
    /// Of whom wants to add another one.
    waiting: Option<Waker>,
}

impl Requests {
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.queue.len() < MAX_REQUESTS {
            return Poll::Ready(());
        }
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn call(&mut self, content: Bytes) {
        let number = self.next_number;
        self.next_number += 1;
        self.queue.push_back(Request::Open { number, content, sent: false });
    }

    /// A call to nobody.
    pub(crate) fn call_in_vain(&mut self) {
        self.queue.push_back(Request::Answered { reply: Bytes::new() });
    }

    pub(crate) fn info(&mut self, content: Bytes) {
        self.queue.push_back(Request::Info { content });
    }

    /// The next message to send, and the size of its content.
    pub(crate) fn next(&mut self) -> Option<(Kind, usize)> {
        let index = self.queue.iter().position(Request::is_unsent)?;
        if let Request::Open { number, content, sent } = &mut self.queue[index] {
            *sent = true;
            return Some((Kind::Call(Call { number: *number, content: content.clone() }), content.len()));
        }
        let Some(Request::Info { content }) = self.queue.remove(index) else { return None };
        self.freed();
        let size = content.len();
        Some((Kind::Info(Info { content, opens: Vec::new() }), size))
    }

    /// Answers a call that was sent. `false` if there is none with this number.
    pub(crate) fn answer(&mut self, number: u64, reply: Bytes) -> bool {
        let call = self
            .queue
            .iter_mut()
            .find(|request| matches!(request, Request::Open { number: n, sent: true, .. } if *n == number));
        let Some(call) = call else { return false };
        *call = Request::Answered { reply };
        true
    }

    /// A reply for the program.
    pub(crate) fn take_reply(&mut self) -> Option<Packet> {
        let index = self.queue.iter().position(|request| matches!(request, Request::Answered { .. }))?;
        let calls_before = self.queue.range(..index).filter(|request| request.is_call()).count();
        let Some(Request::Answered { reply }) = self.queue.remove(index) else { return None };
        self.freed();
        Some(Packet { domain: Domain::Call, index: calls_before as u8, content: reply.into() })
    }

    /// Calls without a reply are to be sent again: there is another session.
    pub(crate) fn rewind(&mut self) {
        for request in &mut self.queue {
            if let Request::Open { sent, .. } = request {
                *sent = false;
            }
        }
    }

    /// Nobody answers.
    pub(crate) fn fail(&mut self) {
        self.queue.retain(Request::is_call);
        for request in &mut self.queue {
            if let Request::Open { .. } = request {
                *request = Request::Answered { reply: Bytes::new() };
            }
        }
        self.freed();
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.queue.iter().any(Request::is_unsent)
    }

    fn freed(&mut self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl Request {
    fn is_unsent(&self) -> bool {
        matches!(self, Self::Open { sent: false, .. } | Self::Info { .. })
    }

    fn is_call(&self) -> bool {
        !matches!(self, Self::Info { .. })
    }
}
