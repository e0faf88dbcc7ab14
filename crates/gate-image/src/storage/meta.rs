//! What an instance's `meta` file says.
//!
//! ```text
//! magic    8 bytes, with the version of this format
//! size     u64: of the contents
//! contents postcard encoding of `Meta`
//! hash     32 bytes: BLAKE3 of everything above
//! ```

use crate::state::{MAX_MEMORY_PAGES, MAX_REGIONS, MemoryPlace};
use blake3::Hash;
use gate_wire::context::MemoryDesc;
use gate_wire::load::{MAX_MEMORIES, STATE_FILE_STRIDE};
use gate_wire::{PAGE_SIZE, WASM_PAGE_SIZE};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"gateins1";
const MAGIC_STEM: &[u8] = b"gateins";
const HEADER_SIZE: usize = 16;
const HASH_SIZE: usize = 32;

/// Greatest size of a file, in bytes. Frames of a deep stack are the largest part.
pub(super) const MAX_SIZE: u64 = 8 << 30;

/// What an instance consists of.
///
/// Part of a file format: what changes here needs another magic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Counts the commits.
    pub(super) generation: u64,
    /// Number of the file of the memories.
    pub(super) memory_file: u64,
    /// Number of the state file: stack, instance region, and what of the memories is not in the other file.
    pub(super) state_file: u64,
    /// Size of the stack in bytes.
    pub(super) stack_size: u64,
    /// Size of the instance region in bytes.
    pub(super) instance_size: u64,
    /// Linear memories.
    pub(super) memories: Vec<MemoryMeta>,
    /// BLAKE3 hash of the module.
    pub(super) module: [u8; 32],
    /// What the build that has written it needs to go on, if it can.
    pub(super) native: Option<Native>,
    /// What any build needs to go on.
    pub(super) portable: Vec<u8>,
}

/// What only the build that has written it understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Native {
    /// Hash of everything that has a part in how a frozen program goes on.
    pub(super) build: [u8; 32],
    /// How the instance goes on.
    pub(super) contents: Vec<u8>,
}

/// A linear memory. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemoryMeta {
    /// Current size.
    pub(super) size: u64,
    /// Greatest size.
    pub(super) max: u64,
    /// So much is in the file of the memories, unless the table of chunks in the state file says otherwise.
    pub(super) base_size: u64,
    /// Distance of the memory's descriptor below the context address.
    pub(super) desc_distance: u64,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaDamage {
    /// There is none.
    #[error("it is missing")]
    Missing,
    /// It is something else.
    #[error("not the description of an instance")]
    Format,
    /// It is of a later version of this format.
    #[error("written by a later version of Gate")]
    Version,
    /// It is shorter or longer than it says.
    #[error("wrong size")]
    Size,
    /// It is not what was written.
    #[error("wrong hash")]
    Hash,
    /// It was written as it is, but makes no sense.
    #[error("contents make no sense")]
    Contents,
}

impl Meta {
    /// Puts a file together. `None` if that is not possible.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let contents = postcard::to_stdvec(self).ok()?;
        let mut file = Vec::with_capacity(HEADER_SIZE + contents.len() + HASH_SIZE);
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&(contents.len() as u64).to_le_bytes());
        file.extend_from_slice(&contents);
        let hash = blake3::hash(&file);
        file.extend_from_slice(hash.as_bytes());
        Some(file)
    }

    /// Takes a file apart.
    pub(super) fn decode(file: &[u8]) -> Result<Self, MetaDamage> {
        let (magic, rest) = file.split_first_chunk::<8>().ok_or(MetaDamage::Size)?;
        if *magic != MAGIC {
            return Err(match magic.starts_with(MAGIC_STEM) {
                true => MetaDamage::Version,
                false => MetaDamage::Format,
            });
        }
        let (size, rest) = rest.split_first_chunk::<8>().ok_or(MetaDamage::Size)?;
        let (contents, hash) = rest.split_last_chunk::<HASH_SIZE>().ok_or(MetaDamage::Size)?;
        if u64::from_le_bytes(*size) != contents.len() as u64 {
            return Err(MetaDamage::Size);
        }
        if blake3::hash(&file[..file.len() - HASH_SIZE]) != Hash::from_bytes(*hash) {
            return Err(MetaDamage::Hash);
        }
        let meta: Self = postcard::from_bytes(contents).map_err(|_| MetaDamage::Contents)?;
        match meta.is_consistent() {
            true => Ok(meta),
            false => Err(MetaDamage::Contents),
        }
    }

    /// Where the memories are in the state file.
    pub(super) fn places(&self) -> Vec<MemoryPlace> {
        let place = |(memory, offset): (&MemoryMeta, u64)| MemoryPlace {
            offset,
            min: memory.size,
            max: memory.max,
            desc_offset: STATE_FILE_STRIDE - memory.desc_distance,
            base_size: 0,
            base_offset: 0,
            first_chunk: 0,
        };
        let offsets = (1..).map(|number| number * STATE_FILE_STRIDE);
        self.memories.iter().zip(offsets).map(place).collect()
    }

    /// How much of each memory is in the file of the memories.
    pub(super) fn base_sizes(&self) -> Vec<u64> {
        self.memories.iter().map(|memory| memory.base_size).collect()
    }

    fn is_consistent(&self) -> bool {
        let regions = self.stack_size.checked_add(self.instance_size);
        self.memories.len() <= MAX_MEMORIES
            && regions.is_some_and(|size| size <= MAX_REGIONS)
            && self.stack_size.is_multiple_of(PAGE_SIZE)
            && self.instance_size.is_multiple_of(PAGE_SIZE)
            && self.memories.iter().all(|memory| {
                memory.base_size <= memory.size
                    && memory.size <= memory.max
                    && memory.max <= MAX_MEMORY_PAGES * WASM_PAGE_SIZE
                    && [memory.base_size, memory.size, memory.max]
                        .iter()
                        .all(|size| size.is_multiple_of(WASM_PAGE_SIZE))
                    && (size_of::<MemoryDesc>() as u64..=self.instance_size).contains(&memory.desc_distance)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta {
            generation: 300,
            memory_file: 1,
            state_file: 7,
            stack_size: 1 << 20,
            instance_size: 4096,
            memories: vec![MemoryMeta {
                size: 3 << 16,
                max: 1 << 32,
                base_size: 2 << 16,
                desc_distance: 400,
            }],
            module: [5; 32],
            native: Some(Native { build: [6; 32], contents: vec![1, 2, 3] }),
            portable: vec![4; 1000],
        }
    }

    #[test]
    fn encoding_round_trips() {
        assert_eq!(Meta::decode(&meta().encode().unwrap()), Ok(meta()));
    }

    /// What has been written must be read for ever.
    #[test]
    fn encoding_stays_the_same() {
        let meta = Meta { portable: vec![9], ..meta() };
        let expected =
            "67617465696e7331 5e00000000000000 ac020107 808040 8020 01 80800c 8080808010 808008 9003"
                .replace(' ', "")
                + &"05".repeat(32)
                + "01"
                + &"06".repeat(32)
                + "03010203"
                + "0109";
        let encoded = meta.encode().unwrap();
        let hex: String =
            encoded[..encoded.len() - HASH_SIZE].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn any_damage_is_noticed() {
        let good = meta().encode().unwrap();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            assert!(Meta::decode(&bad).is_err(), "{position}");
            assert!(Meta::decode(&good[..position]).is_err(), "{position}");
        }
        assert_eq!(Meta::decode(&[&good[..], &[0]].concat()), Err(MetaDamage::Size));
        assert_eq!(Meta::decode(&[b"gateins2", &good[8..]].concat()), Err(MetaDamage::Version));
        assert_eq!(Meta::decode(&[b"somethin", &good[8..]].concat()), Err(MetaDamage::Format));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let refused = |change: &dyn Fn(&mut Meta)| {
            let mut meta = meta();
            change(&mut meta);
            assert_eq!(Meta::decode(&meta.encode().unwrap()), Err(MetaDamage::Contents), "{meta:?}");
        };
        refused(&|m| m.stack_size = u64::MAX - 4095);
        refused(&|m| m.stack_size = 4 << 30);
        refused(&|m| m.stack_size += 1);
        refused(&|m| m.instance_size = 4097);
        refused(&|m| m.memories = vec![m.memories[0]; MAX_MEMORIES + 1]);
        refused(&|m| m.memories[0].base_size = 4 << 16);
        refused(&|m| m.memories[0].size += 1);
        refused(&|m| m.memories[0].max = (1 << 33) + (1 << 16));
        refused(&|m| m.memories[0].max = 1 << 16);
        refused(&|m| m.memories[0].desc_distance = 4097);
        refused(&|m| m.memories[0].desc_distance = 15);
    }
}
