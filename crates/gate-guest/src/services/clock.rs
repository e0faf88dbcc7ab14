//! `clock`: the host's time.
//!
//! To wait, [`Gate::sleep`] does without the service.

use crate::packet::Fields;
use crate::{Error, Gate, Service};
use core::time::Duration;

const NOW: u8 = 0;
const AFTER: u8 = 1;

/// Tells the time.
#[derive(Clone, Debug)]
pub struct Clock(Service);

impl Clock {
    /// Discovers the service.
    ///
    /// # Errors
    ///
    /// Like those of [`Gate::service`].
    pub async fn discover(gate: &Gate) -> Result<Self, Error> {
        Ok(Self(gate.service("clock").await?))
    }

    /// Time since the beginning of 1970.
    ///
    /// # Errors
    ///
    /// Like those of [`Service::call`].
    pub async fn now(&self) -> Result<Duration, Error> {
        self.time(&[NOW]).await
    }

    /// Time since the beginning of 1970, after some time has passed.
    ///
    /// # Errors
    ///
    /// Like those of [`Service::call`].
    pub async fn after(&self, duration: Duration) -> Result<Duration, Error> {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut content = [AFTER; 9];
        content[1..].copy_from_slice(&nanoseconds.to_le_bytes());
        self.time(&content).await
    }

    async fn time(&self, content: &[u8]) -> Result<Duration, Error> {
        let reply = self.0.call(content).await?;
        match Fields(&reply).u64() {
            Some(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
            None if reply.is_empty() => Err(Error::Refused),
            None => Err(Error::Reply),
        }
    }
}
