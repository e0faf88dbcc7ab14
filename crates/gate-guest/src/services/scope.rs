//! `scope`: gives rights up.

use crate::packet::Fields;
use crate::{Error, Gate, Service};
use alloc::vec::Vec;

const RESTRICT: u8 = 0;

/// Restricts what the program can discover.
#[derive(Clone, Debug)]
pub struct Scope(Service);

impl Scope {
    /// Discovers the service.
    ///
    /// # Errors
    ///
    /// Like those of [`Gate::service`].
    pub async fn discover(gate: &Gate) -> Result<Self, Error> {
        Ok(Self(gate.service("scope").await?))
    }

    /// From now on, lets the program discover only the services which are named, and were not excluded before. What it has
    /// discovered stays its own.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] if a name, or their number, is more than 255. [`Error::Service`] -1: the service does not understand it.
    pub async fn restrict(&self, names: &[&str]) -> Result<(), Error> {
        let mut content = Vec::new();
        content.push(RESTRICT);
        content.push(u8::try_from(names.len()).map_err(|_| Error::TooLong)?);
        for name in names {
            super::put_short(&mut content, name.as_bytes())?;
        }
        let reply = self.0.call(&content).await?;
        match Fields(&reply).i16() {
            Some(0) => Ok(()),
            Some(code) => Err(Error::Service(code.into())),
            None if reply.is_empty() => Err(Error::Refused),
            None => Err(Error::Reply),
        }
    }
}
