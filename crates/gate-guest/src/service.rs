//! Services, whatever their protocols are.

use crate::future::poll_fn;
use crate::state::Reply;
use crate::stream::Stream;
use crate::{Error, Gate};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

/// A service that was discovered. Clones are the same.
#[derive(Clone)]
pub struct Service {
    gate: Gate,
    index: usize,
}

impl Service {
    pub(crate) fn new(gate: Gate, index: usize) -> Self {
        Self { gate, index }
    }

    /// Whether it is there. That can change when the program goes on at another place.
    pub fn is_available(&self) -> bool {
        self.gate.state.borrow().is_available(self.index)
    }

    /// Makes a call, and waits for the reply. Services answer a call that they do not know by an empty one.
    ///
    /// Several calls can wait at once. A call is made as soon as this is polled; dropped before the reply is there, it cannot be
    /// taken back, and the reply is forgotten.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; [`Error::TooLong`] if the content has more than 65,528 bytes.
    pub async fn call(&self, content: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.answered_call(content, |_| None).await?.0)
    }

    /// Like [`call`](Self::call), for one that opens a stream: `find` finds its id in the reply, if there is one.
    ///
    /// The stream exists from the time at which the reply comes. If nobody waits for that any more, it is closed.
    pub async fn open(
        &self,
        content: &[u8],
        find: fn(&[u8]) -> Option<i32>,
    ) -> Result<(Vec<u8>, Option<Stream>), Error> {
        let (reply, id) = self.answered_call(content, find).await?;
        Ok((reply, id.map(|id| Stream::new(&self.gate, (self.index, id)))))
    }

    async fn answered_call(
        &self,
        content: &[u8],
        find: fn(&[u8]) -> Option<i32>,
    ) -> Result<(Vec<u8>, Option<i32>), Error> {
        let state = &self.gate.state;
        let reply = poll_fn(|cx| state.borrow_mut().poll_call(cx, self.index, content, find)).await?;
        let pending = PendingCall { service: self, reply };
        Ok(poll_fn(|cx| pending.reply.borrow_mut().poll(cx)).await)
    }

    /// Sends a packet that there is no reply to.
    ///
    /// # Errors
    ///
    /// Like those of [`call`](Self::call).
    pub async fn send_info(&self, content: &[u8]) -> Result<(), Error> {
        poll_fn(|cx| self.gate.state.borrow_mut().poll_info(cx, self.index, content)).await
    }

    /// Waits for a packet that is not a reply. They are kept from the time at which this is polled first: the 16 last ones.
    pub async fn receive_info(&self) -> Vec<u8> {
        poll_fn(|cx| self.gate.state.borrow_mut().poll_received_info(cx, self.index)).await
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("index", &self.index)
            .field("available", &self.is_available())
            .finish_non_exhaustive()
    }
}

/// A call that has been sent.
struct PendingCall<'a> {
    service: &'a Service,
    reply: Rc<RefCell<Reply>>,
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        self.service.gate.state.borrow_mut().drop_reply(self.service.index, &self.reply);
    }
}
