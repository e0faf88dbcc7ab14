//! `logger`: messages to who runs the program.

use crate::{Error, Gate, Service};
use alloc::vec::Vec;

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Something has failed.
    Error = 0,
    /// Something may fail.
    Warn = 1,
    /// Something has happened.
    Info = 2,
    /// Details for those who look for a fault.
    Debug = 3,
    /// Everything.
    Trace = 4,
}

/// Logs messages.
#[derive(Clone, Debug)]
pub struct Logger(Service);

impl Logger {
    /// Discovers the service.
    ///
    /// # Errors
    ///
    /// Like those of [`Gate::service`].
    pub async fn discover(gate: &Gate) -> Result<Self, Error> {
        Ok(Self(gate.service("logger").await?))
    }

    /// Logs a message. At least its first 4,096 bytes are kept.
    ///
    /// # Errors
    ///
    /// Like those of [`Service::call`].
    pub async fn log(&self, level: Level, message: &str) -> Result<(), Error> {
        let mut content = Vec::with_capacity(1 + message.len());
        content.push(level as u8);
        content.extend_from_slice(message.as_bytes());
        let reply = self.0.call(&content).await?;
        if reply.is_empty() {
            return Err(Error::Refused);
        }
        Ok(())
    }
}
