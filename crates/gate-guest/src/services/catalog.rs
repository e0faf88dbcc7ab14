//! `catalog`: what can be discovered.

use crate::{Error, Gate, Service};
use alloc::string::String;

/// Lists services.
#[derive(Clone, Debug)]
pub struct Catalog(Service);

impl Catalog {
    /// Discovers the service.
    ///
    /// # Errors
    ///
    /// Like those of [`Gate::service`].
    pub async fn discover(gate: &Gate) -> Result<Self, Error> {
        Ok(Self(gate.service("catalog").await?))
    }

    /// What can be discovered now, as JSON: `{"services":[{"name":…,"revision":…}]}`.
    ///
    /// # Errors
    ///
    /// Like those of [`Service::call`].
    pub async fn json(&self) -> Result<String, Error> {
        super::text(self.0.call(b"json").await?)
    }
}
