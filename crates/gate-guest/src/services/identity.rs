//! `identity`: who the program is.

use crate::{Error, Gate, Service};
use alloc::string::String;

const PRINCIPAL: u8 = 1;
const INSTANCE: u8 = 2;

/// Tells whose the program is, and which instance.
#[derive(Clone, Debug)]
pub struct Identity(Service);

impl Identity {
    /// Discovers the service.
    ///
    /// # Errors
    ///
    /// Like those of [`Gate::service`].
    pub async fn discover(gate: &Gate) -> Result<Self, Error> {
        Ok(Self(gate.service("identity").await?))
    }

    /// Who is responsible for the instance. `None` if that is nobody in particular.
    ///
    /// # Errors
    ///
    /// Like those of [`Service::call`].
    pub async fn principal(&self) -> Result<Option<String>, Error> {
        self.id(PRINCIPAL).await
    }

    /// The instance's id, a UUID in text form. It can be another one after a suspension.
    ///
    /// # Errors
    ///
    /// Like those of [`Service::call`].
    pub async fn instance(&self) -> Result<Option<String>, Error> {
        self.id(INSTANCE).await
    }

    async fn id(&self, which: u8) -> Result<Option<String>, Error> {
        let id = super::text(self.0.call(&[which]).await?)?;
        Ok(if id.is_empty() { None } else { Some(id) })
    }
}
