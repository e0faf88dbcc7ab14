//! What the packet loop asks of services.

use crate::error::HostFault;
use crate::host::Start;
use gate_image::ServiceState as SavedService;
use gate_wire::packet::Domain;
use std::task::{Context, Poll};

/// A packet without the code, which says from or to which service it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is about.
    pub domain: Domain,
    /// Of a reply: position, in the queue of the program's calls, of that which it answers. Zero answers the first one.
    pub index: u8,
    /// What follows the header.
    pub content: Vec<u8>,
}

impl Packet {
    /// A packet that answers the first call, or that is something else.
    pub fn new(domain: Domain, content: Vec<u8>) -> Self {
        Self { domain, index: 0, content }
    }
}

/// What a server has to know about an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// Size of the largest packet that the program can receive, in bytes, header included.
    pub max_send_size: usize,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self { max_send_size: gate_wire::packet::MAX_PACKET_SIZE }
    }
}

/// What a program learns about a service that it has discovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// It is there.
    pub available: bool,
}

/// A collection of services.
pub trait ServiceRegistry: Send + Sync {
    /// What serves an instance.
    type Server: InstanceServer;

    /// Begins to serve an instance. `services` are those which the program has discovered, in that order, with what
    /// [`InstanceServer::save`] gave, maybe on another host, or by someone malicious.
    fn create_server(
        &self,
        config: ServiceConfig,
        services: &[SavedService],
    ) -> Result<Self::Server, CreateServerError>;
}

/// Why an instance cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("service {name:?}: {source}")]
pub struct CreateServerError {
    /// The service.
    pub name: String,
    /// What is wrong with it, or with its state.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a service cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The program has done something that it must not do: it is stopped.
    #[error("{0}")]
    Violation(String),
    /// The service is at fault.
    #[error(transparent)]
    Fault(#[from] HostFault),
}

impl ServiceError {
    /// The program has done something that it must not do.
    pub fn violation(what: impl Into<String>) -> Self {
        Self::Violation(what.into())
    }

    /// The service is at fault.
    pub fn fault(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Fault(HostFault::new(cause))
    }
}

/// Serves one instance. Services are told apart by their indexes in the order of discovery.
///
/// All methods return soon, and wake the context's task when something that was pending is not any more.
pub trait InstanceServer: Send {
    /// Tells that the program begins to run, or goes on.
    fn begin(&mut self, _start: &Start) {}

    /// Adds services by name. They exist from then on, whether or not they are available.
    fn discover(&mut self, names: &[&str]) -> Result<(), ServiceError>;

    /// All services that have been discovered.
    fn services(&self) -> Vec<ServiceState>;

    /// Waits until the service takes another packet.
    fn poll_ready(&mut self, service: usize, cx: &mut Context<'_>) -> Poll<()>;

    /// Takes a packet from the program. The service was ready.
    fn handle(&mut self, service: usize, packet: Packet) -> Result<(), ServiceError>;

    /// Waits for a packet for the program, from any service. It is taken only when there is room for it.
    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<Result<(usize, Packet), ServiceError>>;

    /// Whether [`InstanceServer::services`] gives something else than when this was last asked. Programs are told.
    fn take_change(&mut self) -> bool {
        false
    }

    /// Waits until all that the program has sent is where it is to go. The program has ended: nothing more comes from it.
    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Waits until all services can be saved, but not for long. The program is suspended. If a service cannot be saved, this
    /// fails.
    fn poll_suspend(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ServiceError>> {
        Poll::Ready(Ok(()))
    }

    /// Names of all services that have been discovered, in that order, and what has to be known to let each of them go on.
    ///
    /// To be called when the program is suspended, after [`InstanceServer::poll_suspend`]. Deterministic.
    fn save(&self) -> Vec<SavedService>;
}
