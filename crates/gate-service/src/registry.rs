//! Which services there are.

use crate::calls::{CallService, Calls};
use crate::server::Server;
use crate::{Context, Service};
use gate_runtime::{CreateServerError, SavedService, ServiceConfig, ServiceRegistry};
use gate_wire::packet::MAX_NAME_SIZE;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Services by name, for an instance.
///
/// Clones share the services, not the list: an instance's own registry is a clone with something added.
#[derive(Clone, Default)]
pub struct Registry {
    services: BTreeMap<String, Arc<dyn Service>>,
    context: Context,
}

/// Why a service is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// There is one of this name.
    #[error("service {0:?} is registered twice")]
    Duplicate(String),
    /// Programs could not discover it.
    #[error("service name {0:?} is not 1 to {MAX_NAME_SIZE} bytes of letters, digits and punctuation")]
    Name(String),
    /// Programs could not be told.
    #[error("revision {revision:?} of service {name:?} is not 1 to {MAX_NAME_SIZE} printable bytes")]
    Revision {
        /// Of the service.
        name: String,
        /// Its revision.
        revision: String,
    },
}

impl Registry {
    /// No services, for an instance of which the context is known.
    pub fn new(context: Context) -> Self {
        Self { services: BTreeMap::new(), context }
    }

    /// The same services for another instance.
    pub fn with_context(&self, context: Context) -> Self {
        Self { services: self.services.clone(), context }
    }

    /// Adds a service.
    pub fn register(&mut self, service: impl Service) -> Result<(), RegisterError> {
        let name = check(&service)?;
        if self.services.contains_key(&name) {
            return Err(RegisterError::Duplicate(name));
        }
        self.services.insert(name, Arc::new(service));
        Ok(())
    }

    /// Adds a service that answers calls.
    pub fn register_calls(&mut self, service: impl CallService) -> Result<(), RegisterError> {
        self.register(Calls::new(service))
    }

    /// Adds a service in place of the one of the same name, if there is one.
    pub fn shadow(&mut self, service: impl Service) -> Result<(), RegisterError> {
        self.services.insert(check(&service)?, Arc::new(service));
        Ok(())
    }

    /// Names and revisions of the services that the instance can discover, by name.
    pub fn catalog(&self) -> impl Iterator<Item = (&str, &str)> {
        let discoverable = self.services.values().filter(|service| {
            service.is_discoverable(&self.context) && self.context.scope.allows(service.name())
        });
        discoverable.map(|service| (service.name(), service.revision()))
    }

    /// What services know about the instance.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The service of this name, if the instance can discover it now.
    pub(crate) fn find_in_scope(&self, name: &str) -> Option<&Arc<dyn Service>> {
        self.find(name).filter(|_| self.context.scope.allows(name))
    }

    /// The service of this name, if the instance can discover it, whether or not it has restricted itself.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<dyn Service>> {
        self.services.get(name).filter(|service| service.is_discoverable(&self.context))
    }
}

fn check(service: &impl Service) -> Result<String, RegisterError> {
    let (name, revision) = (service.name(), service.revision());
    let sized = |text: &str| (1..=MAX_NAME_SIZE).contains(&text.len());
    let printable = |text: &str| text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if !sized(name) || !printable(name) {
        return Err(RegisterError::Name(name.to_owned()));
    }
    if !sized(revision) || !printable(revision) {
        return Err(RegisterError::Revision { name: name.to_owned(), revision: revision.to_owned() });
    }
    Ok(name.to_owned())
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("services", &self.services.keys().collect::<Vec<_>>())
            .field("context", &self.context)
            .finish()
    }
}

impl ServiceRegistry for Registry {
    type Server = Server;

    fn create_server(
        &self,
        config: ServiceConfig,
        services: &[SavedService],
    ) -> Result<Self::Server, CreateServerError> {
        Server::new(self.clone(), config, services)
    }
}
