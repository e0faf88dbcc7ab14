//! Random addresses for a process's mappings.

use gate_wire::PAGE_SIZE;
use gate_wire::load::ADDRESS_RANGE;
use rand::RngExt;
use std::ops::Range;

/// Where a process's mappings go.
///
/// Chosen anew for each run, so that what one program learns about addresses is worth nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Where rt goes.
    pub rt_addr: u64,
    /// Where text goes.
    pub text_addr: u64,
    /// Where the state goes: stack, instance region and memories.
    pub state_addr: u64,
}

impl Placement {
    /// Chooses page-aligned addresses within [`ADDRESS_RANGE`] at random. Nothing overlaps, and an
    /// inaccessible page at least is between any two mappings.
    ///
    /// Sizes are in bytes: `state_span` includes the address space reserved for memories. Returns `None` if they
    /// cannot be placed.
    pub fn random(rt_size: u64, text_size: u64, state_span: u64) -> Option<Self> {
        let mut taken: [Range<u64>; 2] = [0..0, 0..0];
        let state_addr = place(state_span, &taken)?;
        taken[0] = state_addr..state_addr + state_span;
        let text_addr = place(text_size, &taken)?;
        taken[1] = text_addr..text_addr + text_size;
        let rt_addr = place(rt_size, &taken)?;
        Some(Self { rt_addr, text_addr, state_addr })
    }
}

fn place(size: u64, taken: &[Range<u64>]) -> Option<u64> {
    // Programs take a small part of the range, so that few attempts fail.
    const ATTEMPTS: usize = 1000;

    let pages = (ADDRESS_RANGE.end - ADDRESS_RANGE.start) / PAGE_SIZE;
    let size_pages = size.checked_next_multiple_of(PAGE_SIZE)? / PAGE_SIZE;
    // A page before it and one behind it.
    let last = pages.checked_sub(size_pages)?.checked_sub(2)?;
    let mut rng = rand::rng();
    (0..ATTEMPTS)
        .map(|_| ADDRESS_RANGE.start + rng.random_range(1..=last + 1) * PAGE_SIZE)
        .find(|&addr| taken.iter().all(|t| addr + size + PAGE_SIZE <= t.start || t.end + PAGE_SIZE <= addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_apart_and_within_the_range() {
        const SPAN: u64 = 20 << 40;
        for _ in 0..1000 {
            let p = Placement::random(4096, 100 << 20, SPAN).unwrap();
            let mut ranges = [
                p.rt_addr..p.rt_addr + 4096,
                p.text_addr..p.text_addr + (100 << 20),
                p.state_addr..p.state_addr + SPAN,
            ];
            ranges.sort_by_key(|r| r.start);
            assert!(ranges[0].start > ADDRESS_RANGE.start);
            assert!(ranges[2].end < ADDRESS_RANGE.end);
            assert!(ranges[0].end + PAGE_SIZE <= ranges[1].start);
            assert!(ranges[1].end + PAGE_SIZE <= ranges[2].start);
            assert!(ranges.iter().all(|r| r.start % PAGE_SIZE == 0));
        }
    }

    #[test]
    fn addresses_differ() {
        let a = Placement::random(4096, 4096, 1 << 33).unwrap();
        let b = Placement::random(4096, 4096, 1 << 33).unwrap();
        assert!(a.rt_addr != b.rt_addr && a.text_addr != b.text_addr && a.state_addr != b.state_addr);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert_eq!(Placement::random(4096, 4096, ADDRESS_RANGE.end - ADDRESS_RANGE.start), None);
        assert_eq!(Placement::random(4096, u64::MAX, 4096), None);
    }
}
