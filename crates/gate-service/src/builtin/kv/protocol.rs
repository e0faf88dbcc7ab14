//! What programs send to the store, and what they get. `docs/services.md` has the layouts.

use crate::builtin::input::Input;
use gate_wire::packet::{HEADER_SIZE, MAX_PACKET_SIZE};

/// Longest value, in bytes.
pub(super) const MAX_VALUE: usize = 60 << 10;

/// Size of what every reply begins with: error, index, version.
const REPLY_HEADER: usize = 16;

/// Size of a listing's entry without the key: size of the key, version, size of the value.
const ENTRY: usize = 1 + 8 + 4;

const GET: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const PUT_IF: u8 = 3;
const DELETE_IF: u8 = 4;
const LIST: u8 = 5;
const BATCH: u8 = 6;

/// Why there is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// There is no such key.
    Missing = 1,
    /// The key has another version than was expected.
    Version = 2,
    /// A key is empty, or a value is too long.
    Size = 3,
    /// There is too much in the namespace.
    Full = 4,
    /// The store does not work.
    Broken = 5,
}

impl Error {
    pub(super) fn reply(self) -> Vec<u8> {
        header(self as i32, 0, 0)
    }
}

/// A call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Get { key: Vec<u8> },
    List(Listing),
    Change(Vec<Change>),
}

/// Which keys to list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) prefix: Vec<u8>,
    /// Only those behind it.
    pub(super) after: Vec<u8>,
    pub(super) limit: u16,
}

/// A change of one key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: Vec<u8>,
    /// None if it does not matter; zero if the key must not exist.
    pub(super) expected: Option<u64>,
    /// None if the key is to be deleted.
    pub(super) value: Option<Vec<u8>>,
}

impl Request {
    /// Reads a call. None if it cannot be understood.
    pub(super) fn decode(content: &[u8]) -> Option<Result<Self, Error>> {
        let mut input = Input(content);
        Some(match input.byte()? {
            GET => {
                let key = key(&mut input)?;
                input.end()?;
                checked_key(&key).map(|()| Self::Get { key })
            }
            LIST => {
                let (prefix, after) = (key(&mut input)?, key(&mut input)?);
                let limit = u16::from_le_bytes(input.array()?);
                input.end()?;
                Ok(Self::List(Listing { prefix, after, limit }))
            }
            BATCH => {
                let count = input.byte()?;
                let changes: Option<Vec<_>> = (0..count)
                    .map(|_| {
                        let op = input.byte()?;
                        change(op, &mut input, |input| {
                            let size = u32::from_le_bytes(input.array()?);
                            input.take(usize::try_from(size).ok()?)
                        })
                    })
                    .collect();
                let changes = changes?;
                input.end()?;
                changes.into_iter().collect::<Result<_, _>>().map(Self::Change)
            }
            op => {
                let change = change(op, &mut input, |input| input.take(input.0.len()))?;
                input.end()?;
                change.map(|change| Self::Change(vec![change]))
            }
        })
    }
}

/// One change, of which the value is read by a function.
fn change<'a>(
    op: u8,
    input: &mut Input<'a>,
    value: impl FnOnce(&mut Input<'a>) -> Option<&'a [u8]>,
) -> Option<Result<Change, Error>> {
    let key = key(input)?;
    let expected = match op {
        PUT | DELETE => None,
        PUT_IF | DELETE_IF => Some(u64::from_le_bytes(input.array()?)),
        _ => return None,
    };
    let value = match op {
        PUT | PUT_IF => Some(value(input)?.to_vec()),
        _ => None,
    };
    if value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
        return Some(Err(Error::Size));
    }
    Some(checked_key(&key).map(|()| Change { key, expected, value }))
}

fn checked_key(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() { Err(Error::Size) } else { Ok(()) }
}

/// A key after its size.
fn key(input: &mut Input<'_>) -> Option<Vec<u8>> {
    let size = input.byte()?;
    input.take(size.into()).map(<[u8]>::to_vec)
}

fn header(error: i32, index: i32, version: u64) -> Vec<u8> {
    [&error.to_le_bytes()[..], &index.to_le_bytes(), &version.to_le_bytes()].concat()
}

/// The reply to a change that has been made.
pub(super) fn changed(version: u64) -> Vec<u8> {
    header(0, 0, version)
}

/// The reply to changes of which none has been made, because of one of them. `version` is that of its key.
pub(super) fn refused(error: Error, index: usize, version: u64) -> Vec<u8> {
    header(error as i32, index as i32, version)
}

/// The reply with a value.
pub(super) fn found(version: u64, value: &[u8]) -> Vec<u8> {
    let mut reply = header(0, 0, version);
    reply.extend(value);
    reply
}

/// A reply with keys, as long as there is room.
pub(super) struct ListReply {
    content: Vec<u8>,
    count: u32,
}

impl ListReply {
    pub(super) fn new() -> Self {
        Self { content: vec![0; REPLY_HEADER], count: 0 }
    }

    /// Whether there was room for a key.
    pub(super) fn push(&mut self, key: &[u8], version: u64, size: u32) -> bool {
        if self.content.len() + ENTRY + key.len() > MAX_PACKET_SIZE - HEADER_SIZE {
            return false;
        }
        self.content.push(key.len() as u8);
        self.content.extend(key);
        self.content.extend(version.to_le_bytes());
        self.content.extend(size.to_le_bytes());
        self.count += 1;
        true
    }

    /// The reply. `more` says whether there are keys behind the last one.
    pub(super) fn finish(mut self, more: bool) -> Vec<u8> {
        self.content[4..8].copy_from_slice(&self.count.to_le_bytes());
        self.content[8..16].copy_from_slice(&u64::from(more).to_le_bytes());
        self.content
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calls_are_understood_or_not() {
        let get = Request::decode(b"\x00\x03key");
        assert_eq!(get, Some(Ok(Request::Get { key: b"key".to_vec() })));
        let change = Change { key: b"k".to_vec(), expected: Some(7), value: Some(b"value".to_vec()) };
        let put = Request::decode(b"\x03\x01k\x07\0\0\0\0\0\0\0value");
        assert_eq!(put, Some(Ok(Request::Change(vec![change]))));
        assert_eq!(Request::decode(b"\x00\x00"), Some(Err(Error::Size)));
        let long = [&b"\x01\x01k"[..], &[0; MAX_VALUE + 1]].concat();
        assert_eq!(Request::decode(&long), Some(Err(Error::Size)));
        for bad in [
            &b""[..],
            b"\x07",
            b"\x00\x03ke",
            b"\x00\x03keys",
            b"\x02\x01kx",
            b"\x03\x01k\x07",
            b"\x05\x00\x00\x01",
            b"\x06\x01",
            b"\x06\x01\x00\x01k",
            b"\x06\x01\x06\x01k",
            b"\x06\x01\x01\x01k\xff\xff\xff\xffv",
            b"\x06\x00x",
        ] {
            assert_eq!(Request::decode(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_call_is_too_much(mut content: Vec<u8>, op in 0..8u8) {
            content.insert(0, op);
            if let Some(Ok(Request::Change(changes))) = Request::decode(&content) {
                let size: usize = changes.iter().map(|c| c.key.len() + c.value.as_ref().map_or(0, Vec::len)).sum();
                prop_assert!(size < content.len() && changes.iter().all(|c| !c.key.is_empty()));
            }
        }
    }
}
