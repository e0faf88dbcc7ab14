//! `origin`: streams to whoever is attached to the program.

use crate::packet::Fields;
use crate::{Error, Gate, Service, Stream};

/// The error which says that nobody can connect any more.
const NOBODY: i32 = 1;

/// Accepts connections.
#[derive(Clone, Debug)]
pub struct Origin(Service);

impl Origin {
    /// Discovers the service.
    ///
    /// # Errors
    ///
    /// Like those of [`Gate::service`].
    pub async fn discover(gate: &Gate) -> Result<Self, Error> {
        Ok(Self(gate.service("origin").await?))
    }

    /// Waits for a connection. `None`: nobody can connect any more.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] 2: there are too many streams.
    pub async fn accept(&self) -> Result<Option<Stream>, Error> {
        let (reply, stream) = self.0.open(&[], accepted).await?;
        let mut fields = Fields(&reply);
        match (fields.i32(), fields.i32()) {
            (Some(_), Some(0)) => Ok(stream),
            (Some(_), Some(NOBODY)) => Ok(None),
            (Some(_), Some(code)) => Err(Error::Service(code)),
            _ if reply.is_empty() => Err(Error::Refused),
            _ => Err(Error::Reply),
        }
    }
}

/// Here the error comes last.
fn accepted(reply: &[u8]) -> Option<i32> {
    let mut fields = Fields(reply);
    let id = fields.i32()?;
    (fields.i32()? == 0).then_some(id)
}
