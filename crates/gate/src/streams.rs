//! Standard streams of programs.

use crate::drive::Limits;
use crate::module::Source;
use crate::packets::Place;
use gate_runtime::ProcessPolicy;
use gate_wasi::{Builder, WasiCtx};
use std::io;
use std::os::fd::AsFd;

/// Begins with a program that has this command's streams, as far as the command does not need them for itself.
pub(crate) fn builder(
    source: &Source,
    limits: &Limits,
    policy: ProcessPolicy,
    origin: Place,
) -> io::Result<Builder> {
    let mut builder = WasiCtx::builder().inherit_stderr().clock_resolution(policy.time_resolution);
    builder = match &limits.snapshot {
        // Somebody reads the snapshot there.
        Some(path) if path.as_os_str() == "-" => {
            builder.stdout_fd(io::stderr().as_fd().try_clone_to_owned()?)
        }
        // Others read there what the program sends them.
        _ if origin == Place::Stdio => builder.stdout_fd(io::stderr().as_fd().try_clone_to_owned()?),
        _ => builder.inherit_stdout(),
    };
    // Standard input that was the module is at its end.
    if *source != Source::Stdin && origin != Place::Stdio {
        builder = builder.inherit_stdin();
    }
    Ok(builder)
}
