//! What is in a cache, as files.
//!
//! ```text
//! sections' contents: text, memories, information, maps
//! magic     8 bytes, with the version of this format
//! key      32 bytes: what was compiled, by what, how
//! sections  4 times: size (u64), BLAKE3 hash (32 bytes)
//! hash     32 bytes: BLAKE3 of what is above, from the magic on
//! ```
//!
//! Numbers are little-endian. Text and memories come first and are whole pages, so that processes can map them from the
//! file. Memories may have holes. Information and maps are in the postcard format of the compiler's types, and of some of this
//! crate; a different build has a different key, so that no type ever meets what another version of it has written.

use crate::memfd;
use blake3::{Hash, Hasher};
use gate_wire::PAGE_SIZE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

const MAGIC: [u8; 8] = *b"gateimg2";

const SECTIONS: usize = 4;
const SECTION_SIZE: usize = 8 + 32;
const HASHED_SIZE: usize = 8 + 32 + SECTIONS * SECTION_SIZE;
const FOOTER_SIZE: usize = HASHED_SIZE + 32;

/// How much is hashed at a time. It stays in the processor's cache.
const BUFFER_SIZE: u64 = 256 << 10;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It is not an entry of this format.
    #[error("not a cache entry of this version")]
    Format,
    /// It is shorter or longer than it should be.
    #[error("wrong size")]
    Size,
    /// Some of it is not what was written.
    #[error("wrong hash")]
    Hash,
    /// It is an entry for something else.
    #[error("wrong key")]
    Key,
    /// It was written as it is, but makes no sense.
    #[error("contents cannot be decoded")]
    Contents,
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable,
}

/// What is to be written to a file.
pub(crate) struct Contents<'a> {
    /// Whole pages, or nothing.
    pub(crate) text: &'a [u8],
    pub(crate) memories: Image<'a>,
    pub(crate) info: Vec<u8>,
    pub(crate) maps: Vec<u8>,
}

/// Whole pages, of which only some are not zero.
pub(crate) struct Image<'a> {
    pub(crate) size: u64,
    /// Gives offsets and bytes to its argument, in order.
    pub(crate) pieces: Box<GivePieces<'a>>,
}

/// Gives what there is to its argument.
pub(crate) type GivePieces<'a> = dyn Fn(&mut TakePiece<'_>) -> io::Result<()> + 'a;

/// Takes bytes at an offset.
pub(crate) type TakePiece<'a> = dyn FnMut(u64, &[u8]) -> io::Result<()> + 'a;

/// A section of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    offset: u64,
    size: u64,
    hash: [u8; 32],
}

/// Where in a file things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sections {
    pub(crate) text: Section,
    pub(crate) memories: Section,
    pub(crate) info: Section,
    pub(crate) maps: Section,
}

/// Encodes information or maps. `None` if that is impossible.
pub(crate) fn encode(value: &impl Serialize) -> Option<Vec<u8>> {
    postcard::to_stdvec(value).ok()
}

/// Decodes what [`encode`] has made.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damage> {
    postcard::from_bytes(bytes).map_err(|_| Damage::Contents)
}

/// Writes an empty file.
pub(crate) fn write(file: impl AsFd, key: &Hash, contents: &Contents<'_>) -> io::Result<()> {
    let Contents { text, memories, info, maps } = contents;
    memfd::write_all(&file, text, 0)?;
    let memories_hash = memories.write(&file, text.len() as u64)?;
    let mut footer = Vec::with_capacity(FOOTER_SIZE);
    footer.extend_from_slice(&MAGIC);
    footer.extend_from_slice(key.as_bytes());
    let mut push_section = |size: u64, hash: Hash| {
        footer.extend_from_slice(&size.to_le_bytes());
        footer.extend_from_slice(hash.as_bytes());
    };
    push_section(text.len() as u64, blake3::hash(text));
    push_section(memories.size, memories_hash);
    push_section(info.len() as u64, blake3::hash(info));
    push_section(maps.len() as u64, blake3::hash(maps));
    let hash = blake3::hash(&footer);
    footer.extend_from_slice(hash.as_bytes());

    let mut offset = text.len() as u64 + memories.size;
    for bytes in [info, maps, &footer] {
        memfd::write_all(&file, bytes, offset)?;
        offset += bytes.len() as u64;
    }
    Ok(())
}

/// Finds the sections of a file of the given size. They are not read.
pub(crate) fn sections(file: impl AsFd, size: u64, key: &Hash) -> Result<Sections, Damage> {
    let start = size.checked_sub(FOOTER_SIZE as u64).ok_or(Damage::Size)?;
    let mut footer = [0; FOOTER_SIZE];
    memfd::read_exact(&file, &mut footer, start).map_err(|_| Damage::Unreadable)?;
    let (hashed, hash) = footer.split_at(HASHED_SIZE);
    let (magic, fields) = hashed.split_first_chunk::<8>().ok_or(Damage::Size)?;
    if *magic != MAGIC {
        return Err(Damage::Format);
    }
    if *blake3::hash(hashed).as_bytes() != *hash {
        return Err(Damage::Hash);
    }
    let (entry_key, mut fields) = fields.split_first_chunk::<32>().ok_or(Damage::Size)?;
    if Hash::from_bytes(*entry_key) != *key {
        return Err(Damage::Key);
    }
    let mut offset = 0u64;
    let mut section = || {
        let (size, rest) = fields.split_first_chunk::<8>().ok_or(Damage::Size)?;
        let (hash, rest) = rest.split_first_chunk::<32>().ok_or(Damage::Size)?;
        fields = rest;
        let section = Section { offset, size: u64::from_le_bytes(*size), hash: *hash };
        offset = offset.checked_add(section.size).ok_or(Damage::Size)?;
        Ok(section)
    };
    let sections = Sections { text: section()?, memories: section()?, info: section()?, maps: section()? };
    if offset != start {
        return Err(Damage::Size);
    }
    let mapped = [sections.text, sections.memories];
    if mapped.iter().any(|section| !section.size.is_multiple_of(PAGE_SIZE)) {
        return Err(Damage::Contents);
    }
    Ok(sections)
}

impl Image<'_> {
    /// No memories.
    pub(crate) fn empty() -> Self {
        Self { size: 0, pieces: Box::new(|_| Ok(())) }
    }

    /// Writes what is not zero, and returns the hash of all.
    fn write(&self, file: impl AsFd, offset: u64) -> io::Result<Hash> {
        let mut hasher = Hasher::new();
        let mut at = 0;
        (self.pieces)(&mut |start, bytes| {
            hash_zeros(&mut hasher, start - at);
            hasher.update(bytes);
            at = start + bytes.len() as u64;
            Ok(memfd::write_all(&file, bytes, offset + start)?)
        })?;
        hash_zeros(&mut hasher, self.size - at);
        Ok(hasher.finalize())
    }
}

fn hash_zeros(hasher: &mut Hasher, mut count: u64) {
    static ZEROS: [u8; BUFFER_SIZE as usize] = [0; BUFFER_SIZE as usize];
    while count > 0 {
        let part = count.min(BUFFER_SIZE);
        hasher.update(&ZEROS[..part as usize]);
        count -= part;
    }
}

impl Section {
    /// Where it is in the file.
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.size
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Reads the section, and says whether it is what was written.
    pub(crate) fn check(&self, file: impl AsFd) -> Result<(), Damage> {
        let mut buf = vec![0; self.size.min(BUFFER_SIZE) as usize];
        let mut hasher = Hasher::new();
        let mut at = 0;
        while at < self.size {
            let part = (self.size - at).min(BUFFER_SIZE) as usize;
            memfd::read_exact(&file, &mut buf[..part], self.offset + at).map_err(|_| Damage::Unreadable)?;
            hasher.update(&buf[..part]);
            at += part as u64;
        }
        match hasher.finalize() == Hash::from_bytes(self.hash) {
            true => Ok(()),
            false => Err(Damage::Hash),
        }
    }

    /// Reads the section. It is within the file's size, so that there is not more than the file has.
    pub(crate) fn read(&self, file: impl AsFd) -> Result<Vec<u8>, Damage> {
        let mut bytes = vec![0; usize::try_from(self.size).map_err(|_| Damage::Size)?];
        memfd::read_exact(&file, &mut bytes, self.offset).map_err(|_| Damage::Unreadable)?;
        Ok(bytes)
    }

    /// Reads the section, which must be what was written.
    pub(crate) fn read_checked(&self, file: impl AsFd) -> Result<Vec<u8>, Damage> {
        let bytes = self.read(file)?;
        match blake3::hash(&bytes) == Hash::from_bytes(self.hash) {
            true => Ok(bytes),
            false => Err(Damage::Hash),
        }
    }
}

impl Sections {
    /// Says whether all of the file is what was written.
    pub(crate) fn check(&self, file: impl AsFd) -> Result<(), Damage> {
        [self.text, self.memories, self.info, self.maps].iter().try_for_each(|section| section.check(&file))
    }
}
