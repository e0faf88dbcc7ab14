//! Samples of where a running program is.

use crate::program::Program;
use crate::state::State;
use gate_wire::samples::{MAX_ADDRESSES, SAMPLES_OFFSET, WORDS, WORDS_OFFSET};
use rustix::io::Errno;
use std::io;
use std::sync::Arc;

/// Where a program was at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The kernel's monotonic clock in nanoseconds, if the program's process is to be believed.
    pub time: u64,
    /// Functions that the program was in, by index, innermost first. Not empty.
    pub functions: Vec<u32>,
}

/// Reads the samples of one run of an instance, see [`Instance::set_sampling`](crate::Instance::set_sampling).
#[derive(Debug)]
pub struct Sampler {
    program: Program,
    state: Arc<State>,
    text_addr: u64,
    /// Number of words that have been read.
    next: u64,
    /// Number of times that there was something else than samples, or more of them than there is space for.
    gaps: u64,
}

impl Sampler {
    pub(crate) fn new(program: &Program, state: &Arc<State>, text_addr: u64) -> Self {
        Self { program: program.clone(), state: Arc::clone(state), text_addr, next: 0, gaps: 0 }
    }

    /// Reads what has been added since the last time. To be called often enough, and when the program's process has ended.
    pub fn read(&mut self, mut take: impl FnMut(Sample)) -> io::Result<()> {
        let mut written = [0; 8];
        self.state.read(SAMPLES_OFFSET, &mut written)?;
        let written = u64::from_le_bytes(written);
        let count = written.wrapping_sub(self.next);
        if count > WORDS {
            // What was there has been written over, or nothing of it is true.
            self.gaps += 1;
            self.next = written;
            return Ok(());
        }
        let words = self.words(count as usize)?;
        self.next = written;
        let mut rest = &words[..];
        while let [count, time, after @ ..] = rest {
            let sample = usize::try_from(*count).ok().filter(|_| (1..=MAX_ADDRESSES).contains(count));
            let Some((addresses, after)) = sample.and_then(|count| after.split_at_checked(count)) else {
                self.gaps += 1;
                break;
            };
            let functions = self.functions(addresses)?;
            if !functions.is_empty() {
                take(Sample { time: *time, functions });
            }
            rest = after;
        }
        Ok(())
    }

    /// Number of times that samples were lost.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    fn words(&self, count: usize) -> Result<Vec<u64>, Errno> {
        let mut bytes = vec![0; 8 * count];
        let start = self.next % WORDS;
        let (head, tail) = bytes.split_at_mut(8 * count.min((WORDS - start) as usize));
        self.state.read(SAMPLES_OFFSET + WORDS_OFFSET + 8 * start, head)?;
        self.state.read(SAMPLES_OFFSET + WORDS_OFFSET, tail)?;
        Ok(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// Functions that have the addresses. What is not in any is left out.
    fn functions(&self, addresses: &[u64]) -> io::Result<Vec<u32>> {
        let functions = &self.program.maps().map_err(io::Error::other)?.functions;
        let function = |(index, address): (usize, &u64)| {
            // A return address may be that of the next function, if this one does not return.
            let offset = address.checked_sub(self.text_addr)?.checked_sub(u64::from(index > 0))?;
            let offset = u32::try_from(offset).ok()?;
            let place =
                functions.partition_point(|function| function.text_offset <= offset).checked_sub(1)?;
            let found = &functions[place];
            (offset - found.text_offset < found.text_size).then_some(found.function)
        };
        Ok(addresses.iter().enumerate().filter_map(function).collect())
    }
}
