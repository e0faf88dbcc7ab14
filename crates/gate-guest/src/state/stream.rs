//! One stream, as both its halves and the packets see it.

use crate::packet::{pair, Domain, DATA_HEADER_SIZE, MAX_DATA_SIZE};
use crate::state::bytes::Output;
use crate::Error;
use alloc::collections::VecDeque;
use core::task::{Context, Poll, Waker};

/// How much a stream may hold for its reader, unless something else is said, in bytes.
pub(crate) const WINDOW: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct StreamState {
    /// Received and not read.
    buffer: VecDeque<u8>,
    /// How much the buffer may hold.
    window: usize,
    /// How much may still come.
    granted: usize,
    /// How much more may come, which has not been told.
    grant: usize,
    /// The other side has sent its end.
    ended: bool,
    /// What came with the end.
    end_note: i32,
    reading: Half,
    reader: Option<Waker>,
    /// How much may still be sent.
    credit: usize,
    /// The other side wants nothing more.
    unwanted: bool,
    /// The last note about what is sent.
    flow_note: i32,
    writing: Half,
    writer: Option<Waker>,
    /// It is in the list of streams that have something to tell.
    pub(crate) listed: bool,
}

/// The program's side of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Open,
    /// The program is done with it.
    Closing,
    /// The other side has been told that.
    Closed,
}

impl StreamState {
    pub(crate) fn new() -> Self {
        Self {
            buffer: VecDeque::new(),
            window: WINDOW,
            granted: 0,
            grant: 0,
            ended: false,
            end_note: 0,
            reading: Half::Open,
            reader: None,
            credit: 0,
            unwanted: false,
            flow_note: 0,
            writing: Half::Open,
            writer: None,
            listed: false,
        }
    }

    /// The other side allows more to be sent, or says something about it.
    pub(crate) fn flow(&mut self, value: i32) {
        if value > 0 {
            self.credit = self.credit.saturating_add(value as usize);
        } else if value == 0 {
            self.unwanted = true;
        } else {
            self.flow_note = value;
        }
        wake(&mut self.writer);
    }

    /// The other side has sent something. No bytes are the end.
    pub(crate) fn data(&mut self, note: i32, bytes: &[u8]) {
        if bytes.is_empty() {
            self.ended = true;
            self.end_note = note;
        } else {
            self.granted = self.granted.saturating_sub(bytes.len());
            if self.reading == Half::Open {
                self.buffer.extend(bytes);
            }
        }
        wake(&mut self.reader);
    }

    /// Reads some bytes; none only at the end. Whether more may come than before is to be looked at afterwards.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<usize> {
        let size = into.len().min(self.buffer.len());
        let (first, second) = self.buffer.as_slices();
        let from_first = size.min(first.len());
        into[..from_first].copy_from_slice(&first[..from_first]);
        into[from_first..size].copy_from_slice(&second[..size - from_first]);
        self.buffer.drain(..size);
        self.ask();
        if size == 0 && !into.is_empty() && !self.ended {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(size)
    }

    /// Wants more bytes, if there is room for so many that it is worth a packet.
    fn ask(&mut self) {
        let room = self.window.saturating_sub(self.buffer.len() + self.granted + self.grant);
        if !self.ended && room > 0 && room >= self.window / 2 {
            self.grant += room;
        }
    }

    pub(crate) fn set_window(&mut self, size: usize) {
        // No more is ever allowed than the other side can count.
        self.window = size.clamp(1, i32::MAX as usize);
    }

    pub(crate) fn end_note(&self) -> i32 {
        self.end_note
    }

    pub(crate) fn flow_note(&self) -> i32 {
        self.flow_note
    }

    /// How much can be written; waits until that is something.
    pub(crate) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        if self.writing != Half::Open || self.unwanted {
            return Poll::Ready(Err(Error::Closed));
        }
        if self.credit == 0 {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.credit.min(MAX_DATA_SIZE)))
    }

    /// So much has been written.
    pub(crate) fn wrote(&mut self, size: usize) {
        self.credit -= size;
    }

    pub(crate) fn wake_writer(&mut self) {
        wake(&mut self.writer);
    }

    /// Wants nothing more.
    pub(crate) fn close_reading(&mut self) {
        if self.reading == Half::Open {
            self.reading = Half::Closing;
            self.buffer = VecDeque::new();
            self.grant = 0;
        }
    }

    /// Will send nothing more.
    pub(crate) fn close_writing(&mut self) {
        if self.writing == Half::Open {
            self.writing = Half::Closing;
        }
    }

    /// Whether there is something to tell.
    pub(crate) fn has_news(&self) -> bool {
        self.grant > 0 || self.reading == Half::Closing || self.writing == Half::Closing
    }

    /// The program is done with both directions, and the other side has been told.
    pub(crate) fn is_over(&self) -> bool {
        self.reading == Half::Closed && self.writing == Half::Closed
    }

    /// Tells all that there is to tell: at most two small packets.
    pub(crate) fn tell(&mut self, output: &mut Output, code: i16, id: i32) {
        if self.reading == Half::Closing {
            output.push(code, Domain::Flow, &[&pair(id, 0)]);
            self.reading = Half::Closed;
        } else if self.grant > 0 {
            output.push(code, Domain::Flow, &[&pair(id, self.grant as i32)]);
            self.granted += self.grant;
            self.grant = 0;
        }
        if self.writing == Half::Closing {
            let end: [u8; DATA_HEADER_SIZE] = pair(id, 0);
            output.push(code, Domain::Data, &[&end]);
            self.writing = Half::Closed;
        }
    }
}

pub(crate) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
