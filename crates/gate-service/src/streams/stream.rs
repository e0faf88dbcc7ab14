//! One stream.

use bytes::{Buf, Bytes, BytesMut};
use gate_runtime::{Packet, ServiceError};
use gate_wire::packet::{DATA_HEADER_SIZE, Data, Domain, Flow, HEADER_SIZE, MAX_PACKET_SIZE};
use std::collections::VecDeque;
use std::task::Waker;

/// Most that the program may send before the host has taken it, in bytes.
pub(super) const WINDOW: usize = 256 << 10;

/// Most that the host can write before the program has taken it, in bytes.
pub(super) const MAX_OUTPUT: usize = 256 << 10;

/// Most bytes of a data packet.
const MAX_DATA: usize = MAX_PACKET_SIZE - HEADER_SIZE - DATA_HEADER_SIZE;

/// Pieces smaller than this are joined, in bytes: each piece takes some memory of its own.
const SMALL: usize = 1024;

/// What is joined becomes hardly larger than this, in bytes.
const JOINED: usize = 16 << 10;

/// Bytes in pieces, as they came if they are not small.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pieces: VecDeque<Bytes>,
    size: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.size
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.size += piece.len();
        let joinable = |last: &mut Bytes| piece.len() < SMALL && last.len() < JOINED;
        let piece = match self.pieces.pop_back_if(joinable) {
            Some(last) => {
                // Somebody may be looking at it.
                let mut joined = last.try_into_mut().unwrap_or_else(|last| BytesMut::from(&last[..]));
                joined.extend_from_slice(&piece);
                joined.freeze()
            }
            None => piece,
        };
        self.pieces.push_back(piece);
    }

    /// Copies out of it as much as fits. Returns how much that is.
    pub(super) fn take(&mut self, mut put: impl FnMut(&[u8]), limit: usize) -> usize {
        let mut left = limit;
        while let Some(piece) = self.pieces.front_mut().filter(|_| left > 0) {
            let size = piece.len().min(left);
            put(&piece[..size]);
            piece.advance(size);
            left -= size;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.size -= limit - left;
        limit - left
    }

    pub(super) fn first(&self) -> Option<&Bytes> {
        self.pieces.front()
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &**piece)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Both directions of a stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// From the program.
    pub(super) input: Queue,
    /// How much the program may still send.
    pub(super) granted: usize,
    /// The program has sent its last byte.
    pub(super) input_ended: bool,
    /// The host does not read any more.
    pub(super) input_closed: bool,
    /// The program has been told that.
    pub(super) close_told: bool,
    /// For the program.
    pub(super) output: Queue,
    /// How much the program wants.
    pub(super) window: u32,
    /// The host has written its last byte.
    pub(super) output_ended: bool,
    /// There would have been more.
    pub(super) output_cut: bool,
    /// The program has been told that.
    pub(super) end_told: bool,
    /// The program does not want anything any more.
    pub(super) output_closed: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Stream {
    /// What the program says about how much it wants.
    pub(super) fn allow(&mut self, id: i32, value: i32) -> Result<(), ServiceError> {
        match u32::try_from(value) {
            Ok(0) => {
                self.output_closed = true;
                self.output.clear();
            }
            Ok(more) => {
                self.window =
                    self.window.checked_add(more).filter(|&sum| sum <= i32::MAX as u32).ok_or_else(|| {
                        ServiceError::violation(format!("more than 2 GiB are wanted on stream {id}"))
                    })?;
            }
            // A note, which means nothing here.
            Err(_) => {}
        }
        wake(&mut self.writer);
        Ok(())
    }

    /// What the program has sent: the content of a data packet.
    pub(super) fn receive(&mut self, id: i32, content: Vec<u8>) -> Result<(), ServiceError> {
        let bytes = Bytes::from(content).split_off(DATA_HEADER_SIZE);
        if self.input_ended {
            return Err(ServiceError::violation(format!("data after the end of stream {id}")));
        }
        self.granted = self
            .granted
            .checked_sub(bytes.len())
            .ok_or_else(|| ServiceError::violation(format!("more data on stream {id} than was wanted")))?;
        self.input_ended = bytes.is_empty();
        if !self.input_closed {
            self.input.push(bytes);
        }
        wake(&mut self.reader);
        Ok(())
    }

    /// Whether there is something to tell the program.
    pub(super) fn has_packet(&self) -> bool {
        self.flow().is_some() || self.data_size() > 0 || self.has_end()
    }

    /// The next packet for the program.
    pub(super) fn packet(&mut self, id: i32) -> Option<Packet> {
        if let Some(value) = self.flow() {
            self.granted += value;
            self.close_told |= value == 0;
            let entry = Flow { id, value: value as i32 };
            return Some(Packet::new(Domain::Flow, entry.encode().to_vec()));
        }
        let size = self.data_size();
        let mut note = 0;
        if size == 0 {
            if !self.has_end() {
                return None;
            }
            self.end_told = true;
            note = i32::from(self.output_cut);
        }
        let mut content = Vec::with_capacity(DATA_HEADER_SIZE + size);
        content.extend(Data { id, note, bytes: &[] }.encode_header());
        self.output.take(|bytes| content.extend_from_slice(bytes), size);
        self.window -= size as u32;
        wake(&mut self.writer);
        Some(Packet::new(Domain::Data, content))
    }

    /// Both ends have been told, and nothing is left that the host could read.
    pub(super) fn is_over(&self) -> bool {
        self.close_told && self.end_told && self.input.len() == 0
    }

    pub(super) fn close_input(&mut self) {
        self.input_closed = true;
        self.input.clear();
    }

    /// How much more to want from the program, if that is worth a packet; zero if nothing any more. The program's own end is
    /// answered in this way, too: programs built for the original system wait for that.
    fn flow(&self) -> Option<usize> {
        if self.input_closed || self.input_ended {
            return (!self.close_told).then_some(0);
        }
        let room = WINDOW.saturating_sub(self.input.len() + self.granted);
        (room >= WINDOW / 2).then_some(room)
    }

    fn data_size(&self) -> usize {
        self.output.len().min(self.window as usize).min(MAX_DATA)
    }

    /// An end comes only to a program that wants more, unless the stream was cut off: programs for the original system break off
    /// if it comes before they have said that. That the program wants nothing more is answered by an end, too.
    fn has_end(&self) -> bool {
        let due = self.output_ended && (self.window > 0 || self.output_cut) || self.output_closed;
        due && !self.end_told && self.output.len() == 0
    }
}

pub(super) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
