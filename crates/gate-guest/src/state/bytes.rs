//! Bytes that have been received, and that are to be sent.

use crate::packet::{padding, Domain, Header, HEADER_SIZE, MAX_PACKET_SIZE};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// What has been received, down to the last packet, which may be incomplete.
#[derive(Debug)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    filled: usize,
}

impl Input {
    pub(crate) fn new() -> Self {
        // However much of a packet is there, there is room for its rest, and not only for a little.
        Self { bytes: vec![0; 2 * MAX_PACKET_SIZE], filled: 0 }
    }

    /// Takes the place of one that is in use.
    pub(crate) fn none() -> Self {
        Self { bytes: Vec::new(), filled: 0 }
    }

    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    pub(crate) fn received(&mut self, size: usize) {
        self.filled += size;
    }

    /// Takes all complete packets out, and hands them to a function.
    pub(crate) fn take_packets(&mut self, mut take: impl FnMut(Header, &[u8])) {
        let mut rest = &self.bytes[..self.filled];
        while let Some(header) = Header::decode(rest) {
            if rest.len() < header.padded_size() {
                break;
            }
            take(header, &rest[HEADER_SIZE..header.size]);
            rest = &rest[header.padded_size()..];
        }
        let taken = self.filled - rest.len();
        self.bytes.copy_within(taken..self.filled, 0);
        self.filled -= taken;
    }
}

/// What is to be sent: packets, perhaps without the beginning of the first.
#[derive(Debug, Default)]
pub(crate) struct Output(VecDeque<u8>);

impl Output {
    /// Whether another packet can be added. There is room for the largest one then.
    pub(crate) fn has_room(&self) -> bool {
        self.0.len() < MAX_PACKET_SIZE
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a packet, of which the content consists of parts.
    pub(crate) fn push(&mut self, code: i16, domain: Domain, content: &[&[u8]]) {
        let size = content.iter().map(|part| part.len()).sum();
        self.0.extend(Header::encode(size, code, domain));
        content.iter().for_each(|part| self.0.extend(*part));
        let end = self.0.len() + padding(HEADER_SIZE + size);
        self.0.resize(end, 0);
    }

    pub(crate) fn slices(&self) -> [&[u8]; 2] {
        let (first, second) = self.0.as_slices();
        [first, second]
    }

    pub(crate) fn sent(&mut self, size: usize) {
        self.0.drain(..size);
    }
}
