//! Gate's own services. What they exchange is described in Gate's `docs/services.md`.

pub mod catalog;
pub mod clock;
pub mod identity;
pub mod kv;
pub mod localhost;
pub mod logger;
pub mod origin;
pub mod peer;
pub mod random;
pub mod scope;

use crate::packet::Fields;
use crate::Error;
use alloc::string::String;
use alloc::vec::Vec;

/// Reads the error at the beginning of a reply, which is not empty unless the service does not know the call.
fn check<'a>(reply: &'a [u8]) -> Result<Fields<'a>, Error> {
    let mut fields = Fields(reply);
    match fields.i32() {
        Some(0) => Ok(fields),
        Some(code) => Err(Error::Service(code)),
        None if reply.is_empty() => Err(Error::Refused),
        None => Err(Error::Reply),
    }
}

/// The stream in a reply that consists of an error and an id.
fn stream_after_error(reply: &[u8]) -> Option<i32> {
    check(reply).ok()?.i32()
}

fn text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| Error::Reply)
}

/// Appends a name or a key, after a byte with its size.
fn put_short(content: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    content.push(u8::try_from(bytes.len()).map_err(|_| Error::TooLong)?);
    content.extend_from_slice(bytes);
    Ok(())
}

/// Takes such a one from the front.
fn take_short<'a>(fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    let size = fields.u8()?;
    fields.bytes(size.into())
}
