//! Memories that are copied on write, seen by the host.
//!
//! The table of chunks, see [`gate_wire::cow`], is part of the state file and is written by the untrusted process. A nonsensical
//! one makes the process see something else in its own memory than it should. Where the base ends is not up to the table.

use crate::extents;
use crate::memfd;
use crate::state::{MemoryPlace, State};
use gate_wire::context_offset;
use gate_wire::cow::{CHUNK_SIZE, CHUNKS_OFFSET, ChunkState};
use rustix::io::Errno;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::PoisonError;

/// How much of the table is read at a time, in chunks.
const WINDOW: u64 = 4096;

/// A part of a memory which one file has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    /// Where it is in the memory.
    range: Range<u64>,
    source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Base,
    Own,
}

impl State {
    /// Fills `buf` from a memory. The range must be within the memory's greatest size.
    pub(crate) fn read_memory(&self, index: usize, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let place = &self.memories[index];
        let mut buf = buf;
        for run in self.runs(index, offset..offset + buf.len() as u64) {
            let run = run?;
            let (part, rest) = buf.split_at_mut((run.range.end - run.range.start) as usize);
            let (file, start) = self.source(place, run.source);
            memfd::read_exact(file, part, start + run.range.start)?;
            buf = rest;
        }
        Ok(())
    }

    /// Writes to a memory. The range must be within the memory's greatest size.
    ///
    /// If the program is running, it must be waiting for a reply.
    pub(crate) fn write_memory(&self, index: usize, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let place = &self.memories[index];
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let len = match place.base_size.saturating_sub(at) {
                0 => rest.len(),
                _ => rest.len().min((CHUNK_SIZE - at % CHUNK_SIZE) as usize),
            };
            let (part, tail) = rest.split_at(len);
            if at >= place.base_size || !self.replace_chunk(place, at, part)? {
                self.write(place.offset + at, part)?;
            }
            rest = tail;
            at += len as u64;
        }
        Ok(())
    }

    /// The parts of a memory which have data, in order. What is not part of any is zero.
    pub(crate) fn memory_extents(&self, index: usize) -> Result<MemoryExtents<'_>, Errno> {
        let size = self.memory_size(index)?;
        Ok(MemoryExtents { state: self, index, runs: self.runs(index, 0..size), rest: None })
    }

    /// Whether any part of the memories is in the state file and not in the base.
    pub(crate) fn has_own_data(&self) -> Result<bool, Errno> {
        for (index, place) in self.memories.iter().enumerate() {
            let grown = place.offset + place.base_size..place.offset + self.memory_size(index)?;
            if extents::next_data(&self.file, grown)?.is_some() {
                return Ok(true);
            }
            let chunks = place.base_size / CHUNK_SIZE;
            let table = CHUNKS_OFFSET + place.first_chunk..CHUNKS_OFFSET + place.first_chunk + chunks;
            if extents::next_data(&self.file, table)?.is_none() {
                continue;
            }
            for run in self.runs(index, 0..place.base_size) {
                if run?.source == Source::Own {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Copies what is in the state file, and not in the base, of a memory to the same place in another file, over what it has.
    pub(crate) fn copy_own_data(&self, index: usize, to: BorrowedFd<'_>) -> Result<(), Errno> {
        let place = &self.memories[index];
        for run in self.runs(index, 0..self.memory_size(index)?) {
            let Run { range, source } = run?;
            if source == Source::Own {
                let range = place.offset + range.start..place.offset + range.end;
                // Chunks are copied whole, as they replace something. Behind them there is nothing yet.
                match range.start < place.offset + place.base_size {
                    true => extents::copy(self.file.as_fd(), to, range)?,
                    false => extents::copy_data(&self.file, to, range)?,
                }
            }
        }
        Ok(())
    }

    /// Writes to a chunk by giving the state file its own copy, unless it has one already. `bytes` are within the chunk.
    fn replace_chunk(&self, place: &MemoryPlace, at: u64, bytes: &[u8]) -> Result<bool, Errno> {
        let chunk = at / CHUNK_SIZE;
        let entry = CHUNKS_OFFSET + place.first_chunk + chunk;
        let is_base = || {
            let mut state = [0];
            self.read(entry, &mut state)?;
            Ok::<_, Errno>(source(state[0]) == Source::Base)
        };
        if !is_base()? {
            return Ok(false);
        }
        // Somebody else may be about to write another part of it.
        let _guard = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_base()? {
            return Ok(false);
        }
        let start = chunk * CHUNK_SIZE;
        if bytes.len() as u64 == CHUNK_SIZE {
            self.write(place.offset + start, bytes)?;
        } else {
            let mut contents = vec![0; CHUNK_SIZE as usize];
            let (file, offset) = self.source(place, Source::Base);
            memfd::read_exact(file, &mut contents, offset + start)?;
            let within = (at - start) as usize;
            contents[within..within + bytes.len()].copy_from_slice(bytes);
            self.write(place.offset + start, &contents)?;
        }
        self.write(entry, &[ChunkState::Replaced as u8])?;
        self.write(self.context_field(context_offset!(chunks_replaced)), &1u64.to_le_bytes())?;
        Ok(true)
    }

    /// The file, and where in it the memory begins.
    fn source(&self, place: &MemoryPlace, source: Source) -> (BorrowedFd<'_>, u64) {
        match (source, &self.base) {
            (Source::Base, Some(base)) => (base.file(), place.base_offset),
            // Without a base there is no part that would be in it.
            _ => (self.file.as_fd(), place.offset),
        }
    }

    fn runs(&self, index: usize, range: Range<u64>) -> Runs<'_> {
        Runs { state: self, place: &self.memories[index], rest: range, window: Vec::new(), window_start: 0 }
    }
}

/// What is neither one thing nor another is taken for the process's own.
fn source(chunk: u8) -> Source {
    match chunk {
        c if c == ChunkState::Base as u8 => Source::Base,
        _ => Source::Own,
    }
}

/// Consecutive chunks that the same file has.
#[derive(Debug)]
struct Runs<'a> {
    state: &'a State,
    place: &'a MemoryPlace,
    /// What has not been returned.
    rest: Range<u64>,
    /// Part of the memory's table.
    window: Vec<u8>,
    /// The chunk that the window begins with.
    window_start: u64,
}

impl Runs<'_> {
    fn chunk(&mut self, chunk: u64) -> Result<Source, Errno> {
        let end = self.window_start + self.window.len() as u64;
        if !(self.window_start..end).contains(&chunk) {
            // Those behind the range aren't of interest.
            let last = self.rest.end.min(self.place.base_size).div_ceil(CHUNK_SIZE);
            self.window.resize((last - chunk).min(WINDOW) as usize, 0);
            self.window_start = chunk;
            self.state.read(CHUNKS_OFFSET + self.place.first_chunk + chunk, &mut self.window)?;
        }
        Ok(source(self.window[(chunk - self.window_start) as usize]))
    }

    fn next_run(&mut self) -> Result<Run, Errno> {
        let Range { start, end } = self.rest;
        let base_end = end.min(self.place.base_size);
        if start >= base_end {
            self.rest.start = end;
            return Ok(Run { range: start..end, source: Source::Own });
        }
        let source = self.chunk(start / CHUNK_SIZE)?;
        let mut at = (start / CHUNK_SIZE + 1) * CHUNK_SIZE;
        while at < base_end && self.chunk(at / CHUNK_SIZE)? == source {
            at += CHUNK_SIZE;
        }
        self.rest.start = at.min(base_end);
        Ok(Run { range: start..self.rest.start, source })
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let run = self.next_run();
        if run.is_err() {
            self.rest.start = self.rest.end;
        }
        Some(run)
    }
}

/// The parts of a memory which have data. See [`State::memory_extents`].
#[derive(Debug)]
pub(crate) struct MemoryExtents<'a> {
    state: &'a State,
    index: usize,
    runs: Runs<'a>,
    /// What has not been returned of the current run.
    rest: Option<Run>,
}

impl MemoryExtents<'_> {
    fn next_extent(&mut self) -> Result<Option<Range<u64>>, Errno> {
        let place = &self.state.memories[self.index];
        loop {
            let Some(run) = self.rest.take() else {
                match self.runs.next() {
                    Some(run) => self.rest = Some(run?),
                    None => return Ok(None),
                }
                continue;
            };
            let Run { range, source } = run;
            let (file, start) = self.state.source(place, source);
            let in_file = start + range.start..start + range.end;
            if let Some(data) = extents::next_data(file, in_file)? {
                let data = data.start - start..data.end - start;
                self.rest = Some(Run { range: data.end..range.end, source });
                return Ok(Some(data));
            }
        }
    }
}

impl Iterator for MemoryExtents<'_> {
    type Item = Result<Range<u64>, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        let extent = self.next_extent();
        if extent.is_err() {
            self.rest = None;
            self.runs.rest.start = self.runs.rest.end;
        }
        extent.transpose()
    }
}
