//! The executor: process 1 of a container, which makes program processes when the host asks for them.
//!
//! It sets the container up, gives up all rights, and then waits for requests and deaths. It allocates nothing
//! after the set-up and never ends but with the host: what it cannot do it refuses.

#![no_std]
#![no_main]

mod arch;
mod filter;
mod requests;
mod setup;
mod spawn;
mod table;

use gate_wire::control::Report;
use sys::fd;
use sys::process;

/// Descriptors, once they are in order. Number 0 is left free, so that a received call socket gets it: there a
/// program process expects it.
const RT_FD: i32 = 1;
const LOADER_FD: i32 = 2;
const CONTROL_FD: i32 = 3;
const POLL_FD: i32 = 4;

/// Called with an aligned stack.
extern "C" fn main() -> ! {
    match setup::run() {
        Ok(table) => requests::Executor::new(table).run(),
        Err(setup::Failure { step, errno, control }) => {
            let _ = fd::send_now(control, &Report::Failed { step: step as u32, errno: errno.0 }.encode());
            process::exit(1)
        }
    }
}
