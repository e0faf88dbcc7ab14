//! Services in other processes, over gRPC.
//!
//! A server that speaks the protocol of `proto/gate/service/v1/service.proto` is offered to programs like any other service:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use gate_service::{Context, Registry};
//! use gate_service_grpc::{GrpcOptions, GrpcService};
//!
//! let mut registry = Registry::new(Context::default());
//! registry.register(GrpcService::new("notes", "unix:/run/notes.sock".parse()?, GrpcOptions::default()))?;
//! # Ok(())
//! # }
//! ```
//!
//! Each instance has a session of its own with the server: a bidirectional stream. Nothing that a server does or fails to do
//! concerns other services, or the program in another way than that it finds the service unavailable.
//!
//! | module | concern |
//! |---|---|
//! | `address` | where a server is |
//! | `link` | whether it is there |
//! | `outbox` | messages to it |
//! | `opening` | the beginning of a session |
//! | `session` | messages of a session, both ways |
//! | `requests` | what the program wants of it |
//! | `instance` | a program's view |
//! | `state` | what goes along with a program that is suspended |
//! | [`proto`] | the protocol |

#![forbid(unsafe_code)]

mod address;
mod instance;
mod link;
mod opening;
mod outbox;
pub mod proto;
mod requests;
mod service;
mod session;
mod state;

pub use address::{Address, AddressError};
pub use service::{GrpcOptions, GrpcService, Unavailable};
