//! Packets between programs and services.
//!
//! A program exchanges packets by host calls (`gate.io_N`), so that it needs no descriptor of its own for them, and nothing is
//! under way while it is stopped: each byte is either in its memory, or in the [`PacketHost`]. That one puts packets
//! together, checks them, and hands them to an [`InstanceServer`], which knows the services; and takes packets from it as
//! fast as the program receives them.
//!
//! | module | concern |
//! |---|---|
//! | `pipe` | bytes to packets and back, and how much of them is kept |
//! | `bytes` | the same as a descriptor |
//! | `host` | the functions that programs import |
//! | `iovec` | buffers in the program's memory |
//! | `output` | what a program is to receive |
//! | `server` | what is asked of services |
//! | `state` | what goes along with a program that is suspended |

mod bytes;
mod host;
mod iovec;
mod output;
mod pipe;
mod server;
mod state;

pub use bytes::PacketBytes;
pub use host::{DebugLog, PacketHost};
pub use server::{
    CreateServerError, InstanceServer, Packet, ServiceConfig, ServiceError, ServiceRegistry, ServiceState,
};
