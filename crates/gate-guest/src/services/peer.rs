//! `peer`: streams to other programs of the same group.

use super::{check, stream_after_error, take_short, text};
use crate::{Error, Gate, Service, Stream};
use alloc::string::String;
use alloc::vec::Vec;

const ACCEPT: u8 = 0;
const CONNECT: u8 = 1;
const LIST: u8 = 2;

/// The error which says that there is nobody of that name.
pub const ABSENT: i32 = 1;
/// The error which says that the program has too many streams.
pub const TOO_MANY: i32 = 2;
/// The error which says that the other has too many connections that it has not accepted.
pub const BUSY: i32 = 3;
/// The error which says that the program is not in the group.
pub const OUTSIDE: i32 = 4;

/// Connects to other programs, and lets them connect. An end of a stream with the note 1 says that the other is gone.
#[derive(Clone, Debug)]
pub struct Peer(Service);

/// Some names of a group's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The names, in their order.
    pub names: Vec<String>,
    /// There are more behind the last one.
    pub more: bool,
}

impl Peer {
    /// Discovers the service. The program is in its group from then on.
    ///
    /// # Errors
    ///
    /// Like those of [`Gate::service`].
    pub async fn discover(gate: &Gate) -> Result<Self, Error> {
        Ok(Self(gate.service("peer").await?))
    }

    /// Waits for somebody to connect. Returns who it is.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] with [`TOO_MANY`] or [`OUTSIDE`].
    pub async fn accept(&self) -> Result<(String, Stream), Error> {
        let (reply, stream) = self.0.open(&[ACCEPT], stream_after_error).await?;
        let mut fields = check(&reply)?;
        let (_id, stream) = fields.i32().zip(stream).ok_or(Error::Reply)?;
        Ok((text(fields.0.to_vec())?, stream))
    }

    /// Connects to the one with that name.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] with [`ABSENT`], [`TOO_MANY`], [`BUSY`] or [`OUTSIDE`].
    pub async fn connect(&self, name: &str) -> Result<Stream, Error> {
        let content = [&[CONNECT], name.as_bytes()].concat();
        let (reply, stream) = self.0.open(&content, stream_after_error).await?;
        check(&reply)?;
        stream.ok_or(Error::Reply)
    }

    /// Lists names behind that one, which can be empty.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] with [`OUTSIDE`].
    pub async fn names(&self, after: &str) -> Result<Names, Error> {
        let reply = self.0.call(&[&[LIST], after.as_bytes()].concat()).await?;
        let mut fields = check(&reply)?;
        let more = fields.i32().ok_or(Error::Reply)? != 0;
        let mut names = Vec::new();
        while !fields.0.is_empty() {
            names.push(text(take_short(&mut fields).ok_or(Error::Reply)?.to_vec())?);
        }
        Ok(Names { names, more })
    }
}
