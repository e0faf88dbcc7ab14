//! `localhost`: HTTP requests to origins that the host has named.

use super::{check, stream_after_error, text};
use crate::packet::Fields;
use crate::{Error, Gate, Reader, Service, Stream};
use alloc::string::String;
use alloc::vec::Vec;

const REQUEST: u8 = 0;
const OPEN: u8 = 1;

/// The error which says that there is no such origin.
pub const NO_ORIGIN: i32 = 1;
/// The error which says that the request is not a proper one.
pub const INVALID: i32 = 2;
/// The error which says that the origin cannot be reached, or does not speak HTTP.
pub const FAILED: i32 = 3;
/// The error which says that the answer has not come in time.
pub const TIMEOUT: i32 = 4;
/// The error which says that the answer does not fit in a packet: it wants a stream.
pub const TOO_LARGE: i32 = 5;
/// The error which says that the program was suspended meanwhile. The request may have been dealt with, or not.
pub const INTERRUPTED: i32 = 6;
/// The error which says that there is no such stream, that it has had its request, or that there are too many.
pub const NO_STREAM: i32 = 7;
/// The error which says that the request was cancelled.
pub const CANCELLED: i32 = 8;

/// Makes requests.
#[derive(Clone, Debug)]
pub struct Localhost(Service);

/// What is requested.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The origin's name.
    pub origin: &'a str,
    /// `GET`, for example.
    pub method: &'a str,
    /// Begins with a slash.
    pub path: &'a str,
    /// Names and values of header fields, but for those about the connection.
    pub fields: &'a [(&'a str, &'a [u8])],
    /// Empty if it is sent on a stream.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A request by `GET`, without fields.
    pub fn get(origin: &'a str, path: &'a str) -> Self {
        Self { origin, method: "GET", path, fields: &[], body: &[] }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 200, for example.
    pub status: u16,
    /// Names and values of header fields.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Empty if it comes on a stream.
    pub body: Vec<u8>,
}

impl Localhost {
    /// Discovers the service.
    ///
    /// # Errors
    ///
    /// Like those of [`Gate::service`].
    pub async fn discover(gate: &Gate) -> Result<Self, Error> {
        Ok(Self(gate.service("localhost").await?))
    }

    /// Makes a request whose body, like that of the answer, fits in a packet.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] with one of the errors of this module; like those of [`Service::call`].
    pub async fn fetch(&self, request: &Request<'_>) -> Result<Response, Error> {
        self.request(request, -1).await
    }

    /// Opens a stream for the bodies of one request and of its answer. Dropped, it cancels the request.
    ///
    /// # Errors
    ///
    /// Like those of [`fetch`](Self::fetch).
    pub async fn open(&self) -> Result<Stream, Error> {
        let (reply, stream) = self.0.open(&[OPEN], stream_after_error).await?;
        check(&reply)?;
        stream.ok_or(Error::Reply)
    }

    /// Makes a request on a stream. The request's body is what is written to that, down to its end, by another task if the
    /// answer may depend on it; the answer's body is to be read from it. An end with the note 1 says that something is missing.
    ///
    /// # Errors
    ///
    /// Like those of [`fetch`](Self::fetch).
    pub async fn fetch_on(&self, request: &Request<'_>, stream: &Reader) -> Result<Response, Error> {
        self.request(request, stream.id()).await
    }

    async fn request(&self, request: &Request<'_>, stream: i32) -> Result<Response, Error> {
        let reply = self.0.call(&request.content(stream)?).await?;
        let mut fields = check(&reply)?;
        Response::read(&mut fields).ok_or(Error::Reply)
    }
}

impl Request<'_> {
    fn content(&self, stream: i32) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        content.push(REQUEST);
        for size in [self.origin.len(), self.method.len(), self.fields.len()] {
            content.push(u8::try_from(size).map_err(|_| Error::TooLong)?);
        }
        content.extend_from_slice(&stream.to_le_bytes());
        content.extend_from_slice(&short(self.path.len())?);
        for part in [self.origin, self.method, self.path] {
            content.extend_from_slice(part.as_bytes());
        }
        for (name, value) in self.fields {
            content.push(u8::try_from(name.len()).map_err(|_| Error::TooLong)?);
            content.extend_from_slice(&short(value.len())?);
            content.extend_from_slice(name.as_bytes());
            content.extend_from_slice(value);
        }
        content.extend_from_slice(self.body);
        Ok(content)
    }
}

fn short(size: usize) -> Result<[u8; 2], Error> {
    u16::try_from(size).map(u16::to_le_bytes).map_err(|_| Error::TooLong)
}

impl Response {
    fn read(reply: &mut Fields<'_>) -> Option<Self> {
        let (status, count) = (reply.u16()?, reply.u16()?);
        let mut fields = Vec::new();
        for _ in 0..count {
            let (name_size, value_size) = (reply.u8()?, reply.u16()?);
            let name = text(reply.bytes(name_size.into())?.to_vec()).ok()?;
            fields.push((name, reply.bytes(value_size.into())?.to_vec()));
        }
        Some(Self { status, fields, body: reply.0.to_vec() })
    }
}
