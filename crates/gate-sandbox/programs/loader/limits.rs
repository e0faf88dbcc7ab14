//! What a program process gives up by itself; the rest it inherits from the executor.

use crate::Result;
use gate_wire::load::LoadFailure;
use sys::number::{rlimit, signal};
use sys::process::{self, pr};

/// Before there is anything to protect.
pub(crate) fn set_attributes() -> Result<()> {
    let set = || {
        // The executor's end is the end of the container, so this is one more bolt on a locked door.
        process::prctl(pr::SET_PDEATHSIG, signal::SIGKILL as usize)?;
        process::prctl(pr::SET_DUMPABLE, 0)?;
        process::set_name(c"gate-program")
    };
    set().map_err(|_| LoadFailure::SetAttributes)
}

/// After the last descriptor has been received and the last mapping made.
///
/// The limit on data keeps the program from making reserved address space writable; what is shared, such as its linear
/// memories, does not count. The limit on address space stays as it is: nothing new can be mapped anyway, and where even the
/// present mappings exceed it, the kernel does not look at the limit on data when protections change.
pub(crate) fn set_limits() -> Result<()> {
    for resource in [rlimit::DATA, rlimit::NOFILE, rlimit::NPROC, rlimit::STACK] {
        process::set_limit(resource, 0).map_err(|_| LoadFailure::SetLimits)?;
    }
    Ok(())
}
