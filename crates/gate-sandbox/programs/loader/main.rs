//! The loader: a program process before it is one.
//!
//! It waits for a load request, maps what the request says where it says, and jumps to rt, which unmaps the
//! loader. All of its state is on its stack.

#![no_std]
#![no_main]

mod arch;
mod limits;
mod map;
mod memories;
mod request;

use gate_wire::cow::STATE_FD;
use gate_wire::load::{CALL_FD, FLAG_THAW, LoadFailure, NO_ENTRY};
use request::Request;
use sys::{fd, process};

/// What ends the loader.
pub(crate) type Result<T> = core::result::Result<T, LoadFailure>;

/// Called with an aligned stack.
extern "C" fn main() -> ! {
    let failure = match load() {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    process::exit(failure as i32)
}

fn load() -> Result<core::convert::Infallible> {
    limits::set_attributes()?;
    let request = request::receive()?;
    map::map_all(&request)?;
    close_descriptors(&request).map_err(|_| LoadFailure::CloseDescriptors)?;
    limits::set_limits()?;

    let load = &request.load;
    let code_addr = |offset| if offset == NO_ENTRY { 0 } else { load.text_addr + offset };
    let entry = arch::Entry {
        rt_addr: load.rt_addr,
        context_addr: load.context_addr(),
        start: code_addr(load.start),
        entry: code_addr(load.entry),
        thaw: load.flags & FLAG_THAW != 0,
        stack_end: load.state_addr + load.stack_size,
    };
    // SAFETY: everything is mapped as rt expects it.
    unsafe { arch::enter_rt(&entry) }
}

/// Closes all descriptors but those which the program keeps: rt maps parts of the state file when they are written to.
fn close_descriptors(request: &Request) -> sys::Result<()> {
    if request.copies_on_write() {
        fd::duplicate(request.state_fd, STATE_FD, true)?;
        fd::close_from(STATE_FD as u32 + 1)
    } else {
        fd::close_from(CALL_FD as u32 + 1)
    }
}
