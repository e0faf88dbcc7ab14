//! Random addresses for a process's mappings.

use gate_wire::PAGE_SIZE;
use gate_wire::load::ADDRESS_RANGE;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Where a program's text and state are mapped.
///
/// Chosen anew for each run, so that what one program learns about addresses is worth nothing in another. A program that
/// was frozen goes on where it was, because the addresses are on its stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    /// Where text goes.
    pub(crate) text_addr: u64,
    /// Where the state goes: stack, instance region and memories.
    pub(crate) state_addr: u64,
}

/// The part of a process's address space in which mappings are placed.
#[derive(Debug, Default)]
pub(crate) struct AddressSpace {
    taken: Vec<Range<u64>>,
}

impl AddressSpace {
    /// Takes the given place. `None` if it is not within [`ADDRESS_RANGE`], not aligned, or if some of it is taken.
    pub(crate) fn take(&mut self, addr: u64, size: u64) -> Option<u64> {
        let end = addr.checked_add(size)?;
        let fits = addr > ADDRESS_RANGE.start
            && end < ADDRESS_RANGE.end
            && addr.is_multiple_of(PAGE_SIZE)
            && self.is_free(addr, end);
        self.taken.push(addr..end);
        fits.then_some(addr)
    }

    /// Takes a page-aligned place of the given size in bytes at random. At least one inaccessible page is between it
    /// and everything else.
    ///
    /// Returns `None` if there is none.
    pub(crate) fn place(&mut self, size: u64) -> Option<u64> {
        self.place_within(ADDRESS_RANGE, size)
    }

    /// Takes a place like [`AddressSpace::place`] does, if possible at a random distance of less than a gigabyte from `addr`,
    /// so that two page tables do for both.
    pub(crate) fn place_near(&mut self, addr: u64, size: u64) -> Option<u64> {
        /// What a page table of the second level describes.
        const SHARED: u64 = 1 << 30;
        let start = (addr - addr % SHARED).max(ADDRESS_RANGE.start);
        let end = start.checked_add(SHARED)?.min(ADDRESS_RANGE.end);
        self.place_within(start..end, size).or_else(|| self.place(size))
    }

    fn place_within(&mut self, range: Range<u64>, size: u64) -> Option<u64> {
        // Programs take a small part of the range, so that few attempts fail.
        const ATTEMPTS: usize = 1000;

        let pages = (range.end - range.start) / PAGE_SIZE;
        let size = size.checked_next_multiple_of(PAGE_SIZE)?;
        // A page before it and one behind it.
        let last = pages.checked_sub(size / PAGE_SIZE)?.checked_sub(2)?;
        let mut rng = rand::rng();
        let addr = (0..ATTEMPTS)
            .map(|_| range.start + rng.random_range(1..=last + 1) * PAGE_SIZE)
            .find(|&addr| self.is_free(addr, addr + size))?;
        self.taken.push(addr..addr + size);
        Some(addr)
    }

    fn is_free(&self, start: u64, end: u64) -> bool {
        self.taken.iter().all(|t| end + PAGE_SIZE <= t.start || t.end + PAGE_SIZE <= start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_apart_and_within_the_range() {
        const SPAN: u64 = 20 << 40;
        for _ in 0..1000 {
            let mut space = AddressSpace::default();
            let mut ranges = [SPAN, 100 << 20, 4096].map(|size| {
                let addr = space.place(size).unwrap();
                addr..addr + size
            });
            ranges.sort_by_key(|r| r.start);
            assert!(ranges[0].start > ADDRESS_RANGE.start);
            assert!(ranges[2].end < ADDRESS_RANGE.end);
            assert!(ranges[0].end + PAGE_SIZE <= ranges[1].start);
            assert!(ranges[1].end + PAGE_SIZE <= ranges[2].start);
            assert!(ranges.iter().all(|r| r.start % PAGE_SIZE == 0));
        }
    }

    #[test]
    fn a_place_nearby_shares_page_tables_if_there_is_one() {
        const GIGABYTE: u64 = 1 << 30;
        for _ in 0..1000 {
            let mut space = AddressSpace::default();
            let text = space.place(100 << 20).unwrap();
            let near = space.place_near(text, 24 << 10).unwrap();
            assert_eq!(near / GIGABYTE, text / GIGABYTE);
            assert!(near + (24 << 10) < text || text + (100 << 20) < near);
        }
        // The first one leaves nothing.
        let mut space = AddressSpace::default();
        let text = space.take(ADDRESS_RANGE.start + GIGABYTE, GIGABYTE).unwrap();
        let far = space.place_near(text, 4096).unwrap();
        assert_ne!(far / GIGABYTE, text / GIGABYTE);
    }

    #[test]
    fn addresses_differ() {
        let addr = || AddressSpace::default().place(4096).unwrap();
        assert_ne!(addr(), addr());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut space = AddressSpace::default();
        assert_eq!(space.place(ADDRESS_RANGE.end - ADDRESS_RANGE.start), None);
        assert_eq!(space.place(u64::MAX), None);
        let addr = space.place(1 << 30).unwrap();
        for (addr, size) in
            [(addr, 1), (addr + 4096, 4096), (0, 4096), (ADDRESS_RANGE.end, 1), (addr, u64::MAX)]
        {
            assert_eq!(space.take(addr, size), None);
        }
        assert_eq!(AddressSpace::default().take(addr + 1, 4096), None);
        assert_eq!(AddressSpace::default().take(addr, 4096), Some(addr));
    }
}
