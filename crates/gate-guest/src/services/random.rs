//! `random`: randomness from the host.

use crate::{Error, Gate, Service};
use alloc::vec::Vec;

/// Gives random bytes, slowly.
#[derive(Debug)]
pub struct Random(Service);

impl Random {
    /// Discovers the service.
    ///
    /// # Errors
    ///
    /// Like those of [`Gate::service`].
    pub async fn discover(gate: &Gate) -> Result<Self, Error> {
        Ok(Self(gate.service("random").await?))
    }

    /// So many random bytes. After them, the next ones have to wait.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if somebody else in the program waits already.
    pub async fn bytes(&mut self, count: u8) -> Result<Vec<u8>, Error> {
        let bytes = self.0.call(&[count]).await?;
        match bytes.len() {
            size if size == usize::from(count) => Ok(bytes),
            0 => Err(Error::Refused),
            _ => Err(Error::Reply),
        }
    }
}
