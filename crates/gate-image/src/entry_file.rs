//! Compiled code as a file.
//!
//! ```text
//! magic     8 bytes, with the version of this format
//! key      32 bytes: what was compiled, by what, how
//! sections  3 times: size (u64), BLAKE3 hash (32 bytes)
//! hash     32 bytes: BLAKE3 of everything above
//! sections' contents
//! ```
//!
//! Numbers are little-endian. The sections are the text, what is needed to use it, and its maps. The last two are in the postcard
//! format of the compiler's types; a different compiler has a different key, so that no type ever meets what another version
//! of it has written.

use blake3::Hash;
use gate_compiler::Maps;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Read;

const MAGIC: [u8; 8] = *b"gateimg1";

const SECTIONS: usize = 3;
const SECTION_SIZE: usize = 8 + 32;
const HASHED_SIZE: usize = 8 + 32 + SECTIONS * SECTION_SIZE;
const HEADER_SIZE: usize = HASHED_SIZE + 32;

/// Contents of a file which is all right.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) text: Vec<u8>,
    pub(crate) info: T,
    /// Not decoded yet.
    pub(crate) maps: Vec<u8>,
}

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
}

/// Puts a file together. `None` if something cannot be encoded.
pub(crate) fn encode(key: &Hash, text: &[u8], info: &impl Serialize, maps: &Maps) -> Option<Vec<u8>> {
    let info = postcard::to_stdvec(info).ok()?;
    let maps = postcard::to_stdvec(maps).ok()?;
    let sections: [&[u8]; SECTIONS] = [text, &info, &maps];

    let mut file = Vec::with_capacity(HEADER_SIZE + sections.iter().map(|s| s.len()).sum::<usize>());
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(key.as_bytes());
    for section in sections {
        file.extend_from_slice(&(section.len() as u64).to_le_bytes());
        file.extend_from_slice(blake3::hash(section).as_bytes());
    }
    let hash = blake3::hash(&file);
    file.extend_from_slice(hash.as_bytes());
    for section in sections {
        file.extend_from_slice(section);
    }
    Some(file)
}

/// Takes a file of the given size apart, if all of it is what was written for the key.
pub(crate) fn decode<T: DeserializeOwned>(
    key: &Hash,
    file: &mut impl Read,
    size: u64,
) -> Result<Entry<T>, Damage> {
    let header: [u8; HEADER_SIZE] = read(file, HEADER_SIZE)?.try_into().map_err(|_| Damage::Size)?;
    let (hashed, hash) = header.split_at(HASHED_SIZE);
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
    let mut left = size.saturating_sub(HEADER_SIZE as u64);
    let mut section = || {
        let (size, rest) = fields.split_first_chunk::<8>().ok_or(Damage::Size)?;
        let (hash, rest) = rest.split_first_chunk::<32>().ok_or(Damage::Size)?;
        fields = rest;
        let size = u64::from_le_bytes(*size);
        left = left.checked_sub(size).ok_or(Damage::Size)?;
        let section = read(file, size as usize)?;
        match blake3::hash(&section) == Hash::from_bytes(*hash) {
            true => Ok(section),
            false => Err(Damage::Hash),
        }
    };
    let (text, info, maps) = (section()?, section()?, section()?);
    if left > 0 {
        return Err(Damage::Size);
    }
    let info = postcard::from_bytes(&info).map_err(|_| Damage::Contents)?;
    Ok(Entry { text, info, maps })
}

/// Reads so many bytes, which the file is known to have.
fn read(file: &mut impl Read, size: usize) -> Result<Vec<u8>, Damage> {
    let mut bytes = Vec::with_capacity(size);
    match file.take(size as u64).read_to_end(&mut bytes) {
        Ok(n) if n == size => Ok(bytes),
        _ => Err(Damage::Size),
    }
}
