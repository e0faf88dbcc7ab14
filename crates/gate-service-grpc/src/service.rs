//! The service that a registry has.

use crate::address::Address;
use crate::instance::GrpcInstance;
use crate::link::Link;
use gate_service::{Registry, Restored, Service, ServiceInstance};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// What a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcOptions {
    /// How long a connection is waited for, and each answer about how the server is.
    pub connect_timeout: Duration,
    /// How long the beginning of a session is waited for.
    pub open_timeout: Duration,
    /// How long a suspension waits for the server's state. Without it, the state is lost.
    pub suspend_timeout: Duration,
    /// How long a program that has ended waits until the server has completed what it was asked for.
    pub finish_timeout: Duration,
    /// How often the server is asked how it is.
    pub health_interval: Duration,
    /// How long to wait before the first attempt to connect again. Each further one waits twice as long.
    pub min_backoff: Duration,
    /// How long to wait at most before the next attempt.
    pub max_backoff: Duration,
    /// Size of the largest state of an instance, in bytes.
    pub max_state: usize,
}

impl Default for GrpcOptions {
    /// 5 seconds to connect, 10 to open a session or to be suspended, 5 to finish; asked every 5 seconds; attempts after 100
    /// milliseconds up to 10 seconds; 16 MiB.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            open_timeout: Duration::from_secs(10),
            suspend_timeout: Duration::from_secs(10),
            finish_timeout: Duration::from_secs(5),
            health_interval: Duration::from_secs(5),
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            max_state: 16 << 20,
        }
    }
}

/// Why a service is not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("service {name:?} at {address}: {reason}")]
pub struct Unavailable {
    /// Of the service.
    pub name: String,
    /// Where its server should be.
    pub address: String,
    /// What is wrong.
    pub reason: String,
}

/// A service that a server offers.
///
/// # Suspension
///
/// The server is asked for its state when a program is suspended, and given it when the program goes on. Calls which it has not
/// answered come to it again.
#[derive(Clone, Debug)]
pub struct GrpcService {
    link: Arc<Link>,
}

impl GrpcService {
    /// Offers what a server has as a service of this name. Connects, and does so again and again when the connection is
    /// lost, until there are no clones of this and no instances any more.
    ///
    /// Must be called within a tokio runtime that has its I/O driver and its time driver enabled.
    pub fn new(name: impl Into<String>, address: Address, options: GrpcOptions) -> Self {
        Self { link: Link::new(name.into(), address, options) }
    }

    /// Waits for the end of the first attempt to connect, and tells whether the service is available.
    pub async fn settle(&self) -> Result<(), Unavailable> {
        self.link.settle().await
    }
}

impl Service for GrpcService {
    fn name(&self) -> &str {
        &self.link.name
    }

    /// What the server says; "0" before it has said anything.
    fn revision(&self) -> &str {
        self.link.revision()
    }

    fn create(
        &self,
        registry: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        Ok(Box::new(GrpcInstance::new(Arc::clone(&self.link), registry.context(), restored)?))
    }
}
