//! Services that programs discover by name.
//!
//! A program reaches the world through services: it asks for them by name, calls them, and exchanges streams with them, all in
//! packets (`docs/guest-abi.md`). A [`Registry`] says which ones there are. It is given to a
//! [`PacketHost`](gate_runtime::PacketHost), which serves a program.
//!
//! A service that answers calls is a type with an asynchronous function:
//!
//! ```
//! use gate_service::{CallService, Context, Registry, ServiceError};
//!
//! struct Shout;
//!
//! impl CallService for Shout {
//!     fn name(&self) -> &str {
//!         "example.net/shout"
//!     }
//!
//!     async fn call(&self, _: &Context, content: &[u8]) -> Result<Vec<u8>, ServiceError> {
//!         Ok(content.to_ascii_uppercase())
//!     }
//! }
//!
//! let mut registry = Registry::new(Context::default());
//! registry.register_calls(Shout)?;
//! # Ok::<(), gate_service::RegisterError>(())
//! ```
//!
//! | module | concern |
//! |---|---|
//! | `service` | what a service is |
//! | `registry` | which services there are |
//! | `server` | the services of one instance |
//! | `calls` | services that answer calls |
//! | `streams` | streams of bytes with flow control |
//! | `context` | what services know about an instance |
//! | [`builtin`] | services that are there already |

#![forbid(unsafe_code)]

pub mod builtin;
mod calls;
mod context;
mod registry;
mod server;
mod service;
mod streams;

pub use calls::CallService;
pub use context::{Context, Scope};
pub use gate_runtime::{Packet, ServiceError};
pub use gate_wire::packet::Domain;
pub use registry::{RegisterError, Registry};
pub use server::Server;
pub use service::{Restored, Service, ServiceInstance};
pub use streams::{MAX_STREAMS, StreamEnd, Streams};
