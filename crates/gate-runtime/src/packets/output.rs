//! What a program is to receive.

use crate::packets::server::Packet;
use gate_wire::packet::{HEADER_SIZE, Header};
use std::collections::VecDeque;

/// Contents of this size or more are kept as they are, in bytes; smaller ones are put together.
const LARGE: usize = 4096;

/// Bytes in pieces, taken from the front.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// None of them is empty, unless it is the only one.
    pieces: VecDeque<Vec<u8>>,
    /// So much of the first one has been taken.
    taken: usize,
    size: usize,
}

impl Output {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let size = bytes.len();
        let pieces = [bytes].into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { pieces, taken: 0, size }
    }

    /// Appends a packet with its header and its padding.
    pub(super) fn push(&mut self, code: i16, packet: Packet) {
        let Packet { domain, index, content } = packet;
        let size = HEADER_SIZE + content.len();
        let header = Header { size: size as u32, code, domain, index };
        self.append(&header.encode());
        if content.len() < LARGE {
            self.append(&content);
        } else {
            self.size += content.len();
            self.pieces.push_back(content);
        }
        const PADDING: [u8; 8] = [0; 8];
        self.append(&PADDING[..header.padded_size() - size]);
    }

    /// Appends to the last piece, if that does not make it move.
    fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.size += bytes.len();
        match self.pieces.back_mut() {
            Some(piece) if piece.capacity() - piece.len() >= bytes.len() => piece.extend_from_slice(bytes),
            _ => {
                let mut piece = Vec::with_capacity(bytes.len().max(LARGE));
                piece.extend_from_slice(bytes);
                self.pieces.push_back(piece);
            }
        }
    }

    /// Copies to a buffer, and takes out, as much as there is and fits. Returns how much that is.
    pub(super) fn take(&mut self, buf: &mut [u8]) -> usize {
        let mut rest = &mut *buf;
        for piece in self.pieces() {
            let (head, tail) = rest.split_at_mut(piece.len().min(rest.len()));
            head.copy_from_slice(&piece[..head.len()]);
            rest = tail;
        }
        let left = rest.len();
        let size = buf.len() - left;
        self.consume(size);
        size
    }

    /// Takes out what has been received.
    pub(super) fn consume(&mut self, size: usize) {
        self.size -= size;
        self.taken += size;
        while let Some(piece) = self.pieces.front().filter(|piece| piece.len() <= self.taken) {
            self.taken -= piece.len();
            if self.pieces.len() == 1 && piece.capacity() == LARGE {
                // It is used again for the next packets.
                self.pieces[0].clear();
                return;
            }
            self.pieces.pop_front();
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut taken = self.taken;
        self.pieces.iter().map(move |piece| &piece[std::mem::take(&mut taken)..])
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        self.pieces().collect::<Vec<_>>().concat()
    }
}
