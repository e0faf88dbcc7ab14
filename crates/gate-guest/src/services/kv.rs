//! `kv`: keys and values that are kept.

use super::{put_short, take_short};
use crate::packet::Fields;
use crate::{Error, Gate, Service};
use alloc::vec::Vec;

const GET: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const PUT_IF: u8 = 3;
const DELETE_IF: u8 = 4;
const LIST: u8 = 5;
const BATCH: u8 = 6;

/// The error which says that there is no such key.
pub const NOT_FOUND: i32 = 1;
/// The error which says that a key has another version.
pub const OTHER_VERSION: i32 = 2;
/// The error which says that a key is empty, or a value too long.
pub const INVALID: i32 = 3;
/// The error which says that there is too much in the store.
pub const FULL: i32 = 4;
/// The error which says that the store does not work.
pub const BROKEN: i32 = 5;

/// A key has another version after each change. Zero stands for one that does not exist.
pub type Version = u64;

/// Keeps keys and values.
#[derive(Clone, Debug)]
pub struct Kv(Service);

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Of the key.
    pub version: Version,
    /// Up to 61,440 bytes.
    pub bytes: Vec<u8>,
}

/// What has become of a change which depends on a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has been made. This is the key's version now: zero if it was deleted.
    Changed(Version),
    /// Nothing has changed, since the key has this version, or zero because it does not exist.
    Conflict(Version),
}

/// A change that is made along with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change<'a> {
    /// Sets a value.
    Put { key: &'a [u8], value: &'a [u8] },
    /// Removes a key, which must exist.
    Delete { key: &'a [u8] },
    /// Sets a value if the key has that version.
    PutIf { key: &'a [u8], version: Version, value: &'a [u8] },
    /// Removes a key if it has that version.
    DeleteIf { key: &'a [u8], version: Version },
}

/// What has become of changes that are made together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// All have been made.
    Changed,
    /// None has been made.
    Refused {
        /// Index of the first one that cannot be made.
        index: usize,
        /// Why: one of the errors of this module.
        error: i32,
        /// Version of its key.
        version: Version,
    },
}

/// A key in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// Its version.
    pub version: Version,
    /// Size of its value, in bytes.
    pub size: u32,
}

/// Some keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The keys, in their order.
    pub entries: Vec<Entry>,
    /// There are more behind the last one.
    pub more: bool,
}

/// What every reply begins with, but for that to a list.
struct Head {
    error: i32,
    index: i32,
    version: Version,
}

impl Kv {
    /// Discovers the service.
    ///
    /// # Errors
    ///
    /// Like those of [`Gate::service`].
    pub async fn discover(gate: &Gate) -> Result<Self, Error> {
        Ok(Self(gate.service("kv").await?))
    }

    /// The value of a key, if that exists.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] with [`INVALID`] or [`BROKEN`]; like those of [`Service::call`].
    pub async fn get(&self, key: &[u8]) -> Result<Option<Value>, Error> {
        let mut content = Vec::new();
        content.push(GET);
        put_short(&mut content, key)?;
        let reply = self.0.call(&content).await?;
        match Head::read(&reply)? {
            (Head { error: 0, version, .. }, bytes) => Ok(Some(Value { version, bytes: bytes.to_vec() })),
            (Head { error: NOT_FOUND, .. }, _) => Ok(None),
            (Head { error, .. }, _) => Err(Error::Service(error)),
        }
    }

    /// Sets a value. Returns the key's version.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] with [`INVALID`], [`FULL`] or [`BROKEN`]; like those of [`Service::call`].
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<Version, Error> {
        match self.change(&Change::Put { key, value }).await? {
            Head { error: 0, version, .. } => Ok(version),
            Head { error, .. } => Err(Error::Service(error)),
        }
    }

    /// Removes a key. Returns whether it was there.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] with [`INVALID`] or [`BROKEN`]; like those of [`Service::call`].
    pub async fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        match self.change(&Change::Delete { key }).await? {
            Head { error: 0, .. } => Ok(true),
            Head { error: NOT_FOUND, .. } => Ok(false),
            Head { error, .. } => Err(Error::Service(error)),
        }
    }

    /// Sets a value if the key has that version; zero if it does not exist.
    ///
    /// # Errors
    ///
    /// Like those of [`put`](Self::put).
    pub async fn put_if(&self, key: &[u8], version: Version, value: &[u8]) -> Result<Outcome, Error> {
        self.change_if(&Change::PutIf { key, version, value }).await
    }

    /// Removes a key if it has that version.
    ///
    /// # Errors
    ///
    /// Like those of [`delete`](Self::delete).
    pub async fn delete_if(&self, key: &[u8], version: Version) -> Result<Outcome, Error> {
        self.change_if(&Change::DeleteIf { key, version }).await
    }

    /// Makes all of the changes or none. There can be as many as fit in a packet, and 255 at most.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`]; [`Error::Service`] with [`BROKEN`]; like those of [`Service::call`].
    pub async fn batch(&self, changes: &[Change<'_>]) -> Result<BatchOutcome, Error> {
        let mut content = Vec::new();
        content.push(BATCH);
        content.push(u8::try_from(changes.len()).map_err(|_| Error::TooLong)?);
        for change in changes {
            change.put(&mut content, true)?;
        }
        let reply = self.0.call(&content).await?;
        match Head::read(&reply)?.0 {
            Head { error: 0, .. } => Ok(BatchOutcome::Changed),
            Head { error: BROKEN, .. } => Err(Error::Service(BROKEN)),
            Head { error, index, version } => Ok(BatchOutcome::Refused {
                index: usize::try_from(index).map_err(|_| Error::Reply)?,
                error,
                version,
            }),
        }
    }

    /// Lists keys which begin with `prefix` and are behind `after`; both can be empty. Not more than `limit`, nor than 1,024 or
    /// fit in a packet.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] with [`BROKEN`]; like those of [`Service::call`].
    pub async fn list(&self, prefix: &[u8], after: &[u8], limit: u16) -> Result<List, Error> {
        let mut content = Vec::new();
        content.push(LIST);
        put_short(&mut content, prefix)?;
        put_short(&mut content, after)?;
        content.extend_from_slice(&limit.to_le_bytes());
        let reply = self.0.call(&content).await?;
        let mut fields = super::check(&reply)?;
        List::read(&mut fields).ok_or(Error::Reply)
    }

    async fn change(&self, change: &Change<'_>) -> Result<Head, Error> {
        let mut content = Vec::new();
        change.put(&mut content, false)?;
        let reply = self.0.call(&content).await?;
        Ok(Head::read(&reply)?.0)
    }

    async fn change_if(&self, change: &Change<'_>) -> Result<Outcome, Error> {
        match self.change(change).await? {
            Head { error: 0, version, .. } => Ok(Outcome::Changed(version)),
            Head { error: OTHER_VERSION, version, .. } => Ok(Outcome::Conflict(version)),
            Head { error: NOT_FOUND, .. } => Ok(Outcome::Conflict(0)),
            Head { error, .. } => Err(Error::Service(error)),
        }
    }
}

impl Change<'_> {
    /// Writes the change as a call, or as a part of one.
    fn put(&self, content: &mut Vec<u8>, sized: bool) -> Result<(), Error> {
        let (kind, key, version, value) = match *self {
            Self::Put { key, value } => (PUT, key, None, Some(value)),
            Self::Delete { key } => (DELETE, key, None, None),
            Self::PutIf { key, version, value } => (PUT_IF, key, Some(version), Some(value)),
            Self::DeleteIf { key, version } => (DELETE_IF, key, Some(version), None),
        };
        content.push(kind);
        put_short(content, key)?;
        if let Some(version) = version {
            content.extend_from_slice(&version.to_le_bytes());
        }
        if let Some(value) = value {
            if sized {
                let size = u32::try_from(value.len()).map_err(|_| Error::TooLong)?;
                content.extend_from_slice(&size.to_le_bytes());
            }
            content.extend_from_slice(value);
        }
        Ok(())
    }
}

impl Head {
    fn read(reply: &[u8]) -> Result<(Self, &[u8]), Error> {
        if reply.is_empty() {
            return Err(Error::Refused);
        }
        let mut fields = Fields(reply);
        let head = (|| Some(Self { error: fields.i32()?, index: fields.i32()?, version: fields.u64()? }))();
        Ok((head.ok_or(Error::Reply)?, fields.0))
    }
}

impl List {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (count, more) = (fields.u32()?, fields.u64()? != 0);
        let mut entries = Vec::new();
        for _ in 0..count {
            let key = take_short(fields)?.to_vec();
            entries.push(Entry { key, version: fields.u64()?, size: fields.u32()? });
        }
        Some(Self { entries, more })
    }
}
