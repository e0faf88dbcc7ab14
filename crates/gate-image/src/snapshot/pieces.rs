//! Which parts of memories a snapshot has to hold.

use super::{MAX_PIECES, overlay};
use crate::error::ImageError;
use crate::state::State;
use crate::template::{self, Template};
use std::ops::Range;

/// How much is compared at a time, in bytes. It stays in the processor's cache.
const WINDOW: u64 = 64 << 10;

/// Unit of comparison within a window.
const PAGE: usize = 4096;

/// Unit of comparison within a page that has differences.
const GRAIN: usize = 16;

/// Parts which are so close are one: a segment of its own takes about as much.
const MIN_GAP: u64 = 16;

/// Largest part in bytes.
const MAX_PIECE_SIZE: u64 = 64 << 20;

/// A part of a memory which differs from that of a new instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) memory: u32,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Finds the parts of all memories, in order.
pub(super) fn find(state: &State, template: &Template) -> Result<Vec<Piece>, ImageError> {
    let mut pieces = Pieces { list: Vec::new(), gap: MIN_GAP };
    let (mut current, mut reference) = (Vec::new(), Vec::new());
    for (index, template) in template.memories()?.iter().enumerate() {
        let size = state.memory_size(index).map_err(ImageError::system("read the size of a memory"))?;
        for window in windows(state, index, size, template) {
            let window = window?;
            current.resize((window.end - window.start) as usize, 0);
            state
                .read_memory(index, window.start, &mut current)
                .map_err(ImageError::system("read a memory"))?;
            reference.resize(current.len(), 0);
            let dirty = overlay(template, window.start, &mut reference);
            compare(&current, &reference, |range| {
                pieces.add(index as u32, window.start + range.start as u64..window.start + range.end as u64);
            });
            if dirty {
                reference.fill(0);
            }
        }
    }
    while pieces.list.len() > MAX_PIECES {
        pieces.coarsen();
    }
    Ok(pieces.list)
}

/// The parts of a memory which are to be compared: what has neither data nor had some at the beginning is left out.
fn windows<'a>(
    state: &'a State,
    index: usize,
    size: u64,
    template: &'a [template::Piece],
) -> impl Iterator<Item = Result<Range<u64>, ImageError>> + 'a {
    let error = ImageError::system("look for memory contents");
    let (extents, failure) = match state.memory_extents(index) {
        Ok(extents) => (Some(extents), None),
        Err(errno) => (None, Some(errno)),
    };
    let mut extents = extents.into_iter().flatten().chain(failure.map(Err)).peekable();
    let mut template = template.iter().map(|p| p.offset..p.offset + p.bytes.len() as u64).peekable();
    let mut start = 0;
    std::iter::from_fn(move || {
        while template.next_if(|range| range.end <= start).is_some() {}
        while extents.next_if(|range| range.as_ref().is_ok_and(|range| range.end <= start)).is_some() {}
        if let Some(Err(errno)) = extents.next_if(Result::is_err) {
            start = size;
            return Some(Err(error(errno)));
        }
        let data = extents.peek().and_then(|range| range.as_ref().ok()).map(|range| range.start);
        let first = [template.peek().map(|range| range.start), data].into_iter().flatten().min()?.max(start);
        if first >= size {
            return None;
        }
        let window = first - first % WINDOW..size.min(first - first % WINDOW + WINDOW);
        start = window.end;
        Some(Ok(window))
    })
}

/// Tells where the slices, which have the same size, differ.
fn compare(current: &[u8], reference: &[u8], mut differs: impl FnMut(Range<usize>)) {
    let pages = current.chunks(PAGE).zip(reference.chunks(PAGE));
    for (start, (current, reference)) in (0..).step_by(PAGE).zip(pages) {
        if current == reference {
            continue;
        }
        let mut differs_between = |from: usize, to: usize| {
            let unequal = |at: &usize| current[*at] != reference[*at];
            // The first and the last unit have a difference each.
            let first = (from..to).find(unequal).unwrap_or(from);
            let last = (from..to).rev().find(unequal).unwrap_or(from);
            differs(start + first..start + last + 1);
        };
        let (current_grains, current_rest) = current.as_chunks::<GRAIN>();
        let (reference_grains, reference_rest) = reference.as_chunks::<GRAIN>();
        let equal = || current_grains.iter().zip(reference_grains).map(|(a, b)| a == b);
        let rest = (!current_rest.is_empty()).then(|| current_rest == reference_rest);
        // Many pages are different throughout; counting takes a fraction of the time of what follows.
        if rest.is_none() && equal().filter(|&equal| equal).count() == 0 {
            differs_between(0, current.len());
            continue;
        }
        let mut run = None;
        // One more which is equal ends the last run.
        for (index, is_equal) in equal().chain(rest).chain([true]).enumerate() {
            match (run, is_equal) {
                (None, false) => run = Some(index * GRAIN),
                (Some(from), true) => {
                    differs_between(from, current.len().min(index * GRAIN));
                    run = None;
                }
                _ => {}
            }
        }
    }
}

/// Parts in order, and how close they are at least.
struct Pieces {
    list: Vec<Piece>,
    gap: u64,
}

impl Pieces {
    fn add(&mut self, memory: u32, range: Range<u64>) {
        let piece = Piece { memory, offset: range.start, size: range.end - range.start };
        push(&mut self.list, piece, self.gap);
        if self.list.len() > 2 * MAX_PIECES {
            while self.list.len() > MAX_PIECES {
                self.coarsen();
            }
        }
    }

    /// Makes fewer of them.
    fn coarsen(&mut self) {
        self.gap *= 2;
        let mut list = Vec::with_capacity(self.list.len());
        for &piece in &self.list {
            push(&mut list, piece, self.gap);
        }
        self.list = list;
    }
}

fn push(list: &mut Vec<Piece>, piece: Piece, gap: u64) {
    let end = piece.offset + piece.size;
    match list.last_mut() {
        Some(last)
            if last.memory == piece.memory
                && piece.offset - (last.offset + last.size) <= gap
                && end - last.offset <= MAX_PIECE_SIZE =>
        {
            last.size = end - last.offset;
        }
        _ => list.push(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(current: &[u8], reference: &[u8]) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        compare(current, reference, |range| ranges.push(range));
        ranges
    }

    #[test]
    fn differences_are_exact_at_both_ends() {
        let zeros = vec![0; 3 * PAGE + 5];
        assert_eq!(differences(&zeros, &zeros), []);
        for range in [0..1, 5..6, 15..17, 16..32, 100..PAGE, PAGE - 1..PAGE, 3 * PAGE + 4..3 * PAGE + 5] {
            let mut current = zeros.clone();
            current[range.clone()].fill(7);
            assert_eq!(differences(&current, &zeros), std::slice::from_ref(&range));
            assert_eq!(differences(&zeros, &current), [range]);
        }
        let mut current = zeros.clone();
        current[PAGE - 3..PAGE + 3].fill(1);
        current[2 * PAGE + 40] = 1;
        let expected = [PAGE - 3..PAGE, PAGE..PAGE + 3, 2 * PAGE + 40..2 * PAGE + 41];
        assert_eq!(differences(&current, &zeros), expected);
    }

    #[test]
    fn there_are_never_too_many() {
        let mut pieces = Pieces { list: Vec::new(), gap: MIN_GAP };
        for index in 0..1_000_000u64 {
            pieces.add(0, index * 100..index * 100 + 1);
            assert!(pieces.list.len() <= 2 * MAX_PIECES);
        }
        pieces.coarsen();
        let end = pieces.list.last().map(|last| last.offset + last.size);
        assert_eq!((pieces.list[0].offset, end), (0, Some(99_999_901)));
        assert!(pieces.list.iter().all(|piece| piece.size <= MAX_PIECE_SIZE));
    }
}
