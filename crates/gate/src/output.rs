//! What the command itself says. What the program says does not pass through here.

use crate::exit::{Problem, Status, one_line};
use gate_image::Backtrace;
use std::fmt;
use std::io::{self, Write};

/// Writes the command's own output. Who reads it may have had enough.
pub(crate) fn print(output: &[u8]) -> Result<Status, Problem> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(output).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Status::Success),
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(Status::CLOSED_PIPE),
        Err(err) => Err(Problem::gate_failed(err).about("standard output")),
    }
}

/// Says something on standard error, in a line. If nobody listens, the exit code must do.
pub(crate) fn report(message: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "gate: {}", one_line(&message.to_string()));
}

/// Prints in which functions the program was.
pub(crate) fn print_backtrace(backtrace: &Backtrace) {
    if !backtrace.frames().is_empty() {
        let _ = writeln!(io::stderr(), "{backtrace}");
    }
}
