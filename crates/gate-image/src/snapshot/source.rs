//! Reads a snapshot from its beginning to its end.

use super::edits::Rebuilder;
use super::{Place, Problem, SnapshotError};
use crate::leb::MAX_U32_SIZE;
use std::io::{self, Read};

/// How much is read at a time, in bytes.
const BUFFER_SIZE: usize = 256 << 10;

/// A snapshot that is being read.
#[derive(Debug)]
pub(super) struct Source<R> {
    input: R,
    buf: Box<[u8]>,
    /// What of the buffer has not been taken.
    start: usize,
    end: usize,
    /// Where in the snapshot the next byte is.
    offset: u64,
    /// How much is left of the section.
    section: u64,
    /// Which one that is.
    place: Place,
    /// Gets all that is taken, from when it is there.
    pub(super) rebuilder: Option<Rebuilder>,
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R) -> Self {
        let buf = vec![0; BUFFER_SIZE].into_boxed_slice();
        Self {
            input,
            buf,
            start: 0,
            end: 0,
            offset: 0,
            section: u64::MAX,
            place: Place::Outside,
            rebuilder: None,
        }
    }

    /// An error about what is at the current offset.
    pub(super) fn error(&self, problem: Problem) -> SnapshotError {
        SnapshotError::Invalid { section: self.place, offset: self.offset, problem }
    }

    /// Whether there is nothing more.
    pub(super) fn is_at_end(&mut self) -> Result<bool, SnapshotError> {
        self.fill()?;
        Ok(self.start == self.end)
    }

    /// Begins a section which has so many bytes.
    pub(super) fn begin_section(&mut self, size: u64, place: Place) {
        (self.section, self.place) = (size, place);
    }

    /// Says more exactly which section this is.
    pub(super) fn set_place(&mut self, place: Place) {
        self.place = place;
    }

    /// Ends the section, of which nothing may be left.
    pub(super) fn end_section(&mut self) -> Result<(), SnapshotError> {
        match self.section {
            0 => {
                (self.section, self.place) = (u64::MAX, Place::Outside);
                Ok(())
            }
            rest => Err(self.error(Problem::SectionRest(rest))),
        }
    }

    /// How much is left of the section, in bytes.
    pub(super) fn section_rest(&self) -> u64 {
        self.section
    }

    pub(super) fn byte(&mut self) -> Result<u8, SnapshotError> {
        let mut byte = 0;
        self.pass(1, |_, bytes| {
            byte = bytes[0];
            Ok(())
        })?;
        Ok(byte)
    }

    /// A number of variable size.
    pub(super) fn u32(&mut self) -> Result<u32, SnapshotError> {
        let value = self.number(MAX_U32_SIZE)?;
        u32::try_from(value).map_err(|_| self.error(Problem::Invalid("number")))
    }

    /// A number of variable size.
    pub(super) fn u64(&mut self) -> Result<u64, SnapshotError> {
        self.number(10)
    }

    /// A signed number of variable size, of up to so many bits.
    pub(super) fn signed(&mut self, bits: u32) -> Result<i64, SnapshotError> {
        let mut value = 0;
        for index in 0..bits.div_ceil(7) {
            let byte = self.byte()?;
            let shift = 7 * index;
            if index == 9 && !matches!(byte, 0 | 0x7f) {
                // Of its bits only one is part of the number.
                break;
            }
            value |= i64::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                let unused = 64u32.saturating_sub(shift + 7);
                let value = value << unused >> unused;
                return match bits {
                    32 if i32::try_from(value).is_err() => Err(self.error(Problem::Invalid("number"))),
                    _ => Ok(value),
                };
            }
        }
        Err(self.error(Problem::Invalid("number")))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut array = [0; N];
        let mut at = 0;
        self.pass(N as u64, |_, bytes| {
            array[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
            Ok(())
        })?;
        Ok(array)
    }

    /// So many bytes. They are in memory only as far as they are there.
    pub(super) fn bytes(&mut self, size: u64) -> Result<Vec<u8>, SnapshotError> {
        let mut all = Vec::new();
        self.pass(size, |_, bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(all)
    }

    /// Passes over so many bytes.
    pub(super) fn skip(&mut self, size: u64) -> Result<(), SnapshotError> {
        self.pass(size, |_, _| Ok(()))
    }

    /// Takes so many bytes, piece by piece, each with its distance from the first one.
    pub(super) fn pass(
        &mut self,
        size: u64,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        if size > self.section {
            return Err(self.error(Problem::SectionEnd));
        }
        let mut done = 0;
        while done < size {
            self.fill()?;
            let part = (size - done).min((self.end - self.start) as u64) as usize;
            if part == 0 {
                return Err(self.error(Problem::End));
            }
            let bytes = &self.buf[self.start..self.start + part];
            if let Some(rebuilder) = &mut self.rebuilder {
                let (offset, section) = (self.offset, self.place);
                rebuilder.feed(bytes).map_err(|problem| SnapshotError::Invalid {
                    section,
                    offset,
                    problem,
                })?;
            }
            take(done, bytes)?;
            self.start += part;
            self.offset += part as u64;
            done += part as u64;
            if self.section != u64::MAX {
                self.section -= part as u64;
            }
        }
        Ok(())
    }

    fn number(&mut self, max_size: usize) -> Result<u64, SnapshotError> {
        let mut value = 0;
        for index in 0..max_size {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(Problem::Invalid("number")))
    }

    fn fill(&mut self) -> Result<(), SnapshotError> {
        while self.start == self.end {
            match self.input.read(&mut self.buf) {
                Ok(0) => return Ok(()),
                Ok(size) => (self.start, self.end) = (0, size.min(self.buf.len())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SnapshotError::Read(error)),
            }
        }
        Ok(())
    }
}
