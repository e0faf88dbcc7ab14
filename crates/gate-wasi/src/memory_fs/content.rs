//! Contents of files in memory: blocks, which copies of a file system share until they write to them.

use crate::errno::Errno;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, LazyLock};

/// Size of a block in bytes.
pub(crate) const BLOCK: usize = 4096;

/// Largest size of a file.
pub(super) const MAX_FILE: u64 = i64::MAX as u64;

pub(super) type Block = [u8; BLOCK];

/// What stands for blocks that were allocated, but have not been written to.
static ZEROS: LazyLock<Arc<Block>> = LazyLock::new(|| Arc::new([0; BLOCK]));

/// Contents of a file. Blocks that are missing are zeros; behind the end, blocks are zeros as well.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    size: u64,
    blocks: BTreeMap<u64, Arc<Block>>,
}

impl Content {
    /// Puts contents together. `None` if there are blocks behind the end.
    pub(super) fn new(size: u64, blocks: BTreeMap<u64, Arc<Block>>) -> Option<Self> {
        let fits = blocks.keys().next_back().is_none_or(|&last| last < size.div_ceil(BLOCK as u64));
        (size <= MAX_FILE && fits).then_some(Self { size, blocks })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Blocks with their numbers, ascending.
    pub(super) fn blocks(&self) -> &BTreeMap<u64, Arc<Block>> {
        &self.blocks
    }

    /// Reads what there is.
    pub(super) fn read(&self, buf: &mut [u8], position: u64) -> usize {
        let n = self.size.saturating_sub(position).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < n {
            let (index, offset) = place(position + done as u64);
            let run = (BLOCK - offset).min(n - done);
            let buf = &mut buf[done..done + run];
            match self.blocks.get(&index) {
                Some(block) => buf.copy_from_slice(&block[offset..offset + run]),
                None => buf.fill(0),
            }
            done += run;
        }
        n
    }

    /// Writes what there is room for, in blocks that can be added. Returns how much that is, and how many were.
    pub(super) fn write(&mut self, data: &[u8], position: u64, room: u64) -> (usize, u64) {
        let n = MAX_FILE.saturating_sub(position).min(data.len() as u64) as usize;
        let (mut done, mut added) = (0, 0);
        while done < n {
            let (index, offset) = place(position + done as u64);
            let run = (BLOCK - offset).min(n - done);
            let block = match self.blocks.entry(index) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(_) if added == room => break,
                Entry::Vacant(vacant) => {
                    added += 1;
                    vacant.insert(Arc::clone(&ZEROS))
                }
            };
            Arc::make_mut(block)[offset..offset + run].copy_from_slice(&data[done..done + run]);
            done += run;
        }
        if done > 0 {
            self.size = self.size.max(position + done as u64);
        }
        (done, added)
    }

    /// Cuts off, or puts zeros at the end. Returns how many blocks are gone.
    pub(super) fn set_size(&mut self, size: u64) -> u64 {
        let gone = self.blocks.split_off(&size.div_ceil(BLOCK as u64)).len() as u64;
        let (last, offset) = place(size);
        if size < self.size
            && let Some(block) = self.blocks.get_mut(&last)
        {
            Arc::make_mut(block)[offset..].fill(0);
        }
        self.size = size;
        gone
    }

    /// Makes room for what is written later. Returns how many blocks were added.
    pub(super) fn allocate(&mut self, offset: u64, len: u64, room: u64) -> Result<u64, Errno> {
        let end = offset.checked_add(len).filter(|&end| end <= MAX_FILE).ok_or(Errno::FBig)?;
        let range = offset / BLOCK as u64..end.div_ceil(BLOCK as u64);
        let missing = (range.end - range.start) - self.blocks.range(range.clone()).count() as u64;
        if missing > room {
            return Err(Errno::NoSpc);
        }
        for index in range {
            self.blocks.entry(index).or_insert_with(|| Arc::clone(&ZEROS));
        }
        self.size = self.size.max(end);
        Ok(missing)
    }
}

/// Number of a block, and the offset in it.
fn place(position: u64) -> (u64, usize) {
    (position / BLOCK as u64, (position % BLOCK as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn contents_are_those_of_a_vector(
            steps in prop::collection::vec((0u8..4, 0u64..20_000, 0usize..9000, any::<u8>()), 1..20)
        ) {
            let (mut content, mut expected, mut blocks) = (Content::default(), Vec::new(), 0);
            for (step, position, len, byte) in steps {
                let end = position as usize + len;
                match step {
                    0 | 1 => {
                        let (n, added) = content.write(&vec![byte; len], position, u64::MAX);
                        prop_assert_eq!(n, len);
                        blocks += added;
                        if len > 0 {
                            expected.resize(expected.len().max(end), 0);
                            expected[position as usize..end].fill(byte);
                        }
                    }
                    2 => {
                        blocks -= content.set_size(position);
                        expected.resize(position as usize, 0);
                    }
                    _ => {
                        blocks += content.allocate(position, len as u64, u64::MAX).unwrap();
                        expected.resize(expected.len().max(end), 0);
                    }
                }
                prop_assert_eq!(content.size(), expected.len() as u64);
                prop_assert_eq!(content.blocks().len() as u64, blocks);
                let mut buf = vec![1; expected.len() + 10];
                prop_assert_eq!(content.read(&mut buf, 0), expected.len());
                prop_assert_eq!(&buf[..expected.len()], &expected[..]);
            }
        }
    }

    #[test]
    fn no_more_is_written_than_there_is_room_for() {
        let mut content = Content::default();
        assert_eq!(content.write(&[1; 3 * BLOCK], 10, 2), (2 * BLOCK - 10, 2));
        assert_eq!(content.write(&[1; BLOCK], MAX_FILE - 5, 1), (5, 1));
        assert_eq!(content.write(&[1; BLOCK], MAX_FILE, 1), (0, 0));
        assert_eq!(content.allocate(0, MAX_FILE, 1000), Err(Errno::NoSpc));
        assert_eq!(content.allocate(1, MAX_FILE, u64::MAX), Err(Errno::FBig));
    }
}
