//! What programs for Gate are written with.
//!
//! A program that runs in Gate reaches the world through *services*, which it discovers by name and exchanges packets with. This
//! crate sends and receives the packets, and makes futures of calls, streams and timers. It has an executor of its own,
//! which waits for packets when no future can go on; there are no threads.
//!
//! ```no_run
//! use gate_guest::{origin::Origin, Error};
//!
//! /// Sends back what it receives on each connection.
//! fn main() -> Result<(), Error> {
//!     gate_guest::run(|gate| async move {
//!         let origin = Origin::discover(&gate).await?;
//!         while let Some(mut stream) = origin.accept().await? {
//!             gate.spawn(async move {
//!                 let mut buffer = [0; 4096];
//!                 while let Ok(size @ 1..) = stream.read(&mut buffer).await {
//!                     if stream.write_all(&buffer[..size]).await.is_err() {
//!                         break;
//!                     }
//!                 }
//!             });
//!         }
//!         Ok(())
//!     })
//! }
//! ```
//!
//! | to | use |
//! |---|---|
//! | run futures, spawn tasks, sleep, learn of a resumption | [`run`], [`Gate`] |
//! | talk to a service that has no module here | [`Gate::service`], [`Service`] |
//! | read and write bytes | [`Stream`], [`Reader`], [`Writer`] |
//! | talk to Gate's own services | [`catalog`], [`clock`], [`identity`], [`kv`], [`localhost`], [`logger`], [`origin`], [`peer`], [`random`], [`scope`] |
//!
//! # Suspension
//!
//! A program can be suspended at any moment, and go on later, at another place. It need not do anything for that: calls that were
//! under way are answered afterwards, streams go on as far as their services let them, and a timer counts the time for which the program
//! runs. [`Gate::resumed`] is for those who want to know.
//!
//! # Memory
//!
//! What is kept is bounded: up to 128 KiB that have been received, 128 KiB that are to be sent, and for each stream as much as its
//! [window](Reader::set_window), 64 KiB if nothing else is said. Who sends more has to wait. A call keeps its reply (up to
//! 64 KiB) until it is taken.
//!
//! # Targets
//!
//! `wasm32-wasip1` (`wasm32-wasi` with older compilers) and `wasm32-unknown-unknown`. It needs an allocator and nothing else of the
//! standard library. For other targets it can be compiled and tested, but a program does not get anywhere: there is nobody to
//! exchange packets with.

#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod error;
mod executor;
mod future;
mod gate;
mod packet;
mod service;
mod services;
mod state;
mod stream;
mod sys;

pub use error::Error;
pub use executor::JoinHandle;
pub use gate::{run, Gate};
pub use service::Service;
pub use services::{catalog, clock, identity, kv, localhost, logger, origin, peer, random, scope};
pub use stream::{copy, Reader, Stream, Writer};

#[cfg(test)]
mod tests;
